"""Whom a hub can reach, in the words of ASP.NET Core SignalR: all, a group, a user, one connection.

Nothing is sent before ``send``, and nothing is built that is not asked for. Routing itself is in ``lifetime``; who
the caller is, and so who the others are, is in ``caller``.
"""

from collections.abc import Callable
from typing import TypeVar

from msgspec import Raw, Struct

from protocol.errors import BadArgument, HubException
from protocol.signalr.codec import Codec
from protocol.signalr.messages import Invocation

from .lifetime import NOBODY, LifetimeManager
from .outbound import Outbound

__all__ = ["Audience", "HubClients", "OneClient", "typed_answer"]

T = TypeVar("T")

Route = Callable[[str, Outbound, frozenset[str]], None]


class Audience(Struct, frozen=True):
    """Some of the connections of a hub, wherever they are: those that listen to a channel of ``lifetime``.

    ``source`` is the format of the ``Raw`` arguments that will be sent, None when there will be none.
    """

    _route: Route
    _channel: str
    _source: Codec | None
    _excluded: frozenset[str] = NOBODY

    def send(self, target: str, *arguments: object) -> None:
        """Call a client method of each of them; no answer is expected."""
        self._route(self._channel, Outbound(Invocation(target, arguments), self._source), self._excluded)

    def excluding(self, *connection_ids: str) -> "Audience":
        """The same without these connections."""
        return Audience(self._route, self._channel, self._source, self._excluded.union(connection_ids))


class OneClient:
    """One connection by its public id."""

    __slots__ = ("_before_asking", "_connection_id", "_lifetime", "_source")

    def __init__(
        self,
        lifetime: LifetimeManager,
        connection_id: str,
        source: Codec | None,
        before_asking: Callable[[], None] | None = None,
    ) -> None:
        self._lifetime = lifetime
        self._connection_id = connection_id
        self._source = source
        self._before_asking = before_asking

    def send(self, target: str, *arguments: object) -> None:
        """Call a client method, wherever the connection is; no answer is expected, and one that is gone is no error."""
        channel = self._lifetime.connection(self._connection_id)
        self._lifetime.send(channel, Outbound(Invocation(target, arguments), self._source))

    async def ask(self, target: str, *arguments: object, result: type[T]) -> T:
        """Call a client method, wherever the connection is, and wait for its result.

        Inside a hub method, other calls of the caller run meanwhile.

        Raises:
            HubException: the client answered with an error, its text; or with something that is not a ``result``.
            Unavailable: there is no such connection, it ended, or no answer came in time.
            Overloaded: the client owes too many answers already.
        """
        if self._before_asking is not None:
            self._before_asking()
        raw, codec = await self._lifetime.ask(self._connection_id, target, arguments, self._source)
        return typed_answer(raw, codec, result)


class HubClients:
    """The clients of one hub, from outside of any call: a hub is given one in ``on_serving``."""

    __slots__ = ("_lifetime", "_source")

    def __init__(self, lifetime: LifetimeManager, source: Codec | None = None) -> None:
        self._lifetime = lifetime
        self._source = source

    @property
    def all(self) -> Audience:
        """Every connection of the hub."""
        return Audience(self._lifetime.send, self._lifetime.everybody, self._source)

    @property
    def all_here(self) -> Audience:
        """Every connection of the hub on this pod."""
        return Audience(self._lifetime.send_here, self._lifetime.everybody, self._source)

    def group(self, name: str) -> Audience:
        """Every member of a group; an empty one is no error."""
        lifetime = self._lifetime
        return Audience(lifetime.send, lifetime.group(name), self._source)

    def group_here(self, name: str) -> Audience:
        """Its members on this pod."""
        return Audience(self._lifetime.send_here, self._lifetime.group(name), self._source)

    def connection_here(self, connection_id: str) -> Audience:
        """One connection of this pod; one of another pod is told nothing."""
        return Audience(self._lifetime.send_here, self._lifetime.connection(connection_id), self._source)

    def is_here(self, connection_id: str) -> bool:
        """Whether a connection is one of this pod."""
        return self._lifetime.is_here(connection_id)

    def has_here(self, group: str) -> bool:
        """Whether a group has members on this pod."""
        return self._lifetime.has_here(group)

    def groups_here(self, prefix: str) -> tuple[str, ...]:
        """The groups with members on this pod whose names begin so."""
        return self._lifetime.groups_here(prefix)

    def user(self, user: str, clinic: str) -> Audience:
        """Every connection of a user of a clinic: another clinic may know somebody else by the same name."""
        return Audience(self._lifetime.send, self._lifetime.user(clinic, user), self._source)

    def user_here(self, user: str, clinic: str) -> Audience:
        """Those of them on this pod."""
        return Audience(self._lifetime.send_here, self._lifetime.user(clinic, user), self._source)

    def connection_anywhere(self, connection_id: str) -> Audience:
        """One connection of any pod, which is asked nothing."""
        return Audience(self._lifetime.send, self._lifetime.connection(connection_id), self._source)

    def connection(self, connection_id: str) -> OneClient:
        """One connection."""
        return OneClient(self._lifetime, connection_id, self._source)


def typed_answer(raw: Raw, codec: Codec, result: type[T]) -> T:
    """A client's answer as a ``result``. Raises HubException: whoever asked did not send the bad value."""
    try:
        answer: T = codec.binder(result)(raw)
    except BadArgument:
        raise HubException("The client's answer does not fit.") from None
    return answer
