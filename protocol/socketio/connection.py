"""One client of a hub over Socket.IO: the text of its packets in, events out.

Time-outs, pings and transports are Engine.IO's, and who may connect was decided before: what is left is whether the
client keeps to the protocol. It must not know sockets or methods. Read ``SocketIoConnection.receive_data`` first.
"""

from typing import Final, NoReturn

from protocol.errors import LocalProtocolError, RemoteProtocolError
from protocol.signalr.events import Broken, Event, Opened, PeerClosed
from protocol.signalr.messages import CancelInvocation, Close, Completion, Invocation

from .codec import SocketIoCodec

__all__ = ["SocketIoConnection"]

VERSION: Final = 5
CLOSED_WITH_ERROR: Final = "Connection closed with an error."
_NEVER: Final = float("inf")


class SocketIoConnection:
    """A ``SessionCore``. It opens with the packet ``codec.connected``, which its owner says when it has let it in."""

    resumable: Final = False
    can_send: Final = True

    def __init__(self, codec: SocketIoCodec, *, now: float) -> None:
        self.codec = codec
        self.sent_at = now
        self._is_open = False
        self._is_closed = False

    def lone_call(self, data: bytes, now: float) -> Invocation | None:
        """The call when the packet is nothing but one, as nearly always; None: ``receive_data`` knows."""
        return self.codec.call(data) if self._is_open and not self._is_closed else None

    def receive_data(self, data: bytes, now: float) -> list[Event]:
        """What one packet means; after the end, nothing."""
        if self._is_closed:
            return []
        if not self._is_open:
            self._is_open = data == self.codec.connected
            return [Opened(self.codec.name, VERSION)] if self._is_open else []
        if data == self.codec.left[1:-1]:
            self._is_closed = True
            return [PeerClosed()]
        try:
            message = self.codec.decode(data)
        except RemoteProtocolError as error:
            self._is_closed = True
            reply = self.codec.encode(Close(CLOSED_WITH_ERROR, allow_reconnect=True))
            return [Broken(error.public_message, reply, error.code)]
        return [message] if isinstance(message, Invocation | Completion | CancelInvocation) else []

    def close(self, error: str | None = None, *, allow_reconnect: bool = False) -> bytes:
        """The last words. A client library comes back by itself unless it is told that it has been disconnected."""
        if self._is_closed:
            return b""
        self._is_closed = True
        reply = self.codec.encode(Close(error, allow_reconnect=allow_reconnect))
        return reply if allow_reconnect else reply + self.codec.left

    def outgoing(self, frame: bytes) -> bytes:
        """Itself: nothing is numbered."""
        return frame

    def detach(self, now: float) -> bool:
        """False: a lost transport is the end."""
        return False

    def attach(self, now: float) -> NoReturn:
        """Raises LocalProtocolError: nothing is resumed."""
        raise LocalProtocolError("This connection cannot be resumed")

    def tick(self, now: float, *, busy: bool = False, acknowledge: bool = True) -> list[Event]:
        """Nothing is due."""
        return []

    def quiet_until(self, now: float) -> float:
        """For ever."""
        return _NEVER
