"""What the server remembers of live work and what the log says of it: they never differ for longer than a sweep."""

import asyncio

import pytest
from msgspec import UNSET

from clients.hub_errors import HubCallError
from fitting.mode import SessionTimes
from protocol.contract.sessions import (
    ConsentAnswer,
    ConsentAsked,
    Done,
    Heartbeat,
    Hold,
    LeaseRenewed,
    ModeAnswer,
    ModeChanged,
    Relayed,
    ReleaseLease,
    Revert,
    RevertNow,
    SessionAlive,
)
from signaling.flows.session import SessionFlow
from signaling.hubs.care_hub import CareHub
from tests.eventually import eventually
from tests.signaling.away import Away, log_of
from tests.signaling.care import CONTENT, Connect, change, lease, submit
from tests.signaling.conftest import House
from tests.signaling.visit import Visit, refused, visit


@pytest.fixture
def log(house: House) -> Away:
    return log_of(house)


@pytest.fixture
def flow(house: House) -> SessionFlow:
    care = house.parts.hubs[0].hub
    assert isinstance(care, CareHub)
    return care._session


async def pass_s(here: Visit, house: House, seconds: int, *, phone: bool = False) -> None:
    """Time passes in steps of a sweep while the fitter renews, and the phone says that it is there or nothing."""
    for _ in range(seconds // 5):
        house.wall.now_s += 5
        house.monotonic.now_s += 5
        hold = Hold(device="d1", session="s1", fence=here.leased.fence)
        await here.ann.ask("RenewLease", hold, answer=LeaseRenewed)
        if phone:
            await here.call("Heartbeat", Heartbeat(device="d1"), Done, by=here.pat)
        await house.sweep_care()


def modes(here: Visit) -> list[tuple[str, str]]:
    return [(mode.state, mode.reason) for mode in here.fitter.of(ModeChanged)]


async def last_mode(here: Visit, mode: tuple[str, str]) -> None:
    """The fitter hears of it, and of nothing after it."""
    await eventually(lambda: modes(here)[-1:] == [mode])


# How it begins


async def test_the_patient_is_asked_once_at_a_time(connect: Connect, flow: SessionFlow, house: House) -> None:
    here = await visit(connect, live=False)
    answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    async def think(_: ConsentAsked) -> ConsentAnswer:
        return ConsentAnswer(accepted=await answer)

    here.phone.consent = think
    first = asyncio.create_task(here.set_mode())
    await here.phone.first(ConsentAsked)
    second = refused(await here.set_mode())
    assert (second.code, second.retryable) == ("asking", True)
    await house.sweep_care()
    answer.set_result(True)
    assert await first == ModeAnswer(mode="advanced", state="live")
    assert (len(here.phone.of(ConsentAsked)), flow.state_of("d1")) == (1, "live")
    await pass_s(here, house, 30)
    await last_mode(here, ("none", "phone_lost"))


async def test_a_stop_while_the_patient_is_asked_is_his_answer(connect: Connect, log: Away) -> None:
    here = await visit(connect, live=False)

    async def stop(_: ConsentAsked) -> ConsentAnswer:
        await here.call("Stop", Revert(device="d1"), Relayed, by=here.pat)
        return ConsentAnswer(accepted=True)

    here.phone.consent = stop
    assert refused(await here.set_mode()).code == "consent_declined"
    assert (await log.head("d1")).live is None
    here.phone.consent = lambda _: ConsentAnswer(accepted=True)
    await here.go_live()


async def test_a_stop_while_it_is_just_beginning_ends_it(connect: Connect, log: Away, flow: SessionFlow) -> None:
    here = await visit(connect, live=False)
    begin = log.log.open_session

    async def stopped(*args: object, **more: object) -> object:
        opened = await begin(*args, **more)
        await here.call("Stop", Revert(device="d1"), Relayed, by=here.pat)
        return opened

    log.log.open_session = stopped
    assert refused(await here.set_mode()).code == "consent_declined"
    assert ((await log.head("d1")).live, flow.state_of("d1")) == (None, "none")
    assert here.phone.of(SessionAlive) == []


async def test_a_beginning_that_failed_may_be_tried_again(connect: Connect, log: Away, flow: SessionFlow) -> None:
    here = await visit(connect, live=False)
    log.fails = {"open_session"}
    with pytest.raises(HubCallError):
        await here.set_mode()
    assert flow.state_of("d1") == "none"
    log.fails = set()
    await here.go_live()


@pytest.mark.parametrize("retries", [True, False])
async def test_a_beginning_whose_answer_was_lost_is_live_work_like_any_other(
    connect: Connect, log: Away, house: House, retries: bool
) -> None:
    here = await visit(connect, live=False)
    log.loses = {"open_session"}
    with pytest.raises(HubCallError):
        await here.set_mode()
    if retries:
        assert await here.set_mode() == ModeAnswer(mode="advanced", state="live")
    await house.sweep_care()
    assert len(here.phone.of(ConsentAsked)) == 1
    assert (await here.phone.first(SessionAlive)).fence == here.leased.fence
    assert (await here.fitter.first(ModeChanged)).state == "live"
    await pass_s(here, house, 10)
    assert refused(await submit(here.ann, change(here.leased))).code == "frozen"
    await pass_s(here, house, 20)
    await last_mode(here, ("none", "phone_lost"))


# What another process has left


async def test_a_server_that_remembers_nothing_takes_it_up_with_its_age(
    connect: Connect, flow: SessionFlow, house: House
) -> None:
    here = await visit(connect)
    await pass_s(here, house, 1_800, phone=True)
    before = len(here.phone.of(SessionAlive))
    flow._watched.clear()
    await house.sweep_care()
    await last_mode(here, ("live", "taken_up"))
    assert flow.state_of("d1") == "live"
    await here.phone.first(SessionAlive, before)
    await pass_s(here, house, 1_795, phone=True)
    assert flow.state_of("d1") == "live"
    await pass_s(here, house, 5, phone=True)
    await last_mode(here, ("none", "time_up"))


# How it ends


async def test_an_end_whose_answer_was_lost_is_told_by_the_sweep(
    connect: Connect, log: Away, house: House, flow: SessionFlow
) -> None:
    here = await visit(connect)
    await here.apply(change(here.leased))
    log.loses = {"release"}
    release = ReleaseLease(device="d1", session="s1", fence=here.leased.fence, discard=True)
    with pytest.raises(HubCallError):
        await here.ann.ask("ReleaseLease", release, answer=Done)
    assert flow.state_of("d1") == "live"
    await house.sweep_care()
    await last_mode(here, ("none", "released"))
    assert flow.state_of("d1") == "none"
    assert (await here.phone.first(RevertNow)).cause == "session_ended"


async def test_of_an_end_that_is_not_that_of_the_session_that_it_knew_a_server_knows_no_reason(
    connect: Connect, log: Away, house: House
) -> None:
    here = await visit(connect)
    await log.log.end_session("d1", cause="left", actor="ann")
    stolen = await log.log.steal("d1", session="s2", holder="abe", reason="over another server")
    await log.log.open_session("d1", fence=stolen.granted.fence, holder="abe")
    await log.log.end_session("d1", cause="stop", actor="pat")
    await house.sweep_care()
    await last_mode(here, ("none", "ended"))
    assert here.fitter.of(ModeChanged)[-1].draft is UNSET


async def test_a_stop_that_is_recorded_late_ends_no_newer_session(
    connect: Connect, log: Away, house: House, flow: SessionFlow
) -> None:
    here = await visit(connect)
    again = asyncio.Event()

    async def sleep(_: float) -> None:
        await again.wait()

    flow._late._sleep = sleep
    log.is_away = True
    await here.call("Stop", Revert(device="d1"), Relayed, by=here.pat)
    log.is_away = False
    house.wall.now_s += 20
    house.monotonic.now_s += 20
    await house.sweep_care()
    await here.tell("stop", CONTENT, CONTENT)
    here.leased = await lease(here.ann, "s2")
    assert await here.set_mode() == ModeAnswer(mode="advanced", state="live")
    again.set()
    await eventually(lambda: flow._late._late == 0)
    assert (await log.head("d1")).live is not None
    assert flow.state_of("d1") == "live"


async def test_until_a_stop_is_recorded_nothing_is_fed_and_nothing_rises_and_the_sweep_records_it(
    connect: Connect, log: Away, house: House, flow: SessionFlow
) -> None:
    here = await visit(connect)
    await here.apply(change(here.leased))
    flow._late._times = SessionTimes(max_late=0)
    before = len(here.phone.of(SessionAlive))
    await here.call("Stop", Revert(device="d1"), Relayed, by=here.pat)
    assert await log.alive("d1") is not None
    late = await submit(here.ann, change(await lease(here.ann), key="late"))
    assert refused(late).code == "frozen"
    answer = refused(await here.set_mode())
    assert (answer.code, answer.retryable) == ("not_read_back", True)
    house.wall.now_s += 6
    house.monotonic.now_s += 6
    await house.sweep_care()
    await last_mode(here, ("none", "stop"))
    assert (await log.head("d1")).live is None
    assert len(here.phone.of(SessionAlive)) == before


@pytest.mark.parametrize("is_newer", [True, False])
async def test_a_stop_of_what_nobody_knows_of_ends_what_had_begun_before_it(
    connect: Connect, log: Away, house: House, flow: SessionFlow, is_newer: bool
) -> None:
    here = await visit(connect, live=not is_newer)
    flow._watched.clear()
    again = asyncio.Event()

    async def sleep(_: float) -> None:
        await again.wait()

    flow._late._sleep = sleep
    log.is_away = True
    await here.call("Stop", Revert(device="d1"), Relayed, by=here.pat)
    log.is_away = False
    house.wall.now_s += 1
    house.monotonic.now_s += 1
    if is_newer:
        await here.go_live()
    again.set()
    await eventually(lambda: flow._late._late == 0)
    assert ((await log.head("d1")).live is not None) == is_newer
