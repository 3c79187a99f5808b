"""One end of a hub connection: the part of the state machine that server and client share.

An endpoint is closed by the first thing that ends it and stays so; what comes later is ignored. Time is
an argument, in seconds of any monotonic clock. This module must not know who of the two it is. Read
``Endpoint.receive_data`` first; the states are in ``states``.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import ClassVar, Final, Literal

from protocol.errors import LocalProtocolError, RemoteProtocolError

from .codec import Codec, ProtocolName, codec_for
from .events import Broken, Event, KeepAliveDue, Opened, PeerClosed, Refused, TimedOut
from .framing import RECORD_SEPARATOR, JsonSplitter, MessagePackSplitter, Splitter
from .handshake import HANDSHAKE_CANCELED
from .messages import CancelInvocation, Close, Completion, Invocation, Ping, StreamInvocation, StreamItem
from .prescan import ScanLimits
from .states import Kind, State, next_state

__all__ = ["Endpoint", "HubLimits"]


@dataclass(frozen=True, slots=True)
class HubLimits:
    """Bounds and deadlines of one connection; the defaults are ASP.NET Core's.

    ``max_message_bytes`` counts the framed message. ``client_timeout_s`` is how long the peer may be
    silent; a client applies it to its server.
    """

    max_message_bytes: int = 32_768
    handshake_timeout_s: float = 15.0
    keep_alive_s: float = 15.0
    client_timeout_s: float = 30.0
    scan: ScanLimits = field(default_factory=ScanLimits)


# Without stateful reconnect the rest is of no interest to the owner.
_EVENTS: Final = (Invocation, Completion, StreamItem, StreamInvocation, CancelInvocation)


class Endpoint(ABC):
    """The handshake's bytes, the message loop and the deadlines; a role fills in what differs."""

    _peer: ClassVar[Literal["client", "server"]]

    def __init__(self, limits: HubLimits, *, now: float) -> None:
        self.state = State.AWAITING_HANDSHAKE
        self.version = 0
        self._limits = limits
        self._codec: Codec | None = None
        self._splitter: Splitter = JsonSplitter(limits.max_message_bytes)
        self._handshake = bytearray()
        self._keep_alive = b""
        self._heard_at = self._sent_at = now
        self._pinged = False

    @property
    def codec(self) -> Codec:
        """The wire format agreed on. Raises LocalProtocolError before the handshake."""
        if self._codec is None:
            raise LocalProtocolError("There is no codec before the handshake")
        return self._codec

    def receive_data(self, data: bytes, now: float) -> list[Event]:
        """What the peer's bytes mean, in order. Never raises, whatever they are."""
        if self.state is State.OPEN:
            return self._receive_messages(data, now)
        if self.state is State.AWAITING_HANDSHAKE:
            return self._receive_handshake(data, now)
        return []

    def receive_eof(self) -> list[Event]:
        """The peer's stream has ended."""
        if self.state is State.CLOSED:
            return []
        self._move(Kind.PEER_CLOSED)
        return [PeerClosed()]

    def sent(self, now: float) -> None:
        """Something was written to the peer, so the next keep-alive can wait."""
        self._sent_at = now

    def tick(self, now: float, *, busy: bool = False) -> list[Event]:
        """What is due at ``now``. ``busy``: a message of the peer is being handled, its silence is excused."""
        if self.state is State.AWAITING_HANDSHAKE:
            if now - self._heard_at < self._limits.handshake_timeout_s:
                return []
            self._move(Kind.TIMED_OUT)
            return [TimedOut("handshake", self._refusal_reply(HANDSHAKE_CANCELED))]
        if self.state is State.CLOSED:
            return []
        if busy:
            self._heard_at = now
        if now - self._heard_at >= self._limits.client_timeout_s and self._silence_counts():
            self._move(Kind.TIMED_OUT)
            detail = f"Nothing was received for {self._limits.client_timeout_s:g} s."
            return [TimedOut(self._peer, self._failure_reply(detail))]
        if now - self._sent_at >= self._limits.keep_alive_s:
            self._sent_at = now
            return [KeepAliveDue(self._keep_alive)]
        return []

    def close(self, error: str | None = None, *, allow_reconnect: bool = False) -> bytes:
        """End the connection from here: the last bytes to write, empty when it had ended before."""
        before = self.state
        if before is State.CLOSED:
            return b""
        self._move(Kind.CLOSED_HERE)
        if before is State.AWAITING_HANDSHAKE:
            return self._refusal_reply(HANDSHAKE_CANCELED)
        return self.codec.encode(Close(error, allow_reconnect))

    @abstractmethod
    def _agree(self, body: bytes) -> tuple[ProtocolName, int] | str:
        """The protocol and version that the peer's handshake leads to, or why to none.

        Raises RemoteProtocolError.
        """

    @abstractmethod
    def _handshake_failure(self, detail: str) -> str:
        """The error of a handshake message that could not be understood."""

    @abstractmethod
    def _acceptance_reply(self) -> bytes:
        """What to write when the handshake is done."""

    @abstractmethod
    def _refusal_reply(self, error: str, /) -> bytes:
        """What to write when the handshake failed."""

    @abstractmethod
    def _failure_reply(self, detail: str, /) -> bytes:
        """What to write when the open connection failed."""

    @abstractmethod
    def _silence_counts(self) -> bool:
        """Whether a silent peer may be given up."""

    def _move(self, kind: Kind) -> None:
        self.state = next_state(self.state, kind)

    def _receive_handshake(self, data: bytes, now: float) -> list[Event]:
        head, separator, rest = data.partition(RECORD_SEPARATOR)
        # The terminator counts, and is still to come if it is not here.
        if len(self._handshake) + len(head) >= self._limits.max_message_bytes:
            return self._refuse(HANDSHAKE_CANCELED)
        self._handshake += head
        if not separator:
            return []
        try:
            agreed = self._agree(bytes(self._handshake))
        except RemoteProtocolError as error:
            return self._refuse(self._handshake_failure(error.public_message))
        if isinstance(agreed, str):
            return self._refuse(agreed)
        self._open(*agreed, now)
        opened = Opened(*agreed, self._acceptance_reply())
        return [opened, *(self._receive_messages(rest, now) if rest else ())]

    def _refuse(self, error: str) -> list[Event]:
        self._move(Kind.HANDSHAKE_REFUSED)
        self._handshake.clear()
        return [Refused(error, self._refusal_reply(error))]

    def _open(self, name: ProtocolName, version: int, now: float) -> None:
        self._move(Kind.HANDSHAKE_ACCEPTED)
        self._handshake.clear()
        self.version = version
        self._codec = codec_for(name, self._limits.scan)
        if self._codec.binary:
            self._splitter = MessagePackSplitter(self._limits.max_message_bytes)
        self._keep_alive = self._codec.encode(Ping())
        self._heard_at = self._sent_at = now

    def _receive_messages(self, data: bytes, now: float) -> list[Event]:
        self._heard_at = now
        decode = self.codec.decode
        events: list[Event] = []
        try:
            for body in self._splitter.feed(data):
                message = decode(body)
                if isinstance(message, _EVENTS):
                    events.append(message)
                elif isinstance(message, Ping):
                    self._pinged = True
                elif isinstance(message, Close):
                    self._move(Kind.PEER_CLOSED)
                    events.append(PeerClosed(message.error, message.allow_reconnect))
                    return events
            if self._splitter.failure is not None:
                raise self._splitter.failure
        except RemoteProtocolError as error:
            self._move(Kind.PEER_BROKE_PROTOCOL)
            events.append(Broken(error.public_message, self._failure_reply(error.public_message)))
        return events
