"""Two resumable ends over a link that is cut anywhere, any number of times: nothing lost, doubled or reordered."""

import math
from collections.abc import Callable
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Raw

from protocol.signalr.client_connection import HubClientConnection
from protocol.signalr.codec import ProtocolName
from protocol.signalr.connection import AckDue, HubConnection, HubLimits, KeepAliveDue, Opened, State
from protocol.signalr.endpoint import Endpoint
from protocol.signalr.messages import Invocation, Sequence

PROTOCOLS: list[ProtocolName] = ["json", "messagepack"]
both = pytest.mark.parametrize("protocol", PROTOCOLS)
ALL = 10**6
LIMITS = HubLimits(
    keep_alive_s=3.0,
    client_timeout_s=math.inf,
    disconnect_timeout_s=math.inf,
    resume_buffer_bytes=150,
)


class Side:
    """One end with its socket: what it wrote and was not yet read, what it sent and what it has received."""

    def __init__(self, end: Endpoint) -> None:
        self.end = end
        self.attached = True
        self.wire = b""
        self.sent: list[int] = []
        self.received: list[int] = []
        self.largest = 0

    def send(self, size: int) -> None:
        """One numbered call, if there is room."""
        if not self.end.can_send:
            return
        number = len(self.sent)
        frame = self.end.codec.encode(Invocation("m", (number, "x" * size)))
        self.wire += self.end.outgoing(frame)
        self.sent.append(number)
        self.largest = max(self.largest, len(frame))

    def read(self, data: bytes, now: float) -> None:
        for event in self.end.receive_data(data, now):
            assert isinstance(event, Invocation)
            number = event.arguments[0]
            assert isinstance(number, Raw)
            self.received.append(self.end.codec.binder(int)(number))

    def lose(self, now: float, *, noticed: bool) -> None:
        """The socket is gone with all that was on it. Unnoticed, the end goes on writing into the void."""
        self.attached = False
        self.wire = b""
        if noticed:
            assert self.end.detach(now)

    def attach(self, now: float) -> None:
        if not self.attached:
            self.attached = True
            self.wire = self.end.attach(now)
            sequence = self.end.codec.encode(Sequence(1))
            assert len(self.wire) <= len(sequence) + 10 + LIMITS.resume_buffer_bytes + self.largest


class Pair:
    """A server and a client, the link between them and its clock."""

    def __init__(self, protocol: ProtocolName) -> None:
        client = HubClientConnection(protocol, LIMITS, now=0.0, stateful=True)
        server = HubConnection(LIMITS, now=0.0, stateful=True)
        (opened,) = server.receive_data(client.hello(), 0.0)
        assert isinstance(opened, Opened)
        assert client.receive_data(opened.reply, 0.0) == [Opened(protocol, 2)]
        self.now = 0.0
        self.client, self.server = Side(client), Side(server)
        self.ways = ((self.client, self.server), (self.server, self.client))

    def side(self, is_server: bool) -> Side:
        return self.server if is_server else self.client

    def deliver(self, upstream: int, downstream: int) -> None:
        """Up to that many bytes to the server and to the client."""
        if not (self.client.attached and self.server.attached):
            return
        for (writer, reader), count in zip(self.ways, (upstream, downstream), strict=True):
            data, writer.wire = writer.wire[:count], writer.wire[count:]
            reader.read(data, self.now)
            assert reader.received == writer.sent[: len(reader.received)]

    def tick(self) -> None:
        self.now += 1.0
        for side in (self.client, self.server):
            for event in side.end.tick(self.now):
                assert isinstance(event, AckDue | KeepAliveDue)
                side.wire += event.data

    def cut(self, client_notices: bool = True, server_notices: bool = True) -> None:
        self.client.lose(self.now, noticed=client_notices)
        self.server.lose(self.now, noticed=server_notices)

    def send(self, is_server: bool, size: int = 1) -> None:
        self.side(is_server).send(size)

    def attach(self, is_server: bool) -> None:
        self.side(is_server).attach(self.now)

    def settle(self) -> None:
        """A link that holds long enough for every Ack; then both must have everything, once and in order."""
        for side in (self.client, self.server):
            side.attach(self.now)
        for _ in range(2):
            self.deliver(ALL, ALL)
            self.tick()
        self.deliver(ALL, ALL)
        for writer, reader in self.ways:
            assert reader.received == writer.sent
            assert writer.end.state is State.OPEN
            assert writer.end.attach(self.now) == writer.end.codec.encode(Sequence(len(writer.sent) + 1))


sides, notices = st.booleans(), st.booleans()
byte_counts = st.integers(0, 60)
steps: st.SearchStrategy[Callable[[Pair], None]] = st.one_of(
    st.builds(lambda side, size: partial(Pair.send, is_server=side, size=size), sides, st.integers(0, 90)),
    st.builds(lambda up, down: partial(Pair.deliver, upstream=up, downstream=down), byte_counts, byte_counts),
    st.builds(lambda one, two: partial(Pair.cut, client_notices=one, server_notices=two), notices, notices),
    st.builds(lambda side: partial(Pair.attach, is_server=side), sides),
    st.just(Pair.tick),
)


@both
@settings(max_examples=300, deadline=None)
@given(script=st.lists(steps, min_size=10, max_size=60))
def test_each_side_receives_exactly_what_the_other_sent(
    protocol: ProtocolName, script: list[Callable[[Pair], None]]
) -> None:
    pair = Pair(protocol)
    for step in script:
        step(pair)
    pair.settle()


def _busy_pair(protocol: ProtocolName) -> Pair:
    pair = Pair(protocol)
    for is_server in (False, True, True, False):
        pair.send(is_server)
    return pair


@both
def test_a_cut_at_every_byte_and_a_second_one_in_the_replay_lose_nothing(protocol: ProtocolName) -> None:
    length = len(_busy_pair(protocol).server.wire)
    for first in range(length + 1):
        for second in range(0, length + 20, 3):
            pair = _busy_pair(protocol)
            pair.deliver(first, length - first)
            pair.cut()
            pair.send(is_server=first % 2 == 0)
            pair.attach(is_server=False)
            pair.attach(is_server=True)
            pair.deliver(second, second)
            # An Ack of what had come before the cut may be faster than the replay of just that.
            pair.tick()
            pair.deliver(*((ALL, 0) if second % 2 else (0, ALL)))
            pair.cut(client_notices=False)
            pair.settle()


@both
def test_a_take_over_that_the_server_learns_of_last_loses_nothing(protocol: ProtocolName) -> None:
    pair = _busy_pair(protocol)
    pair.deliver(5, 7)
    pair.cut(server_notices=False)
    pair.send(is_server=True)
    assert pair.server.end.state is State.OPEN
    pair.settle()
    assert pair.client.received == [0, 1, 2]


@both
def test_a_side_that_is_never_acknowledged_stops_sending(protocol: ProtocolName) -> None:
    pair = Pair(protocol)
    pair.cut()
    for _ in range(100):
        pair.send(is_server=True, size=20)
    assert len(pair.server.sent) < 10
    assert not pair.server.end.can_send
    pair.settle()
    assert pair.server.end.can_send
