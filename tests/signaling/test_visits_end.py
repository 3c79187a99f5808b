"""How a visit ends: live work on the aids first, then what else hangs on it; by somebody, or by time alone, once."""

import asyncio

from media.visit import Visit
from protocol.contract.devices import AttachAnswer
from protocol.contract.fitting import BAND_PATHS
from protocol.contract.sessions import ConsentAnswer, ConsentAsked
from protocol.contract.visits import Invited, JoinVisitAnswer
from protocol.errors import Unavailable
from tests.eventually import eventually
from tests.media.visits import NOON_S
from tests.postgres import PostgresServer
from tests.signaling.care import CLAIM, Connect, apply, change, lease, louder, submit
from tests.signaling.care import live as live_work
from tests.signaling.conftest import House, OpenHouse
from tests.signaling.pods import is_connected
from tests.signaling.rest.desk import ask, register
from tests.signaling.visit import Told
from tests.signaling.visit import visit as fitted
from tests.signaling.visiting import admitted, apart, flow_of, join, let_in, live, scheduled


async def test_live_work_ends_before_the_visit_does(house: House, connect: Connect) -> None:
    told = Told()
    phone = await connect("pat", "patient", "device", heard=told)
    assert isinstance(await phone.ask("AttachDevice", CLAIM, answer=AttachAnswer), AttachAnswer)
    scene = await live(house, connect)
    leased = await live_work(scene.ann)
    await submit(scene.ann, change(leased, *louder(20)))
    await eventually(lambda: told.heard["Offer"])
    await apply(phone, told.heard["Offer"][0])
    assert (await flow_of(house).mode_of("d1")) == "advanced"
    order: list[str] = []

    async def call_ends(visit: Visit) -> None:
        head = await flow_of(house).log.head("d1")
        order.append(f"{visit.state} {getattr(head, 'live', None)}")

    flow_of(house).before_end.append(call_ends)
    said = await ask(house, "PUT /visits/v1/end", {"reason": "done"})
    assert (said.status, said.body["state"]) == (200, "ended")
    assert order == ["live None"], "while what hangs on it ends, live work has ended and the visit has not"
    # It has heard before that the visit began.
    await eventually(lambda: [one.state for one in told.heard["VisitChanged"]][-1:] == ["ended"])
    restored, over = told.order.index("RevertNow"), len(told.order) - told.order[::-1].index("VisitChanged") - 1
    assert restored < over
    assert told.heard["RevertNow"][0].cause == "session_ended"
    assert told.heard["ModeChanged"][-1].mode == "standard"
    assert flow_of(house).rooms.of(scene.pat.connection_id, "v1") is None


async def test_a_question_that_is_open_begins_no_live_work_after_the_visit(house: House, connect: Connect) -> None:
    asked, answer = asyncio.Event(), asyncio.Event()

    async def think(_: object) -> ConsentAnswer:
        asked.set()
        await answer.wait()
        return ConsentAnswer(accepted=True)

    phone = await connect("pat", "patient", "device")
    phone.on("ConsentAsked", think, ConsentAsked)
    await phone.ask("AttachDevice", CLAIM, answer=AttachAnswer)
    scene = await live(house, connect)
    working = asyncio.ensure_future(live_work(scene.ann))
    await asked.wait()
    await flow_of(house).end("v1", by="ann", reason="done")
    answer.set()
    assert isinstance((await asyncio.gather(working, return_exceptions=True))[0], AssertionError)
    assert (await flow_of(house).mode_of("d1")) == "standard"


async def test_with_the_store_away_the_phone_restores_at_once_and_the_visit_ends_later(
    house: House, connect: Connect
) -> None:
    told = Told()
    phone = await connect("pat", "patient", "device", heard=told)
    await phone.ask("AttachDevice", CLAIM, answer=AttachAnswer)
    scene = await live(house, connect)
    await live_work(scene.ann)
    flow = flow_of(house)
    endings = flow._endings
    whole, endings._log = endings._log, _Away()  # type: ignore[assignment]  # a store that is away
    refused = False
    try:
        await flow.end("v1", by="ann", reason="done")
    except Unavailable:
        refused = True
    assert refused
    await eventually(lambda: told.heard["RevertNow"])
    endings._log = whole
    ended = await flow.end("v1", by="ann", reason="done")
    assert isinstance(ended, Visit)
    assert ended.state == "ended"


class _Away:
    async def head(self, _: str) -> object:
        raise Unavailable("away")


async def test_the_summary_tells_what_was_tried_and_what_was_kept(house: House, connect: Connect) -> None:
    here = await fitted(connect, live=False)
    await scheduled(house)
    for one in (here.ann, here.pat):
        assert isinstance(await join(one), JoinVisitAnswer)
    assert isinstance(await admitted(here.ann, "p2"), Invited)
    await here.go_live()
    tried = await here.apply(change(here.leased, *louder(20)))
    kept = await here.save(tried.digests)
    head = await lease(here.ann)
    await here.apply(change(head, *louder(-10), key="k2"))
    said = await ask(house, "PUT /visits/v1/end", {"reason": "done"})
    assert said.status == 200, said
    summary = (await ask(house, "GET /visits/v1/summary")).body
    assert len(summary["revisions"]) >= 2, "also what was tried and not kept"
    assert summary["kept"] == kept.revision_id
    assert {(one["path"], one["ddb"]) for one in summary["changes"]} == {(path, 20) for path in BAND_PATHS[:3]}
    assert summary["before"] != summary["kept"]


async def test_a_summary_claims_nothing_that_no_read_back_tells(house: House, connect: Connect) -> None:
    await live(house, connect)
    await flow_of(house).end("v1", by="ann", reason="done")
    said = await ask(house, "GET /visits/v1/summary")
    assert (said.body["visit"], said.body["device"], said.body["revisions"]) == ("v1", "d1", [])
    assert "changes" not in said.body


async def test_a_visit_for_which_nobody_comes_is_missed_once(house: House, connect: Connect) -> None:
    await scheduled(house)
    told = Told()
    ann = await connect("ann", "clinician", heard=told)
    await join(ann)
    flow = flow_of(house)
    house.wall.now_s = NOON_S + 1_799
    await flow.sweep()
    assert not told.heard["VisitChanged"]
    house.wall.now_s = NOON_S + 1_800
    await asyncio.gather(flow.sweep(), flow.sweep(), flow.sweep())
    await eventually(lambda: told.heard["VisitChanged"])
    found = await flow.visits.get("v1")
    assert found is not None
    assert (found.state, found.missed_by, found.by, found.version) == ("no_show", "patient", "server", 3)
    assert len(told.heard["VisitChanged"]) == 1
    assert flow.rooms.of(ann.connection_id, "v1") is None


async def test_a_live_visit_that_nobody_ends_is_ended_with_the_live_work_in_it(house: House, connect: Connect) -> None:
    told = Told()
    phone = await connect("pat", "patient", "device", heard=told, expires_in_s=1e6)
    await phone.ask("AttachDevice", CLAIM, answer=AttachAnswer)
    scene = await live(house, connect)
    await live_work(scene.ann)
    house.wall.now_s = NOON_S + 1_800 + 14_400
    await flow_of(house).sweep()
    await eventually(lambda: told.heard["VisitChanged"][-1].state == "ended")
    assert told.heard["ModeChanged"][-1].mode == "standard"
    assert (await flow_of(house).mode_of("d1")) == "standard"


async def test_one_look_at_what_is_due_has_a_bound(open_house: OpenHouse) -> None:
    house = await open_house(max_due_visits=1)
    await register(house)
    for name in ("v1", "v2"):
        await scheduled(house, visit=name)
    house.wall.now_s = NOON_S + 1_800
    flow = flow_of(house)
    await flow.sweep()
    assert house.metric("auricle_bound_reached_total", bound="max_due_visits") == 1
    await flow.sweep()
    assert [one.state for one in await flow.visits.of_device("d1", None, 9)] == ["no_show", "no_show"]


async def test_who_goes_while_the_store_is_away_is_gone_when_it_is_back(
    open_house: OpenHouse, connect: Connect, house: House
) -> None:
    scene = await live(house, connect)
    flow = flow_of(house)
    whole = flow.visits
    flow.visits = _NoVisits()  # type: ignore[assignment]  # a store that is away
    await scene.pat.stop()
    await eventually(lambda: flow._untold)
    flow.visits = whole
    await flow.sweep()
    found = await whole.get("v1")
    assert found is not None
    assert found.participants[1].connections == ()
    assert open_house is not None


class _NoVisits:
    async def get(self, _: str) -> object:
        raise Unavailable("away")


async def test_departures_that_wait_for_the_store_have_a_bound(house: House) -> None:
    flow = flow_of(house)
    limit = flow._limits.max_untold
    for number in range(limit + 1):
        flow._later("v1", "p1", f"c{number}")
    assert len(flow._untold) == limit
    assert house.metric("auricle_bound_reached_total", bound="max_untold_departures") == 1


async def test_over_two_pods_he_is_let_in_and_sent_away_where_he_is(postgres: PostgresServer) -> None:
    told = Told()
    async with apart(postgres, told) as (_, east, west, ann, pat):
        await let_in(ann, told)
        seat = flow_of(west).rooms.of(pat.connection_id, "v1")
        assert seat is not None
        assert seat.admitted
        body = {"reason": "done"}
        assert (await ask(east, "PUT /visits/v1/end", body)).status == 200
        await eventually(lambda: told.heard["VisitChanged"][-1].state == "ended")
        await eventually(lambda: flow_of(west).rooms.of(pat.connection_id, "v1") is None)


async def test_while_pods_do_not_hear_each_other_they_look(postgres: PostgresServer) -> None:
    told = Told()
    async with apart(postgres, told) as (bus, _, west, ann, pat):
        bus.kill()
        assert isinstance(await admitted(ann, "p2"), Invited)
        await eventually(lambda: not is_connected(west))
        await flow_of(west).sweep()
        seat = flow_of(west).rooms.of(pat.connection_id, "v1")
        assert seat is not None
        assert seat.admitted
        await eventually(lambda: told.heard["ParticipantChanged"])


async def test_what_keeps_one_visit_from_its_end_does_not_keep_the_others(house: House, connect: Connect) -> None:
    await live(house, connect)
    await scheduled(house, visit="v2", device="d2")
    flow = flow_of(house)

    async def fails(_: Visit) -> None:
        raise RuntimeError("secret-crash-detail")

    flow.before_end.append(fails)
    house.wall.now_s = NOON_S + 1_800 + 14_400
    await flow.sweep()
    states = {name: found.state for name in ("v1", "v2") if (found := await flow.visits.get(name)) is not None}
    assert states == {"v1": "live", "v2": "no_show"}
    assert house.metric("auricle_device_failures_total", error="RuntimeError") == 1
    assert "secret-crash-detail" not in house.log.getvalue()
    flow.before_end.clear()
    await flow.sweep()
    found = await flow.visits.get("v1")
    assert found is not None
    assert found.state == "ended"
