"""The MessagePack arrays of the hub messages, as they are received (SignalR HubProtocol, "MessagePack").

The first item of each is the message type; items behind the known ones are ignored, trailing ones may be
missing where older clients leave them out. ``array_of`` is the way back. This module must not know
framing. Read ``MESSAGES`` and ``array_of`` first.
"""

from typing import Final, Literal

import msgspec
from msgspec import UNSET, Raw, Struct

from . import messages as hub
from .messages import InvocationId, Message, Name, SequenceId

__all__ = ["MESSAGES", "RESULT", "InvocationArray", "array_of"]

_Headers = dict[str, str]
_ABSENT: Final = Raw()
_TEXT: Final = msgspec.msgpack.Decoder(str)
# The third item of a completion says what the fourth one is.
ERROR, VOID, RESULT = 1, 2, 3


class _Array(Struct, frozen=True, array_like=True):
    """What all of them can do."""

    def message(self) -> Message:
        raise NotImplementedError


class InvocationArray(_Array, frozen=True, array_like=True, tag=1):
    headers: _Headers
    invocation_id: str | None
    target: Name
    arguments: tuple[Raw, ...]
    stream_ids: tuple[str, ...] | None = None

    def message(self) -> Message:
        return hub.Invocation(
            self.target,
            self.arguments,
            self.invocation_id or None,
            self.stream_ids or (),
            self.headers or None,
        )


class StreamItemArray(_Array, frozen=True, array_like=True, tag=2):
    headers: _Headers
    invocation_id: InvocationId
    item: Raw

    def message(self) -> Message:
        return hub.StreamItem(self.invocation_id, self.item, self.headers or None)


class CompletionArray(_Array, frozen=True, array_like=True, tag=3):
    headers: _Headers
    invocation_id: InvocationId
    kind: Literal[1, 2, 3]
    value: Raw = _ABSENT

    def message(self) -> Message:
        headers = self.headers or None
        if self.kind == VOID:
            return hub.Completion(self.invocation_id, headers=headers)
        if self.value is _ABSENT:
            raise ValueError("Completion without the value that it announces")
        if self.kind == RESULT:
            return hub.Completion(self.invocation_id, self.value, headers=headers)
        return hub.Completion(self.invocation_id, error=_TEXT.decode(self.value), headers=headers)


class StreamInvocationArray(_Array, frozen=True, array_like=True, tag=4):
    headers: _Headers
    invocation_id: InvocationId
    target: Name
    arguments: tuple[Raw, ...]
    stream_ids: tuple[str, ...] | None = None

    def message(self) -> Message:
        return hub.StreamInvocation(
            self.invocation_id, self.target, self.arguments, self.stream_ids or (), self.headers or None
        )


class CancelInvocationArray(_Array, frozen=True, array_like=True, tag=5):
    headers: _Headers
    invocation_id: InvocationId

    def message(self) -> Message:
        return hub.CancelInvocation(self.invocation_id, self.headers or None)


class PingArray(_Array, frozen=True, array_like=True, tag=6):
    def message(self) -> Message:
        return hub.Ping()


class CloseArray(_Array, frozen=True, array_like=True, tag=7):
    error: str | None
    allow_reconnect: bool = False

    def message(self) -> Message:
        return hub.Close(self.error, self.allow_reconnect)


class AckArray(_Array, frozen=True, array_like=True, tag=8):
    sequence_id: SequenceId

    def message(self) -> Message:
        return hub.Ack(self.sequence_id)


class SequenceArray(_Array, frozen=True, array_like=True, tag=9):
    sequence_id: SequenceId

    def message(self) -> Message:
        return hub.Sequence(self.sequence_id)


MESSAGES: Final = msgspec.msgpack.Decoder(
    InvocationArray
    | StreamItemArray
    | CompletionArray
    | StreamInvocationArray
    | CancelInvocationArray
    | PingArray
    | CloseArray
    | AckArray
    | SequenceArray
)


def array_of(message: Message) -> tuple[object, ...]:  # noqa: PLR0911  # one row per message
    """The items of the array that stands for ``message``."""
    if isinstance(message, hub.Invocation):  # by far the most frequent, and a pattern costs as much as its encoding
        return 1, message.headers or {}, message.invocation_id, message.target, message.arguments, message.stream_ids
    match message:
        case hub.Completion():
            return _array_of_completion(message)
        case hub.StreamItem(invocation_id, item, headers):
            return 2, headers or {}, invocation_id, item
        case hub.StreamInvocation(invocation_id, target, arguments, stream_ids, headers):
            return 4, headers or {}, invocation_id, target, arguments, stream_ids
        case hub.CancelInvocation(invocation_id, headers):
            return 5, headers or {}, invocation_id
        case hub.Ping():
            return (6,)
        case hub.Close(error, allow_reconnect):
            return 7, error, allow_reconnect
        case hub.Ack(sequence_id):
            return 8, sequence_id
        case hub.Sequence(sequence_id):
            return 9, sequence_id


def _array_of_completion(message: hub.Completion) -> tuple[object, ...]:
    headers = message.headers or {}
    if message.error is not None:
        return 3, headers, message.invocation_id, ERROR, message.error
    if message.result is UNSET:
        return 3, headers, message.invocation_id, VOID
    return 3, headers, message.invocation_id, RESULT, message.result
