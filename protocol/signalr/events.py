"""What a connection tells its owner. Hub messages are events too, except those it handles itself.

``reply`` is what must be written to the peer, empty when there is nothing to say. After ``Refused``,
``Broken``, ``TimedOut`` and ``PeerClosed`` nothing more will come. This module must not know how an
event comes about. Read ``Event`` first.
"""

from dataclasses import dataclass
from typing import Literal, TypeAlias

from protocol.errors import RemoteProtocolError

from .messages import CancelInvocation, Completion, Invocation, StreamInvocation, StreamItem

__all__ = ["AckDue", "Broken", "Event", "KeepAliveDue", "Opened", "PeerClosed", "Refused", "TimedOut"]


@dataclass(frozen=True, slots=True)
class Opened:
    """The handshake is done; ``protocol`` is what both sides speak from here on."""

    protocol: str
    version: int
    reply: bytes = b""


@dataclass(frozen=True, slots=True)
class Refused:
    """There was no agreement; ``error`` is what the client is told."""

    error: str
    reply: bytes = b""


@dataclass(frozen=True, slots=True)
class PeerClosed:
    """The peer ended the connection, or its stream ended. ``allow_reconnect`` is a server's wish."""

    error: str | None = None
    allow_reconnect: bool = False


@dataclass(frozen=True, slots=True)
class Broken:
    """The peer sent what the protocol forbids; ``detail`` says what, without quoting it, ``code`` which kind it is."""

    detail: str
    reply: bytes
    code: str = RemoteProtocolError.code


@dataclass(frozen=True, slots=True)
class TimedOut:
    """The peer was silent for too long: in the handshake, or the ``client`` or ``server`` afterwards.

    ``resume``: it did not come back after its socket died, or came without its Sequence.
    """

    which: Literal["handshake", "client", "server", "resume"]
    reply: bytes


@dataclass(frozen=True, slots=True)
class KeepAliveDue:
    """Nothing was sent for a while: write ``data``. It already counts as sent."""

    data: bytes


@dataclass(frozen=True, slots=True)
class AckDue:
    """The peer should know what has arrived: write ``data``. Only with stateful reconnect."""

    data: bytes


Event: TypeAlias = (
    Opened
    | Refused
    | Invocation
    | StreamItem
    | Completion
    | StreamInvocation
    | CancelInvocation
    | PeerClosed
    | Broken
    | TimedOut
    | KeepAliveDue
    | AckDue
)
