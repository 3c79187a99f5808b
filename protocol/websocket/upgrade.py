"""May this HTTP request become a WebSocket, and what is the answer (RFC 6455 section 4.2)?

Stricter than the RFC asks: what is ambiguous (a body, two hosts, two keys) is refused, because a proxy
in front may read it otherwise. It must not know tokens, origins or paths; answers never quote the
request. Read ``accept_upgrade`` first.
"""

import base64
from dataclasses import dataclass
from hashlib import sha1
from typing import Final, Protocol

__all__ = ["HeaderFields", "UpgradeRefused", "accept_key", "accept_upgrade"]

_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_KEY_BYTES: Final = 16
_VERSION: Final = "13"


class HeaderFields(Protocol):
    """The header fields of a request by name, without regard to case, as multidict's classes hold them."""

    def getall(self, key: str, default: list[str], /) -> list[str]:
        """The values of all fields of that name in their order, ``default`` if there is none."""
        ...


@dataclass(frozen=True, slots=True)
class UpgradeRefused:
    """The answer to a request that may not be upgraded; the connection ends behind it.

    ``status`` and ``reason`` are HTTP's, ``headers`` must be part of the answer. The reason names the
    fault and quotes nothing.
    """

    status: int
    reason: str
    headers: tuple[tuple[str, str], ...] = (("Connection", "close"),)


_OTHER_VERSION: Final = UpgradeRefused(
    426,
    "The WebSocket version must be 13",
    # RFC 9110 section 15.5.22: a 426 names the protocol to upgrade to, as a connection option too.
    (("Connection", "close, Upgrade"), ("Upgrade", "websocket"), ("Sec-WebSocket-Version", _VERSION)),
)


def accept_upgrade(method: str, version: tuple[int, int], headers: HeaderFields) -> bytes | UpgradeRefused:
    """The bytes of the 101 answer, or why there is none: 426 for another version, else 400.

    ``method`` and ``version`` are those of the request line. No subprotocol and no extension is agreed.
    """
    fault = _http_fault(method, version, headers)
    if fault is not None:
        return UpgradeRefused(400, fault)
    if headers.getall("Sec-WebSocket-Version", []) != [_VERSION]:
        return _OTHER_VERSION
    keys = headers.getall("Sec-WebSocket-Key", [])
    if len(keys) != 1 or not _is_key(keys[0]):
        return UpgradeRefused(400, "There must be one Sec-WebSocket-Key of 16 bytes in base64")
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + accept_key(keys[0]) + b"\r\n\r\n"
    )


def _http_fault(method: str, version: tuple[int, int], headers: HeaderFields) -> str | None:
    if method != "GET" or version != (1, 1):
        return "An upgrade is a GET of HTTP/1.1"
    hosts = headers.getall("Host", [])
    if len(hosts) != 1 or not hosts[0]:
        return "There must be one Host"
    if headers.getall("Transfer-Encoding", []) or headers.getall("Content-Length", ["0"]) != ["0"]:
        return "An upgrade has no body"
    if "websocket" not in _tokens(headers, "Upgrade") or "upgrade" not in _tokens(headers, "Connection"):
        return "This is no WebSocket upgrade"
    return None


def accept_key(key: str) -> bytes:
    """The proof that a server read ``key``, an ASCII text (RFC 6455 section 4.2.2, step 5.4)."""
    return base64.b64encode(sha1(key.encode("ascii") + _GUID, usedforsecurity=False).digest())


def _tokens(headers: HeaderFields, name: str) -> set[str]:
    return {token.strip(" \t").lower() for value in headers.getall(name, []) for token in value.split(",")}


def _is_key(key: str) -> bool:
    try:
        return len(base64.b64decode(key, validate=True)) == _KEY_BYTES
    except ValueError:
        return False
