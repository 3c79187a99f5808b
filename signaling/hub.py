"""What a hub is: a class whose declared methods clients may call, and the caller that each of them is given.

Only methods marked with ``hub_method`` exist for clients; lifecycle hooks, inherited and underscore names do not.
Hubs are thin: they carry out what ``fitting`` decides.
"""

import inspect
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, ClassVar, Protocol, TypeVar, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Raw, Struct

from protocol.errors import BadArgument, HubException
from protocol.signalr.codec import CODECS, Codec
from protocol.signalr.messages import Invocation

from .auth import Principal
from .lifetime import LifetimeManager
from .outbound import Outbound
from .policy import Rule, check_complete
from .turns import Turn

__all__ = [
    "Caller",
    "Endpoint",
    "Hub",
    "Lane",
    "declared_methods",
    "endpoints_of",
    "hub_method",
]

Method = TypeVar("Method", bound=Callable[..., Any])
Answer = TypeVar("Answer")
MARK = "__auricle_hub_method__"


class Lane(Enum):
    """Which queue a call waits in."""

    PLAIN = "plain"
    SAFETY = "safety"
    """Never waits behind a plain call: what makes an aid quiet again must not queue behind what made it loud."""


class Session(Protocol):
    """What a caller needs of its connection."""

    @property
    def connection_id(self) -> str: ...
    @property
    def principal(self) -> Principal: ...
    @property
    def codec(self) -> Codec: ...
    def send(self, outbound: Outbound) -> None: ...
    async def ask(self, target: str, arguments: tuple[object, ...]) -> Raw: ...
    def abort(self) -> None: ...
    def renew(self, principal: Principal) -> None: ...


class Caller:
    """One connection as a hub method sees it."""

    __slots__ = ("_session", "_turn", "connection_id", "lifetime")

    def __init__(self, session: Session, lifetime: LifetimeManager, turn: Turn | None = None) -> None:
        self._session = session
        self._turn = turn
        self.connection_id = session.connection_id
        self.lifetime = lifetime

    def in_turn(self, turn: Turn) -> "Caller":
        """The same caller during one call, whose turn ``ask`` gives up."""
        return Caller(self._session, self.lifetime, turn)

    @property
    def principal(self) -> Principal:
        """Who calls; a renewed token may have changed the roles."""
        return self._session.principal

    def renew(self, principal: Principal) -> None:
        """The same person has shown a new token: the connection lives as long as that one."""
        self._session.renew(principal)

    @property
    def codec(self) -> Codec:
        """The caller's wire format: that of every ``Raw`` argument."""
        return self._session.codec

    def outbound(self, target: str, *arguments: object) -> Outbound:
        """A message of ours; ``Raw`` arguments are the caller's own and in its format."""
        return Outbound(Invocation(target=target, arguments=arguments), self.codec)

    def send(self, target: str, *arguments: object) -> None:
        """Call a client method of the caller; no answer is expected."""
        self._session.send(self.outbound(target, *arguments))

    async def ask(self, target: str, *arguments: object) -> Raw:
        """Call a client method of the caller and wait for its result, in the caller's format.

        Other calls of the connection run meanwhile.

        Raises:
            HubException: the client answered with an error; its text.
            Unavailable: the connection ended, or no answer came in time.
            Overloaded: the client owes too many answers already.
        """
        if self._turn is not None:
            self._turn.give_up()
        return await self._session.ask(target, arguments)

    async def ask_for(self, kind: type[Answer], target: str, *arguments: object) -> Answer:
        """As ``ask``, decoded. Raises HubException also for an answer that is no ``kind``."""
        answer = await self.ask(target, *arguments)
        try:
            bound: Answer = self.codec.binder(kind)(answer)
        except BadArgument as error:
            raise HubException(f"{target}: {error.public_message}") from None
        return bound

    def give_up_turn(self) -> None:
        """Let the caller's next calls run beside this one, which will wait for somebody else."""
        if self._turn is not None:
            self._turn.give_up()

    def abort(self) -> None:
        """End the caller's connection: Close without error and without allowReconnect."""
        self._session.abort()


class Hub:
    """The base of all hubs. One instance serves all connections; it holds no state of theirs."""

    path: ClassVar[str]
    name: ClassVar[str]
    policy: ClassVar[Mapping[str, Rule]]
    explains_arguments: ClassVar[bool] = False
    """Whether a client is told what was wrong with its arguments, beyond Microsoft's bare text."""

    async def on_connected(self, caller: Caller) -> None:
        """After the handshake, before the first call. An error closes the connection."""

    def on_expiring(self, caller: Caller, left_s: float) -> None:
        """The caller's token ends in ``left_s`` seconds, and the connection with it unless it is renewed."""

    async def on_disconnected(self, caller: Caller) -> None:
        """After the last call; the connection is in no group any more."""


def hub_method(name: str, *, lane: Lane = Lane.PLAIN) -> Callable[[Method], Method]:
    """Declare a method callable by clients as ``name``, which is matched without regard to case.

    A plain ``def`` runs at once in the reader and must not block; an ``async def`` takes a turn. An async generator is
    a stream to the client; a parameter annotated ``AsyncIterator[T]`` is a stream from the client.
    """

    def mark(method: Method) -> Method:
        setattr(method, MARK, (name, lane))
        return method

    return mark


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A callable method with everything that a call needs, worked out once at start.

    ``binders`` are the decoders of the positional arguments by format name; ``rest`` decodes those of ``*args``.
    ``uploads`` are those of the items of each parameter that is an ``AsyncIterator``; the wire names these streams
    beside the arguments. ``is_stream``: an async generator, whose items are sent one by one.
    ``runs_inline``: the reader may run it without a task. ``runs_beside``: it takes no turn, as streams do.
    ``fields`` are the known field names of each positional argument that is a payload, None for the others.
    """

    name: str
    call: Callable[..., Any]
    lane: Lane
    rule: Rule
    is_async: bool
    is_stream: bool
    order: tuple[bool, ...]
    uploads: Mapping[str, tuple[Callable[[Raw], Any], ...]]
    fields: tuple[frozenset[str] | None, ...]
    has_payload: bool
    binders: Mapping[str, tuple[Callable[[Raw], Any], ...]]
    rest: Mapping[str, Callable[[Raw], Any]] | None
    object_of: Callable[[Any], str] | None
    runs_inline: bool
    runs_beside: bool


def declared_methods(hub: Hub) -> dict[str, tuple[Callable[..., Any], Lane]]:
    """The methods that a hub declares, by their names: its own, not those of a base class."""
    declared = {}
    for attribute in vars(type(hub)):
        mark = getattr(getattr(hub, attribute), MARK, None)
        if mark is not None:
            declared[mark[0]] = (getattr(hub, attribute), mark[1])
    return declared


def endpoints_of(hub: Hub) -> dict[str, Endpoint]:
    """The callable methods of a hub by lower-case name.

    Raises:
        IncompletePolicy: a method has no rule, or a rule no method.
    """
    declared = declared_methods(hub)
    check_complete(hub.name, declared, hub.policy)
    return {name.lower(): _endpoint(hub, method, name, lane) for name, (method, lane) in declared.items()}


def _endpoint(hub: Hub, method: Callable[..., Any], name: str, lane: Lane) -> Endpoint:
    hints = get_type_hints(method)
    parameters = list(inspect.signature(method).parameters.values())[1:]
    positional = [hints[p.name] for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    types = [kind for kind in positional if not _is_upload(kind)]
    items = [get_args(kind)[0] for kind in positional if _is_upload(kind)]
    rest = [hints[p.name] for p in parameters if p.kind is p.VAR_POSITIONAL]
    rule = hub.policy[name]
    field = rule.object_field
    is_async, is_stream = inspect.iscoroutinefunction(method), inspect.isasyncgenfunction(method)
    runs_beside = is_stream or bool(items)
    return Endpoint(
        name=name,
        call=method,
        lane=lane,
        rule=rule,
        is_async=is_async,
        is_stream=is_stream,
        runs_inline=not is_async and field is None and not runs_beside,
        runs_beside=runs_beside,
        order=tuple(_is_upload(kind) for kind in positional),
        uploads={n: tuple(codec.binder(kind) for kind in items) for n, codec in CODECS.items()},
        fields=tuple(_field_names(kind) for kind in types),
        has_payload=any(_field_names(kind) for kind in types),
        binders={n: tuple(codec.binder(kind) for kind in types) for n, codec in CODECS.items()},
        rest={n: codec.binder(rest[0]) for n, codec in CODECS.items()} if rest else None,
        object_of=None if field is None else lambda payload: str(getattr(payload, field)),
    )


def _is_upload(kind: Any) -> bool:
    return get_origin(kind) is AsyncIterator


def _field_names(kind: Any) -> frozenset[str] | None:
    if isinstance(kind, type) and issubclass(kind, Struct):
        return frozenset(field.encode_name for field in msgspec.structs.fields(kind))
    return None
