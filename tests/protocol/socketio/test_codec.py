"""Hub messages as Socket.IO packets: the exact bytes, both ways."""

import base64
from typing import Any

import msgspec
import pytest
from msgspec import Raw

from protocol.contract.base import Failure, Refusal
from protocol.contract.sessions import Done
from protocol.errors import LocalProtocolError, RemoteProtocolError
from protocol.signalr.events import Broken, Opened, PeerClosed
from protocol.signalr.messages import CancelInvocation, Close, Completion, Invocation, Message, Ping, StreamItem
from protocol.signalr.prescan import ScanLimits
from protocol.socketio.codec import SocketIoCodec
from protocol.socketio.connection import SocketIoConnection
from protocol.socketio.packets import PacketLimits

CODEC = SocketIoCodec("/hub")
REFUSAL = Refusal(code="no", message="no")

SENT: list[tuple[Message, bytes]] = [
    (Invocation("Offer", ({"seq": 1},)), b'42/hub,["Offer",{"seq":1}]'),
    (Invocation("ConsentAsked", ({},), "s12"), b'42/hub,12["ConsentAsked",{}]'),
    (Completion("7", result=Done()), b'43/hub,7[{"ok":true}]'),
    (Completion("7", result=None), b'43/hub,7[{"ok":true}]'),
    (Completion("7"), b'43/hub,7[{"ok":true}]'),
    (Completion("7", result={"a": 1}), b'43/hub,7[{"ok":true,"a":1}]'),
    (Completion("7", result=Raw(b'{"ok":false}')), b'43/hub,7[{"ok":false}]'),
    (Completion("7", result=Raw(b'{"a":{"ok":1}}')), b'43/hub,7[{"ok":true,"result":{"a":{"ok":1}}}]'),
    (Completion("7", result=[1]), b'43/hub,7[{"ok":true,"result":[1]}]'),
    (
        Completion("7", error="why"),
        b'43/hub,7[{"ok":false,"error":{"code":"hub_error","message":"why","retryable":false}}]',
    ),
    (StreamItem("s1", {"n": 1}), b'42/hub,["StreamItem",{"stream":"s1","item":{"n":1}}]'),
    (Completion("s1"), b'42/hub,["StreamEnded",{"stream":"s1","ok":true}]'),
    (Close("why", allow_reconnect=True), b'42/hub,["Close",{"allowReconnect":true,"error":"why"}]'),
]


@pytest.mark.parametrize(("message", "packet"), SENT)
def test_what_is_sent(message: Message, packet: bytes) -> None:
    assert CODEC.encode(message) == packet + b"\x1e"


def test_a_refusal_of_the_domain_is_told_from_an_error_of_the_call_by_its_reasons() -> None:
    refused = CODEC.encode_result("1", Failure(error=REFUSAL, errors=(REFUSAL,)))
    failed = CODEC.encode_failure("1", "overloaded", "slow down", retryable=True)
    first, second = (msgspec.json.decode(frame[len(b"43/hub,1") : -1])[0] for frame in (refused, failed))
    assert first["ok"] is second["ok"] is False
    assert "errors" in first
    assert second["error"] == {"code": "overloaded", "message": "slow down", "retryable": True}
    assert "errors" not in second


def test_bytes_are_base64_and_what_has_no_json_is_our_mistake() -> None:
    assert CODEC.encode(Invocation("A", (b"\x00\xff",))) == b'42/hub,["A","AP8="]\x1e'
    with pytest.raises(LocalProtocolError):
        CODEC.encode(Invocation("A", (object(),)))
    assert CODEC.encode(Ping()) == b""


RECEIVED: list[tuple[bytes, Message]] = [
    (b'2/hub,["A"]', Invocation("A", ())),
    (b'2/hub,5["A",{"b":1},"c"]', Invocation("A", (Raw(b'{"b":1}'), Raw(b'"c"')), "5")),
    (b'2/hub,5["\\u0041",[[1]]]', Invocation("A", (Raw(b"[[1]]"),), "5")),
    (b'2/hub,["CancelStream",{"stream":"s1"}]', CancelInvocation("s1")),
    (b'3/hub,4[{"accepted":true}]', Completion("s4", result=Raw(b'{"accepted":true}'))),
    (b'3/hub,4[{"ok":true,"accepted":true}]', Completion("s4", result=Raw(b'{"ok":true,"accepted":true}'))),
    (b"3/hub,4[]", Completion("s4")),
    (b"3/hub,4[1]", Completion("s4", result=Raw(b"1"))),
    (b'3/hub,4[{"ok":false,"error":{"message":"why"}}]', Completion("s4", error="why")),
    (b'3/hub,4[{"ok":false,"error":1}]', Completion("s4", error="The client refused.")),
]


def plain(message: object) -> Any:
    """Raw values do not compare."""
    return msgspec.json.encode(message)


@pytest.mark.parametrize(("packet", "message"), RECEIVED)
def test_what_is_received(packet: bytes, message: Message) -> None:
    assert plain(CODEC.decode(packet)) == plain(message)


@pytest.mark.parametrize(
    "packet",
    [
        b'2/hub,["connect"]',
        b'2/hub,[""]',
        b"2/hub,[1]",
        b"2/hub,[]",
        b"2/hub,{}",
        b'2/hub,["A",{"a":1,"a":2}]',
        b'2/hub,["A",NaN]',
        b'2/hub,["A",1e400]',
        b'2/hub,["A",' + b"9" * 100 + b"]",
        b'2/hub,["A",' + b"[" * 40 + b"]" * 40 + b"]",
        b'2/hub,["A"',
        b'2/hub,["A"]]',
        b'2/hub,["CancelStream"]',
        b'2/hub,["CancelStream",{"stream":1}]',
        b'51-/hub,["A",{"_placeholder":true,"num":0}]',
        b"3/hub,[1]",
        b'2/hub,99999999999999999999["A"]',
    ],
)
def test_what_is_refused(packet: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        CODEC.decode(packet)


def test_the_narrowest_limits_hold_for_small_calls_too() -> None:
    codec = SocketIoCodec("/hub", PacketLimits(scan=ScanLimits(depth=2, keys=1, number_chars=8)))
    for content in (b"[[1]]", b'{"a":1,"b":2}', b"123456789"):
        with pytest.raises(RemoteProtocolError):
            codec.decode(b'2/hub,["A",' + content + b"]")


def test_one_client_from_its_first_packet_to_its_last() -> None:
    core = SocketIoConnection(CODEC, now=0.0)
    assert core.lone_call(b'2/hub,["A"]', 1.0) is None
    assert core.receive_data(b'2/hub,["A"]', 1.0) == []
    assert core.receive_data(CODEC.connected, 1.0) == [Opened("socketio", 5)]
    assert core.lone_call(b'2/hub,["A"]', 1.0) == Invocation("A", ())
    (broken,) = core.receive_data(b'2/hub,["disconnect"]', 2.0)
    assert isinstance(broken, Broken)
    assert broken.reply.startswith(b'42/hub,["Close",{"allowReconnect":true')
    assert core.receive_data(b'2/hub,["A"]', 3.0) == []


def test_goodbyes() -> None:
    def opened() -> SocketIoConnection:
        core = SocketIoConnection(CODEC, now=0.0)
        core.receive_data(CODEC.connected, 0.0)
        return core

    assert opened().receive_data(b"1/hub,", 1.0) == [PeerClosed()]
    # A client library comes back by itself, unless it is told that it has been disconnected.
    assert opened().close("why", allow_reconnect=True) == CODEC.encode(Close("why", allow_reconnect=True))
    assert opened().close() == CODEC.encode(Close()) + b"41/hub,\x1e"
    core = opened()
    core.close()
    assert core.close() == b""


def test_a_large_message_is_refused_however_it_is_written() -> None:
    core = SocketIoConnection(SocketIoCodec("/hub", PacketLimits(max_bytes=50)), now=0.0)
    core.receive_data(core.codec.connected, 0.0)
    large = b'2/hub,["A","' + base64.b64encode(bytes(60)) + b'"]'
    assert core.lone_call(large, 0.0) is None
    (broken,) = core.receive_data(large, 0.0)
    assert isinstance(broken, Broken)
    assert broken.code == "message_too_large"
