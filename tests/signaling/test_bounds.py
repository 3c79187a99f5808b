"""Bounds that no other test of this folder counts: each is met, does what it should, and is seen in the metrics."""

import asyncio
from typing import Any, NamedTuple

import pytest

from signaling.hubs.conformance_hub import ConformanceHub
from tests.eventually import eventually
from tests.signaling.by_hand import HUB, Socket, call, negotiate, poller, request, socket
from tests.signaling.conftest import House, OpenHouse
from tests.signaling.raw_websocket import open_wire
from tests.signaling.rehearsal import Rehearsal
from tests.signaling.returning import detached, returning

PING = b'{"type":6}\x1e'


def reached(house: House) -> dict[str, float]:
    """Every bound that was met, and how often."""
    samples = [sample for family in house.parts.metrics.bounds.collect() for sample in family.samples]
    return {s.labels["bound"]: s.value for s in samples if s.name == "auricle_bound_reached_total"}


async def test_a_connection_in_too_many_groups_is_told_so(open_house: OpenHouse) -> None:
    house = await open_house(max_groups=2)
    client = await socket(house)
    for group in ("a", "b", "a", "c"):
        await client.send(call("JoinGroup", group, id_=group))
    last = (await client.messages(4))[-1]
    assert last["error"].endswith("HubException: [overloaded] a connection may be in at most 2 groups")
    assert house.metric("auricle_bound_reached_total", bound="max_groups") == 1


async def test_an_oversized_hub_message_ends_its_connection(open_house: OpenHouse) -> None:
    house = await open_house(max_message_bytes=500)
    client = await socket(house)
    await client.send(call("Echo", "x" * 500, id_="1"))
    expected = {"type": 7, "error": "Connection closed with an error.", "allowReconnect": True}
    assert await client.rest() == ([expected], 1000)
    broken = await socket(house)
    await broken.send(b"rubbish\x1e")
    assert await broken.rest() == ([expected], 1000)
    assert house.metric("auricle_bound_reached_total", bound="max_message_bytes") == 1


class Excess(NamedTuple):
    bound: str
    limit: int
    good: object
    bad: object


@pytest.mark.parametrize(
    "excess",
    [
        Excess(bound="max_message_depth", limit=5, good=[[1]], bad=[[[[1]]]]),
        Excess(bound="max_message_keys", limit=8, good={"a": 1}, bad=dict.fromkeys("abcdefghi", 1)),
        Excess(bound="max_number_chars", limit=10, good=123, bad=12_345_678_901),
    ],
    ids=lambda excess: excess.bound,
)
async def test_what_no_message_may_hold(open_house: OpenHouse, excess: Excess) -> None:
    house = await open_house(**{excess.bound: excess.limit})
    client = await socket(house)
    await client.send(call("Echo", excess.good, id_="1"))
    assert (await client.messages(1))[0]["result"] == excess.good
    assert reached(house) == {}
    await client.send(call("Echo", excess.bad, id_="2"))
    expected = {"type": 7, "error": "Connection closed with an error.", "allowReconnect": True}
    assert await client.rest() == ([expected], 1000)
    assert reached(house) == {excess.bound: 1}


async def test_what_waits_for_an_acknowledgement(open_house: OpenHouse) -> None:
    house = await open_house(max_resume_bytes=200)
    client = await returning(house, hub=ConformanceHub.path)
    for number in range(3):
        await client.call("Echo", "x" * 100, id_=str(number))
    assert [await client.result(str(number)) for number in range(2)] == ["x" * 100] * 2
    await eventually(lambda: house.metric("auricle_bound_reached_total", bound="max_resume_bytes") == 1)
    client.acknowledge()
    assert await client.result("2") == "x" * 100


async def test_an_oversized_frame_and_an_oversized_post(open_house: OpenHouse) -> None:
    house = await open_house(max_frame_bytes=500)
    wire = await open_wire(house)
    wire.send(b"\x82\xfe\x01\xf5")
    assert await wire.close_code() == 1009
    assert house.metric("auricle_bound_reached_total", bound="max_frame_bytes") == 1
    client = await poller(house)
    assert await client.post(b"x" * 501) == 413
    assert house.metric("auricle_bound_reached_total", bound="max_frame_bytes") == 2


async def test_rest_bodies_and_devices(open_house: OpenHouse) -> None:
    house = await open_house(max_body_bytes=500, max_devices=1)

    async def register(device: str, **more: Any) -> int:
        aid = {"serial": "R-1", "model": "ref10", "firmware": "2.3.1"}
        body = {"device": device, "patient": "pat", "assignments": ["ann"], "right": aid} | more
        return (await request(house, "POST", "/api/v1/devices", json=body)).status

    assert await register("d1") == 201
    assert await register("d2", patient="p" * 500) == 413
    assert house.metric("auricle_bound_reached_total", bound="max_body_bytes") == 1
    assert await register("d2") == 429
    assert house.metric("auricle_bound_reached_total", bound="max_devices") == 1


async def test_a_silent_handshake_and_a_silent_client(house: House) -> None:
    unshaken = Socket(house, await negotiate(house))
    unshaken.frames = await house.socket(house.url + unshaken.path, headers=unshaken.headers)
    house.monotonic.now_s += 15.1
    house.sweep()
    assert (await unshaken.rest())[0] == [{"error": "Handshake was canceled."}]
    assert house.metric("auricle_bound_reached_total", bound="handshake_timeout_s") == 1
    silent = await socket(house)
    await silent.send(PING, call("Echo", 1, id_="1"))
    await silent.messages(1)
    house.monotonic.now_s += 30.1
    house.sweep()
    assert (await silent.rest())[0][-1]["allowReconnect"] is True
    assert house.metric("auricle_bound_reached_total", bound="client_timeout_s") == 1


async def test_those_who_stay_away(house: House) -> None:
    client = await returning(house, hub=ConformanceHub.path)
    await detached(client)
    polls = await poller(house)
    house.sweep()
    house.monotonic.now_s += 15.1
    house.sweep()
    assert house.app_sessions() == 0
    assert house.metric("auricle_bound_reached_total", bound="disconnect_timeout_s") == 2
    assert (await polls.poll()).status == 404


async def test_a_question_that_is_not_answered_and_one_too_many(open_house: OpenHouse) -> None:
    house = await open_house(client_result_timeout_s=1.0, max_pending_results=1)
    client = await socket(house)
    await client.send(call("AskMe", "q", id_="1"), call("AskMe", "q", id_="2"))
    await client.messages(3)
    assert house.metric("auricle_bound_reached_total", bound="client_result_timeout_s") == 1
    assert house.metric("auricle_bound_reached_total", bound="max_pending_results") == 1


async def test_a_call_that_outlives_its_connection_for_too_long(open_house: OpenHouse) -> None:
    hub = Rehearsal()
    house = await open_house(hub=hub, call_grace_s=0.05)
    client = await socket(house, hub=hub.path)
    await client.send(call("Wait", 1, id_="1"))
    await eventually(lambda: hub.notes == ["wait 1"])
    await client.frames.close()
    await eventually(lambda: hub.notes == ["wait 1", "disconnected"])
    assert house.metric("auricle_bound_reached_total", bound="call_grace_s") == 1


async def test_what_stays_within_its_bounds_is_not_counted(house: House) -> None:
    client, polls = await socket(house), await poller(house)
    for one in (client, polls):
        await one.send(PING, call("JoinGroup", "g", id_="1"), call("Echo", "x" * 30_000, id_="2"))
        await one.messages(2)
    await client.frames.close()
    assert (await polls.ask("DELETE")).status == 202
    assert (await request(house, "POST", f"{HUB}/negotiate")).status == 200
    await eventually(lambda: house.app_sessions() == 0)
    await asyncio.sleep(0)  # the goodbyes of the two
    assert reached(house) == {}
