"""The messages of a hub as Socket.IO packets of one namespace, each ready for an Engine.IO payload.

A call is an event of its method's name, with an acknowledgement when an answer is wanted; the answer is one object with
``ok``. What the server sends is an event of the same name and payload, and what it asks is one with an acknowledgement.
Socket.IO knows no streams: their items and ends are events too. Values are JSON. It must not know sockets or methods.
Read ``SocketIoCodec.decode`` and ``SocketIoCodec.encode`` first.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from protocol.errors import BadArgument, RemoteProtocolError
from protocol.signalr.codec import JSON
from protocol.signalr.messages import CancelInvocation, Close, Completion, Invocation, Message, StreamItem
from protocol.signalr.prescan import is_flat_json, scan_json, small_json_bytes

from .engine import SEPARATOR
from .packets import RESERVED, Kind, Packet, PacketLimits, parse

__all__ = ["CANCEL_STREAM", "CLOSE", "STREAM_ENDED", "STREAM_ITEM", "SocketIoCodec"]

STREAM_ITEM: Final = "StreamItem"
STREAM_ENDED: Final = "StreamEnded"
CANCEL_STREAM: Final = "CancelStream"
CLOSE: Final = "Close"

_OK: Final = Raw(b'{"ok":true}')
_values: Final = msgspec.json.Decoder(tuple[Raw, ...]).decode
_name: Final = msgspec.json.Decoder(str).decode


class _Item(Struct, frozen=True):
    stream: str
    item: object


class _Ended(Struct, frozen=True, omit_defaults=True):
    stream: str
    ok: Literal[True, False]
    error: "_Error | None" = None


class _Error(Struct, frozen=True):
    code: str
    message: str
    retryable: bool = False


class _Refused(Struct, frozen=True):
    ok: Literal[False]
    error: _Error


class _Closed(Struct, frozen=True, rename="camel", omit_defaults=True):
    allow_reconnect: bool
    error: str | None = None


class _Result(Struct, frozen=True):
    ok: Literal[True]
    result: object


class _Cancelled(Struct, frozen=True):
    stream: str


class _Answer(Struct, frozen=True):
    """What a client acknowledges a question with; without ``ok`` it is the answer itself."""

    ok: bool | UnsetType = UNSET
    error: Any = None


class SocketIoCodec:
    """The packets of one namespace. ``decode`` applies the limits; ``binary`` is False: no value needs attachments."""

    name: Final[Literal["socketio"]] = "socketio"
    values: Final[Literal["json"]] = "json"
    binary: Final = False

    def __init__(self, namespace: str, limits: PacketLimits | None = None) -> None:
        self.limits = limits or PacketLimits()
        self.namespace = namespace
        self.connected = f"0{namespace},".encode()
        self.left = f"41{namespace},".encode() + SEPARATOR
        self._event_in = f"2{namespace},".encode()
        self._event_out = f"42{namespace},".encode()
        self._ack_out = f"43{namespace},".encode()
        self._small_bytes = min(small_json_bytes(self.limits.scan), self.limits.max_bytes)
        self._within = self.limits.scan.within_a_call()

    # What comes

    def decode(self, body: bytes) -> Message | None:
        """The message in the text of a packet, None for one that means nothing to a hub. Raises RemoteProtocolError."""
        call = self.call(body)
        if call is not None:
            return call
        packet = parse(body, self.limits)
        if packet.attachments:
            raise RemoteProtocolError("Attachments are put in their places before.")
        if packet.kind is Kind.EVENT:
            return self._invocation(packet)
        return self.acknowledged(packet, self._checked(packet.body)) if packet.kind is Kind.ACK else None

    def call(self, body: bytes) -> Invocation | None:
        """The call in a small packet, if it is written as clients nearly always write it; None: ``decode`` knows."""
        prefix = self._event_in
        if len(body) > self._small_bytes or not body.startswith(prefix):
            return None
        bracket = body.find(b"[", len(prefix), len(prefix) + 16)
        call_id = body[len(prefix) : bracket]
        if bracket < 0 or (call_id and not call_id.isdigit()):
            return None
        try:
            values = _values(body[bracket:])
            name = _name(values[0]) if values else ""
        except (msgspec.DecodeError, RecursionError):
            return None
        if name in _NO_CALLS:
            return None
        for value in values[1:]:
            raw = bytes(value)
            if not is_flat_json(raw):
                try:
                    scan_json(raw, self._within)
                except RemoteProtocolError:
                    return None
        return Invocation(name, values[1:], call_id.decode() or None)

    def acknowledged(self, packet: Packet, values: tuple[Raw, ...]) -> Completion:
        """What an acknowledgement of the peer answers."""
        return _completion(packet, values)

    def _invocation(self, packet: Packet) -> Message:
        values = self._checked(packet.body)
        try:
            name = _name(values[0]) if values else ""
        except msgspec.DecodeError:
            name = ""
        if not name or name in RESERVED:
            raise RemoteProtocolError("There is no event of that name.")
        if name == CANCEL_STREAM:
            return CancelInvocation(invocation_id=_stream_in(values[1:]))
        return Invocation(name, values[1:], None if packet.ack_id is None else str(packet.ack_id))

    def _checked(self, body: bytes) -> tuple[Raw, ...]:
        scan_json(body, self.limits.scan)
        try:
            return _values(body)
        except msgspec.DecodeError:
            raise RemoteProtocolError("The packet is not valid JSON.") from None

    # What goes

    def encode(self, message: Message) -> bytes:
        """The framed bytes of a message. Raises LocalProtocolError for a value that has no encoding."""
        if isinstance(message, Invocation):
            question = _question_out(message.invocation_id)
            return self._packet(self._event_out + question, (message.target, *message.arguments))
        if isinstance(message, Completion):
            if message.error is not None:
                return self.encode_failure(message.invocation_id, "hub_error", message.error)
            return self.encode_result(message.invocation_id, None if message.result is UNSET else message.result)
        if isinstance(message, StreamItem):
            return self._packet(self._event_out, (STREAM_ITEM, _Item(message.invocation_id, message.item)))
        if isinstance(message, Close):
            return self._packet(self._event_out, (CLOSE, _Closed(message.allow_reconnect, message.error)))
        # Keep-alive and resuming are Engine.IO's, or nobody's.
        return b""

    def encode_result(self, invocation_id: str, result: object) -> bytes:
        """The acknowledgement of a call, or the end of a stream."""
        if not invocation_id.isdigit():
            return self._packet(self._event_out, (STREAM_ENDED, _Ended(invocation_id, ok=True)))
        return self._packet(self._ack_out + invocation_id.encode(), (_with_ok(result),))

    def encode_failure(self, invocation_id: str, code: str, message: str, *, retryable: bool = False) -> bytes:
        """The acknowledgement of a call that failed, or the end of a stream that did."""
        error = _Error(code, message, retryable)
        if not invocation_id.isdigit():
            return self._packet(self._event_out, (STREAM_ENDED, _Ended(invocation_id, ok=False, error=error)))
        return self._packet(self._ack_out + invocation_id.encode(), (_Refused(ok=False, error=error),))

    def begun(self, invocation_id: str, stream: str) -> bytes:
        """The acknowledgement of a call that began a stream."""
        return self._packet(self._ack_out + invocation_id.encode(), ({"ok": True, "stream": stream},))

    def _packet(self, head: bytes, content: tuple[object, ...]) -> bytes:
        return head + bytes(JSON.encode_value(content)) + SEPARATOR

    # Values are those of JSON

    def binder(self, expected: Any) -> Callable[[Raw], Any]:
        """See ``Codec.binder``."""
        return JSON.binder(expected)

    def arguments(self, types: Sequence[Any], rest: Any = None) -> Callable[[Sequence[Raw]], list[Any]]:
        """See ``Codec.arguments``."""
        return JSON.arguments(types, rest)

    def free(self, raw: Raw) -> object:
        """See ``Codec.free``."""
        return JSON.free(raw)

    def encode_value(self, value: object) -> Raw:
        """See ``Codec.encode_value``."""
        return JSON.encode_value(value)


_NO_CALLS: Final = RESERVED | {"", CANCEL_STREAM}
_answer: Final = JSON.binder(_Answer)
_cancelled: Final = JSON.binder(_Cancelled)


def _question_out(invocation_id: str | None) -> bytes:
    """Questions are numbered ``s1``, ``s2``, ...; on the wire they are plain numbers."""
    return b"" if invocation_id is None else invocation_id.removeprefix("s").encode()


def _completion(packet: Packet, values: tuple[Raw, ...]) -> Completion:
    invocation_id = f"s{packet.ack_id}"
    if not values:
        return Completion(invocation_id=invocation_id)
    try:
        answer: _Answer = _answer(values[0])
    except BadArgument:
        return Completion(invocation_id=invocation_id, result=values[0])
    if answer.ok is False:
        told = answer.error.get("message") if isinstance(answer.error, dict) else None
        return Completion(invocation_id=invocation_id, error=told if isinstance(told, str) else "The client refused.")
    return Completion(invocation_id=invocation_id, result=values[0])


def _stream_in(arguments: tuple[Raw, ...]) -> str:
    try:
        stream: str = _cancelled(arguments[0]).stream if arguments else ""
    except BadArgument:
        stream = ""
    if not stream:
        raise RemoteProtocolError("CancelStream names no stream.")
    return stream


def _with_ok(result: object) -> object:
    """A result as an object with ``ok``; those of the contract are one."""
    if result is None:
        return _OK
    if isinstance(result, Struct) and hasattr(result, "ok"):
        return result
    if isinstance(result, Raw):
        return result if _says_ok(result) else _Result(ok=True, result=result)
    if isinstance(result, Mapping):
        return result if "ok" in result else {"ok": True, **result}
    return _Result(ok=True, result=result)


def _says_ok(result: Raw) -> bool:
    try:
        answer: _Answer = _answer(result)
    except BadArgument:
        return False
    return answer.ok is not UNSET
