"""Closed-loop traffic that checks itself: every message is expected by somebody, in order, before it is sent.

A member sends the next message when the last one has arrived, so the server always has work and no queue grows. A
message that is wrong, on the wrong connection, doubled or lost fails the run. It must not know which server it loads.
Read ``Member`` first.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from .bench_websocket import BenchFailed, WebSocket, connect
from .dialects import Answer, Dialect

__all__ = ["ROUND_TRIP", "Crowd", "Load", "Member", "Tally", "Target", "open_crowd"]

CONNECT_S: Final = 15.0
DRAIN_S: Final = 10.0
CROWD: Final = "crowd"
ROUND_TRIP: Final = "round_trip"


@dataclass(frozen=True, slots=True)
class Load:
    """What is sent.

    ``echo``: to oneself; ``relay``: to one's partner; ``round_trip``: to one's partner, who answers with as much;
    ``fanout``: one member to all others. ``connections`` does not count the one that sends in ``fanout``.
    ``text_chars``: length of each text.
    """

    workload: str
    connections: int
    in_flight: int
    text_chars: int


@dataclass(frozen=True, slots=True)
class Target:
    """A server that is up: how to speak to it, where, and with which HTTP headers.

    ``other_url``: where every second connection goes, empty when there is one place only. ``settle_s``: how long it may
    take until all places know of what was joined at one.
    """

    dialect: Dialect
    url: str
    headers: dict[str, str] = field(default_factory=dict)
    other_url: str = ""
    settle_s: float = 0.0


class Tally:
    """What was sent and what arrived, and the first thing that went wrong."""

    def __init__(self) -> None:
        self.sent = 0
        self.delivered = 0
        self.running = False
        self._failure = ""
        # Done as soon as there is nothing to wait for any more: something is wrong, or all is there.
        self._over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def arrived(self) -> None:
        """One expected message has arrived."""
        self.delivered += 1
        if self.delivered == self.sent and not self.running:
            self._end()

    def fail(self, reason: str) -> None:
        """Something is wrong; only the first reason counts."""
        self.running = False
        self._failure = self._failure or reason
        self._end()

    async def hold(self, seconds: float) -> None:
        """Let the traffic run for a while. Raises BenchFailed as soon as something is wrong."""
        await asyncio.wait({self._over}, timeout=seconds)
        if self._failure:
            raise BenchFailed(self._failure)

    async def drain(self, limit_s: float = DRAIN_S) -> None:
        """Send nothing more and wait for what is on its way. Raises BenchFailed when it does not come."""
        self.running = False
        if self.delivered == self.sent:
            self._end()
        await self.hold(limit_s)
        if self.delivered < self.sent:
            raise BenchFailed(f"{self.sent - self.delivered} of {self.sent} messages were lost")

    def _end(self) -> None:
        if not self._over.done():
            self._over.set_result(None)


class Member:
    """One connection: sends texts to ``receivers`` and checks what arrives for it."""

    def __init__(self, socket: WebSocket, dialect: Dialect, number: int, load: Load, tally: Tally) -> None:
        self._socket = socket
        self._dialect = dialect
        self._number = number
        self._text_chars = load.text_chars
        self._answers = load.workload == ROUND_TRIP
        self._tally = tally
        self._sequence = 0
        self._to_come = 0
        self._expected: deque[tuple[Answer, Member]] = deque()
        self.to = ""
        self.receivers: Sequence[Member] = (self,)
        socket.on_payload = self.receive
        socket.on_lost = tally.fail

    def send(self) -> None:
        """Send the next message; all receivers expect it."""
        self._sequence += 1
        text = f"{self._number}:{self._sequence}:".ljust(self._text_chars, "x")
        if self.to:
            frame, answer = self._dialect.relay(self.to, text)
        else:
            frame, answer = self._dialect.echo(self._sequence, text)
        for receiver in self.receivers:
            receiver._expected.append((answer, self))
        self._tally.sent += len(self.receivers)
        self._to_come += len(self.receivers)
        self._socket.send(frame)

    def receive(self, payload: bytes) -> None:
        """Check what arrived; its sender sends the next one when the last receiver has it."""
        try:
            for answer in self._dialect.answers(payload):
                self._take(answer)
        except BenchFailed as error:
            self._tally.fail(str(error))

    def _take(self, answer: Answer) -> None:
        if not self._expected:
            raise BenchFailed(f"connection {self._number} got a message that nobody sent it: {answer!r:.80}")
        expected, sender = self._expected.popleft()
        if answer != expected:
            raise BenchFailed(f"connection {self._number} expected {expected!r:.80} and got {answer!r:.80}")
        self._tally.arrived()
        if self._answers:
            sender._to_come -= 1
            if self._tally.running:
                self.send()
        else:
            sender._one_arrived()

    def _one_arrived(self) -> None:
        self._to_come -= 1
        if self._tally.running and self._to_come % len(self.receivers) == 0:
            self.send()


class Crowd:
    """The members of one load, and their tally."""

    def __init__(self, senders: Sequence[Member], tally: Tally, in_flight: int) -> None:
        self._senders = senders
        self._in_flight = in_flight
        self.tally = tally

    def start(self) -> None:
        """Put ``in_flight`` messages of every sender on their way; from there on the answers drive it."""
        self.tally.running = True
        for sender in self._senders:
            for _ in range(self._in_flight):
                sender.send()


@asynccontextmanager
async def open_crowd(target: Target, load: Load) -> AsyncIterator[Crowd]:
    """Connect everybody and wire them for ``load``. Raises BenchFailed when somebody cannot connect or join."""
    tally = Tally()
    async with AsyncExitStack() as stack:
        members = []
        try:
            async with asyncio.timeout(CONNECT_S):
                for number, (own, to) in enumerate(_groups(load)):
                    url = target.other_url if target.other_url and number % 2 else target.url
                    socket = await connect(
                        url + target.dialect.path(own, to),
                        target.headers,
                        speaks_first=target.dialect.speaks_first,
                    )
                    stack.push_async_callback(socket.close)
                    await _greet(socket, target.dialect, own)
                    member = Member(socket, target.dialect, number, load, tally)
                    member.to = to
                    members.append(member)
        except TimeoutError:
            raise BenchFailed(f"{target.dialect.name}: not all connected within {CONNECT_S:g} s") from None
        await tally.hold(target.settle_s)
        yield Crowd(_wire(load, members), tally, load.in_flight)


def _groups(load: Load) -> list[tuple[str, str]]:
    """The group that each connection joins, and the one that it sends to."""
    if load.workload == "echo":
        return [("", "")] * load.connections
    if load.workload in ("relay", ROUND_TRIP):
        return [(f"member-{number}", f"member-{number ^ 1}") for number in range(load.connections)]
    return [*[(CROWD, CROWD)] * load.connections, ("speaker", CROWD)]


def _wire(load: Load, members: list[Member]) -> list[Member]:
    """Tell everybody who receives what they send; the answer is who sends."""
    if load.workload == "fanout":
        *crowd, speaker = members
        speaker.receivers = crowd
        return [speaker]
    if load.workload in ("relay", ROUND_TRIP):
        for number, member in enumerate(members):
            member.receivers = (members[number ^ 1],)
    return members[::2] if load.workload == ROUND_TRIP else members


async def _greet(socket: WebSocket, dialect: Dialect, own: str) -> None:
    if dialect.speaks_first:
        list(dialect.answers(await socket.welcome()))
    for frame, expected in dialect.greetings(own):
        answer = await socket.exchange(frame)
        if expected is None:
            list(dialect.answers(answer))
        elif answer != expected:
            raise BenchFailed(f"{dialect.name}: the greeting was answered with {answer[:120]!r}")
