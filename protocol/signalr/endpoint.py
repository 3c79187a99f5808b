"""One end of a hub connection: the part of the state machine that server and client share.

An endpoint is closed by the first thing that ends it and stays so; what comes later is ignored. Time is
an argument, in seconds of any monotonic clock. With stateful reconnect a lost socket is not the end:
``detach`` and ``attach`` say when it went and when another came. This module must not know who of the
two it is. Read ``Endpoint.receive_data`` first; the states are in ``states``.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar, Final, Literal

from protocol.errors import LocalProtocolError, RemoteProtocolError

from .codec import Codec, ProtocolName, codec_for
from .events import AckDue, Broken, Event, KeepAliveDue, Opened, PeerClosed, Refused, TimedOut
from .framing import RECORD_SEPARATOR, JsonSplitter, MessagePackSplitter, Splitter
from .handshake import HANDSHAKE_CANCELED
from .messages import Ack, Close, Invocation, Message, Ping, Sequence
from .prescan import ScanLimits
from .resume import STATEFUL_VERSION, TRACKABLE, ResumeBuffer, admits
from .states import Kind, State, next_state

__all__ = ["Endpoint", "HubLimits"]

# An attribute of an enum costs a call in Python 3.11.
_OPEN: Final = State.OPEN


@dataclass(frozen=True, slots=True)
class HubLimits:
    """Bounds and deadlines of one connection; the defaults are ASP.NET Core's.

    ``max_message_bytes`` counts the framed message. ``client_timeout_s`` is how long the peer may be
    silent; a client applies it to its server. The last three are for stateful reconnect: unacknowledged
    bytes above which nothing more may be sent, the least time between two Acks, and how long a lost peer
    may take to come back, and then to send its Sequence.
    """

    max_message_bytes: int = 32_768
    handshake_timeout_s: float = 15.0
    keep_alive_s: float = 15.0
    client_timeout_s: float = 30.0
    resume_buffer_bytes: int = 100_000
    ack_interval_s: float = 1.0
    disconnect_timeout_s: float = 15.0
    scan: ScanLimits = field(default_factory=ScanLimits)


class Endpoint(ABC):
    """The handshake's bytes, the message loop and the deadlines; a role fills in what differs.

    ``stateful``: both ends agreed on stateful reconnect before the handshake, which then confirms it.
    """

    _peer: ClassVar[Literal["client", "server"]]
    # There is none before the handshake.
    _decode: Callable[[bytes], Message | None]
    _read_call: Callable[[bytes], Invocation | None]

    def __init__(self, limits: HubLimits, *, now: float, stateful: bool = False) -> None:
        self.state = State.AWAITING_HANDSHAKE
        self.version = 0
        self._limits = limits
        self._codec: Codec | None = None
        self._splitter = self._new_splitter()
        self._handshake = bytearray()
        self._keep_alive = b""
        # ``sent_at``: when something was written to the peer; its owner says so, and the next keep-alive can wait.
        self._heard_at = self.sent_at = self._acked_at = self._lost_at = now
        self._pinged = False
        self._stateful = stateful
        self._resume: ResumeBuffer | None = None

    @property
    def codec(self) -> Codec:
        """The wire format agreed on. Raises LocalProtocolError before the handshake."""
        if self._codec is None:
            raise LocalProtocolError("There is no codec before the handshake")
        return self._codec

    @property
    def resumable(self) -> bool:
        """Whether the connection survives its socket."""
        return self._resume is not None

    @property
    def can_send(self) -> bool:
        """Whether ``outgoing`` takes another message; if not, an Ack of the peer makes room."""
        return self._resume is None or not self._resume.is_full

    def receive_data(self, data: bytes, now: float) -> list[Event]:
        """What the peer's bytes mean, in order. Never raises, whatever they are."""
        if self.state is not _OPEN:
            return self._receive_handshake(data, now) if self.state is State.AWAITING_HANDSHAKE else []
        self._heard_at = now
        if data == self._keep_alive and self._resume is None and self._splitter.lone(data) is not None:
            # All that ten thousand idle peers ever send.
            self._pinged = True
            return []
        return self._receive_messages(data)

    def _receive_messages(self, data: bytes) -> list[Event]:
        decode, resume, splitter = self._decode, self._resume, self._splitter
        events: list[Event] = []
        try:
            for body in splitter.feed(data):
                message = decode(body)
                if type(message) is Invocation and resume is None:  # nearly always
                    events.append(message)
                elif resume is not None and not admits(resume, message):
                    continue
                elif isinstance(message, TRACKABLE):
                    events.append(message)
                elif isinstance(message, Ping):
                    self._pinged = True
                elif isinstance(message, Close):
                    self._move(Kind.PEER_CLOSED)
                    events.append(PeerClosed(message.error, message.allow_reconnect))
                    return events
            if splitter.failure is not None:
                raise splitter.failure
        except RemoteProtocolError as error:
            self._move(Kind.PEER_BROKE_PROTOCOL)
            events.append(Broken(error.public_message, self._failure_reply(error.public_message), error.code))
        return events

    def lone_call(self, data: bytes, now: float) -> Invocation | None:
        """The call when ``data`` is nothing but one, as nearly always; None changes nothing: ``receive_data`` knows.

        Only for what needs neither numbers nor state: an open connection without stateful reconnect.
        """
        if self.state is not _OPEN or self._resume is not None:
            return None
        body = self._splitter.lone(data)
        call = None if body is None else self._read_call(body)
        if call is not None:
            self._heard_at = now
        return call

    def receive_eof(self) -> list[Event]:
        """The peer has ended its stream on purpose; for a stream that broke off see ``detach``."""
        if self.state in (State.DETACHED, State.CLOSED):
            return []
        self._move(Kind.PEER_CLOSED)
        return [PeerClosed()]

    def outgoing(self, frame: bytes) -> bytes:
        """What to write for one framed message of types 1 to 5: itself, or nothing while detached.

        Each message must pass here once and in the order of writing. Raises LocalProtocolError when
        ``can_send`` is False.
        """
        if self._resume is None:
            return frame
        self._resume.sent(frame)
        return b"" if self.state is State.DETACHED else frame

    def detach(self, now: float) -> bool:
        """The socket died without a goodbye. True: the peer may come back; False: this is the end."""
        if self.state is State.OPEN and self._resume is not None:
            self._move(Kind.DETACHED)
            self._resume.link_lost()
            self._lost_at = now
        elif self.state in (State.AWAITING_HANDSHAKE, State.OPEN):
            self._move(Kind.PEER_CLOSED)
        return self.state is State.DETACHED

    def attach(self, now: float) -> bytes:
        """The peer has a new socket: what to write on it first, whole messages all.

        The old one, dead or alive, must not be heard again, and what waits to be written on it must be
        thrown away: it is in here. Raises LocalProtocolError unless the connection is ``resumable``.
        """
        if self._resume is None:
            raise LocalProtocolError("This connection cannot be resumed")
        self._move(Kind.ATTACHED)
        self._resume.link_lost()
        self._splitter = self._new_splitter()
        self._heard_at = self.sent_at = self._lost_at = now
        return self.codec.encode(Sequence(self._resume.first_sequence_id)) + self._resume.replay()

    def tick(self, now: float, *, busy: bool = False, acknowledge: bool = True) -> list[Event]:
        """What is due at ``now``. ``busy``: a message of the peer is being handled, its silence is excused.

        Without ``acknowledge`` no Ack is due: the peer stops by itself when its buffer for resending is full.
        """
        if self.state is State.AWAITING_HANDSHAKE:
            return self._tick_handshake(now)
        if self.state is State.CLOSED:
            return []
        if busy:
            self._heard_at = now
        if now - self._heard_at >= self._limits.client_timeout_s and self._silence_counts():
            return self._give_up(self._peer, f"Nothing was received for {self._limits.client_timeout_s:g} s.")
        if self._resume is not None:
            return self._tick_resumable(self._resume, now, acknowledge=acknowledge)
        return self._keep_alive_due(now)

    def quiet_until(self, now: float) -> float:
        """``tick`` has nothing to say before it, unless something is received, or the socket goes or comes."""
        if self.state is not _OPEN or self._resume is not None:
            return now
        heard_at = self._heard_at if self._silence_counts() else now
        return min(self.sent_at + self._limits.keep_alive_s, heard_at + self._limits.client_timeout_s)

    def close(self, error: str | None = None, *, allow_reconnect: bool = False) -> bytes:
        """End the connection from here: the last bytes to write, empty when nobody is there."""
        before = self.state
        if before is State.CLOSED:
            return b""
        self._move(Kind.CLOSED_HERE)
        if before is State.AWAITING_HANDSHAKE:
            return self._refusal_reply(HANDSHAKE_CANCELED)
        return b"" if before is State.DETACHED else self.codec.encode(Close(error, allow_reconnect))

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
        if self.state is State.CLOSED:
            self._resume = None

    def _new_splitter(self) -> Splitter:
        binary = self._codec is not None and self._codec.binary
        return (MessagePackSplitter if binary else JsonSplitter)(self._limits.max_message_bytes)

    def _give_up(self, which: Literal["client", "server", "resume"], detail: str) -> list[Event]:
        reply = b"" if self.state is State.DETACHED else self._failure_reply(detail)
        self._move(Kind.TIMED_OUT)
        return [TimedOut(which, reply)]

    def _tick_handshake(self, now: float) -> list[Event]:
        if now - self._heard_at < self._limits.handshake_timeout_s:
            return []
        self._move(Kind.TIMED_OUT)
        return [TimedOut("handshake", self._refusal_reply(HANDSHAKE_CANCELED))]

    def _tick_resumable(self, resume: ResumeBuffer, now: float, *, acknowledge: bool) -> list[Event]:
        if resume.awaits_sequence and now - self._lost_at >= self._limits.disconnect_timeout_s:
            return self._give_up("resume", f"No Sequence came for {self._limits.disconnect_timeout_s:g} s.")
        if self.state is State.DETACHED:
            return []
        events = self._keep_alive_due(now)
        wanted = acknowledge and now - self._acked_at >= self._limits.ack_interval_s
        if wanted and (number := resume.ack_due()) is not None:
            self._acked_at = now
            events.append(AckDue(self.codec.encode(Ack(number))))
        return events

    def _keep_alive_due(self, now: float) -> list[Event]:
        if now - self.sent_at < self._limits.keep_alive_s:
            return []
        self.sent_at = now
        return [KeepAliveDue(self._keep_alive)]

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
        return [opened, *(self.receive_data(rest, now) if rest else ())]

    def _refuse(self, error: str) -> list[Event]:
        self._move(Kind.HANDSHAKE_REFUSED)
        self._handshake.clear()
        return [Refused(error, self._refusal_reply(error))]

    def _open(self, name: ProtocolName, version: int, now: float) -> None:
        self._move(Kind.HANDSHAKE_ACCEPTED)
        self._handshake.clear()
        self.version = version
        self._codec = codec_for(name, self._limits.scan)
        self._decode, self._read_call = self._codec.decode, self._codec.call
        self._splitter = self._new_splitter()
        if self._stateful and version == STATEFUL_VERSION:
            self._resume = ResumeBuffer(self._limits.resume_buffer_bytes)
        self._keep_alive = self._codec.encode(Ping())
        self._heard_at = self.sent_at = now
