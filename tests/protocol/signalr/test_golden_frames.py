"""Frames written down byte for byte in tests/wire, read and written."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from msgpack import Timestamp  # type: ignore[import-untyped]  # the library ships no types

from protocol.signalr import messages
from protocol.signalr.codec import CODECS, JSON, MESSAGEPACK
from protocol.signalr.messages import Message

from .plain import body_of, plain

WIRE = Path(__file__).parents[2] / "wire"


def _value(written: Any) -> Any:
    match written:
        case {"$bytes": data}:
            return bytes.fromhex(data)
        case {"$timestamp": [seconds, nanoseconds]}:
            return Timestamp(seconds, nanoseconds)
        case list():
            return tuple(_value(item) for item in written)
        case _:
            return written


def _cases(protocol: str) -> list[Any]:
    cases = json.loads((WIRE / f"{protocol}_frames.json").read_text("utf-8"))
    return [pytest.param(protocol, case, id=f"{protocol}: {case['name']}") for case in cases]


def _message(case: dict[str, Any]) -> Message:
    fields = dict(case["message"])
    message_type = getattr(messages, fields.pop("kind"))
    message: Message = message_type(**{name: _value(field) for name, field in fields.items()})
    return message


def _bytes(case: dict[str, Any], protocol: str) -> bytes:
    written: str = case["bytes"]
    return written.encode() if protocol == "json" else bytes.fromhex(written)


ALL = _cases("json") + _cases("messagepack")


@pytest.mark.parametrize(("protocol", "case"), ALL)
def test_a_golden_frame_is_read_as_its_message(protocol: str, case: dict[str, Any]) -> None:
    codec = CODECS[protocol]
    decoded = codec.decode(body_of(_bytes(case, protocol), codec))
    # Nested tuples of the table are lists once they were on the wire.
    expected = json.loads(json.dumps(plain(_message(case), codec), default=repr))
    assert json.loads(json.dumps(plain(decoded, codec), default=repr)) == expected


@pytest.mark.parametrize(("protocol", "case"), [c for c in ALL if "direction" not in c.values[1]])
def test_a_message_is_written_as_its_golden_frame(protocol: str, case: dict[str, Any]) -> None:
    assert CODECS[protocol].encode(_message(case)) == _bytes(case, protocol)


@pytest.mark.parametrize("protocol", CODECS)
def test_the_golden_frames_cover_every_message_type(protocol: str) -> None:
    kinds = {case.values[1]["message"]["kind"] for case in _cases(protocol)}
    assert kinds == {message.__name__ for message in Message.__args__}


@pytest.mark.parametrize("codec", [JSON, MESSAGEPACK], ids=lambda codec: codec.name)
def test_a_received_frame_can_be_sent_on_unchanged(codec: Any) -> None:
    framed = codec.encode(messages.Invocation("m", ({"a": [1, "x"]}, 2.5), "1"))
    assert codec.encode(codec.decode(body_of(framed, codec))) == framed


def test_an_aware_datetime_is_a_timestamp_in_messagepack_and_text_in_json() -> None:
    moment = datetime(2026, 5, 4, 3, 2, 1, 500_000, tzinfo=UTC)
    assert MESSAGEPACK.free(MESSAGEPACK.encode_value(moment)) == Timestamp.from_datetime(moment)
    assert bytes(JSON.encode_value(moment)) == b'"2026-05-04T03:02:01.500000Z"'
