"""Hub messages as JSON (SignalR HubProtocol, "JSON Encoding").

The message structs are the layout; the tag ``type`` may stand anywhere in the object, and unknown
properties are ignored. Relayed values stay ``Raw``. This module must not know connections or states.
Read ``JsonCodec.decode`` first.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final, Literal

import msgspec
from msgspec import Raw, Struct

from protocol.errors import LocalProtocolError, RemoteProtocolError

from .binding import Decode, bind, bind_all, explain, itself
from .framing import RECORD_SEPARATOR
from .messages import MESSAGE_TYPES, Invocation, Message, Ping
from .prescan import ScanLimits, is_flat_json, is_utf8, scan_json, small_json_bytes
from .values import Timestamp, iso_timestamp

__all__ = ["JsonCodec"]


class _AnyType(Struct):
    """The one property that every message has, of a type that we may not know."""

    type: int


def _encode_foreign(value: object) -> object:
    if isinstance(value, Timestamp):
        return iso_timestamp(value)
    raise TypeError(f"No JSON for {type(value).__name__}")


class _Result(Struct, tag_field="type", tag=3, rename="camel"):
    """A ``Completion`` that needs no check, because it cannot hold an error."""

    invocation_id: str
    result: object


_decode_message: Final = msgspec.json.Decoder(Message).decode
_ANY_TYPE: Final = msgspec.json.Decoder(_AnyType)
_FREE: Final = msgspec.json.Decoder()
_encode_json: Final = msgspec.json.Encoder(enc_hook=_encode_foreign).encode
_NO_JSON: Final = (TypeError, ValueError, OverflowError, RecursionError)


class JsonCodec:
    """The text protocol. Values: bytes are base64 text, times ISO-8601 text, NaN and infinities null."""

    name: Final[Literal["json"]] = "json"
    values: Final[Literal["json"]] = "json"
    binary: Final = False

    def __init__(self, limits: ScanLimits) -> None:
        self._limits = limits
        self._small_bytes = small_json_bytes(limits)
        self._within = limits.within_a_call()

    def decode(self, body: bytes) -> Message | None:
        """See ``Codec.decode``."""
        if body == _PING_BODY:
            return _PING
        call = self.call(body)
        if call is not None:
            return call
        scan_json(body, self._limits)
        try:
            message: Message = _decode_message(body)
        except msgspec.DecodeError as error:
            if _is_unknown_type(body):
                return None
            raise RemoteProtocolError(explain(error)) from None
        if type(message) is Invocation and message.invocation_id == "":
            return msgspec.structs.replace(message, invocation_id=None)
        return message

    def call(self, body: bytes) -> Invocation | None:
        """See ``Codec.call``.

        What the decoder found takes at least so many bytes. When the body has no more, nothing else is in it: no
        property twice, none that is unknown, no space. What is left to look at are the arguments.
        """
        size = len(body)
        if size > self._small_bytes or not (body.isascii() or is_utf8(body)):
            return None
        try:
            call: Message = _decode_message(body)
        except (msgspec.DecodeError, RecursionError):
            return None
        if type(call) is not Invocation:
            return None
        call_id = call.invocation_id
        least = (_SHORTEST_WITH_ID + len(call_id) if call_id else _SHORTEST) + len(call.target)
        arguments: tuple[Any, ...] = call.arguments
        for argument in arguments:
            value = bytes(argument)
            if value[0] != _QUOTE and not is_flat_json(value) and not _is_good(value, self._within):
                return None
            least += len(value) + 1
        # There is no comma behind the last argument.
        return call if least - 1 == size or (not arguments and least == size) else None

    def encode(self, message: Message) -> bytes:
        """See ``Codec.encode``."""
        try:
            return _encode_json(message) + RECORD_SEPARATOR
        except _NO_JSON as error:
            raise _no_json(error) from error

    def encode_result(self, invocation_id: str, result: object) -> bytes:
        """See ``Codec.encode_result``."""
        try:
            return _encode_json(_Result(invocation_id, result)) + RECORD_SEPARATOR
        except _NO_JSON as error:
            raise _no_json(error) from error

    def encode_value(self, value: object) -> Raw:
        """See ``Codec.encode_value``."""
        return value if isinstance(value, Raw) else Raw(_encode(value))

    def binder(self, expected: Any) -> Callable[[Raw], Any]:
        """See ``Codec.binder``."""
        return bind(_decoder(expected))

    def arguments(self, types: Sequence[Any], rest: Any = None) -> Callable[[Sequence[Raw]], list[Any]]:
        """See ``Codec.arguments``."""
        return bind_all([*map(_decoder, types)], None if rest is None else _decoder(rest))

    def free(self, raw: Raw) -> object:
        """See ``Codec.free``."""
        return _decode_free(raw)


def _is_good(value: bytes, limits: ScanLimits) -> bool:
    try:
        scan_json(value, limits)
    except RemoteProtocolError:
        return False
    return True


_QUOTE: Final = ord('"')
_SHORTEST: Final = len('{"type":1,"target":"","arguments":[]}')
_SHORTEST_WITH_ID: Final = len('{"type":1,"invocationId":"","target":"","arguments":[]}')
_PING: Final = Ping()
_PING_BODY: Final = b'{"type":6}'


def _decoder(expected: Any) -> Decode:
    if expected is Raw:
        return itself
    return _FREE.decode if expected in (Any, object) else msgspec.json.Decoder(expected).decode


def _encode(value: object) -> bytes:
    try:
        return _encode_json(value)
    except _NO_JSON as error:
        raise _no_json(error) from error


def _no_json(error: Exception) -> LocalProtocolError:
    return LocalProtocolError(f"Cannot be sent as JSON: {type(error).__name__}")


def _is_unknown_type(body: bytes) -> bool:
    try:
        return _ANY_TYPE.decode(body).type not in MESSAGE_TYPES
    except msgspec.DecodeError:
        return False


_decode_free: Final = bind(_FREE.decode)
