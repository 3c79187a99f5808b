"""What a hub is: a class whose declared methods clients may call; each is given the ``Caller``.

Only methods marked with ``hub_method`` exist for clients; lifecycle hooks, inherited and underscore names do not.
Hubs are thin: what they need is given to their constructors. Read ``Hub``, then ``hub_method``.
"""

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cache
from types import MappingProxyType
from typing import Any, ClassVar, TypeVar, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Raw, Struct

from protocol.errors import AuricleError
from protocol.signalr.codec import CODECS

from .caller import Caller
from .hub_clients import HubClients
from .policy import Grants, Rule, check_complete

__all__ = [
    "Caller",
    "Endpoint",
    "Guarding",
    "Hub",
    "Lane",
    "MistakenHub",
    "declared_methods",
    "endpoints_of",
    "hub_method",
]

Method = TypeVar("Method", bound=Callable[..., Any])
Answer = TypeVar("Answer")
Guarding = Callable[[Any, Callable[[], Awaitable[object]]], Awaitable[object]]
MARK = "__auricle_hub_method__"
CANCELLABLE = "__auricle_cancellable__"


class MistakenHub(AuricleError):
    """A hub that cannot be served as it is written; the server does not start."""

    code = "mistaken_hub"


class Lane(Enum):
    """Which queue a call waits in."""

    PLAIN = "plain"
    SAFETY = "safety"
    """Never waits behind a plain call: what makes an aid quiet again must not queue behind what made it loud."""


class Hub:
    """The base of all hubs. One instance serves all connections; it holds no state of theirs (``Caller.items`` does).

    ``path`` is where it is served, ``name`` what metrics and logs call it; both are its own alone. ``policy`` has a
    rule for every declared method. ``grants`` knows how people stand to the objects of these rules; None means the
    server's, which knows devices. What a hook raises ends no server: see each.
    """

    path: ClassVar[str]
    name: ClassVar[str]
    policy: ClassVar[Mapping[str, Rule]] = MappingProxyType({})
    grants: Grants | None = None
    parts: ClassVar[tuple[type, ...]] = ()
    """Base classes whose methods are the hub's too: a hub that does much is written in several files."""
    guards: Mapping[str, "Guarding"] = MappingProxyType({})
    """By method, what stands before its policy: it may answer in the method's place."""
    explains_arguments: ClassVar[bool] = False
    """Whether a client is told what was wrong with its arguments, beyond Microsoft's bare text."""

    def on_serving(self, clients: HubClients) -> None:
        """Before the first connection: keep ``clients`` to send outside of any call. An error keeps the server down."""

    async def on_connected(self, caller: Caller) -> None:
        """After the handshake, before the first call. An error closes the connection."""

    def on_expiring(self, caller: Caller, left_s: float) -> None:
        """The caller's token ends in ``left_s`` seconds, and the connection with it unless it is renewed."""

    def on_expired(self, caller: Caller) -> None:
        """The caller's token has ended, and its connection is closed next: what is sent now is the last it hears."""

    def on_draining(self, clients: HubClients, retry_after_ms: int) -> None:
        """The server is about to close every connection; clients that come back then find another."""

    async def on_disconnected(self, caller: Caller) -> None:
        """After the last call; the connection is in no group any more. An error is logged."""


def hub_method(name: str, *, lane: Lane = Lane.PLAIN, cancellable: bool = False) -> Callable[[Method], Method]:
    """Declare a method callable by clients as ``name``, which is matched without regard to case.

    A plain ``def`` runs at once in the reader and must not block; an ``async def`` takes a turn. An async generator is
    a stream to the client; a parameter annotated ``AsyncIterator[T]`` is a stream from the client.

    ``cancellable``: a client that does not want the result any more stops the method where it waits, with
    CancelledError; without it the method runs to its end whatever the client wants. Streams to a client always stop.
    """

    def mark(method: Method) -> Method:
        setattr(method, MARK, (name, lane))
        setattr(method, CANCELLABLE, cancellable)
        return method

    return mark


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A callable method with everything that a call needs, worked out once at start.

    ``arguments`` decodes what a call brings, by format name.
    ``uploads`` are those of the items of each parameter that is an ``AsyncIterator``; the wire names these streams
    beside the arguments. ``is_stream``: an async generator, whose items are sent one by one.
    ``runs_inline``: the reader may run it without a task. ``runs_beside``: it takes no turn, as streams do.
    ``cancellable``: its client may stop it.
    ``roles``: those of which a caller needs one; with a relation to an object ``rule`` says more.
    ``fields`` are the known field names of each positional argument that is a payload, None for the others.
    """

    name: str
    call: Callable[..., Any]
    lane: Lane
    rule: Rule
    roles: frozenset[str]
    is_async: bool
    is_stream: bool
    order: tuple[bool, ...]
    uploads: Mapping[str, tuple[Callable[[Raw], Any], ...]]
    fields: tuple[frozenset[str] | None, ...]
    has_payload: bool
    arguments: Mapping[str, Callable[[Sequence[Raw]], list[Any]]]
    object_of: Callable[[Any], str] | None
    runs_inline: bool
    runs_beside: bool
    cancellable: bool


def declared_methods(hub: Hub | type[Hub]) -> dict[str, tuple[Callable[..., Any], Lane]]:
    """The methods that a hub declares, by name: its own and those of its ``parts``, not of other base classes."""
    declared = {}
    names = set()
    kind = hub if isinstance(hub, type) else type(hub)
    for attribute in (attribute for part in (kind, *kind.parts) for attribute in vars(part)):
        mark = getattr(getattr(hub, attribute), MARK, None)
        if mark is not None:
            if mark[0].lower() in names:
                raise MistakenHub(f"two methods are called {mark[0]}, whose case does not count")
            names.add(mark[0].lower())
            declared[mark[0]] = (getattr(hub, attribute), mark[1])
    return declared


def endpoints_of(hub: Hub) -> dict[str, Endpoint]:
    """The callable methods of a hub by lower-case name.

    Raises:
        IncompletePolicy: a method has no rule, or a rule no method.
        MistakenHub: two methods have one name, or a parameter has no type.
    """
    declared = declared_methods(hub)
    check_complete(hub.name, declared, hub.policy)
    return {name.lower(): _endpoint(hub, method, name, lane) for name, (method, lane) in declared.items()}


def _endpoint(hub: Hub, method: Callable[..., Any], name: str, lane: Lane) -> Endpoint:
    hints, parameters = _taken_by(getattr(method, "__func__", method))
    for parameter in parameters:
        if parameter.name not in hints:
            raise MistakenHub(f"{name}: {parameter.name} has no type, which says what clients may send")
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
        roles=frozenset(rule.relations),
        is_async=is_async,
        is_stream=is_stream,
        runs_inline=not is_async and field is None and not runs_beside,
        runs_beside=runs_beside,
        cancellable=is_stream or getattr(method, CANCELLABLE, False),
        order=tuple(_is_upload(kind) for kind in positional),
        uploads={n: tuple(codec.binder(kind) for kind in items) for n, codec in CODECS.items()},
        fields=tuple(_field_names(kind) for kind in types),
        has_payload=any(_field_names(kind) for kind in types),
        arguments={n: codec.arguments(types, *rest) for n, codec in CODECS.items()},
        object_of=None if field is None else lambda payload: str(getattr(payload, field)),
    )


@cache
def _taken_by(function: Callable[..., Any]) -> tuple[dict[str, Any], tuple[inspect.Parameter, ...]]:
    """The types of a method, and its parameters after the hub itself and the caller."""
    return get_type_hints(function), tuple(inspect.signature(function).parameters.values())[2:]


def _is_upload(kind: Any) -> bool:
    return get_origin(kind) is AsyncIterator


@cache
def _field_names(kind: Any) -> frozenset[str] | None:
    if isinstance(kind, type) and issubclass(kind, Struct):
        return frozenset(field.encode_name for field in msgspec.structs.fields(kind))
    return None
