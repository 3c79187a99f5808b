"""Live work whose fitter hangs on one pod and whose phone on another: who begins it, who freezes it, who may end it."""

import asyncio

import pytest

from protocol.contract.devices import (
    Offer,
)
from protocol.contract.fitting import SubmitAnswer
from protocol.contract.sessions import (
    ConsentAnswer,
    ConsentAsked,
    Done,
    Heartbeat,
    ModeAnswer,
    ModeChanged,
    Relayed,
    Revert,
    RevertNow,
    SessionAlive,
    SetMode,
)
from signaling.backplane import BusState
from signaling.flows import far_phones
from tests.eventually import eventually
from tests.signaling.away import log_of
from tests.signaling.care import change, lease, louder, submit
from tests.signaling.near import (
    Near,
    answers_again,
    answers_nothing,
    beat,
    care_of,
    pass_s,
    renew,
    states,
    waits_for_nobody,
)
from tests.signaling.visit import Visit, refused

# How it begins


async def test_it_is_begun_from_the_fitters_pod_and_stays_live(pods: Near, here: Visit) -> None:
    assert states(pods) == ("live", "live")
    assert len(here.phone.of(ConsentAsked)) == 1
    assert [(one.state, one.reason) for one in here.fitter.of(ModeChanged)] == [("live", "accepted")]
    await pass_s(pods, here, 60)
    assert states(pods) == ("live", "live")
    assert (await renew(here)).state == "live"
    assert len(here.phone.of(SessionAlive)) >= 60 / 5
    assert here.phone.of(RevertNow) == []
    # Nobody was told of anything that has not happened.
    assert len(here.fitter.of(ModeChanged)) == len(here.phone.of(ModeChanged)) == 1


async def test_what_keeps_it_from_beginning_is_judged_where_the_phone_is(pods: Near, before: Visit) -> None:
    await beat(before, foreground=False)
    assert refused(await before.set_mode()).code == "phone_background"
    await beat(before, battery=10)
    assert refused(await before.set_mode()).code == "battery_low"
    await beat(before, battery=80)
    assert await before.set_mode() == ModeAnswer(mode="advanced", state="live")


async def test_a_patient_who_says_no_has_said_no(pods: Near, before: Visit) -> None:
    before.phone.consent = lambda _: ConsentAnswer(accepted=False)
    assert refused(await before.set_mode()).code == "consent_declined"
    assert states(pods) == ("none", "none")


async def test_with_no_phone_anywhere_it_is_told_soon(pods: Near) -> None:
    ann = await pods.connect("ann", "clinician")
    leased = await lease(ann)
    waits_for_nobody(pods)
    request = SetMode(device="d1", mode="advanced", reason="a visit", fence=leased.fence)
    answer = await ann.ask("SetMode", request, answer=ModeAnswer)
    assert refused(answer).code == "phone_offline"
    assert pods.east.metric("auricle_bound_reached_total", bound="pod_ask_s") >= 1


async def test_the_patient_is_asked_once_whoever_asks_again(pods: Near, before: Visit) -> None:
    asked, answered = asyncio.Event(), asyncio.Event()

    async def think(_: ConsentAsked) -> ConsentAnswer:
        asked.set()
        await answered.wait()
        return ConsentAnswer(accepted=True)

    before.phone.consent = think
    first = asyncio.get_running_loop().create_task(before.set_mode())
    await asked.wait()
    assert refused(await before.set_mode()).code == "asking"
    # From the phone's own pod, and from a pod that knows of no question.
    again = await pods.connect("ann", "clinician", on=pods.west)
    request = SetMode(device="d1", mode="advanced", reason="a visit", fence=before.leased.fence)
    assert refused(await again.ask("SetMode", request, answer=ModeAnswer)).code == "asking"
    care_of(pods.east)._session._watched.clear()
    assert refused(await before.set_mode()).code == "asking"
    answered.set()
    assert await first == ModeAnswer(mode="advanced", state="live")
    assert len(before.phone.of(ConsentAsked)) == 1


@pytest.mark.parametrize("by", ["phone", "fitter"])
async def test_a_stop_while_the_patient_is_asked_on_another_pod_begins_nothing(
    pods: Near, before: Visit, by: str
) -> None:
    async def think(_: ConsentAsked) -> ConsentAnswer:
        stop = Revert(device="d1", fence=before.leased.fence)
        await before.call("Stop", stop, Relayed, by=before.pat if by == "phone" else before.ann)
        return ConsentAnswer(accepted=True)

    before.phone.consent = think
    assert refused(await before.set_mode()).code == "consent_declined"
    assert states(pods)[0] == "none"
    await pods.sweep_care()
    assert states(pods) == ("none", "none")
    assert await care_of(pods.east)._log.alive("d1") is None


async def test_a_fitter_who_goes_while_the_patient_thinks_begins_nothing(pods: Near, before: Visit) -> None:
    asked, answered = asyncio.Event(), asyncio.Event()

    async def think(_: ConsentAsked) -> ConsentAnswer:
        asked.set()
        await answered.wait()
        return ConsentAnswer(accepted=True)

    before.phone.consent = think
    asking = asyncio.get_running_loop().create_task(before.set_mode())
    await asked.wait()
    await before.ann.stop()
    with pytest.raises(ConnectionError):
        await asking
    west = care_of(pods.west)._session
    await eventually(lambda: west._watched["d1"].stopped is not None)
    answered.set()
    await eventually(lambda: states(pods) == ("none", "none"))
    assert await care_of(pods.west)._log.alive("d1") is None
    assert before.phone.of(SessionAlive) == []


async def test_a_pod_that_dies_while_it_asks_keeps_nobody_waiting_for_long(
    pods: Near, before: Visit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(far_phones, "_LOOK_AFTER_S", 0.05)

    async def never(_: ConsentAsked) -> ConsentAnswer:
        answers_nothing(pods)
        return await asyncio.get_running_loop().create_future()  # type: ignore[no-any-return]  # nobody ever answers

    before.phone.consent = never
    assert refused(await before.set_mode()).code == "phone_offline"
    assert states(pods)[0] == "none"


async def test_a_beginning_whose_answer_was_lost_is_joined(
    pods: Near, before: Visit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(far_phones, "_LOOK_AFTER_S", 0.05)

    async def lose(_: ConsentAsked) -> ConsentAnswer:
        answers_nothing(pods)
        return ConsentAnswer(accepted=True)

    before.phone.consent = lose
    assert refused(await before.set_mode()).retryable
    answers_again(pods)
    assert await before.set_mode() == ModeAnswer(mode="advanced", state="live")
    assert len(before.phone.of(ConsentAsked)) == 1


# What freezes it


async def test_what_the_phones_pod_freezes_refuses_rises_at_once_where_they_are_judged(pods: Near, here: Visit) -> None:
    for _ in range(2):
        await pass_s(pods, here, 10, phone=False)
        assert states(pods)[1] == "frozen"
        assert refused(await submit(here.ann, change(here.leased))).code == "frozen"
        await pass_s(pods, here, 2)
        assert states(pods) == ("live", "live")
    assert isinstance(await submit(here.ann, change(here.leased)), SubmitAnswer)
    told = [(one.state, one.reason) for one in here.fitter.of(ModeChanged)][1:]
    assert told == [("frozen", "freeze"), ("live", "thaw")] * 2
    assert told == [(one.state, one.reason) for one in here.phone.of(ModeChanged)][1:]


async def test_a_freeze_is_told_before_anybody_asks(pods: Near, here: Visit) -> None:
    await beat(here, rtt_ms=60_000)
    # Only the phone's pod looks.
    await pods.west.sweep_care()
    await pods.settle()
    assert states(pods) == ("frozen", "frozen")
    assert refused(await submit(here.ann, change(here.leased))).code == "frozen"


async def test_an_answer_to_what_was_asked_before_a_freeze_lets_nothing_go_on(pods: Near, here: Visit) -> None:
    held: list[bytes] = []

    def hold_back(channel: str, payload: bytes) -> bool:
        is_answer = channel.startswith("pod:") and b"live" in payload
        if is_answer:
            held.append(payload)
        return is_answer

    pods.monotonic.now_s += 1
    pods.buses[1].loses = hold_back
    await pods.east.sweep_care()
    await eventually(lambda: held)
    await beat(here, rtt_ms=60_000)
    pods.monotonic.now_s += 0.1
    await pods.west.sweep_care()
    assert states(pods) == ("frozen", "frozen")
    # Late, and of another world.
    pods.buses[0]._handlers[f"pod:{care_of(pods.east)._session._judging._far._asks.pod}"](held[0])  # type: ignore[union-attr]  # there are two pods
    await asyncio.sleep(0)
    assert states(pods)[0] == "frozen"


async def test_a_rise_that_was_accepted_a_moment_before_is_not_offered_any_more(pods: Near, here: Visit) -> None:
    # What the phone's pod decides reaches nobody just now, and the fitter's pod has heard of it a moment ago.
    answers_nothing(pods)
    await beat(here, rtt_ms=60_000)
    await pods.west.sweep_care()
    assert states(pods) == ("live", "frozen")
    accepted = await submit(here.ann, change(here.leased))
    assert isinstance(accepted, SubmitAnswer)
    await pods.settle()
    assert here.phone.of(Offer) == []
    found = await care_of(pods.west)._log.delivery("d1", accepted.seq)
    assert found is not None
    assert (found.state, found.code) == ("cancelled", "frozen")


async def test_without_an_answer_it_freezes_and_later_ends(pods: Near, here: Visit) -> None:
    await here.apply(change(here.leased, *louder(-10)))
    answers_nothing(pods)
    await pass_s(pods, here, 8)
    assert states(pods)[0] == "live"
    await pass_s(pods, here, 3)
    assert states(pods)[0] == "frozen"
    assert (await here.fitter.first(ModeChanged, 1)).reason == "freeze"
    assert refused(await submit(here.ann, change(await lease(here.ann), key="k2"))).code == "frozen"
    await pass_s(pods, here, 20)
    assert (await here.fitter.first(ModeChanged, 2)).reason == "phone_lost"
    # Its own pod hears of it in the log.
    assert (await here.phone.first(RevertNow)).cause == "session_ended"


async def test_without_a_bus_it_freezes_and_does_not_end_and_goes_on_when_it_is_back(pods: Near, here: Visit) -> None:
    pods.bus(BusState.DEGRADED)
    await pass_s(pods, here, 11)
    # The phone's pod has both: the phone itself, and the log in which the fitter renews.
    assert states(pods) == ("frozen", "live")
    await pass_s(pods, here, 60)
    assert states(pods) == ("frozen", "live")
    assert isinstance(await submit(here.ann, change(here.leased, *louder(-10), key="low")), SubmitAnswer)
    pods.bus(BusState.CONNECTED)
    await pass_s(pods, here, 2)
    assert states(pods) == ("live", "live")


async def test_a_fitter_who_says_nothing_is_known_where_the_phone_is(pods: Near, here: Visit) -> None:
    await pass_s(pods, here, 11, fitter=False)
    assert states(pods) == ("frozen", "frozen")
    assert (await here.phone.first(ModeChanged, 1)).reason == "freeze"


async def test_a_call_that_is_silent_freezes_where_the_phone_is_too(pods: Near, here: Visit) -> None:
    await here.call("Heartbeat", Heartbeat(device="d1", call="on"), Done)
    await pass_s(pods, here, 12)
    assert states(pods) == ("frozen", "frozen")
    assert (await here.phone.first(ModeChanged, 1)).reason == "freeze"


@pytest.mark.parametrize("method", ["Stop", "Revert"])
async def test_a_stop_of_the_fitter_holds_at_once_where_the_phone_is(pods: Near, here: Visit, method: str) -> None:
    revert = Revert(device="d1", fence=here.leased.fence)
    await here.call(method, revert, Relayed)
    await here.phone.first(RevertNow)
    # Before that pod has looked into the log; after a Revert live work goes on.
    assert states(pods)[1] == ("frozen" if method == "Stop" else "live")


async def test_a_stop_of_the_wearer_holds_at_once_where_rises_are_judged(pods: Near, here: Visit) -> None:
    # His pod cannot put it into the log yet.
    log = log_of(pods.west)
    log.is_away = True
    await here.call("Stop", Revert(device="d1"), Relayed, by=here.pat)
    assert states(pods) == ("frozen", "frozen")
    log.is_away = False
    await eventually(lambda: here.fitter.of(ModeChanged)[-1].reason == "stop")
