"""Engine.IO 4, the layer below Socket.IO: what a packet is, how several travel in one HTTP body, how transports change.

On a WebSocket each packet is a frame; over polling they are joined by a separator that no JSON text can hold, and
binary ones are base64 behind a ``b``. This module must not know sockets, or what a message means. Read ``Packet``
first, then ``TRANSITIONS``.
"""

import binascii
from collections.abc import Mapping
from enum import Enum, IntEnum
from types import MappingProxyType
from typing import Final, NamedTuple

import msgspec

from protocol.errors import RemoteProtocolError, TooManyPackets

__all__ = [
    "CLOSE",
    "NOOP",
    "PING",
    "PROBE",
    "PROBED",
    "SEPARATOR",
    "TRANSITIONS",
    "UPGRADE",
    "Happening",
    "Kind",
    "Packet",
    "State",
    "next_state",
    "open_packet",
    "packet_of_frame",
    "packets_of_body",
]

SEPARATOR: Final = b"\x1e"
CLOSE: Final = b"1"
PING: Final = b"2"
UPGRADE: Final = b"5"
NOOP: Final = b"6"
PROBE: Final = b"2probe"
PROBED: Final = b"3probe"


class Kind(IntEnum):
    """What a packet is for; the number is its first character."""

    OPEN = 0
    CLOSE = 1
    PING = 2
    PONG = 3
    MESSAGE = 4
    UPGRADE = 5
    NOOP = 6


class Packet(NamedTuple):
    """One packet; a binary one is always a message."""

    kind: Kind
    data: bytes
    binary: bool = False


_KINDS: Final[Mapping[int, Kind]] = MappingProxyType({ord(str(kind.value)): kind for kind in Kind})
_BINARY: Final = ord("b")


def packet_of_frame(payload: bytes, *, binary: bool) -> Packet:
    """The packet that is the payload of a WebSocket message. Raises RemoteProtocolError."""
    if binary:
        return Packet(Kind.MESSAGE, payload, binary=True)
    kind = _KINDS.get(payload[0]) if payload else None
    if kind is None:
        raise RemoteProtocolError("There is no packet of that type.")
    return Packet(kind, payload[1:])


def packets_of_body(body: bytes, max_packets: int) -> list[Packet]:
    """The packets of a POST. Raises TooManyPackets, or RemoteProtocolError: one is none."""
    # Counted before anything is made of them.
    if body.count(SEPARATOR) >= max_packets:
        raise TooManyPackets(f"There are more than {max_packets} packets.")
    try:
        body.decode()
    except UnicodeDecodeError:
        raise RemoteProtocolError("The body is not UTF-8.") from None
    return [_packet_of_text(text) for text in body.split(SEPARATOR)]


def _packet_of_text(text: bytes) -> Packet:
    if text[:1] != b"b":
        return packet_of_frame(text, binary=False)
    try:
        return Packet(Kind.MESSAGE, binascii.a2b_base64(text[1:], strict_mode=True), binary=True)
    except binascii.Error:
        raise RemoteProtocolError("A binary packet is not base64.") from None


class _Open(msgspec.Struct, frozen=True, rename="camel"):
    sid: str
    upgrades: tuple[str, ...]
    ping_interval: int
    ping_timeout: int
    max_payload: int


def open_packet(
    sid: str, *, upgrades: tuple[str, ...], ping_interval_s: float, ping_timeout_s: float, max_payload_bytes: int
) -> bytes:
    """The first packet of a session."""
    opened = _Open(sid, upgrades, round(ping_interval_s * 1_000), round(ping_timeout_s * 1_000), max_payload_bytes)
    return b"0" + msgspec.json.encode(opened)


class State(Enum):
    """How a session is carried."""

    POLLING = "polling"
    PROBED = "probed"
    """A WebSocket has shown that it works; the client is about to leave polling."""
    WEBSOCKET = "websocket"
    ENDED = "ended"


class Happening(Enum):
    """What may change it."""

    PROBE = "probe"
    UPGRADE = "upgrade"
    PROBE_LOST = "probe_lost"
    END = "end"


TRANSITIONS: Final[Mapping[State, Mapping[Happening, State]]] = MappingProxyType(
    {
        State.POLLING: {
            Happening.PROBE: State.PROBED,
            Happening.PROBE_LOST: State.POLLING,
            Happening.END: State.ENDED,
        },
        State.PROBED: {
            Happening.UPGRADE: State.WEBSOCKET,
            Happening.PROBE_LOST: State.POLLING,
            Happening.END: State.ENDED,
        },
        State.WEBSOCKET: {Happening.PROBE_LOST: State.WEBSOCKET, Happening.END: State.ENDED},
        State.ENDED: {Happening.PROBE_LOST: State.ENDED, Happening.END: State.ENDED},
    }
)


def next_state(state: State, happening: Happening) -> State:
    """Raises RemoteProtocolError: that must not happen now."""
    found = TRANSITIONS[state].get(happening)
    if found is None:
        raise RemoteProtocolError(f"{happening.value} while {state.value}")
    return found
