"""Quality as it is reported and told, and what is kept of a call when it is over, read over REST."""

import json
from contextlib import AsyncExitStack
from typing import Any

import pytest

from clients.hub_client import HubClient
from protocol.contract.base import Failure
from protocol.contract.calls import AnswerCall, CallAnswer, EndCall, QualityChanged, ReportQuality
from protocol.contract.sessions import Done
from protocol.errors import Unavailable
from signaling.stores.call_records import CallPart
from tests.databases import lent_postgres
from tests.eventually import eventually, eventually_asked
from tests.postgres import PostgresServer
from tests.redis_server import redis_server
from tests.signaling.calls.test_calls_hub import in_call, start, started, sweep, taken
from tests.signaling.care import Connect
from tests.signaling.conftest import House, OpenHouse
from tests.signaling.pods import connected, hub_of, two_pods
from tests.signaling.rest.desk import ask, register
from tests.signaling.visit import Told, refused
from tests.signaling.visiting import MIA, Scene, admitted, guest_of, join, live, scheduled

GOOD = {"loss_permille": 10, "jitter_ms": 4, "rtt_ms": 30, "in_kbps": 40, "out_kbps": 41}
BAD = {"loss_permille": 200, "jitter_ms": 80, "rtt_ms": 500, "in_kbps": 10, "out_kbps": 41, "frames_per_s": 3}


@pytest.fixture
async def scene(house: House, connect: Connect) -> Scene:
    return await live(house, connect)


async def report(house: House, who: HubClient, call_id: str, to: int, **numbers: Any) -> Done | Failure:
    house.wall.now_s += 2
    request = ReportQuality(visit="v1", call_id=call_id, to=to, **numbers)
    return await who.ask("ReportQuality", request, answer=Done)


async def hang_up(who: HubClient, call_id: str) -> None:
    assert isinstance(await who.ask("EndCall", EndCall(visit="v1", call_id=call_id), answer=Done), Done)


async def kept(house: House, by: str = "ann clinician", **query: Any) -> list[dict[str, Any]]:
    asked = "&".join(f"{name}={value}" for name, value in query.items())
    said = await ask(house, f"GET /visits/v1/calls?{asked}", by=by)
    assert said.status == 200, said
    return list(said.body["items"])


async def test_what_lasts_is_told_to_everybody_in_the_call(house: House, scene: Scene) -> None:
    call_id = await in_call(scene)
    for numbers in (BAD, GOOD, BAD, BAD):
        assert isinstance(await report(house, scene.pat, call_id, 0, **numbers), Done)
    for told in (scene.ann_told, scene.pat_told):
        news = await told.first(QualityChanged)
        assert (news.call_id, news.peer, news.to, news.grade) == (call_id, 1, 0, "bad")
        assert news.advice == ("audio_only", "better_network")
    for _ in range(3):
        await report(house, scene.pat, call_id, 0, **GOOD)
    assert (await scene.ann_told.first(QualityChanged, 1)).grade == "good"
    assert len(scene.ann_told.of(QualityChanged)) == 2


async def test_reports_that_are_not_taken(house: House, scene: Scene, connect: Connect) -> None:
    call = await started(scene.ann)
    assert refused(await report(house, scene.pat, call.call_id, 0, **GOOD)).code == "no_call"
    assert isinstance(await taken(scene.pat, call.call_id), CallAnswer)
    assert refused(await report(house, scene.pat, "another", 0, **GOOD)).code == "no_call"
    assert refused(await report(house, scene.pat, call.call_id, 1, **GOOD)).code == "no_such_peer"
    assert isinstance(await report(house, scene.pat, call.call_id, 0, **GOOD), Done)
    house.wall.now_s -= 2
    too_soon = refused(await report(house, scene.pat, call.call_id, 0, **GOOD))
    assert (too_soon.code, too_soon.retryable, too_soon.retry_after_ms) == ("too_many_reports", True, 1_000)
    assert house.metric("auricle_bound_reached_total", bound="quality_every_s") == 1
    stranger = await connect("eve", "patient")
    assert isinstance(await start(scene.ann), CallAnswer)
    with pytest.raises(Exception, match="not_found"):
        await report(house, stranger, call.call_id, 0, **GOOD)
    for number in ({"loss_permille": 1_001}, {"rtt_ms": -1}, {"frames_per_s": 241}, {"in_kbps": 10**9}):
        with pytest.raises(Exception, match="bad_argument"):
            await report(house, scene.pat, call.call_id, 0, **GOOD | number)


async def test_only_so_many_reports_are_kept(open_house: OpenHouse) -> None:
    house = await open_house(max_quality_reports=2)
    async with AsyncExitStack() as stack:
        await scheduled(house)
        ann = await stack.enter_async_context(connected(house, "ann", "clinician"))
        pat = await stack.enter_async_context(connected(house, "pat", "patient"))
        for one in (ann, pat):
            await join(one)
        await admitted(ann, "p2")
        call = await started(ann)
        await taken(pat, call.call_id)
        for rtt_ms in (900, 10, 20, 30):
            await report(house, pat, call.call_id, 0, **GOOD | {"rtt_ms": rtt_ms})
        [link] = hub_of(house)._calls.beside.quality.take(call.call_id)
        assert (link.reports, link.rtt_ms) == (4, 25)
        assert house.metric("auricle_bound_reached_total", bound="max_quality_reports") == 2


async def test_what_is_kept_of_a_call(house: House, scene: Scene) -> None:
    call_id = await in_call(scene)
    for numbers in (BAD, BAD, GOOD):
        await report(house, scene.pat, call_id, 0, **numbers)
    await report(house, scene.ann, call_id, 1, **GOOD, relayed=True)
    house.wall.now_s += 52
    await hang_up(scene.pat, call_id)
    await eventually_asked(lambda: kept(house))
    [record] = await kept(house)
    assert record | {"quality": [], "people": []} == {
        "callId": call_id,
        "visit": "v1",
        "backend": "webrtc",
        "media": "audio",
        "beganAt": "2027-01-15T08:00:00.000Z",
        "answeredAt": "2027-01-15T08:00:00.000Z",
        "endedAt": "2027-01-15T08:01:00.000Z",
        "reason": "hung_up",
        "durationS": 60,
        "quality": [],
        "people": [],
    }
    assert record["people"] == [
        {"peer": 0, "user": "ann", "tookPart": True, "reason": "ended", "participant": "p1", "role": "professional"},
        {"peer": 1, "user": "pat", "tookPart": True, "reason": "hung_up", "participant": "p2", "role": "patient"},
    ]
    hers, his = record["quality"]
    assert (hers["peer"], hers["to"], hers["relayed"], hers["grade"], "framesPerS" in hers) == (
        0,
        1,
        True,
        "good",
        False,
    )
    assert (his["reports"], his["grade"], his["worst"], his["lossPermille"], his["rttMs"]) == (
        3,
        "bad",
        "bad",
        137,
        500,
    )
    assert hub_of(house)._calls.beside.quality._links == {}


async def test_calls_that_came_to_nothing_are_kept_too_page_by_page(house: House, scene: Scene) -> None:
    calls = []
    for _ in range(3):
        call = await started(scene.ann)
        calls.append(call.call_id)
        house.wall.now_s += 3
        await hang_up(scene.ann, call.call_id)
    await eventually_asked(lambda: all_kept(house, 3))
    first = await ask(house, "GET /visits/v1/calls?limit=2")
    assert [one["callId"] for one in first.body["items"]] == [calls[2], calls[1]]
    assert {one["reason"] for one in first.body["items"]} == {"cancelled"}
    assert [one["tookPart"] for one in first.body["items"][0]["people"]] == [True, False]
    second = await ask(house, f"GET /visits/v1/calls?limit=2&after={first.body['next']}")
    assert [one["callId"] for one in second.body["items"]] == [calls[0]]
    assert "next" not in second.body
    assert (await ask(house, "GET /visits/v1/calls?after=MWFiYw")).status == 404


async def all_kept(house: House, number: int) -> bool:
    return len(await kept(house)) == number


async def test_who_may_read_it(house: House, scene: Scene) -> None:
    call_id = await in_call(scene)
    await hang_up(scene.ann, call_id)
    await eventually_asked(lambda: kept(house))
    assert len(await kept(house, "pat patient")) == 1
    # Assigned to the device: one may stand in for another.
    assert len(await kept(house, "abe clinician")) == 1
    for who in ("eve clinician", "eve patient"):
        assert (await ask(house, "GET /visits/v1/calls", by=who)).status == 404
    assert (await ask(house, "GET /visits/v1/calls", by="ann clinician", clinic="c2")).status == 404


async def test_guests_are_named_by_what_they_are_in_the_visit(house: House, connect: Connect) -> None:
    scene = await live(house, connect, MIA)
    mia = await guest_of(house, "p3")
    try:
        await join(mia)
        await admitted(scene.ann, "p3")
        call = await started(scene.ann)
        await taken(mia, call.call_id)
        await scene.ann.ask("EndCall", EndCall(visit="v1", call_id=call.call_id, for_all=True), answer=Done)
        await eventually_asked(lambda: kept(house))
        [record] = await kept(house)
        people = {one["user"]: one for one in record["people"]}
        mia_kept = next(one for user, one in people.items() if user not in ("ann", "pat"))
        assert (mia_kept["participant"], mia_kept["role"], mia_kept["tookPart"]) == ("p3", "caregiver", True)
        assert (people["pat"]["tookPart"], people["pat"]["reason"]) == (False, "cancelled")
        assert "Mia" not in json.dumps(record)
    finally:
        await mia.stop()


class Away:
    """A store that is away until a test says so."""

    def __init__(self, store: Any) -> None:
        self.store, self.is_away = store, True

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)

    async def add(self, part: CallPart) -> bool:
        if self.is_away:
            raise Unavailable("the database is away")
        kept: bool = await self.store.add(part)
        return kept


async def test_with_the_database_away_it_waits_and_is_kept_once(house: House, scene: Scene) -> None:
    recorder = hub_of(house)._calls.beside.recorder
    away = Away(recorder._parts.store)
    object.__setattr__(recorder._parts, "store", away)
    call_id = await in_call(scene)
    await report(house, scene.pat, call_id, 0, **GOOD)
    await hang_up(scene.pat, call_id)
    with pytest.raises(Unavailable):
        await recorder.sweep()
    away.is_away = False
    await recorder.sweep()
    await recorder.sweep()
    assert [one["callId"] for one in await kept(house)] == [call_id]


async def test_what_waits_for_the_database_has_a_bound(open_house: OpenHouse) -> None:
    house = await open_house(max_call_records_waiting=1)
    async with AsyncExitStack() as stack:
        await scheduled(house)
        ann = await stack.enter_async_context(connected(house, "ann", "clinician"))
        pat = await stack.enter_async_context(connected(house, "pat", "patient"))
        for one in (ann, pat):
            await join(one)
        await admitted(ann, "p2")
        recorder = hub_of(house)._calls.beside.recorder
        object.__setattr__(recorder._parts, "store", Away(recorder._parts.store))
        for _ in range(2):
            await hang_up(ann, (await started(ann)).call_id)
        assert len(recorder._waiting) == 1
        assert house.metric("auricle_bound_reached_total", bound="max_call_records_waiting") == 1


async def test_memory_holds_only_so_many_records(open_house: OpenHouse) -> None:
    house = await open_house(max_call_records=1)
    async with AsyncExitStack() as stack:
        await register(house)
        await scheduled(house)
        ann = await stack.enter_async_context(connected(house, "ann", "clinician"))
        pat = await stack.enter_async_context(connected(house, "pat", "patient"))
        for one in (ann, pat):
            await join(one)
        await admitted(ann, "p2")
        for _ in range(2):
            await hang_up(ann, (await started(ann)).call_id)
        await eventually(lambda: house.metric("auricle_bound_reached_total", bound="max_call_records") == 1)
        assert len(await kept(house)) == 1


async def test_two_pods_keep_one_record_and_what_each_knows(postgres: PostgresServer) -> None:
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(lent_postgres(postgres))
        bus = stack.enter_context(redis_server())
        east, west = await stack.enter_async_context(two_pods(url, bus.url))
        await register(east)
        await scheduled(east)
        ann_told = Told()
        ann = await stack.enter_async_context(connected(east, "ann", "clinician", heard=ann_told))
        pat = await stack.enter_async_context(connected(west, "pat", "patient"))
        for one in (ann, pat):
            await join(one)
        await admitted(ann, "p2")
        call = await started(ann)
        take = AnswerCall(visit="v1", call_id=call.call_id)
        assert isinstance(await pat.ask("AnswerCall", take, answer=CallAnswer), CallAnswer)
        # The pod of each asks for the call as it is now.
        for pod in (east, west):
            pod.wall.now_s += 2
        for _ in range(2):
            assert isinstance(await report(west, pat, call.call_id, 0, **BAD), Done)
        await eventually(lambda: ann_told.of(QualityChanged))
        assert isinstance(await report(east, ann, call.call_id, 1, **GOOD), Done)
        await hang_up(pat, call.call_id)
        east.wall.now_s += 6
        await sweep(east)

        async def both() -> bool:
            found = await kept(west)
            return [len(one["quality"]) for one in found] == [2]

        await eventually_asked(both)
        [record] = await kept(east)
        assert [(one["peer"], one["worst"]) for one in record["quality"]] == [(0, "good"), (1, "bad")]
