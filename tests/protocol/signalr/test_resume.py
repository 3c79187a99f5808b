"""Stateful reconnect, rule by rule: one end with a peer made by hand."""

import math

import pytest

from protocol.errors import LocalProtocolError
from protocol.signalr.client_connection import HubClientConnection
from protocol.signalr.codec import CODECS, ProtocolName
from protocol.signalr.connection import (
    AckDue,
    Broken,
    HubConnection,
    HubLimits,
    KeepAliveDue,
    PeerClosed,
    State,
    TimedOut,
)
from protocol.signalr.endpoint import Endpoint
from protocol.signalr.handshake import encode_response
from protocol.signalr.messages import (
    Ack,
    CancelInvocation,
    Close,
    Completion,
    Invocation,
    Message,
    Ping,
    Sequence,
    StreamInvocation,
    StreamItem,
)

from .plain import BOTH, opened

QUIET = HubLimits(keep_alive_s=math.inf, client_timeout_s=math.inf)
both = pytest.mark.parametrize("protocol", BOTH)
every_role = pytest.mark.parametrize("role", ["server", "client"])


# The buffer


def _end(role: str, protocol: str = "json", limits: HubLimits = QUIET) -> Endpoint:
    """A resumable end behind its handshake, at time 0."""
    if role == "server":
        return opened(protocol, limits, version=2, stateful=True)
    name: ProtocolName = "json" if protocol == "json" else "messagepack"
    client = HubClientConnection(name, limits, now=0.0, stateful=True)
    assert client.hello() == f'{{"protocol":"{protocol}","version":2}}\x1e'.encode()
    client.receive_data(encode_response(), 0.0)
    return client


def _call(number: int) -> Invocation:
    return Invocation("m", (number,))


def _receive(end: Endpoint, *messages: Message, now: float = 0.5) -> list[type]:
    data = b"".join(map(end.codec.encode, messages))
    return [type(event) for event in end.receive_data(data, now)]


def _send(end: Endpoint, *messages: Message) -> bytes:
    return b"".join(end.outgoing(end.codec.encode(message)) for message in messages)


@both
@pytest.mark.parametrize(("stateful", "version"), [(False, 1), (False, 2), (True, 1)])
def test_without_both_agreements_nothing_is_resumable(protocol: str, stateful: bool, version: int) -> None:
    server = opened(protocol, HubLimits(resume_buffer_bytes=1), version=version, stateful=stateful)
    assert not server.resumable
    frame = server.codec.encode(_call(1))
    assert [server.outgoing(frame), server.outgoing(frame)] == [frame, frame]
    assert server.can_send
    assert _receive(server, Ack(7), Sequence(7), _call(1)) == [Invocation]
    assert server.tick(2.0) == []
    with pytest.raises(LocalProtocolError):
        server.attach(2.0)
    assert server.detach(2.0) is False
    assert server.state is State.CLOSED


def test_a_connection_lost_before_its_handshake_is_lost() -> None:
    connection = HubConnection(QUIET, now=0.0, stateful=True)
    assert not connection.resumable
    with pytest.raises(LocalProtocolError):
        connection.attach(0.0)
    assert connection.detach(1.0) is False
    assert connection.state is State.CLOSED
    assert connection.detach(1.0) is False


@both
@every_role
def test_what_was_sent_and_not_acknowledged_is_replayed(protocol: str, role: str) -> None:
    end = _end(role, protocol)
    encode = end.codec.encode
    assert end.resumable
    assert _send(end, _call(1), _call(2)) == encode(_call(1)) + encode(_call(2))
    assert _receive(end, Ack(1)) == []
    assert (end.detach(1.0), end.state) == (True, State.DETACHED)
    assert _send(end, _call(3)) == b""
    assert end.attach(2.0) == encode(Sequence(2)) + encode(_call(2)) + encode(_call(3))
    assert _send(end, _call(4)) == encode(_call(4))


@both
def test_with_nothing_to_replay_the_sequence_names_the_next_message(protocol: str) -> None:
    end = _end("server", protocol)
    _send(end, _call(1), _call(2))
    _receive(end, Ack(2))
    end.detach(1.0)
    assert end.attach(2.0) == end.codec.encode(Sequence(3))


@both
@pytest.mark.parametrize("read", [3, 5])
def test_a_sequence_of_the_last_sent_plus_one_would_lose_or_repeat_messages(protocol: str, read: int) -> None:
    """The specification's wording, tried on a peer that read 3 or all 5 of 5 messages, 2 of them acknowledged."""
    sender, messages = _end("server", protocol), [_call(number) for number in range(1, 6)]
    _send(sender, *messages)
    _receive(sender, Ack(2))
    sender.detach(1.0)
    replay = sender.codec.encode(Sequence(3)) + b"".join(map(sender.codec.encode, messages[2:]))
    assert sender.attach(2.0) == replay
    literal = replay.replace(sender.codec.encode(Sequence(3)), sender.codec.encode(Sequence(6)))

    def events_of(data: bytes) -> list[type]:
        receiver = _end("client", protocol)
        assert _receive(receiver, *messages[:read]) == [Invocation] * read
        receiver.attach(2.0)
        return [type(event) for event in receiver.receive_data(data, 2.0)]

    assert events_of(replay) == [Invocation] * (5 - read)
    assert events_of(literal) == ([Broken] if read == 3 else [Invocation] * 3)


@both
@every_role
def test_everything_before_the_peers_sequence_is_dropped(protocol: str, role: str) -> None:
    end = _end(role, protocol)
    _send(end, _call(1))
    _receive(end, _call(1), _call(2))
    end.detach(1.0)
    end.attach(1.0)
    assert _receive(end, _call(3), Ping(), Ack(1), Ack(99), Close()) == []
    end.attach(2.0)
    assert _receive(end, Sequence(3), _call(3), Completion("1"), Close("bye")) == [Invocation, Completion, PeerClosed]


@both
def test_half_a_message_of_the_old_socket_is_thrown_away(protocol: str) -> None:
    end = _end("server", protocol)
    framed = end.codec.encode(_call(1))
    end.receive_data(framed[:-2], 0.5)
    end.detach(1.0)
    assert end.receive_data(framed[-2:], 1.0) == end.receive_eof() == []
    end.attach(2.0)
    assert _receive(end, Sequence(1), _call(1)) == [Invocation]


@both
def test_a_new_socket_takes_over_while_the_old_one_looks_alive(protocol: str) -> None:
    end = _end("server", protocol)
    encode = end.codec.encode
    end.receive_data(encode(_call(1)) + encode(_call(2))[:-1], 0.5)
    _send(end, _call(1))
    assert end.attach(1.0) == encode(Sequence(1)) + encode(_call(1))
    assert _receive(end, _call(2)) == []
    assert _receive(end, Sequence(1), _call(1), _call(2)) == [Invocation]


TRACKED: list[Message] = [
    _call(1),
    StreamItem("1", 1),
    Completion("1"),
    StreamInvocation("1", "m", ()),
    CancelInvocation("1"),
]


@both
@pytest.mark.parametrize("message", TRACKED, ids=lambda message: type(message).__name__)
def test_calls_items_and_completions_are_counted(protocol: str, message: Message) -> None:
    end = _end("server", protocol)
    assert _receive(end, message) == [type(message)]
    assert end.tick(1.0) == [AckDue(end.codec.encode(Ack(1)))]


@both
def test_pings_acks_and_sequences_are_not_counted(protocol: str) -> None:
    end = _end("server", protocol)
    _send(end, _call(1))
    assert _receive(end, Ping(), Ack(1), Ping(), Sequence(1)) == []
    assert end.tick(10.0) == []
    assert _receive(end, Ping(), _call(1)) == [Invocation]
    assert end.tick(10.0) == [AckDue(end.codec.encode(Ack(1)))]


def test_pings_and_acks_of_ours_are_not_replayed() -> None:
    end = _end("server", limits=HubLimits(client_timeout_s=math.inf))
    _receive(end, _call(1))
    ack, ping = AckDue(end.codec.encode(Ack(1))), KeepAliveDue(end.codec.encode(Ping()))
    assert end.tick(15.0) == [ping, ack]
    end.detach(16.0)
    assert end.tick(30.9) == []
    assert end.attach(30.9) == end.codec.encode(Sequence(1))


@every_role
def test_acks_are_a_second_apart(role: str) -> None:
    end = _end(role)
    end.sent_at = 0.0
    _receive(end, _call(1))
    assert end.tick(0.9) == []
    assert end.tick(1.0) == [AckDue(end.codec.encode(Ack(1)))]
    _receive(end, _call(2), _call(3), now=1.1)
    assert end.tick(1.9) == []
    assert end.tick(2.0) == [AckDue(end.codec.encode(Ack(3)))]
    assert end.tick(9.0) == []
    _receive(end, _call(4), now=9.1)
    assert end.tick(9.2) == [AckDue(end.codec.encode(Ack(4)))]


@both
def test_a_duplicate_replay_is_acknowledged_again(protocol: str) -> None:
    end = _end("server", protocol)
    ack = AckDue(end.codec.encode(Ack(2)))
    _receive(end, _call(1), _call(2))
    assert end.tick(1.0) == [ack]
    end.detach(2.0)
    assert end.tick(3.0) == []
    end.attach(4.0)
    assert end.tick(4.0) == []
    assert _receive(end, Sequence(1), _call(1), _call(2), now=4.0) == []
    assert end.tick(5.0) == [ack]


@both
@every_role
@pytest.mark.parametrize("bad", [Ack(2), Sequence(3), Sequence(0)], ids=repr)
def test_numbers_that_cannot_be_break_the_connection(protocol: str, role: str, bad: Message) -> None:
    end = _end(role, protocol)
    _send(end, _call(1))
    _receive(end, _call(1))
    assert _receive(end, bad, _call(2)) == [Broken]
    assert end.state is State.CLOSED
    assert not end.resumable
    assert end.detach(2.0) is False


def test_a_sequence_jump_after_a_resume_breaks_the_connection() -> None:
    end = _end("server")
    end.detach(1.0)
    end.attach(1.0)
    assert _receive(end, Sequence(2)) == [Broken]


def test_over_the_limit_nothing_is_sent_until_an_ack_comes() -> None:
    frame = CODECS["json"].encode(_call(1))
    end = _end("server", limits=HubLimits(resume_buffer_bytes=2 * len(frame)))
    assert [(end.can_send, end.outgoing(frame)) for _ in range(3)] == [(True, frame)] * 3
    with pytest.raises(LocalProtocolError):
        end.outgoing(frame)
    assert [type(event) for event in end.tick(15.0)] == [KeepAliveDue]
    _receive(end, Ack(1))
    end.detach(16.0)
    assert (end.can_send, end.outgoing(frame), end.can_send) == (True, b"", False)
    assert len(end.attach(17.0)) == len(end.codec.encode(Sequence(2))) + 3 * len(frame)


def _close_of_the_peer(end: Endpoint) -> None:
    assert _receive(end, Close()) == [PeerClosed]


def _close_from_here(end: Endpoint) -> None:
    assert end.close("bye") == end.codec.encode(Close("bye"))


def _nonsense(end: Endpoint) -> None:
    (event,) = end.receive_data(b"\x01\x00\x1e", 1.0)
    assert isinstance(event, Broken)


def _graceful_end(end: Endpoint) -> None:
    assert end.receive_eof() == [PeerClosed()]


def _silence(end: Endpoint) -> None:
    _receive(end, Ping(), now=0.0)
    (event,) = end.tick(30.0)
    assert isinstance(event, TimedOut)


@both
@every_role
@pytest.mark.parametrize("finish", [_close_of_the_peer, _close_from_here, _nonsense, _graceful_end, _silence])
def test_an_end_on_purpose_is_the_end(protocol: str, role: str, finish: object) -> None:
    end = _end(role, protocol, HubLimits())
    _send(end, _call(1))
    assert callable(finish)
    finish(end)
    assert end.state is State.CLOSED
    assert not end.resumable
    assert end.can_send
    assert end.detach(31.0) is False
    with pytest.raises(LocalProtocolError):
        end.attach(31.0)


@every_role
def test_closing_while_detached_has_nobody_to_tell(role: str) -> None:
    end = _end(role)
    end.detach(1.0)
    assert end.close("bye") == b""
    assert end.state is State.CLOSED
    assert end.tick(99.0) == []


@every_role
def test_a_peer_has_15_s_to_come_back(role: str) -> None:
    end = _end(role)
    end.detach(10.0)
    assert end.detach(20.0) is True
    assert end.tick(24.9, busy=True) == []
    assert end.tick(25.0, busy=True) == [TimedOut("resume", b"")]
    assert end.state is State.CLOSED
    with pytest.raises(LocalProtocolError):
        end.attach(25.0)


@every_role
def test_a_peer_that_came_back_has_15_s_for_its_sequence(role: str) -> None:
    late, timely = _end(role), _end(role)
    for end in (late, timely):
        end.sent_at = 0.0
        end.detach(10.0)
        end.attach(24.0)
        _receive(end, Ping(), _call(1), now=38.0)
        assert end.tick(38.9) == []
    _receive(timely, Sequence(1), now=38.9)
    assert timely.tick(99.0) == []
    (event,) = late.tick(39.0)
    assert isinstance(event, TimedOut)
    assert event.which == "resume"
    assert event.reply.startswith(b'{"type":7')


@every_role
def test_the_clock_of_a_silent_peer_runs_while_it_is_away(role: str) -> None:
    end = _end(role, limits=HubLimits(disconnect_timeout_s=60.0))
    _receive(end, Ping(), now=5.0)
    end.detach(20.0)
    assert end.tick(34.9) == []
    assert end.tick(35.0) == [TimedOut("client" if role == "server" else "server", b"")]
    assert end.state is State.CLOSED


@every_role
def test_a_new_socket_is_a_sign_of_life_of_both_ends(role: str) -> None:
    end = _end(role, limits=HubLimits(disconnect_timeout_s=math.inf))
    _receive(end, Ping(), now=0.0)
    end.detach(20.0)
    end.attach(29.0)
    assert end.tick(43.9) == []
    assert [type(event) for event in end.tick(44.0)] == [KeepAliveDue]
    assert end.tick(58.9) == []
    assert [type(event) for event in end.tick(59.0)] == [TimedOut]


def test_a_client_that_does_not_ask_for_it_says_version_1() -> None:
    client = HubClientConnection("json", QUIET, now=0.0)
    assert client.hello() == b'{"protocol":"json","version":1}\x1e'
    client.receive_data(encode_response(), 0.0)
    assert not client.resumable
