"""Socket.IO packets of strangers: what they mean, and all that is none."""

import pytest

from protocol.errors import AttachmentsTooLarge, MessageTooLarge, RemoteProtocolError, TooManyAttachments
from protocol.socketio.packets import Attachments, Kind, Packet, PacketLimits, filled, parse, value_of

LIMITS = PacketLimits(max_bytes=200, max_attachments=4, max_attachment_bytes=10)

GOOD = [
    (b"0", Packet(Kind.CONNECT, "/", None, 0, b"")),
    (b'0/hub,{"token":"x"}', Packet(Kind.CONNECT, "/hub", None, 0, b'{"token":"x"}')),
    (b"0/hub", Packet(Kind.CONNECT, "/hub", None, 0, b"")),
    (b"0/hub?a=b,", Packet(Kind.CONNECT, "/hub", None, 0, b"")),
    (b"1/hub,", Packet(Kind.DISCONNECT, "/hub", None, 0, b"")),
    (b'2["a"]', Packet(Kind.EVENT, "/", None, 0, b'["a"]')),
    (b'2/hub,12["a",1]', Packet(Kind.EVENT, "/hub", 12, 0, b'["a",1]')),
    (b"3/hub,7[]", Packet(Kind.ACK, "/hub", 7, 0, b"[]")),
    (b'51-["a",{}]', Packet(Kind.BINARY_EVENT, "/", None, 1, b'["a",{}]')),
    (b"64-/hub,3[{}]", Packet(Kind.BINARY_ACK, "/hub", 3, 4, b"[{}]")),
]

BAD = [
    *(b"", b"a", b"7", b"9", b"-1", b"2", b'2"a"', b"2{}", b"2a[]", b"2/hub,a[]", b"3[]", b"3/hub,[]"),
    *(b"4", b'4{"message":"x"}', b"0[]", b"01[]", b"0/hub,7", b"1/hub,[]", b"1x"),
    *(b'2/hub,1234567890123456["a"]', b"2" + b"9" * 100 + b'["a"]', b'21-["a"]', b'5["a"]', b'50-["a"]', b'5-["a"]'),
    *(b'55-["a"]', b'59999999999-["a"]', b'5-1-["a"]', b'61-["a"]', b"2/" + b"x" * 300 + b",[]", b"\xd9\xa2[]"),
]


@pytest.mark.parametrize(("text", "packet"), GOOD)
def test_a_packet_is_taken_apart(text: bytes, packet: Packet) -> None:
    assert parse(text, LIMITS) == packet


@pytest.mark.parametrize("text", BAD)
def test_anything_else_is_refused_and_not_quoted(text: bytes) -> None:
    with pytest.raises(RemoteProtocolError) as refused:
        parse(text, LIMITS)
    assert "9999" not in refused.value.public_message


def test_a_packet_and_what_it_announces_are_bounded() -> None:
    with pytest.raises(MessageTooLarge):
        parse(b'2["' + b"x" * 200 + b'"]', LIMITS)
    for announced in (b"50-[]", b"55-[]", b"5999-[]"):
        with pytest.raises(TooManyAttachments):
            parse(announced, LIMITS)


@pytest.mark.parametrize(
    "body", [b"[", b"[]", b"[1]", b"[null]", b'["disconnect"]', b'["connect"]', b'["a",{"b":1,"b":2}]', b'["a"] x']
)
def test_an_event_has_a_name_that_is_not_reserved_and_good_json(body: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        value_of(parse(b"2" + body, LIMITS), LIMITS)


def test_depth_is_bounded_before_anything_is_decoded() -> None:
    limits = PacketLimits(max_bytes=1_000_000)
    with pytest.raises(RemoteProtocolError):
        value_of(parse(b'2["a",' + b"[" * 100_000 + b"]" * 100_000 + b"]", limits), limits)


def announced(body: bytes, count: int = 2) -> Attachments:
    return Attachments(parse(b"5%d-%b" % (count, body), LIMITS), LIMITS, 5.0)


def test_attachments_take_their_places() -> None:
    waiting = announced(b'["a",{"_placeholder":true,"num":1},[{"_placeholder":true,"num":0}]]')
    assert [waiting.add(b"one"), waiting.add(b"two")] == [False, True]
    assert waiting.value() == ["a", b"two", [b"one"]]
    assert waiting.value(as_text=True) == ["a", "dHdv", ["b25l"]]


def test_attachments_are_bounded_together() -> None:
    waiting = announced(b'["a"]')
    waiting.add(b"12345678")
    with pytest.raises(AttachmentsTooLarge):
        waiting.add(b"123")


@pytest.mark.parametrize("number", [-1, 1, 10**9, "0", True, None, 0.0, [0]])
def test_a_placeholder_that_names_none_is_refused(number: object) -> None:
    with pytest.raises(RemoteProtocolError):
        filled(["a", {"_placeholder": True, "num": number}], [b"x"])


def test_what_only_looks_like_a_placeholder_is_content() -> None:
    value = ["a", {"_placeholder": 1, "num": 0}, {"_placeholder": False}]
    assert filled(value, []) == value
