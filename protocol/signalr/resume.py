"""The two counters and the buffer that let a connection survive the loss of its socket.

Both ends number the messages of types 1 to 5 that they send, from 1, and keep the bytes until the peer
acknowledges them; on a new socket each says with ``Sequence`` where its replay begins (SignalR
HubProtocol, "Stateful reconnect"). This module must not know sockets, clocks or states. Read
``ResumeBuffer`` first.
"""

from collections import deque
from typing import Final

from protocol.errors import LocalProtocolError, RemoteProtocolError

from .messages import (
    Ack,
    CancelInvocation,
    Completion,
    Invocation,
    Message,
    Sequence,
    StreamInvocation,
    StreamItem,
)

__all__ = ["STATEFUL_VERSION", "TRACKABLE", "ResumeBuffer", "admits"]

STATEFUL_VERSION: Final = 2
TRACKABLE: Final = (Invocation, Completion, StreamItem, StreamInvocation, CancelInvocation)


class ResumeBuffer:
    """What one end must remember: its own unacknowledged messages, and how far it has read the peer's.

    It is full above ``limit_bytes`` (framed) and takes nothing more then, so it holds at most that and
    one message. Of the peer's messages only numbers are kept.
    """

    __slots__ = (
        "_acknowledge",
        "_frames",
        "_highest",
        "_limit_bytes",
        "_next",
        "_total",
        "awaits_sequence",
        "held_bytes",
    )

    def __init__(self, limit_bytes: int = 100_000) -> None:
        self._limit_bytes = limit_bytes
        self._frames: deque[bytes] = deque()
        self.held_bytes = 0
        self._total = 0
        self._next = 1
        self._highest = 0
        self._acknowledge = False
        self.awaits_sequence = False

    @property
    def is_full(self) -> bool:
        """Whether the peer must acknowledge something before more may be sent."""
        return self.held_bytes > self._limit_bytes

    @property
    def first_sequence_id(self) -> int:
        """Where a replay begins: the oldest unacknowledged message, or else the next one.

        The specification's "last sent + 1, whatever was acknowledged" would skip what the peer lacks;
        Microsoft's ends (MessageBuffer.cs, MessageBuffer.ts) count as here.
        """
        return self._total - len(self._frames) + 1

    def sent(self, frame: bytes) -> None:
        """Number and keep one framed message. Raises LocalProtocolError when full."""
        if self.is_full:
            raise LocalProtocolError("The resume buffer is full: wait for an Ack")
        self._total += 1
        self._frames.append(frame)
        self.held_bytes += len(frame)

    def acknowledged(self, sequence_id: int) -> None:
        """The peer has everything up to ``sequence_id``. Raises RemoteProtocolError beyond what was sent."""
        if sequence_id > self._total:
            raise RemoteProtocolError("An Ack is for a message that was never sent.")
        for _ in range(sequence_id - self.first_sequence_id + 1):
            self.held_bytes -= len(self._frames.popleft())

    def replay(self) -> bytes:
        """Every unacknowledged message, whole and in order, to follow ``Sequence(first_sequence_id)``."""
        return b"".join(self._frames)

    def link_lost(self) -> None:
        """The old socket counts no more: what comes before the peer's next Sequence will be replayed."""
        self.awaits_sequence = True

    def sequence(self, sequence_id: int) -> None:
        """The peer's next message has this number. Raises RemoteProtocolError when one between is missing."""
        # Against the highest and not the next number: a replay may have been cut after the Ack for all of it.
        if not 1 <= sequence_id <= self._highest + 1:
            raise RemoteProtocolError("A Sequence does not continue what was received.")
        self._next = sequence_id
        self.awaits_sequence = False

    def received(self) -> bool:
        """Count one message of the peer; False: drop it, it was here before or will be replayed."""
        if self.awaits_sequence:
            return False
        is_new = self._next > self._highest
        if is_new:
            self._highest = self._next
        self._next += 1
        # A duplicate means that the peer has not seen our Ack.
        self._acknowledge = True
        return is_new

    def ack_due(self) -> int | None:
        """The number to acknowledge, given once; None when nothing came since the last time."""
        if not self._acknowledge:
            return None
        self._acknowledge = False
        return self._highest


def admits(buffer: ResumeBuffer, message: Message | None) -> bool:
    """Take note of a received message; False: it goes no further. Raises RemoteProtocolError."""
    if isinstance(message, Sequence):
        buffer.sequence(message.sequence_id)
        return False
    if buffer.awaits_sequence:
        return False
    if isinstance(message, Ack):
        buffer.acknowledged(message.sequence_id)
        return False
    return not isinstance(message, TRACKABLE) or buffer.received()
