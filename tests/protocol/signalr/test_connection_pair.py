"""Both ends together: what one encodes the other understands, and the client's own rules."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.signalr.client_connection import HubClientConnection
from protocol.signalr.codec import ProtocolName
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
from protocol.signalr.endpoint import Endpoint
from protocol.signalr.events import Event
from protocol.signalr.handshake import encode_response
from protocol.signalr.messages import (
    CancelInvocation,
    Close,
    Completion,
    Invocation,
    Message,
    Ping,
    StreamInvocation,
    StreamItem,
)

from .plain import chunks, plain

PROTOCOLS: list[ProtocolName] = ["json", "messagepack"]
both = pytest.mark.parametrize("protocol", PROTOCOLS)


@dataclass
class ConnectionPair:
    """A server and a client core over a link that cuts where it likes."""

    protocol: ProtocolName
    cuts: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.server = HubConnection(HubLimits(), now=0.0)
        self.client = HubClientConnection(self.protocol, HubLimits(), now=0.0)
        (opened,) = self.carry(self.client.hello(), self.server)
        assert isinstance(opened, Opened)
        assert self.carry(opened.reply, self.client) == [Opened(self.protocol, 1)]

    def carry(self, data: bytes, receiver: Endpoint, now: float = 0.0) -> list[Event]:
        """Every event of ``data``, cut into chunks."""
        return [event for chunk in chunks(data, self.cuts) for event in receiver.receive_data(chunk, now)]

    def exchange(self, message: Message, sender: Endpoint, receiver: Endpoint) -> object:
        """The message as it arrives on the other side."""
        (event,) = self.carry(sender.codec.encode(message), receiver)
        return plain(event, receiver.codec)


texts = st.text(max_size=10)
ids = st.text(min_size=1, max_size=5)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
arguments = st.lists(values, max_size=3).map(tuple)
headers = st.none() | st.dictionaries(texts, texts, min_size=1, max_size=2)
stream_ids = st.lists(texts, max_size=2).map(tuple)
messages: st.SearchStrategy[Message] = st.one_of(
    st.builds(Invocation, ids, arguments, st.none() | ids, stream_ids, headers),
    st.builds(StreamItem, ids, values, headers),
    st.builds(Completion, ids, values, headers=headers),
    st.builds(Completion, ids, error=texts, headers=headers),
    st.builds(Completion, ids, headers=headers),
    st.builds(StreamInvocation, ids, ids, arguments, stream_ids, headers),
    st.builds(CancelInvocation, ids, headers),
)


@both
@given(message=messages, cuts=st.lists(st.integers(min_value=0, max_value=500)))
def test_every_message_arrives_as_it_was_sent_in_both_directions(
    protocol: ProtocolName, message: Message, cuts: list[int]
) -> None:
    pair = ConnectionPair(protocol, cuts)
    sent = plain(message, pair.client.codec)
    assert pair.exchange(message, pair.client, pair.server) == sent
    assert pair.exchange(message, pair.server, pair.client) == sent


@both
def test_a_received_message_can_be_relayed_without_decoding_it(protocol: ProtocolName) -> None:
    pair = ConnectionPair(protocol)
    framed = pair.client.codec.encode(Invocation("m", ({"a": [1]}, b"\x00")))
    (event,) = pair.carry(framed, pair.server)
    assert isinstance(event, Invocation)
    assert pair.server.codec.encode(event) == framed


@both
def test_each_side_hears_the_other_say_goodbye(protocol: ProtocolName) -> None:
    pair = ConnectionPair(protocol)
    assert pair.carry(pair.server.close("bye", allow_reconnect=True), pair.client) == [PeerClosed("bye", True)]
    pair = ConnectionPair(protocol)
    assert pair.carry(pair.client.close(), pair.server) == [PeerClosed()]


@both
def test_a_server_that_finds_nonsense_tells_the_client_to_come_back(protocol: ProtocolName) -> None:
    pair = ConnectionPair(protocol)
    (broken,) = pair.carry(b"\x01\x00\x1e", pair.server)
    assert isinstance(broken, Broken)
    assert pair.carry(broken.reply, pair.client) == [PeerClosed(CLOSED_WITH_ERROR, allow_reconnect=True)]


@both
def test_a_client_pings_at_once_and_then_when_it_is_silent(protocol: ProtocolName) -> None:
    pair = ConnectionPair(protocol)
    ping = KeepAliveDue(pair.client.codec.encode(Ping()))
    assert pair.client.tick(0.0) == [ping]
    assert pair.client.tick(14.0) == []
    pair.client.sent_at = 14.0
    assert pair.client.tick(28.0) == []
    assert pair.client.tick(29.0) == [ping]
    assert pair.carry(ping.data, pair.server, 29.0) == []
    assert pair.server.tick(58.9)[0] == ping
    (late,) = pair.server.tick(59.0)
    assert isinstance(late, TimedOut)


@both
def test_a_client_gives_up_a_server_after_30_s_of_silence(protocol: ProtocolName) -> None:
    pair = ConnectionPair(protocol)
    assert pair.carry(pair.server.codec.encode(Ping()), pair.client, 5.0) == []
    pair.client.sent_at = 34.0
    assert pair.client.tick(34.9) == []
    assert pair.client.tick(35.0) == [TimedOut("server", pair.client.codec.encode(Close()))]
    assert pair.client.state is State.CLOSED


def _client() -> HubClientConnection:
    return HubClientConnection("json", HubLimits(max_message_bytes=100), now=0.0)


def test_a_refused_client_knows_why() -> None:
    client = _client()
    assert client.receive_data(encode_response("no"), 0.0) == [Refused("no")]
    assert client.receive_data(b"{}\x1e", 0.0) == []
    assert client.close() == b""


@pytest.mark.parametrize("answer", [b"<html>\x1e", b'{"error":1}\x1e', b"x" * 100, b"\x1e"])
def test_an_answer_that_is_no_handshake_refuses(answer: bytes) -> None:
    client = _client()
    (event,) = client.receive_data(answer, 0.0)
    assert isinstance(event, Refused)
    assert event.reply == b""
    assert client.state is State.CLOSED


def test_a_client_waits_15_s_for_the_handshake() -> None:
    client = _client()
    assert client.tick(14.9) == []
    assert client.tick(15.0) == [TimedOut("handshake", b"")]


def test_a_client_that_finds_nonsense_says_goodbye() -> None:
    client = _client()
    client.receive_data(b"{}\x1e", 0.0)
    (event,) = client.receive_data(b"nonsense\x1e", 0.0)
    assert isinstance(event, Broken)
    assert event.reply == b'{"type":7}\x1e'


def test_messages_right_behind_the_answer_are_not_lost() -> None:
    events = _client().receive_data(b'{}\x1e{"type":1,"target":"m","arguments":[]}\x1e', 0.0)
    assert [type(event) for event in events] == [Opened, Invocation]
