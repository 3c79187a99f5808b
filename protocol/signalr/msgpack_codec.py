"""Hub messages as MessagePack (SignalR HubProtocol, "MessagePack Encoding").

Typed values go through msgspec, free ones through msgpack, which keeps timestamps to the nanosecond.
Relayed values stay ``Raw``. This module must not know connections or states. Read
``MessagePackCodec.decode`` first.
"""

from collections.abc import Callable
from typing import Any, Final, Literal

import msgspec
from msgspec import Raw, Struct
from msgspec.msgpack import Ext

from protocol.errors import BadArgument, LocalProtocolError, RemoteProtocolError

from .binding import bind, explain
from .framing import frame_messagepack
from .messages import MESSAGE_TYPES, Message
from .msgpack_arrays import MESSAGES, array_of
from .prescan import ScanLimits, scan_messagepack
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
_ENCODER: Final = msgspec.msgpack.Encoder(enc_hook=_encode_foreign)


class MessagePackCodec:
    """The binary protocol. Free values: timestamps are ``msgpack.Timestamp``, other extensions ``Ext``."""

    name: Final[Literal["messagepack"]] = "messagepack"
    binary: Final = True

    def __init__(self, limits: ScanLimits) -> None:
        self._limits = limits

    def decode(self, body: bytes) -> Message | None:
        """See ``Codec.decode``."""
        scan_messagepack(body, self._limits)
        try:
            message: Message = MESSAGES.decode(body).message()
        except (msgspec.DecodeError, ValueError) as error:
            if _is_unknown_type(body):
                return None
            raise RemoteProtocolError(explain(error)) from None
        return message

    def encode(self, message: Message) -> bytes:
        """See ``Codec.encode``."""
        return frame_messagepack(_encode(array_of(message)))

    def encode_value(self, value: object) -> Raw:
        """See ``Codec.encode_value``."""
        return value if isinstance(value, Raw) else Raw(_encode(value))

    def binder(self, expected: Any) -> Callable[[Raw], Any]:
        """See ``Codec.binder``."""
        if expected is Raw:
            return _itself
        return self.free if expected in (Any, object) else bind(msgspec.msgpack.Decoder(expected))

    def free(self, raw: Raw) -> object:
        """See ``Codec.free``."""
        try:
            return unpack(raw)
        except (ValueError, TypeError) as error:
            raise BadArgument(explain(error)) from None


def _itself(raw: Raw) -> Raw:
    return raw


def _encode(value: object) -> bytes:
    try:
        return _ENCODER.encode(value)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise LocalProtocolError(f"Cannot be sent as MessagePack: {type(error).__name__}") from error


def _is_unknown_type(body: bytes) -> bool:
    try:
        return _ANY_TYPE.decode(body).type not in MESSAGE_TYPES
    except msgspec.DecodeError:
        return False
