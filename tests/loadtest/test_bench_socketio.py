"""The packets of the Node peer, by the letters of its protocol; the real server is in ``test_bench``."""

import pytest

from loadtest.bench_socketio import AuricleSocketIo, SocketIo
from loadtest.bench_websocket import BenchFailed
from loadtest.dialects import Answer

from .test_dialects import payload_of

LONG = "x" * 300


def test_a_call_is_an_event_with_a_number_and_its_acknowledgement_the_answer() -> None:
    frame, answer = SocketIo().echo(17, LONG)
    assert payload_of(frame) == f'4217["echo","{LONG}"]'.encode()
    assert list(SocketIo().answers(f'4317["{LONG}"]'.encode())) == [answer] == [Answer("17", LONG)]


def test_a_message_to_a_group_arrives_as_an_event_without_a_number() -> None:
    frame, answer = SocketIo().relay("group", "text")
    assert payload_of(frame) == b'42["relay","group","text"]'
    assert list(SocketIo().answers(b'42["message","text"]')) == [answer] == [Answer("", "text")]


def test_a_connection_greets_and_joins_its_group() -> None:
    dialect = SocketIo()
    assert [(payload_of(frame), answer) for frame, answer in dialect.greetings("")] == [(b"40", None)]
    assert [payload_of(frame) for frame, _ in dialect.greetings("g")] == [b"40", b'420["join","g"]']


@pytest.mark.parametrize("payload", [b'0{"sid":"a"}', b'40{"sid":"a"}', b"2"])
def test_what_only_opens_or_keeps_alive_answers_nothing(payload: bytes) -> None:
    assert list(SocketIo().answers(payload)) == []


@pytest.mark.parametrize(
    "payload",
    [b"", b"41", b'44{"message":"no"}', b"42", b'42["other","text"]', b'4317["a","b"]', b'42["message",1]', b"1"],
)
def test_anything_else_fails_the_run(payload: bytes) -> None:
    with pytest.raises(BenchFailed):
        list(SocketIo().answers(payload))


def test_auricle_is_a_namespace_with_a_login_and_answers_that_are_objects() -> None:
    dialect, space = AuricleSocketIo("tok"), "/hubs/conformance,"
    assert [payload_of(frame) for frame, _ in dialect.greetings("g")] == [
        f'40{space}{{"token":"tok"}}'.encode(),
        f'42{space}0["JoinGroup","g"]'.encode(),
    ]
    frame, answer = dialect.echo(17, LONG)
    assert payload_of(frame) == f'42{space}17["Echo","{LONG}"]'.encode()
    assert list(dialect.answers(f'43{space}17[{{"ok":true,"result":"{LONG}"}}]'.encode())) == [answer]
    frame, answer = dialect.relay("group", "text")
    assert payload_of(frame) == f'42{space}["ToGroup","group","message","text"]'.encode()
    assert list(dialect.answers(f'42{space}["message","text"]'.encode())) == [answer]
    assert list(dialect.answers(f'40{space}{{"sid":"a"}}'.encode())) == []
    with pytest.raises(BenchFailed):
        list(dialect.answers(f'43{space}17[{{"ok":false}}]'.encode()))
