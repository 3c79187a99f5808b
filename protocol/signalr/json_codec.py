"""Hub messages as JSON (SignalR HubProtocol, "JSON Encoding").

The message structs are the layout; the tag ``type`` may stand anywhere in the object, and unknown
properties are ignored. Relayed values stay ``Raw``. This module must not know connections or states.
Read ``JsonCodec.decode`` first.
"""

from collections.abc import Callable
from typing import Any, Final, Literal

import msgspec
from msgspec import Raw, Struct

from protocol.errors import LocalProtocolError, RemoteProtocolError

from .binding import bind, explain
from .framing import RECORD_SEPARATOR
from .messages import MESSAGE_TYPES, Invocation, Message
from .prescan import ScanLimits, scan_json
from .values import Timestamp, iso_timestamp

__all__ = ["JsonCodec"]


class _AnyType(Struct):
    """The one property that every message has, of a type that we may not know."""

    type: int


def _encode_foreign(value: object) -> object:
    if isinstance(value, Timestamp):
        return iso_timestamp(value)
    raise TypeError(f"No JSON for {type(value).__name__}")


_MESSAGES: Final = msgspec.json.Decoder(Message)
_ANY_TYPE: Final = msgspec.json.Decoder(_AnyType)
_FREE: Final = msgspec.json.Decoder()
_ENCODER: Final = msgspec.json.Encoder(enc_hook=_encode_foreign)


class JsonCodec:
    """The text protocol. Values: bytes are base64 text, times ISO-8601 text, NaN and infinities null."""

    name: Final[Literal["json"]] = "json"
    binary: Final = False

    def __init__(self, limits: ScanLimits) -> None:
        self._limits = limits

    def decode(self, body: bytes) -> Message | None:
        """See ``Codec.decode``."""
        scan_json(body, self._limits)
        try:
            message: Message = _MESSAGES.decode(body)
        except msgspec.DecodeError as error:
            if _is_unknown_type(body):
                return None
            raise RemoteProtocolError(explain(error)) from None
        if type(message) is Invocation and message.invocation_id == "":
            return msgspec.structs.replace(message, invocation_id=None)
        return message

    def encode(self, message: Message) -> bytes:
        """See ``Codec.encode``."""
        return _encode(message) + RECORD_SEPARATOR

    def encode_value(self, value: object) -> Raw:
        """See ``Codec.encode_value``."""
        return value if isinstance(value, Raw) else Raw(_encode(value))

    def binder(self, expected: Any) -> Callable[[Raw], Any]:
        """See ``Codec.binder``."""
        if expected is Raw:
            return _itself
        return bind(_FREE if expected in (Any, object) else msgspec.json.Decoder(expected))

    def free(self, raw: Raw) -> object:
        """See ``Codec.free``."""
        return _decode_free(raw)


def _itself(raw: Raw) -> Raw:
    return raw


def _encode(value: object) -> bytes:
    try:
        return _ENCODER.encode(value)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise LocalProtocolError(f"Cannot be sent as JSON: {type(error).__name__}") from error


def _is_unknown_type(body: bytes) -> bool:
    try:
        return _ANY_TYPE.decode(body).type not in MESSAGE_TYPES
    except msgspec.DecodeError:
        return False


_decode_free: Final = bind(_FREE)
