"""Both ends of one connection, each fed with what the other writes."""

from typing import Any

import msgspec
import pytest

from protocol.contract.base import Failure, Refusal
from protocol.signalr.events import Broken, KeepAliveDue, Opened, PeerClosed, Refused, TimedOut
from protocol.signalr.messages import Completion, Invocation
from protocol.socketio.client import SocketIoClientConnection
from protocol.socketio.codec import SocketIoCodec
from protocol.socketio.engine import open_packet

SERVER = SocketIoCodec("/hub")
OPEN = open_packet("s", upgrades=(), ping_interval_s=1.0, ping_timeout_s=0.5, max_payload_bytes=10)


def client() -> SocketIoClientConnection:
    core = SocketIoClientConnection("/hub", "tok", max_bytes=1_000_000, now=0.0)
    assert core.receive_data(OPEN, 0.0) == []
    assert core.receive_data(b'40/hub,{"sid":"x"}', 0.0) == [Opened("socketio", 5)]
    return core


def plain(message: object) -> Any:
    return msgspec.json.decode(msgspec.json.encode(message))


def heard(core: SocketIoClientConnection, frame: bytes) -> list[Any]:
    return core.receive_data(frame.removesuffix(b"\x1e"), 0.0)


def test_the_first_word_is_the_token_and_a_refusal_is_told() -> None:
    core = SocketIoClientConnection("/hub", "tok", max_bytes=1_000, now=0.0)
    assert core.hello() == b'40/hub,{"token":"tok"}'
    assert core.receive_data(b'44/hub,{"message":"no"}', 0.0) == [Refused("no")]


def test_a_call_and_its_result() -> None:
    core = client()
    packet = core.codec.encode(Invocation("Hello", ({"contract": 1},), "7"))
    assert packet == b'42/hub,7["Hello",{"contract":1}]'
    assert plain(SERVER.decode(packet[1:])) == plain(Invocation("Hello", ({"contract": 1},), "7"))
    (answer,) = heard(core, SERVER.encode_result("7", {"a": 1}))
    assert plain(answer) == plain(Completion("7", result={"ok": True, "a": 1}))


def test_an_error_of_the_call_and_a_refusal_of_the_domain() -> None:
    core = client()
    (failed,) = heard(core, SERVER.encode_failure("7", "not_found", "no such device"))
    assert failed == Completion("7", error="HubException: [not_found] no such device")
    refusal = Refusal(code="no", message="no")
    (refused,) = heard(core, SERVER.encode_result("7", Failure(error=refusal, errors=(refusal,))))
    assert refused.error is None
    assert plain(refused)["result"]["error"]["code"] == "no"


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (Completion("s3", result={"accepted": True}), Completion("s3", result={"accepted": True})),
        (Completion("s3", error="why"), Completion("s3", error="why")),
        (Completion("s3"), Completion("s3")),
    ],
)
def test_a_question_and_its_answer(answer: Completion, expected: Completion) -> None:
    core = client()
    (question,) = heard(core, SERVER.encode(Invocation("ConsentAsked", ({},), "s3")))
    # Numbers on the wire are plain.
    assert (question.target, question.invocation_id) == ("ConsentAsked", "3")
    packet = core.codec.encode(msgspec.structs.replace(answer, invocation_id=question.invocation_id))
    assert plain(SERVER.decode(packet[1:])) == plain(expected)


def test_pings_and_silence() -> None:
    core = client()
    assert core.receive_data(b"2", 1.0) == [KeepAliveDue(b"3")]
    assert core.tick(2.4) == []
    assert core.tick(2.5) == [TimedOut("server", b"")]
    assert core.tick(9.0) == []


@pytest.mark.parametrize("frame", [b"41/hub,", b"1"])
def test_goodbyes(frame: bytes) -> None:
    core = client()
    assert core.receive_data(frame, 0.0) == [PeerClosed()]
    assert core.receive_data(b"2", 0.0) == core.receive_eof() == []
    assert client().close() == b"41/hub,"


def test_why_it_ends() -> None:
    core = client()
    closing = b'42/hub,["Close",{"allowReconnect":true,"error":"why"}]'
    assert core.receive_data(closing, 0.0) == [PeerClosed("why", allow_reconnect=True)]


def test_rubbish_breaks_it() -> None:
    (broken,) = client().receive_data(b"42/hub,{}", 0.0)
    assert isinstance(broken, Broken)
