"""What a hub's author and a stranger may do at the edges: hooks that are slow or fail, and what has no encoding."""

import asyncio
import zlib
from collections.abc import AsyncIterator, Mapping
from typing import ClassVar

import pytest
from msgspec import Raw

from protocol.errors import HubException, LocalProtocolError
from protocol.signalr.codec import JSON
from protocol.signalr.messages import Completion, Invocation
from signaling.client_results import ClientResults
from signaling.hub import Caller, Hub, Lane, MistakenHub, endpoints_of, hub_method
from signaling.policy import ANYONE, Rule
from tests.eventually import eventually
from tests.signaling.by_hand import HELLO, call, done, items, negotiate, poller, request, socket, stream
from tests.signaling.by_hand import Socket as RawSocket
from tests.signaling.conftest import House, OpenHouse

UNEXPECTED = "An unexpected error occurred invoking '{}' on the server."
METHODS = "Plain Later Items Fed Urgent Says Odd"


class Door(Hub):
    """Its ``gate`` keeps clients before the door; ``turns_away``: then it lets nobody in."""

    path: ClassVar[str] = "/door"
    name: ClassVar[str] = "door"
    policy: ClassVar[Mapping[str, Rule]] = dict.fromkeys(METHODS.split(), ANYONE)

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.turns_away = False
        self.notes: list[str] = []

    async def on_connected(self, caller: Caller) -> None:
        self.notes.append("before the door")
        await self.gate.wait()
        if self.turns_away:
            raise RuntimeError("secret-crash-detail")
        self.notes.append("inside")

    def on_expired(self, caller: Caller) -> None:
        self.notes.append("expired")

    async def on_disconnected(self, caller: Caller) -> None:
        self.notes.append("left")

    @hub_method("Plain")
    def plain(self, _: Caller, value: Raw) -> Raw:
        self.notes.append("plain")
        return value

    @hub_method("Later")
    async def later(self, _: Caller) -> None:
        self.notes.append("later")

    @hub_method("Items")
    async def items(self, _: Caller) -> AsyncIterator[int]:
        self.notes.append("items")
        yield 1

    @hub_method("Fed")
    async def fed(self, _: Caller, numbers: AsyncIterator[int]) -> object:
        self.notes.append("fed")
        return object() if [number async for number in numbers] else 0

    @hub_method("Urgent", lane=Lane.SAFETY)
    async def urgent(self, _: Caller) -> None:
        self.notes.append("urgent")

    @hub_method("Says")
    async def says(self, _: Caller) -> None:
        raise HubException("half \udc80 of a pair")

    @hub_method("Odd")
    def odd(self, _: Caller) -> None:
        raise HubException("half \udc80 of a pair")


@pytest.fixture
def hub() -> Door:
    return Door()


@pytest.fixture
async def stage(open_house: OpenHouse, hub: Door) -> House:
    return await open_house(hub=hub)


async def knocking(stage: House) -> RawSocket:
    """A client whose handshake and calls come in one frame."""
    client = RawSocket(stage, await negotiate(stage, hub=Door.path), Door.path)
    client.frames = await stage.socket(stage.url + client.path, headers=client.headers)
    calls = call("Plain", 1, id_="1"), call("Later", id_="2"), call("Urgent", id_="3"), stream("Items", id_="4")
    await client.send(HELLO, *calls, call("Fed", id_="5", streams=("s",)), done("s"))
    return client


async def test_nothing_begins_before_the_hook_has_let_a_client_in(stage: House, hub: Door) -> None:
    client = await knocking(stage)
    await eventually(lambda: hub.notes == ["before the door"])
    await client.send(call("Plain", 2, id_="6"))
    hub.gate.set()
    await client.messages(8)
    assert hub.notes[:2] == ["before the door", "inside"]
    assert sorted(hub.notes[2:]) == ["fed", "items", "later", "plain", "plain", "urgent"]
    await client.frames.close()
    await eventually(lambda: hub.notes[-1] == "left")


async def test_nothing_runs_for_a_client_that_the_hook_has_turned_away(stage: House, hub: Door) -> None:
    hub.turns_away = True
    client = await knocking(stage)
    await eventually(lambda: hub.notes == ["before the door"])
    hub.gate.set()
    said, code = await client.rest()
    assert (said[-1], code) == ({"type": 7, "error": "Connection closed with an error."}, 1000)
    await eventually(lambda: stage.app_sessions() == 0)
    assert hub.notes == ["before the door"]
    assert stage.parts.metrics.registry.get_sample_value("auricle_bound_reached_total", {"bound": ""}) is None


async def test_of_a_token_that_ends_before_the_hook_has_let_its_client_in_the_hub_hears_nothing(
    stage: House, hub: Door
) -> None:
    client = await knocking(stage)
    await eventually(lambda: hub.notes == ["before the door"])
    stage.wall.now_s += 3_600
    stage.sweep()
    assert (await client.rest())[0][-1]["error"] == "The token has expired."
    assert hub.notes == ["before the door"]
    hub.gate.set()


async def test_a_client_that_leaves_before_the_hook_has_ended_is_told_goodbye_all_the_same(
    stage: House, hub: Door
) -> None:
    client = await knocking(stage)
    await eventually(lambda: hub.notes == ["before the door"])
    await client.frames.close()
    await eventually(lambda: stage.app_sessions() == 0)
    hub.gate.set()
    await eventually(lambda: hub.notes == ["before the door", "inside", "left"])


async def test_a_question_that_has_no_encoding_takes_nobodys_place() -> None:
    results, sent = ClientResults(limit=1, timeout_s=5.0, reached=lambda _: None), list[Invocation]()

    def send(question: Invocation) -> None:
        if question.target == "odd":
            raise LocalProtocolError("Cannot be sent as MessagePack")
        sent.append(question)

    for _ in range(3):
        with pytest.raises(LocalProtocolError):
            await results.ask(send, "odd", (2**70,))
    asked = asyncio.create_task(results.ask(send, "even", ()))
    await eventually(lambda: sent)
    results.resolve(Completion(sent[0].invocation_id or "", Raw(b"1")), JSON)
    assert bytes(await asked) == b"1"


async def test_an_upload_whose_result_has_no_encoding_is_completed(stage: House, hub: Door) -> None:
    hub.gate.set()
    client = await socket(stage, hub=hub.path)
    await client.send(call("Fed", id_="1", streams=("s",)), items("s", 1), done("s"))
    assert await client.messages(1) == [{"type": 3, "invocationId": "1", "error": UNEXPECTED.format("Fed")}]
    labels = {"hub": "door", "method": "Fed"}
    assert stage.metric("auricle_hub_invocations_total", **labels, outcome="ok") == 0
    assert stage.metric("auricle_hub_invocations_total", **labels, outcome="crash") == 1


async def test_an_item_that_does_not_fit_is_told_as_microsofts_server_does(stage: House, hub: Door) -> None:
    hub.gate.set()
    client = await socket(stage, hub=hub.path)
    await client.send(call("Fed", id_="1", streams=("s",)), items("s", "x"))
    error = f"{UNEXPECTED.format('Fed')} HubException: Failed to bind Stream message."
    assert await client.messages(1) == [{"type": 3, "invocationId": "1", "error": error}]


@pytest.mark.parametrize("target", ["Says", "Odd"])
async def test_an_error_that_no_format_can_say_is_said_without_what_it_cannot(
    stage: House, hub: Door, target: str
) -> None:
    hub.gate.set()
    client = await socket(stage, hub=hub.path)
    await client.send(call(target, id_="1"), call("Plain", 1, id_="2"))
    first, second = await client.messages(2)
    assert first["error"] == f"{UNEXPECTED.format(target)} HubException: half ? of a pair"
    assert second["result"] == 1


@pytest.mark.parametrize("target", ["Plain", "Later"])
async def test_a_plain_method_takes_no_streams(stage: House, hub: Door, target: str) -> None:
    hub.gate.set()
    client = await socket(stage, hub=hub.path)
    arguments = (1,) if target == "Plain" else ()
    await client.send(call(target, *arguments, id_="1", streams=("s",)), call("Plain", 1, id_="2"))
    first, second = await client.messages(2)
    assert first["error"] == UNEXPECTED.format(target)
    assert second["result"] == 1
    assert hub.notes[2:] == ["plain"]


class Twice(Hub):
    name: ClassVar[str] = "twice"
    policy: ClassVar[Mapping[str, Rule]] = {"Do": ANYONE, "DO": ANYONE}

    @hub_method("Do")
    def one(self, _: Caller) -> None: ...

    @hub_method("DO")
    def other(self, _: Caller) -> None: ...


class Untyped(Hub):
    name: ClassVar[str] = "untyped"
    policy: ClassVar[Mapping[str, Rule]] = {"Do": ANYONE}

    @hub_method("Do")
    def do(self, _: Caller, what) -> None: ...  # type: ignore[no-untyped-def]  # the mistake


@pytest.mark.parametrize(
    ("hub_class", "why"), [(Twice, "two methods are called DO"), (Untyped, "Do: what has no type")]
)
def test_a_hub_that_is_written_wrongly_keeps_the_server_from_starting(hub_class: type[Hub], why: str) -> None:
    with pytest.raises(MistakenHub, match=why):
        endpoints_of(hub_class())


async def test_a_body_is_never_unpacked(house: House) -> None:
    """Four megabytes of gzip would keep the loop busy with four gigabytes of zeros."""
    packed = zlib.compress(b"0" * 1_000_000, 9, 31)
    compressed = {"Content-Encoding": "gzip"}
    nowhere = await request(house, "POST", "/nowhere", data=packed, headers=compressed)
    assert nowhere.status == 404
    client = await poller(house)
    assert (await client.ask("POST", data=packed, headers=house.bearer() | compressed)).status == 415
    typed = house.bearer() | compressed | {"Content-Type": "application/json"}
    device = await request(house, "POST", "/api/v1/devices", data=packed, headers=typed)
    assert device.status == 415
