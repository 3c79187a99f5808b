"""The hand-written frames against the house's own codecs: each side reads what the other one writes."""

import pytest

from loadtest.bench_websocket import BenchFailed
from loadtest.dialects import Answer, BareText, Dialect, SignalRJson, SignalRMessagePack
from protocol.signalr.codec import CODECS
from protocol.signalr.framing import JsonSplitter, MessagePackSplitter, Splitter
from protocol.signalr.handshake import parse_request
from protocol.signalr.messages import Close, Completion, Invocation, Message, Ping
from protocol.signalr.prescan import ScanLimits

SIGNALR = [("json", SignalRJson()), ("messagepack", SignalRMessagePack())]
LONG = "x" * 300


def payload_of(frame: bytes) -> bytes:
    """The payload of a masked client frame whose mask is zero."""
    size = frame[1] & 0x7F
    start = 6 if size < 126 else 8
    assert frame[start - 4 : start] == bytes(4)
    return frame[start:]


def sent(name: str, frame: bytes) -> Invocation:
    splitter: Splitter = JsonSplitter(32_768) if name == "json" else MessagePackSplitter(32_768)
    (body,) = splitter.feed(payload_of(frame))
    message = CODECS[name].decode(body)
    assert isinstance(message, Invocation)
    return message


def values(name: str, message: Invocation) -> list[object]:
    return [CODECS[name].free(raw) for raw in message.arguments]  # type: ignore[arg-type]  # decoded values are Raw


def framed(name: str, *messages: Message) -> bytes:
    return b"".join(CODECS[name].encode(message) for message in messages)


@pytest.mark.parametrize(("name", "dialect"), SIGNALR, ids=["json", "messagepack"])
@pytest.mark.parametrize("text", ["hello", LONG], ids=["short", "long"])
def test_an_echo_is_a_call_that_a_server_understands(name: str, dialect: Dialect, text: str) -> None:
    frame, answer = dialect.echo(17, text)
    message = sent(name, frame)
    assert (message.target, message.invocation_id, values(name, message)) == ("Echo", "17", [text])
    assert answer == Answer("17", text)
    assert list(dialect.answers(framed(name, Completion(invocation_id="17", result=text)))) == [answer]


@pytest.mark.parametrize(("name", "dialect"), SIGNALR, ids=["json", "messagepack"])
def test_a_relayed_message_is_a_call_that_nothing_answers(name: str, dialect: Dialect) -> None:
    frame, answer = dialect.relay("member-3", LONG)
    message = sent(name, frame)
    target, *arguments = values(name, message)[1:]
    assert message.invocation_id is None
    assert values(name, message)[0] == "member-3"
    delivered = framed(name, Invocation(target=str(target), arguments=tuple(arguments)))
    assert list(dialect.answers(delivered)) == [answer]


@pytest.mark.parametrize(("name", "dialect"), SIGNALR, ids=["json", "messagepack"])
def test_several_messages_in_one_frame_are_read_one_by_one_and_pings_are_skipped(name: str, dialect: Dialect) -> None:
    payload = framed(
        name,
        Completion(invocation_id="1", result="a"),
        Ping(),
        Completion(invocation_id="2", result=LONG),
        Completion(invocation_id="3", result=None),
    )
    assert list(dialect.answers(payload)) == [Answer("1", "a"), Answer("2", LONG), Answer("3", "")]


@pytest.mark.parametrize(("name", "dialect"), SIGNALR, ids=["json", "messagepack"])
def test_errors_and_everything_unexpected_fail_the_run(name: str, dialect: Dialect) -> None:
    for wrong in (
        Completion(invocation_id="1", error="no"),
        Close("over"),
        Invocation(target="Other", arguments=("a",)),
    ):
        with pytest.raises(BenchFailed, match="unexpected hub message"):
            list(dialect.answers(framed(name, wrong)))


@pytest.mark.parametrize(("name", "dialect"), SIGNALR, ids=["json", "messagepack"])
def test_a_message_that_is_cut_off_fails_the_run(name: str, dialect: Dialect) -> None:
    whole = framed(name, Completion(invocation_id="1", result=LONG))
    with pytest.raises(BenchFailed, match="whole message"):
        list(dialect.answers(whole[:-1]))


@pytest.mark.parametrize(("name", "dialect"), SIGNALR, ids=["json", "messagepack"])
def test_the_greeting_is_the_handshake_and_the_joining_of_the_own_group(name: str, dialect: Dialect) -> None:
    (handshake, accepted), (join, anything) = dialect.greetings("member-1")
    request = parse_request(payload_of(handshake)[:-1], ScanLimits())
    assert (request.protocol, request.version, accepted) == (name, 1, b"{}\x1e")
    assert (sent(name, join).target, values(name, sent(name, join)), anything) == ("JoinGroup", ["member-1"], None)
    assert len(list(dialect.greetings(""))) == 1


def test_the_bare_dialect_sends_the_text_and_nothing_else() -> None:
    frame, answer = BareText().echo(1, "text")
    assert payload_of(frame) == b"text"
    assert list(BareText().answers(b"text")) == [answer] == [Answer("", "text")]
