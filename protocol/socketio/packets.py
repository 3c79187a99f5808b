"""Socket.IO packets: which namespace, which acknowledgement, how many attachments, and the JSON behind it.

A packet is text; an attachment is a binary message behind the one that announced it, named in its JSON by a
placeholder. This module must not know Engine.IO, or what an event means. Read ``parse`` first.
"""

import base64
import re
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Final, NamedTuple

import msgspec

from protocol.errors import AttachmentsTooLarge, MessageTooLarge, RemoteProtocolError, TooManyAttachments
from protocol.signalr.prescan import ScanLimits, scan_json

__all__ = ["RESERVED", "Attachments", "Kind", "Packet", "PacketLimits", "filled", "parse", "value_of"]

# What a client library tells its own application: no peer may say it (socket.io-protocol, "Sending and receiving").
RESERVED: Final = frozenset(
    {"connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"}
)


class Kind(IntEnum):
    """What a packet is for; the number is its first character."""

    CONNECT = 0
    DISCONNECT = 1
    EVENT = 2
    ACK = 3
    CONNECT_ERROR = 4
    BINARY_EVENT = 5
    BINARY_ACK = 6


@dataclass(frozen=True, slots=True)
class PacketLimits:
    """Bounds of one packet. ``max_bytes``: of its text. ``max_attachments`` may be announced, together of at most
    ``max_attachment_bytes``."""

    max_bytes: int = 32_768
    max_attachments: int = 4
    max_attachment_bytes: int = 65_536
    scan: ScanLimits = field(default_factory=ScanLimits)


class Packet(NamedTuple):
    """``body`` is the JSON text, empty when there is none; it has not been looked at yet."""

    kind: Kind
    namespace: str
    ack_id: int | None
    attachments: int
    body: bytes


# No ack id of more digits: no library counts so far, and JavaScript's numbers end there.
_HEAD: Final = re.compile(rb"([0-6])(?:([0-9]{1,3})-)?(?:(/[^,]{0,255})(?:,|\Z))?([0-9]{1,15})?")
_WITH_ACK_ID: Final = frozenset({Kind.EVENT, Kind.ACK, Kind.BINARY_EVENT, Kind.BINARY_ACK})
_BINARY: Final = frozenset({Kind.BINARY_EVENT, Kind.BINARY_ACK})
_EVENTS: Final = frozenset({Kind.EVENT, Kind.BINARY_EVENT})


def parse(text: bytes, limits: PacketLimits) -> Packet:
    """Take a packet apart. ``text`` is UTF-8.

    Raises:
        MessageTooLarge: it is. TooManyAttachments: it announces them.
        RemoteProtocolError: it is none that a client may send.
    """
    if len(text) > limits.max_bytes:
        raise MessageTooLarge(f"The packet is larger than {limits.max_bytes} bytes.")
    head = _HEAD.match(text)
    if head is None:
        raise RemoteProtocolError("There is no packet of that type.")
    kind = Kind(int(head[1]))
    attachments, ack_id, body = int(head[2] or 0), head[4], text[head.end() :]
    if (head[2] is not None) != (kind in _BINARY):
        raise RemoteProtocolError("Only a binary packet has attachments.")
    if kind in _BINARY and not 0 < attachments <= limits.max_attachments:
        raise TooManyAttachments(f"A binary packet has 1 to {limits.max_attachments} attachments.")
    if ack_id is not None and kind not in _WITH_ACK_ID:
        raise RemoteProtocolError("Such a packet is not acknowledged.")
    if not _has_such_a_body(kind, body, ack_id):
        raise RemoteProtocolError("Such a packet has another content.")
    namespace = (head[3] or b"/").partition(b"?")[0].decode()
    return Packet(kind, namespace, None if ack_id is None else int(ack_id), attachments, body)


def _has_such_a_body(kind: Kind, body: bytes, ack_id: bytes | None) -> bool:
    if kind is Kind.CONNECT:
        return body[:1] in (b"", b"{")
    if kind is Kind.DISCONNECT:
        return not body
    if kind is Kind.CONNECT_ERROR:
        return False
    return body[:1] == b"[" and (kind in _EVENTS or ack_id is not None)


def value_of(packet: Packet, limits: PacketLimits) -> Any:
    """The content of a packet as plain objects, None when it has none. Raises RemoteProtocolError."""
    if not packet.body:
        return None
    scan_json(packet.body, limits.scan)
    try:
        value = msgspec.json.decode(packet.body)
    except msgspec.DecodeError:
        raise RemoteProtocolError("The packet is not valid JSON.") from None
    if packet.kind in _EVENTS and (not value or not isinstance(value[0], str) or value[0] in RESERVED):
        raise RemoteProtocolError("There is no event of that name.")
    return value


class Attachments:
    """The attachments of one packet while they come. ``due_at``: when the last one must have, by the owner's clock."""

    __slots__ = ("_bytes", "_limits", "_parts", "due_at", "packet")

    def __init__(self, packet: Packet, limits: PacketLimits, due_at: float) -> None:
        self.packet = packet
        self.due_at = due_at
        self._limits = limits
        self._parts: list[bytes] = []
        self._bytes = 0

    def add(self, part: bytes) -> bool:
        """One more; True when it was the last one. Raises AttachmentsTooLarge."""
        self._bytes += len(part)
        if self._bytes > self._limits.max_attachment_bytes:
            raise AttachmentsTooLarge(f"Attachments may have {self._limits.max_attachment_bytes} bytes together.")
        self._parts.append(part)
        return len(self._parts) == self.packet.attachments

    def value(self, *, as_text: bool = False) -> Any:
        """The content with them in their places; ``as_text``: as base64. Raises RemoteProtocolError."""
        parts: list[Any] = [base64.b64encode(part).decode() for part in self._parts] if as_text else [*self._parts]
        return filled(value_of(self.packet, self._limits), parts)


def filled(value: Any, parts: list[Any]) -> Any:
    """``value`` with ``parts`` in place of its placeholders. Raises RemoteProtocolError: one names none of them."""
    if isinstance(value, list):
        return [filled(item, parts) for item in value]
    if not isinstance(value, dict):
        return value
    if value.get("_placeholder") is True:
        number = value.get("num")
        if type(number) is not int or not 0 <= number < len(parts):
            raise RemoteProtocolError("A placeholder names no attachment.")
        return parts[number]
    return {key: filled(item, parts) for key, item in value.items()}
