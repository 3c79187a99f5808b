"""What a connection needs of the protocol that its client speaks: bytes and ticks in, events and bytes out.

``protocol.signalr.connection.HubConnection`` is one, ``protocol.socketio.connection.SocketIoConnection`` the other.
"""

from typing import Protocol

from protocol.signalr.codec import Codec
from protocol.signalr.events import Event
from protocol.signalr.messages import Invocation

__all__ = ["SessionCore"]


class SessionCore(Protocol):
    """One client's side of a protocol. Time is monotonic; ``sent_at`` is when something was written to it."""

    sent_at: float

    @property
    def codec(self) -> Codec:
        """The wire format, once there is one."""
        ...

    @property
    def resumable(self) -> bool:
        """Whether the connection survives its socket."""
        ...

    @property
    def can_send(self) -> bool:
        """Whether ``outgoing`` takes another message."""
        ...

    def lone_call(self, data: bytes, now: float) -> Invocation | None:
        """The call when ``data`` is nothing but one; None changes nothing: ``receive_data`` knows."""
        ...

    def receive_data(self, data: bytes, now: float) -> list[Event]:
        """What the client's bytes mean; never raises."""
        ...

    def outgoing(self, frame: bytes) -> bytes:
        """What to write for one framed message."""
        ...

    def detach(self, now: float) -> bool:
        """The transport is gone; whether the client may come back over another."""
        ...

    def attach(self, now: float) -> bytes:
        """The client came back: what to write first."""
        ...

    def tick(self, now: float, *, busy: bool = False, acknowledge: bool = True) -> list[Event]:
        """What is due at ``now``."""
        ...

    def quiet_until(self, now: float) -> float:
        """``tick`` has nothing to say before it."""
        ...

    def close(self, error: str | None = None, *, allow_reconnect: bool = False) -> bytes:
        """End it from here: the last bytes to write."""
        ...
