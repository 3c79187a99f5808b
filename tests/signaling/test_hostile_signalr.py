"""Hub messages that somebody sends on purpose, over real connections: one reaction each, and others who go on."""

import asyncio
import gc
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any, NamedTuple

import pytest

from tests.eventually import eventually
from tests.memory import resident_bytes
from tests.protocol.signalr.plain import frame as framed
from tests.protocol.signalr.test_hostile_input import HOSTILE
from tests.protocol.websocket.client import BINARY, CLOSE, TEXT
from tests.protocol.websocket.client import frame as ws_frame
from tests.signaling.by_hand import (
    HELLO,
    Client,
    Messages,
    Poller,
    Socket,
    call,
    event_reader,
    frame,
    negotiate,
    poller,
    socket,
    stream,
)
from tests.signaling.conftest import House
from tests.signaling.raw_websocket import open_wire
from tests.signaling.returning import answer_to, returning

BROKEN = {"type": 7, "error": "Connection closed with an error.", "allowReconnect": True}
HELLO_BINARY = b'{"protocol":"messagepack","version":1}\x1e'
MISSING = "Failed to invoke '{}' due to an error on the server. HubException: Method does not exist."
DURING = "An unexpected error occurred during connection handshake."
kinds = pytest.mark.parametrize("kind", [socket, event_reader, poller])


async def opened(kind: Callable[..., Any], house: House, streams: AsyncExitStack, *who: str) -> Client:
    connection = kind(house, *who)
    client: Client = await (streams.enter_async_context(connection) if kind is event_reader else connection)
    return client


async def goes_on(client: Client, *expected: dict[str, Any]) -> None:
    """What was expected and nothing else has come, and a call still has its answer."""
    await client.send(call("Echo", "on", id_="on"))
    assert await client.messages(len(expected) + 1) == [*expected, {"type": 3, "invocationId": "on", "result": "on"}]


async def unharmed(house: House, bystander: Client) -> None:
    await goes_on(bystander)
    log = house.log.getvalue()
    assert "crashed" not in log
    assert "failed" not in log


@pytest.mark.parametrize("name", [name for name, (protocol, _) in HOSTILE.items() if protocol == "json"])
@kinds
async def test_a_hostile_json_message_ends_its_connection_alone(
    house: House, name: str, kind: Callable[..., Any]
) -> None:
    async with AsyncExitStack() as streams:
        bystander = await opened(kind, house, streams, "bob")
        client = await opened(kind, house, streams)
        body = framed(HOSTILE[name][1], "json")
        if isinstance(client, Socket):
            # Whatever is no UTF-8 is an error of the WebSocket in a text frame, and one of the message in a binary one.
            await client.frames.send_bytes(call("Echo", "before", id_="1") + body + call("Echo", "behind", id_="2"))
        else:
            await client.send(call("Echo", "before", id_="1") + body + call("Echo", "behind", id_="2"))
        assert await client.messages(2) == [{"type": 3, "invocationId": "1", "result": "before"}, BROKEN]
        if isinstance(client, Poller):
            assert (await client.poll()).status == 204
        await unharmed(house, bystander)


@pytest.mark.parametrize("name", [name for name, (protocol, _) in HOSTILE.items() if protocol == "messagepack"])
async def test_a_hostile_messagepack_message_ends_its_connection_alone(house: House, name: str) -> None:
    bystander = await socket(house, "bob")
    wire = await open_wire(house)
    wire.send(ws_frame(TEXT, HELLO_BINARY) + ws_frame(BINARY, framed(HOSTILE[name][1], "messagepack")))
    assert await wire.frame() == (BINARY, b"{}\x1e")
    opcode, payload = await wire.frame()
    assert (opcode, payload[1:3]) == (BINARY, b"\x93\x07")
    assert b"Connection closed with an error." in payload
    assert await wire.frame() == (CLOSE, b"\x03\xe8")
    wire.drop()
    await unharmed(house, bystander)


@pytest.mark.parametrize(
    "prefix",
    [b"\x80\x80\x80\x80\x80\x01", b"\xff\xff\xff\xff\x08", b"\xff\xff\xff\xff\x07", b"\x81\x80\x02", b"\x00"],
    ids=["6 bytes", "32 bits", "31 bits", "32769", "length 0"],
)
async def test_a_hostile_length_ends_its_connection_alone(house: House, prefix: bytes) -> None:
    bystander = await socket(house, "bob")
    wire = await open_wire(house)
    wire.send(ws_frame(TEXT, HELLO_BINARY) + ws_frame(BINARY, prefix))
    assert await wire.frame() == (BINARY, b"{}\x1e")
    assert b"Connection closed with an error." in (await wire.frame())[1]
    assert await wire.frame() == (CLOSE, b"\x03\xe8")
    wire.drop()
    await unharmed(house, bystander)


class Hello(NamedTuple):
    """What comes first, and what is answered."""

    sent: bytes
    error: str


HELLOS = {
    "none": Hello(call("Echo", 1, id_="1"), DURING),
    "a ping": Hello(frame(type=6), DURING),
    "not JSON": Hello(b"\x00\xff\x1e", DURING),
    "an array": Hello(b"[]\x1e", DURING),
    "no version": Hello(frame(protocol="json"), DURING),
    "a version of text": Hello(frame(protocol="json", version="1"), DURING),
    "two protocols": Hello(b'{"protocol":"json","protocol":"messagepack","version":1}\x1e', DURING),
    "unknown protocol": Hello(frame(protocol="morse", version=1), "The protocol 'morse' is not supported."),
    "JSON in capitals": Hello(frame(protocol="JSON", version=1), "The protocol 'JSON' is not supported."),
    **{
        f"version {version}": Hello(
            frame(protocol="json", version=version),
            f"The server does not support version {version} of the 'json' protocol.",
        )
        for version in (3, 99, 2**31, -(2**31) - 1)
    },
    "one that is never finished": Hello(b'{"protocol":"json"' + b" " * 32_768, "Handshake was canceled."),
}


@pytest.mark.parametrize("name", HELLOS)
@kinds
async def test_a_hostile_handshake_is_refused_in_known_words(house: House, name: str, kind: Callable[..., Any]) -> None:
    sent, error = HELLOS[name]
    async with AsyncExitStack() as streams:
        bystander = await opened(kind, house, streams, "bob")
        if kind is event_reader:
            client: Client = await streams.enter_async_context(event_reader(house, hello=sent))
        elif kind is poller:
            client = Poller(house, await negotiate(house))
            await client.poll()
            await client.send(sent)
        else:
            client = Socket(house, await negotiate(house))
            client.frames = await house.socket(house.url + client.path, headers=client.headers)
            await client.frames.send_bytes(sent)
        assert await client.messages(1) == [{"error": error}]
        await unharmed(house, bystander)


@kinds
async def test_a_handshake_without_its_end_times_out(house: House, kind: Callable[..., Any]) -> None:
    async with AsyncExitStack() as streams:
        if kind is event_reader:
            client: Client = await streams.enter_async_context(event_reader(house, hello=HELLO[:-1]))
        elif kind is poller:
            client = Poller(house, await negotiate(house))
            await client.poll()
            await client.send(HELLO[:-1])
        else:
            client = Socket(house, await negotiate(house))
            client.frames = await house.socket(house.url + client.path, headers=client.headers)
            await client.send(HELLO[:-1])
        house.monotonic.now_s += 15.1
        house.sweep()
        assert await client.messages(1) == [{"error": "Handshake was canceled."}]


@pytest.mark.parametrize("version", [0, -1, 2])
async def test_a_version_that_is_lower_than_the_first_is_taken_for_it(house: House, version: int) -> None:
    """A widely used Python client says 0."""
    client = Socket(house, await negotiate(house, stateful=True))
    client.frames = await house.socket(house.url + client.path, headers=client.headers)
    await client.send(frame(protocol="json", version=version))
    assert await client.messages(1) == [{}]
    await goes_on(client)
    assert client.session.resumable == (version == 2)


IGNORED = {
    "type 99": frame(type=99, target="Echo", arguments=[1], invocationId="1"),
    "type 0": frame(type=0),
    "type -1": frame(type=-1),
    "an item of nobody's": frame(type=2, invocationId="s", item=1),
    "a cancel of nothing": frame(type=5, invocationId="1"),
    "an answer to nothing": frame(type=3, invocationId="s1", result=1) + frame(type=3, invocationId="s1", error="x"),
    "an Ack that nobody waits for": frame(type=8, sequenceId=2**40),
    "a Sequence that nobody waits for": frame(type=9, sequenceId=7),
    "a call without an id that fails": call("Nope") + call("Crash") + call("Add", 1),
    "an empty id": frame(type=1, target="Echo", arguments=[1], invocationId=""),
    "pings": frame(type=6) * 1_000,
    "properties that nobody knows": frame(type=6, **{"__proto__": {"x": 1}, "constructor": 1}),
}


@pytest.mark.parametrize("name", IGNORED)
@kinds
async def test_what_means_nothing_is_ignored(house: House, name: str, kind: Callable[..., Any]) -> None:
    async with AsyncExitStack() as streams:
        client = await opened(kind, house, streams)
        await client.send(IGNORED[name])
        await goes_on(client)
        # "Crash" was asked for.
        assert house.log.getvalue().count("crashed") == ("that fails" in name)


@pytest.mark.parametrize(
    "target",
    [
        "__class__",
        "__init__",
        "on_connected",
        "on_disconnected",
        "on_expiring",
        "policy",
        "path",
        "echo ",
        "Écho",
        "\0",
    ],
)
async def test_only_what_a_hub_declares_can_be_called(house: House, target: str) -> None:
    client = await socket(house)
    for kind in (call, stream):
        await client.send(kind(target, id_="1"))
        assert await client.messages(1) == [{"type": 3, "invocationId": "1", "error": MISSING.format(target)}]
    await goes_on(client)


async def test_a_thousand_arguments_and_an_id_used_again(house: House) -> None:
    client = await socket(house)
    await client.send(call("Echo", *range(1_000), id_="1"), call("CallMe", "hey", *range(1_000), id_="2"))
    found = await client.messages(3)
    assert found[0] == {
        "type": 3,
        "invocationId": "1",
        "error": "Failed to invoke 'Echo' due to an error on the server.",
    }
    assert found[1]["arguments"] == list(range(1_000))
    # Of calls that run one after the other each has its answer; a stream that runs has its id for itself.
    await client.send(call("Echo", "a", id_="1"), call("Echo", "b", id_="1"))
    assert [message["result"] for message in await client.messages(2)] == ["a", "b"]
    await client.send(stream("Count", 2, 10_000, id_="1"), stream("Count", 1, 0, id_="1"))
    found = await client.messages(2)
    assert {"type": 3, "invocationId": "1", "error": "Invocation ID '1' is already in use."} in found


async def test_a_second_handshake_is_a_broken_message(house: House) -> None:
    client = await socket(house)
    await client.send(HELLO)
    assert await client.messages(1) == [BROKEN]


SEQUENCES = {
    "an Ack beyond what was sent": frame(type=8, sequenceId=99),
    "an Ack that is negative": frame(type=8, sequenceId=-1),
    "an Ack that is no number": frame(type=8, sequenceId="1"),
    "a Sequence of 0": frame(type=9, sequenceId=0),
    "a Sequence that jumps": frame(type=9, sequenceId=99),
    "a Sequence that is no number": frame(type=9, sequenceId=None),
}


@pytest.mark.parametrize("name", SEQUENCES)
async def test_numbers_that_cannot_be_end_a_connection_that_could_come_back(house: House, name: str) -> None:
    client = await returning(house)
    await client.call("Echo", 1, id_="1")
    await client.result("1")
    client.wire.send(ws_frame(TEXT, SEQUENCES[name]))
    assert await client.wire.close_code() == 1000
    client.wire.drop()
    await eventually(lambda: house.app_sessions() == 0)
    assert await answer_to(client) == 404


async def test_a_sequence_that_steps_back_means_that_what_follows_was_here_before(house: House) -> None:
    client = await returning(house)
    for number in range(3):
        await client.call("Echo", number, id_=str(number))
        await client.result(str(number))
    again = frame(type=9, sequenceId=2) + call("Abort", id_="1") + call("Abort", id_="2")
    client.wire.send(ws_frame(TEXT, again + call("Echo", "new", id_="3")))
    assert await client.result("3") == "new"


async def test_two_hundred_rounds_of_abuse_leave_the_memory_flat(house: House) -> None:
    bodies = [framed(body, protocol) for protocol, body in HOSTILE.values() if protocol == "json"]
    wanted: Messages = [{}, BROKEN]

    async def abuse(body: bytes) -> None:
        client = Socket(house, await negotiate(house))
        client.frames = await house.socket(house.url + client.path, headers=client.headers)
        await client.frames.send_bytes(HELLO + body)
        assert (await client.rest())[0] == wanted
        house.sockets.clear()

    for body in bodies:
        await abuse(body)
    gc.collect()
    before = resident_bytes()
    for number in range(200):
        await abuse(bodies[number % len(bodies)])
    await eventually(lambda: house.app_sessions() == 0)
    await asyncio.sleep(0)  # the last goodbye
    house.wall.now_s += 15.1
    house.sweep()
    gc.collect()
    grown = resident_bytes() - before
    print(f"resident memory after 200 hostile connections: {grown / 2**20:+.1f} MiB")
    assert grown < 5 * 2**20
