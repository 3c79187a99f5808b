"""One connection as a hub method sees it: who it is, whom it can reach, which groups it is in.

The names are those of ASP.NET Core SignalR's ``Context``, ``Clients`` and ``Groups``. A caller must not know what
carries it: a ``Session`` does.
"""

from typing import Any, Protocol, TypeVar, overload

from msgspec import Raw

from protocol.signalr.codec import Codec
from protocol.signalr.messages import Invocation

from .auth import Principal
from .hub_clients import Audience, HubClients, OneClient, typed_answer
from .lifetime import LifetimeManager
from .outbound import Outbound
from .turns import Turn

__all__ = ["Caller", "CallerClients", "CallerGroups", "Session"]

T = TypeVar("T")


class Session(Protocol):
    """What a caller needs of its connection."""

    @property
    def connection_id(self) -> str: ...
    @property
    def principal(self) -> Principal: ...
    @property
    def codec(self) -> Codec: ...
    def send(self, outbound: Outbound) -> None: ...
    async def ask(self, target: str, arguments: tuple[object, ...], source: Codec | None) -> Raw: ...
    def abort(self) -> None: ...
    def renew(self, principal: Principal) -> None: ...


class Caller:
    """The connection whose call, or whose coming or going, a hub is told of."""

    __slots__ = ("_clients", "_items", "_lasting", "_session", "_turn", "connection_id", "lifetime")

    def __init__(
        self,
        session: Session,
        lifetime: LifetimeManager,
        turn: Turn | None = None,
        lasting: "Caller | None" = None,
    ) -> None:
        self._session = session
        self._turn = turn
        self._lasting = lasting
        self._items: dict[str, Any] | None = None
        self._clients: CallerClients | None = None
        self.connection_id = session.connection_id
        self.lifetime = lifetime

    def in_turn(self, turn: Turn) -> "Caller":
        """The same caller during one call, whose turn ``ask`` gives up."""
        return Caller(self._session, self.lifetime, turn, self)

    @property
    def principal(self) -> Principal:
        """Who calls; a renewed token may have changed the roles."""
        return self._session.principal

    @property
    def user(self) -> str:
        """The user id of the token, which ``clients.user`` takes."""
        return self._session.principal.user

    @property
    def codec(self) -> Codec:
        """The caller's wire format: that of every ``Raw`` argument."""
        return self._session.codec

    @property
    def items(self) -> dict[str, Any]:
        """What the hub keeps with this connection, the same in all its calls and hooks; gone with the connection."""
        lasting = self._lasting or self
        if lasting._items is None:
            lasting._items = {}
        return lasting._items

    @property
    def clients(self) -> "CallerClients":
        """Whom this caller can reach."""
        # Kept, because a hub that relays asks for it in every call; most connections never do.
        if self._clients is None:
            self._clients = CallerClients(self)
        return self._clients

    @property
    def groups(self) -> "CallerGroups":
        """The groups of this connection."""
        return CallerGroups(self)

    def send(self, target: str, *arguments: object) -> None:
        """Call a client method of the caller; no answer is expected."""
        self._session.send(Outbound(Invocation(target=target, arguments=arguments), self.codec))

    @overload
    async def ask(self, target: str, *arguments: object) -> Raw: ...
    @overload
    async def ask(self, target: str, *arguments: object, result: type[T]) -> T: ...
    async def ask(self, target: str, *arguments: object, result: Any = Raw) -> Any:
        """Call a client method of the caller and wait for its result; a ``Raw`` one is in the caller's format.

        Other calls of the connection run meanwhile.

        Raises:
            HubException: the client answered with an error, its text; or with something that is not a ``result``.
            Unavailable: the connection ended, or no answer came in time.
            Overloaded: the client owes too many answers already.
        """
        self.give_up_turn()
        return typed_answer(await self._session.ask(target, arguments, self.codec), self.codec, result)

    def give_up_turn(self) -> None:
        """Let the next call of this connection start beside this one."""
        if self._turn is not None:
            self._turn.give_up()

    def end_turn(self) -> None:
        """The call is over: whoever kept this caller has no turn to give up any more."""
        self._turn = None

    def renew(self, principal: Principal) -> None:
        """The same person has shown a new token: the connection lives as long as that one."""
        self._session.renew(principal)

    def abort(self) -> None:
        """End the caller's connection: Close without error and without allowReconnect."""
        self._session.abort()


class CallerClients(HubClients):
    """Whom a caller can reach; ``Raw`` arguments are the caller's own and in its format."""

    __slots__ = ("caller",)

    def __init__(self, caller: Caller) -> None:
        super().__init__(caller.lifetime, caller.codec)
        self.caller = caller

    @property
    def others(self) -> Audience:
        """Every connection of the hub but the caller."""
        return self.all.excluding(self.caller.connection_id)

    def user(self, user: str, clinic: str = "") -> Audience:
        """Every connection of a user, of the caller's own clinic unless another is named."""
        return super().user(user, clinic or self.caller.principal.clinic)

    def others_in_group(self, name: str) -> Audience:
        """Every member of a group but the caller."""
        return self.group(name).excluding(self.caller.connection_id)

    def connection(self, connection_id: str) -> OneClient:
        """One connection; asking it gives the caller's turn up."""
        return OneClient(self._lifetime, connection_id, self._source, self.caller.give_up_turn)


class CallerGroups:
    """The groups of one connection; it leaves all of them when it ends."""

    __slots__ = ("_caller",)

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    def add(self, name: str) -> None:
        """Join a group; joining twice is joining once.

        Raises:
            Overloaded: the connection is in as many groups as it may be.
        """
        self._caller.lifetime.add_to_group(self._caller.connection_id, name)

    def remove(self, name: str) -> None:
        """Leave a group; not being in it is no error."""
        self._caller.lifetime.remove_from_group(self._caller.connection_id, name)
