"""The server's end: handshake, what closes and what does not, deadlines."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import LocalProtocolError
from protocol.signalr.codec import CODECS
from protocol.signalr.connection import (
    CLOSED_WITH_ERROR,
    Broken,
    HubConnection,
    HubLimits,
    KeepAliveDue,
    Opened,
    PeerClosed,
    Refused,
    State,
    TimedOut,
)
from protocol.signalr.handshake import HANDSHAKE_CANCELED, HANDSHAKE_FAILED, encode_response
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
from protocol.signalr.prescan import ScanLimits

from .plain import BOTH, body_of, events_of, frame, opened, plain

both = pytest.mark.parametrize("protocol", BOTH)
HELLO = b'{"protocol":"json","version":1}\x1e'
BROKEN_REPLY = {protocol: CODECS[protocol].encode(Close(CLOSED_WITH_ERROR, allow_reconnect=True)) for protocol in BOTH}


def _receive(connection: HubConnection, data: bytes, now: float = 1.0) -> list[object]:
    return [plain(event, connection.codec) for event in connection.receive_data(data, now)]


@both
@pytest.mark.parametrize("version", [1, 2])
def test_a_handshake_opens(protocol: str, version: int) -> None:
    connection = HubConnection(HubLimits(), now=0.0)
    with pytest.raises(LocalProtocolError):
        _ = connection.codec
    hello = f'{{"protocol":"{protocol}","version":{version}}}\x1e'.encode()
    assert connection.receive_data(hello, 0.0) == [Opened(protocol, version, b"{}\x1e")]
    assert connection.state is State.OPEN
    assert connection.codec is CODECS[protocol]
    assert connection.version == version


@both
def test_data_behind_the_handshake_belongs_to_the_protocol(protocol: str) -> None:
    codec = CODECS[protocol]
    call = codec.encode(Invocation("m", (1,), "0"))
    stream = f'{{"protocol":"{protocol}","version":1}}\x1e'.encode() + call + call[:3]
    connection = HubConnection(HubLimits(), now=0.0)
    first, second = connection.receive_data(stream, 0.0)
    assert isinstance(first, Opened)
    assert plain(second, codec) == plain(codec.decode(body_of(call, codec)), codec)
    assert len(connection.receive_data(call[3:], 0.0)) == 1


def _refused(connection: HubConnection, data: bytes) -> str:
    (event,) = connection.receive_data(data, 0.0)
    assert isinstance(event, Refused)
    assert event.reply == encode_response(event.error)
    assert connection.state is State.CLOSED
    assert connection.receive_data(HELLO, 0.0) == connection.receive_eof() == connection.tick(99.0) == []
    assert connection.close() == b""
    return event.error


@pytest.mark.parametrize(
    ("hello", "error"),
    [
        (b'{"protocol":"xml","version":1}\x1e', "The protocol 'xml' is not supported."),
        (
            b'{"protocol":"json","version":7}\x1e',
            "The server does not support version 7 of the 'json' protocol.",
        ),
        (b"no json\x1e", HANDSHAKE_FAILED),
        (b"\x1e", HANDSHAKE_FAILED),
        (b'{"type":1,"target":"m","arguments":[]}\x1e', HANDSHAKE_FAILED),
        (b"x" * 100, HANDSHAKE_CANCELED),
        (b'{"protocol":"json","version":1}' + b" " * 69 + b"\x1e", HANDSHAKE_CANCELED),
    ],
)
def test_a_bad_handshake_is_refused_in_known_words(hello: bytes, error: str) -> None:
    assert _refused(HubConnection(HubLimits(max_message_bytes=100), now=0.0), hello) == error


def test_a_handshake_of_just_the_limit_is_accepted_in_any_pieces() -> None:
    hello = b'{"protocol":"json","version":1}' + b" " * 68 + b"\x1e"
    for cut in range(len(hello)):
        connection = HubConnection(HubLimits(max_message_bytes=100), now=0.0)
        events = connection.receive_data(hello[:cut], 0.0) + connection.receive_data(hello[cut:], 0.0)
        assert events == [Opened("json", 1, b"{}\x1e")]


def test_a_text_transport_refuses_messagepack() -> None:
    connection = HubConnection(HubLimits(), now=0.0, binary_ok=False)
    assert "'Binary' transfer format" in _refused(connection, b'{"protocol":"messagepack","version":1}\x1e')


def test_details_of_a_bad_handshake_are_told_only_when_wanted() -> None:
    connection = HubConnection(HubLimits(), now=0.0, detailed_errors=True)
    error = _refused(connection, b'{"protocol":"json"}\x1e')
    assert error == f"{HANDSHAKE_FAILED} Object missing required field `version`"


MESSAGES: list[Message] = [
    Invocation("m", (1, "a"), "1"),
    Invocation("m", ()),
    StreamItem("1", {"a": 1}),
    Completion("1", [1]),
    Completion("1", error="no"),
    StreamInvocation("2", "s", (), ("3",)),
    CancelInvocation("2"),
]


@both
@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_messages_are_events(protocol: str, message: Message) -> None:
    connection = opened(protocol)
    codec = connection.codec
    framed = codec.encode(message)
    (event,) = connection.receive_data(framed, 1.0)
    assert type(event) is type(message)
    assert not isinstance(event, Opened | Refused | Broken | PeerClosed | TimedOut | KeepAliveDue)
    assert codec.encode(event) == framed
    assert connection.state is State.OPEN


@both
@pytest.mark.parametrize("message", [Ping(), Ack(1), Sequence(1)], ids=lambda message: type(message).__name__)
def test_bookkeeping_messages_are_no_events(protocol: str, message: Message) -> None:
    connection = opened(protocol)
    assert connection.receive_data(connection.codec.encode(message), 1.0) == []
    assert connection.state is State.OPEN


IGNORED = [
    ("json", b'{"type":10}'),
    ("json", b'{"type":-1,"target":[]}'),
    ("json", b'{"x":{},"type":99999999999999999999}'),
    ("messagepack", b"\x91\x0a"),
    ("messagepack", b"\x93\xcd\x03\xe8\xa1x\xff"),
    ("messagepack", b"\x91\xff"),
]


@pytest.mark.parametrize(("protocol", "body"), IGNORED)
def test_an_unknown_numeric_type_is_ignored(protocol: str, body: bytes) -> None:
    connection = opened(protocol)
    call = connection.codec.encode(Invocation("m", ()))
    assert len(connection.receive_data(frame(body, protocol) + call, 1.0)) == 1
    assert connection.state is State.OPEN


CLOSING = [
    ("json", b"hello"),
    ("json", b""),
    ("json", b"[]"),
    ("json", b'"x"'),
    ("json", b"null"),
    ("json", b"{}"),
    ("json", b'{"type":null}'),
    ("json", b'{"type":"1"}'),
    ("json", b'{"type":1.5}'),
    ("json", b'{"type":true}'),
    ("json", b'{"type":99,"x":tru}'),
    ("json", b'{"type":1,"arguments":[]}'),
    ("json", b'{"type":1,"target":"","arguments":[]}'),
    ("json", b'{"type":1,"target":5,"arguments":[]}'),
    ("json", b'{"type":1,"target":"m"}'),
    ("json", b'{"type":1,"target":"m","arguments":null}'),
    ("json", b'{"type":1,"target":"m","arguments":{}}'),
    ("json", b'{"type":1,"target":"m","arguments":[],"invocationId":1}'),
    ("json", b'{"type":1,"target":"m","arguments":[],"streamIds":[1]}'),
    ("json", b'{"type":1,"target":"m","arguments":[],"headers":{"a":1}}'),
    ("json", b'{"type":1,"Target":"m","arguments":[]}'),
    ("json", b'{"type":2,"invocationId":"1"}'),
    ("json", b'{"type":2,"item":1}'),
    ("json", b'{"type":3,"result":1}'),
    ("json", b'{"type":3,"invocationId":"1","result":1,"error":"x"}'),
    ("json", b'{"type":3,"invocationId":"1","result":null,"error":"x"}'),
    ("json", b'{"type":3,"invocationId":"1","error":5}'),
    ("json", b'{"type":4,"target":"m","arguments":[]}'),
    ("json", b'{"type":4,"invocationId":"","target":"m","arguments":[]}'),
    ("json", b'{"type":5}'),
    ("json", b'{"type":8}'),
    ("json", b'{"type":8,"sequenceId":-1}'),
    ("json", b'{"type":7,"allowReconnect":1}'),
    ("json", b'{"type":6}{"type":6}'),
    ("json", b'{"type":6} x'),
    ("messagepack", b""),
    ("messagepack", b"\x06"),
    ("messagepack", b"\x80"),
    ("messagepack", b"\x90"),
    ("messagepack", b"\x91\xc0"),
    ("messagepack", b"\x91\xa11"),
    ("messagepack", b"\x91\xcb" + bytes(8)),
    ("messagepack", b"\x91\x01"),
    ("messagepack", b"\x94\x01\x80\xc0\xa1m"),
    ("messagepack", b"\x95\x01\xc0\xc0\xa1m\x90"),
    ("messagepack", b"\x95\x01\x80\x01\xa1m\x90"),
    ("messagepack", b"\x95\x01\x80\xc0\xa0\x90"),
    ("messagepack", b"\x95\x01\x80\xc0\xa1m\xc0"),
    ("messagepack", b"\x95\x01\x81\xa1a\x01\xc0\xa1m\x90"),
    ("messagepack", b"\x93\x02\x80\xa11"),
    ("messagepack", b"\x94\x02\x80\xc0\x01"),
    ("messagepack", b"\x94\x03\x80\xa11\x01"),
    ("messagepack", b"\x94\x03\x80\xa11\x03"),
    ("messagepack", b"\x95\x03\x80\xa11\x01\x05"),
    ("messagepack", b"\x95\x03\x80\xa11\x04\x05"),
    ("messagepack", b"\x95\x03\x80\xa0\x03\x05"),
    ("messagepack", b"\x95\x04\x80\xc0\xa1m\x90"),
    ("messagepack", b"\x92\x05\x80"),
    ("messagepack", b"\x91\x07"),
    ("messagepack", b"\x91\x06\x00"),
    ("messagepack", b"\x92\x06"),
]


@pytest.mark.parametrize(("protocol", "body"), CLOSING)
def test_a_malformed_message_breaks_the_connection_once(protocol: str, body: bytes) -> None:
    connection = opened(protocol)
    codec = connection.codec
    call = codec.encode(Invocation("m", ()))
    first, second = connection.receive_data(call + frame(body, protocol) + call, 1.0)
    assert isinstance(first, Invocation)
    assert isinstance(second, Broken)
    assert second.reply == BROKEN_REPLY[protocol]
    assert second.detail
    assert connection.state is State.CLOSED
    assert connection.receive_data(call, 1.0) == connection.receive_eof() == []


def test_a_malformed_prefix_breaks_the_connection() -> None:
    (event,) = opened("messagepack").receive_data(b"\xff" * 6, 1.0)
    assert event == Broken("The length prefix of a message is malformed.", BROKEN_REPLY["messagepack"])


@both
def test_a_message_over_the_limit_breaks_the_connection(protocol: str) -> None:
    connection = opened(protocol)
    framed = connection.codec.encode(Invocation("m", ("x" * 33_000,)))
    (event,) = connection.receive_data(framed, 1.0)
    assert event == Broken(
        "The maximum message size of 32768B was exceeded.", BROKEN_REPLY[protocol], "message_too_large"
    )


@both
def test_details_are_told_only_when_wanted(protocol: str) -> None:
    connection = opened(protocol, HubLimits(max_message_bytes=100), detailed_errors=True)
    (event,) = connection.receive_data(connection.codec.encode(Completion("1", "x" * 200)), 1.0)
    assert isinstance(event, Broken)
    error = f"{CLOSED_WITH_ERROR} The maximum message size of 100B was exceeded."
    assert event.reply == connection.codec.encode(Close(error, allow_reconnect=True))


@both
def test_the_scan_limits_of_the_connection_hold(protocol: str) -> None:
    connection = opened(protocol, HubLimits(scan=ScanLimits(depth=4)))
    assert len(connection.receive_data(connection.codec.encode(Invocation("m", ([[]],))), 1.0)) == 1
    (event,) = connection.receive_data(connection.codec.encode(Invocation("m", ([[[]]],))), 1.0)
    assert isinstance(event, Broken)


@both
def test_a_close_of_the_client_ends_quietly(protocol: str) -> None:
    connection = opened(protocol)
    framed = connection.codec.encode(Close("bye"))
    assert connection.receive_data(framed + framed, 1.0) == [PeerClosed("bye")]
    assert connection.state is State.CLOSED


def test_the_end_of_the_stream_is_told_once_in_any_state() -> None:
    for connection in (HubConnection(HubLimits(), now=0.0), opened("json")):
        assert connection.receive_eof() == [PeerClosed()]
        assert connection.receive_eof() == []
        assert connection.close() == b""


@both
def test_closing_says_why_and_whether_to_come_back(protocol: str) -> None:
    connection = opened(protocol)
    assert connection.close("bye", allow_reconnect=True) == connection.codec.encode(Close("bye", True))
    assert connection.close() == b""
    assert connection.receive_data(connection.codec.encode(Ping()), 1.0) == []


def test_closing_before_the_handshake_cancels_it() -> None:
    connection = HubConnection(HubLimits(), now=0.0)
    assert connection.close() == encode_response(HANDSHAKE_CANCELED)
    assert connection.receive_data(HELLO, 0.0) == []


def test_a_handshake_that_does_not_come_times_out() -> None:
    connection = HubConnection(HubLimits(), now=100.0)
    connection.receive_data(HELLO[:5], 114.0)
    assert connection.tick(114.9, busy=True) == []
    assert connection.tick(115.0) == [TimedOut("handshake", encode_response(HANDSHAKE_CANCELED))]
    assert connection.tick(200.0) == []
    assert connection.receive_data(HELLO, 115.0) == []


@both
def test_a_client_that_never_pings_is_never_given_up(protocol: str) -> None:
    connection = opened(protocol, HubLimits(keep_alive_s=math.inf))
    connection.receive_data(connection.codec.encode(Invocation("m", ())), 1.0)
    assert connection.tick(1_000_000.0) == []


@both
def test_a_client_that_pinged_is_given_up_after_30_s_of_silence(protocol: str) -> None:
    connection = opened(protocol, HubLimits(keep_alive_s=math.inf))
    connection.receive_data(connection.codec.encode(Ping()), 10.0)
    connection.receive_data(connection.codec.encode(Completion("unknown")), 20.0)
    assert connection.tick(49.9) == []
    assert connection.tick(50.0) == [TimedOut("client", BROKEN_REPLY[protocol])]
    assert connection.state is State.CLOSED
    assert connection.tick(90.0) == []


def test_silence_is_excused_while_a_message_is_handled() -> None:
    connection = opened("json", HubLimits(keep_alive_s=math.inf))
    connection.receive_data(b'{"type":6}\x1e', 0.0)
    assert connection.tick(100.0, busy=True) == []
    assert connection.tick(129.9) == []
    assert [type(event) for event in connection.tick(130.0)] == [TimedOut]


@both
def test_a_keep_alive_is_due_when_nothing_was_sent(protocol: str) -> None:
    connection = opened(protocol)
    ping = KeepAliveDue(connection.codec.encode(Ping()))
    assert connection.tick(14.5) == []
    connection.sent_at = 14.5
    assert connection.tick(15.0) == []
    assert connection.tick(29.5) == [ping]
    assert connection.tick(30.0) == []
    assert connection.tick(44.5) == [ping]


def test_deadlines_of_the_open_connection_count_from_its_handshake() -> None:
    connection = HubConnection(HubLimits(client_timeout_s=14.0), now=0.0)
    connection.receive_data(HELLO, 10.0)
    assert connection.tick(23.5) == []
    connection.receive_data(b'{"type":6}\x1e', 23.5)
    assert connection.tick(24.5) == []
    assert [type(event) for event in connection.tick(25.0)] == [KeepAliveDue]


calls = st.builds(Invocation, st.text(min_size=1, max_size=5), st.tuples(st.integers(0, 300), st.text(max_size=40)))
noise = st.sampled_from([Ping(), Ack(1), Completion("1", "x" * 150), Close("bye"), StreamItem("1", None)])


@both
@given(
    messages=st.lists(calls | noise, max_size=8),
    tail=st.binary(max_size=12),
    cuts=st.lists(st.integers(min_value=0, max_value=2_000)),
)
def test_any_division_of_the_stream_gives_the_same_events(
    protocol: str, messages: list[Message], tail: bytes, cuts: list[int]
) -> None:
    stream = b"".join(map(CODECS[protocol].encode, messages)) + tail
    assert events_of(protocol, stream, cuts) == events_of(protocol, stream, [])
