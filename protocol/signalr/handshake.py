"""The first message of each side, JSON whatever comes after it (SignalR HubProtocol, "Handshake").

The error texts are those that existing clients show and match. This module must not know connections.
Read ``refusal`` first.
"""

from typing import Final, TypeVar

import msgspec
from msgspec import Struct

from protocol.errors import RemoteProtocolError

from .binding import explain
from .codec import CODECS
from .framing import frame_json
from .prescan import ScanLimits, scan_json

__all__ = [
    "HANDSHAKE_CANCELED",
    "HANDSHAKE_FAILED",
    "HandshakeRequest",
    "encode_request",
    "encode_response",
    "parse_request",
    "parse_response",
    "refusal",
]

HANDSHAKE_CANCELED: Final = "Handshake was canceled."
HANDSHAKE_FAILED: Final = "An unexpected error occurred during connection handshake."
# Version 2 adds stateful reconnect, if both sides agreed on it before. Any lower one is taken for version 1: some
# clients say 0, and Microsoft's server lets them (MessagePackHubProtocol.cs, "IsVersionSupported").
_HIGHEST_VERSION: Final = 2
_LOWEST_VERSION: Final = -(2**31)


class HandshakeRequest(Struct, frozen=True):
    """What a client asks for: a protocol name and its version."""

    protocol: str
    version: int


class _Response(Struct, frozen=True, omit_defaults=True):
    error: str | None = None


_T = TypeVar("_T")
_REQUEST: Final = msgspec.json.Decoder(HandshakeRequest)
_RESPONSE: Final = msgspec.json.Decoder(_Response)


def parse_request(body: bytes, limits: ScanLimits) -> HandshakeRequest:
    """The client's request, without its terminator. Raises RemoteProtocolError."""
    return _parse(_REQUEST, body, limits)


def encode_request(request: HandshakeRequest) -> bytes:
    """The framed bytes of a request."""
    return frame_json(msgspec.json.encode(request))


def parse_response(body: bytes, limits: ScanLimits) -> str | None:
    """The error of the server's answer, None when it agreed. Raises RemoteProtocolError."""
    return _parse(_RESPONSE, body, limits).error


def encode_response(error: str | None = None) -> bytes:
    """The framed bytes of an answer; the connection ends behind an ``error``."""
    return frame_json(msgspec.json.encode(_Response(error)))


def refusal(request: HandshakeRequest, *, binary_ok: bool) -> str | None:
    """Why the server cannot speak what was asked for, None if it can."""
    name, version = request.protocol, request.version
    codec = CODECS.get(name)
    if codec is None:
        return f"The protocol '{name}' is not supported."
    if not _LOWEST_VERSION <= version <= _HIGHEST_VERSION:
        return f"The server does not support version {version} of the '{name}' protocol."
    if codec.binary and not binary_ok:
        return (
            f"Cannot use the '{name}' protocol on the current transport. "
            "The transport does not support 'Binary' transfer format."
        )
    return None


def _parse(decoder: msgspec.json.Decoder[_T], body: bytes, limits: ScanLimits) -> _T:
    scan_json(body, limits)
    try:
        return decoder.decode(body)
    except msgspec.DecodeError as error:
        raise RemoteProtocolError(explain(error)) from None
