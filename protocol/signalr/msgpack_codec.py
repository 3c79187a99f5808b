"""Hub messages as MessagePack (SignalR HubProtocol, "MessagePack Encoding").

Typed values go through msgspec, free ones through msgpack, which keeps timestamps to the nanosecond.
Relayed values stay ``Raw``. This module must not know connections or states. Read
``MessagePackCodec.decode`` first.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final, Literal

import msgspec
from msgspec import Raw, Struct
from msgspec.msgpack import Ext

from protocol.errors import BadArgument, LocalProtocolError, RemoteProtocolError

from .binding import Decode, bind, bind_all, explain, itself
from .framing import frame_messagepack
from .messages import MESSAGE_TYPES, Invocation, Message
from .msgpack_arrays import MESSAGES, RESULT, InvocationArray, array_of
from .prescan import ScanLimits, are_scalars_messagepack, scan_messagepack, small_messagepack_bytes
from .values import Timestamp, unpack

__all__ = ["MessagePackCodec"]

_TIMESTAMP_EXTENSION: Final = -1


class _AnyType(Struct, array_like=True):
    """The one item that every message has, of a type that we may not know."""

    type: int


def _encode_foreign(value: object) -> object:
    if isinstance(value, Timestamp):
        return Ext(_TIMESTAMP_EXTENSION, value.to_bytes())
    raise TypeError(f"No MessagePack for {type(value).__name__}")


_ANY_TYPE: Final = msgspec.msgpack.Decoder(_AnyType)
_decode_message: Final = MESSAGES.decode
_encode_messagepack: Final = msgspec.msgpack.Encoder(enc_hook=_encode_foreign).encode
_NO_HEADERS: Final[dict[str, str]] = {}
_NO_MESSAGEPACK: Final = (TypeError, ValueError, OverflowError, RecursionError)


class MessagePackCodec:
    """The binary protocol. Free values: timestamps are ``msgpack.Timestamp``, other extensions ``Ext``."""

    name: Final[Literal["messagepack"]] = "messagepack"
    values: Final[Literal["messagepack"]] = "messagepack"
    binary: Final = True

    def __init__(self, limits: ScanLimits) -> None:
        self._limits = limits
        self._small_bytes = small_messagepack_bytes(limits)
        self._within = limits.within_a_call()

    def decode(self, body: bytes) -> Message | None:
        """See ``Codec.decode``."""
        call = self.call(body)
        if call is not None:
            return call
        scan_messagepack(body, self._limits)
        try:
            message: Message = _decode_message(body).message()
        except (msgspec.DecodeError, ValueError) as error:
            if _is_unknown_type(body):
                return None
            raise RemoteProtocolError(explain(error)) from None
        return message

    def call(self, body: bytes) -> Invocation | None:
        """See ``Codec.call``. Its array has no more items than the decoder reads, and no map but in the arguments."""
        if not 0 < len(body) <= self._small_bytes or body[0] not in _CALL_SIZES:
            return None
        try:
            call = _decode_message(body)
        except (msgspec.DecodeError, ValueError, RecursionError):
            return None
        if type(call) is not InvocationArray or call.headers:
            return None
        arguments = call.arguments
        if not (are_scalars_messagepack(arguments) or all(_is_good(bytes(each), self._within) for each in arguments)):
            return None
        return Invocation(call.target, arguments, call.invocation_id or None, call.stream_ids or ())

    def encode(self, message: Message) -> bytes:
        """See ``Codec.encode``."""
        try:
            return frame_messagepack(_encode_messagepack(array_of(message)))
        except _NO_MESSAGEPACK as error:
            raise _no_messagepack(error) from error

    def encode_result(self, invocation_id: str, result: object) -> bytes:
        """See ``Codec.encode_result``."""
        try:
            return frame_messagepack(_encode_messagepack((3, _NO_HEADERS, invocation_id, RESULT, result)))
        except _NO_MESSAGEPACK as error:
            raise _no_messagepack(error) from error

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
        return _free(raw)


def _is_good(value: bytes, limits: ScanLimits) -> bool:
    try:
        scan_messagepack(value, limits)
    except RemoteProtocolError:
        return False
    return True


_CALL_SIZES: Final = (0x96, 0x95)


def _decoder(expected: Any) -> Decode:
    if expected is Raw:
        return itself
    return _free if expected in (Any, object) else msgspec.msgpack.Decoder(expected).decode


def _free(raw: Raw) -> object:
    try:
        return unpack(raw)
    except (ValueError, TypeError) as error:
        raise BadArgument(explain(error)) from None


def _encode(value: object) -> bytes:
    try:
        return _encode_messagepack(value)
    except _NO_MESSAGEPACK as error:
        raise _no_messagepack(error) from error


def _no_messagepack(error: Exception) -> LocalProtocolError:
    return LocalProtocolError(f"Cannot be sent as MessagePack: {type(error).__name__}")


def _is_unknown_type(body: bytes) -> bool:
    try:
        return _ANY_TYPE.decode(body).type not in MESSAGE_TYPES
    except msgspec.DecodeError:
        return False
