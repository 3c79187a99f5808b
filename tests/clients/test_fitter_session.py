"""What a fitter does with a live session: keep, go back, quieten, look, and look back."""

from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest
from msgspec import UNSET

from protocol.contract.base import EARS
from protocol.contract.devices import DeliveryAnswer, InAidChanged, LeaseAnswer
from protocol.contract.fitting import SubmitAnswer
from protocol.contract.history import CompareAnswer, HistoryAnswer, HistoryEvent, RevisionAnswer
from protocol.contract.sessions import DeviceChanged, ModeAnswer, ModeChanged, Relayed
from protocol.signalr.codec import ProtocolName
from tests.clients.care_bench import DEVICE, CareBench, care_bench, raise_of
from tests.clients.fitter_bench import back_to, code_of, fitter_of, live, tried
from tests.clients.hub_double import until


@pytest.fixture(params=["json", "messagepack"])
async def bench(request: pytest.FixtureRequest) -> AsyncIterator[CareBench]:
    protocol: ProtocolName = request.param
    async with care_bench(protocol) as bench:
        yield bench


def ram(bench: CareBench) -> dict[str, str]:
    return {ear: bench.pair.aid(ear).read_digest("ram") for ear in EARS}


def nvm(bench: CareBench) -> dict[str, str]:
    return {ear: bench.pair.aid(ear).read_digest("nvm") for ear in EARS}


async def test_what_was_tried_is_kept_by_both_aids_and_then_may_be_left(bench: CareBench) -> None:
    async with bench.phone(), fitter_of(bench) as (fitter, news):
        granted = await live(fitter)
        answer = await tried(fitter, granted)
        assert code_of(await fitter.leave(DEVICE, granted.fence)) == "unsaved"
        saved = await fitter.save(DEVICE, granted.fence, answer.digests)
        assert isinstance(saved, SubmitAnswer)
        assert await fitter.wait_until(DEVICE, saved) == "active"
        left = await fitter.leave(DEVICE, granted.fence)
        assert isinstance(left, ModeAnswer)
        assert left.mode == "standard"
        await until(lambda: any(isinstance(one, ModeChanged) and one.mode == "standard" for one in news))
    assert nvm(bench) == ram(bench) == {ear: getattr(answer.digests, ear) for ear in EARS}


async def test_only_what_the_fitter_believes_to_be_in_the_aids_is_saved(bench: CareBench) -> None:
    async with bench.phone(), fitter_of(bench) as (fitter, _):
        granted = await live(fitter)
        assert granted.head is not UNSET
        await tried(fitter, granted)
        assert code_of(await fitter.save(DEVICE, granted.fence, granted.head.digests)) == "base_mismatch"


@pytest.mark.parametrize("way", ["revert", "undo", "stop"])
async def test_what_quietens_the_aids_brings_the_base_back_and_is_news(bench: CareBench, way: str) -> None:
    async with bench.phone(), fitter_of(bench) as (fitter, news):
        granted = await live(fitter)
        base = ram(bench)
        await tried(fitter, granted)
        assert ram(bench) != base
        given = {"revert": (DEVICE, granted.fence)}.get(way, (DEVICE,))
        assert await getattr(fitter, way)(*given) == Relayed(relayed=True)
        await until(lambda: ram(bench) == base)
        await until(lambda: {one.ear for one in news if isinstance(one, InAidChanged) and one.cause == way} == {*EARS})
        again = await fitter.acquire_lease(DEVICE, "session-1")
        assert isinstance(again, LeaseAnswer)
        assert again.mode == ("standard" if way == "stop" else "advanced")


async def test_a_read_back_is_asked_of_the_phone_and_told_to_those_who_watch(bench: CareBench) -> None:
    async with fitter_of(bench) as (fitter, news):
        assert await fitter.read_back(DEVICE) == Relayed(relayed=False)
        async with bench.phone():
            await live(fitter)
            news.clear()
            assert await fitter.read_back(DEVICE) == Relayed(relayed=True)
            await until(lambda: any(isinstance(one, DeviceChanged) for one in news))


async def test_a_change_that_no_phone_has_begun_is_taken_back(bench: CareBench) -> None:
    async with fitter_of(bench) as (fitter, _):
        async with bench.phone():
            granted = await live(fitter)
        answer = await fitter.submit(raise_of(granted))
        assert isinstance(answer, SubmitAnswer)
        cancelled = await fitter.cancel(DEVICE, answer)
        assert isinstance(cancelled, DeliveryAnswer)
        assert cancelled.state == await fitter.wait_until(DEVICE, answer) == "cancelled"
        assert code_of(await fitter.cancel(DEVICE, answer)) == "unknown_delivery"


async def test_an_earlier_revision_is_gone_back_to_and_the_past_says_who_changed_what(bench: CareBench) -> None:
    async with bench.phone(), fitter_of(bench) as (fitter, _):
        granted = await live(fitter)
        assert granted.head is not UNSET
        first = granted.head.revision
        before = ram(bench)
        answer = await tried(fitter, granted)
        back = await fitter.submit(back_to(granted, answer, first))
        assert isinstance(back, SubmitAnswer)
        assert await fitter.wait_until(DEVICE, back) == "confirmed"
        assert ram(bench) == before
        past = await fitter.history(DEVICE)
        assert isinstance(past, HistoryAnswer)
        assert [view.origin for view in past.revisions] == ["rollback", "fitting", "readback"]
        assert [view.author for view in past.revisions[:2]] == ["ann", "ann"]
        assert {change.ddb for change in past.revisions[1].changes} == {20}
        page = await fitter.history(DEVICE, before=answer.revision_id, limit=1)
        assert isinstance(page, HistoryAnswer)
        assert [view.revision for view in page.revisions] == [first]
        one = await fitter.revision(DEVICE, answer.revision_id)
        assert isinstance(one, RevisionAnswer)
        assert one.view == past.revisions[1]
        compared = await fitter.compare(DEVICE, first, answer.revision_id, aid=True)
        assert isinstance(compared, CompareAnswer)
        assert {(change.path, change.ddb) for change in compared.changes} == {
            ("g50Ddb", 20),
            ("g65Ddb", 20),
            ("g80Ddb", 20),
        }
        assert compared.three_way is not UNSET
        assert not any(leaf.conflict for leaf in compared.three_way)


async def test_a_watch_tells_each_event_once_over_a_reconnect(bench: CareBench) -> None:
    hub = bench.fitter_hub()
    seen: list[HistoryEvent] = []
    async with bench.phone(), bench.fitter(hub) as fitter:
        granted = await fitter.acquire_lease(DEVICE, "session-1")
        assert isinstance(granted, LeaseAnswer)
        async with aclosing(fitter.watch(DEVICE)) as events:
            seen.append(await anext(events))
            bench.fitter_cable.pull()
            await until(lambda: not hub.connection_id)
            bench.fitter_cable.plug_in()
            await until(lambda: hub.connection_id)
            live_now = await fitter.go_live(DEVICE, granted.fence)
            assert isinstance(live_now, ModeAnswer)
            while (seen[-1].kind, seen[-1].state) != ("session", "live"):
                seen.append(await anext(events))
        async with aclosing(fitter.watch(DEVICE, after=seen[-2].n)) as events:
            assert await anext(events) == seen[-1]
    assert [event.n for event in seen] == list(range(1, len(seen) + 1))
