"""The nine messages of the SignalR hub protocol, the same for both wire formats.

Names and fields are those of the HubProtocol specification. A value (an argument, an item, a result)
that was received is a ``msgspec.Raw`` in the format of its connection, so what is only relayed is
never decoded; a value to send is any Python object, or a ``Raw`` of that same format. The structs
double as the JSON layout, which is why they carry ``type`` tags. This module must not know framing
or states. Read ``Invocation`` first.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Final, TypeAlias

from msgspec import UNSET, Meta, Raw, Struct, UnsetType

__all__ = [
    "Ack",
    "CancelInvocation",
    "Close",
    "Completion",
    "Invocation",
    "InvocationId",
    "Message",
    "Name",
    "Ping",
    "Sequence",
    "SequenceId",
    "StreamInvocation",
    "StreamItem",
]

if TYPE_CHECKING:
    Value: TypeAlias = object
else:
    # The decoder takes values as they are; an encoder accepts any object in this place.
    Value = Raw

InvocationId = Annotated[str, Meta(min_length=1)]
Name = Annotated[str, Meta(min_length=1)]
SequenceId = Annotated[int, Meta(ge=0, le=2**63 - 1)]


class _Message(Struct, frozen=True, tag_field="type", rename="camel", omit_defaults=True):
    """The JSON layout that all messages share: absent is what equals its default."""


class Invocation(_Message, frozen=True, tag=1):
    """Call ``target``. With an ``invocation_id`` exactly one ``Completion`` answers, without one nothing does.

    ``stream_ids`` name the streams that the caller uploads beside ``arguments``.
    """

    target: Name
    arguments: tuple[Value, ...]
    invocation_id: str | None = None
    stream_ids: tuple[str, ...] = ()
    headers: Mapping[str, str] | None = None


class StreamItem(_Message, frozen=True, tag=2):
    """One item of the stream ``invocation_id``, in either direction."""

    invocation_id: InvocationId
    item: Value
    headers: Mapping[str, str] | None = None


class Completion(_Message, frozen=True, tag=3):
    """The end of a call or of a stream: a result, an error, or neither (``UNSET``).

    A method that returns nothing completes with the result ``None``, which is JSON ``null``.
    """

    invocation_id: InvocationId
    result: Value | UnsetType = UNSET
    error: str | None = None
    headers: Mapping[str, str] | None = None

    def __post_init__(self) -> None:
        if self.error is not None and self.result is not UNSET:
            raise ValueError("result and error exclude each other")


class StreamInvocation(_Message, frozen=True, tag=4):
    """Call ``target`` for a stream: ``StreamItem`` messages, then one ``Completion`` without a result."""

    invocation_id: InvocationId
    target: Name
    arguments: tuple[Value, ...]
    stream_ids: tuple[str, ...] = ()
    headers: Mapping[str, str] | None = None


class CancelInvocation(_Message, frozen=True, tag=5):
    """Stop the stream ``invocation_id``; it still ends with a ``Completion``."""

    invocation_id: InvocationId
    headers: Mapping[str, str] | None = None


class Ping(_Message, frozen=True, tag=6):
    """Nothing but a sign of life."""


class Close(_Message, frozen=True, tag=7):
    """The last message of a connection; ``allow_reconnect`` asks the client to come back."""

    error: str | None = None
    allow_reconnect: bool = False


class Ack(_Message, frozen=True, tag=8):
    """Every message up to ``sequence_id`` has been processed (stateful reconnect only)."""

    sequence_id: SequenceId


class Sequence(_Message, frozen=True, tag=9):
    """The next message has the number ``sequence_id`` (stateful reconnect only)."""

    sequence_id: SequenceId


Message: TypeAlias = (
    Invocation | StreamItem | Completion | StreamInvocation | CancelInvocation | Ping | Close | Ack | Sequence
)
MESSAGE_TYPES: Final = range(1, 10)
