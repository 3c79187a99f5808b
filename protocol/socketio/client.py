"""The client's end of one hub connection over Socket.IO on a WebSocket: the mirror of ``connection`` and ``codec``.

Every frame is one Engine.IO packet. It must not know the socket, nor when to reconnect. Read
``SocketIoClientConnection.receive_data`` first: what it tells are the events of any hub client.
"""

from typing import Any, Final

import msgspec
from msgspec import UNSET, Raw

from protocol.errors import BadArgument, RemoteProtocolError
from protocol.signalr.codec import JSON
from protocol.signalr.events import Broken, Event, KeepAliveDue, Opened, PeerClosed, Refused, TimedOut
from protocol.signalr.messages import Completion, Invocation, Message

from .codec import CLOSE, SocketIoCodec
from .engine import PING, SEPARATOR
from .packets import Packet, PacketLimits

__all__ = ["SocketIoClientCodec", "SocketIoClientConnection"]

_PONG: Final = b"3"
# What a server announces comes in the first packet; before that, this.
_PATIENCE_S: Final = 30.0


class _Opened(msgspec.Struct, frozen=True, rename="camel"):
    ping_interval: int
    ping_timeout: int


class _Refused(msgspec.Struct, frozen=True):
    message: str = ""


class _Closed(msgspec.Struct, frozen=True, rename="camel"):
    allow_reconnect: bool = False
    error: str | None = None


class _Told(msgspec.Struct, frozen=True):
    ok: bool = True
    error: Any = None
    errors: Any = UNSET


_told: Final = JSON.binder(_Told)
_closed: Final = JSON.binder(_Closed)
_opened: Final = msgspec.json.Decoder(_Opened).decode
_refused: Final = msgspec.json.Decoder(_Refused).decode


class SocketIoClientCodec(SocketIoCodec):
    """What a client says and hears: an acknowledgement of its own is the bare answer, one of the server a result."""

    def encode(self, message: Message) -> bytes:
        """The packet of a message, without a separator behind it. Raises LocalProtocolError."""
        if isinstance(message, Completion):
            failed = {"ok": False, "error": {"message": message.error}}
            answer: object = failed if message.error is not None else message.result
            content = () if answer is UNSET else (answer,)
            return self._packet(self._ack_out + message.invocation_id.removeprefix("s").encode(), content)[:-1]
        return super().encode(message).removesuffix(SEPARATOR)

    def acknowledged(self, packet: Packet, values: tuple[Raw, ...]) -> Completion:
        """The result of a call, or its error: that has no ``errors``, which a refusal of the domain has."""
        call_id = str(packet.ack_id)
        if not values:
            return Completion(invocation_id=call_id)
        try:
            told: _Told = _told(values[0])
        except BadArgument:
            return Completion(invocation_id=call_id, result=values[0])
        if told.ok or told.errors is not UNSET:
            return Completion(invocation_id=call_id, result=values[0])
        error = told.error if isinstance(told.error, dict) else {}
        text = f"HubException: [{error.get('code', 'hub_error')}] {error.get('message', '')}"
        return Completion(invocation_id=call_id, error=text)


class SocketIoClientConnection:
    """One connection to ``namespace``; ``hello`` shows ``token``. Servers do not limit what they send."""

    def __init__(self, namespace: str, token: str, *, max_bytes: int, now: float) -> None:
        self.codec = SocketIoClientCodec(namespace, PacketLimits(max_bytes=max_bytes))
        self.sent_at = now
        self._namespace = namespace
        self._token = token
        self._heard_at = now
        self._patience_s = _PATIENCE_S
        self._is_over = False

    def hello(self) -> bytes:
        """The first packet: who is it?"""
        return f"40{self._namespace},".encode() + msgspec.json.encode({"token": self._token})

    def receive_data(self, data: bytes, now: float) -> list[Event]:
        """What one frame means."""
        self._heard_at = now
        if self._is_over:
            return []
        try:
            return self._events(data)
        except (RemoteProtocolError, msgspec.DecodeError):
            self._is_over = True
            return [Broken("The server sent what is no packet.", b"")]

    def receive_eof(self) -> list[Event]:
        """The server has ended the WebSocket."""
        ended: list[Event] = [] if self._is_over else [PeerClosed()]
        self._is_over = True
        return ended

    def tick(self, now: float) -> list[Event]:
        """A server that sends no pings any more is gone."""
        if self._is_over or now - self._heard_at < self._patience_s:
            return []
        self._is_over = True
        return [TimedOut("server", b"")]

    def close(self) -> bytes:
        """The last packet."""
        self._is_over = True
        return f"41{self._namespace},".encode()

    def _events(self, data: bytes) -> list[Event]:
        if data == PING:
            return [KeepAliveDue(_PONG)]
        head, own = data[:2], f"{self._namespace},".encode()
        if data[:1] == b"0":
            told = _opened(data[1:])
            self._patience_s = (told.ping_interval + told.ping_timeout) / 1_000
            return []
        if data[:1] != b"4" or not data.startswith(own, 2):
            return self.receive_eof() if data[:1] == b"1" else []
        if head == b"40":
            return [Opened(self.codec.name, 5)]
        if head == b"44":
            return [Refused(_refused(data[2 + len(own) :]).message)]
        if head == b"41":
            return self.receive_eof()
        return self._heard(data[1:])

    def _heard(self, packet: bytes) -> list[Event]:
        message = self.codec.decode(packet)
        if not isinstance(message, Invocation) or message.target != CLOSE:
            return [message] if isinstance(message, Invocation | Completion) else []
        closing: _Closed = _closed(message.arguments[0]) if message.arguments else _Closed()  # type: ignore[arg-type]  # decoders leave every value raw
        self._is_over = True
        return [PeerClosed(closing.error, closing.allow_reconnect)]
