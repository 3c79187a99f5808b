"""Live work whose fitter hangs on one pod and whose phone on another: who begins it, who freezes it, who may end it."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from protocol.contract.devices import (
    AcquireLease,
    AttachAnswer,
    DeliveryAnswer,
    DeliveryQuery,
    LeaseAnswer,
    Offer,
)
from protocol.contract.fitting import SubmitAnswer
from protocol.contract.sessions import (
    ConsentAnswer,
    ConsentAsked,
    DeviceHeld,
    Done,
    Heartbeat,
    Hold,
    LeaseRenewed,
    ModeAnswer,
    ModeChanged,
    ReadBackNow,
    Relayed,
    Revert,
    RevertNow,
    SessionAlive,
    SetMode,
)
from signaling.backplane import BusState
from signaling.flows import far_phones
from signaling.flows.phone_words import AskPhone, Frozen, Wake, word_of
from tests.eventually import eventually
from tests.signaling.away import log_of
from tests.signaling.care import CLAIM, change, lease, louder, submit
from tests.signaling.near import Near, care_of, near
from tests.signaling.visit import Told, Visit, refused, visit


@pytest.fixture
async def pods(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Near]:
    async with near(monkeypatch) as pods:
        yield pods


@pytest.fixture
async def here(pods: Near) -> Visit:
    """Live work that was begun on the fitter's pod."""
    return await visit(pods.connect)


@pytest.fixture
async def before(pods: Near) -> Visit:
    """Both ends, before anything has begun."""
    return await visit(pods.connect, live=False)


async def beat(here: Visit, **more: Any) -> None:
    await here.call("Heartbeat", Heartbeat(device="d1", **more), Done, by=here.pat)


async def renew(here: Visit) -> LeaseRenewed:
    hold = Hold(device="d1", session="s1", fence=here.leased.fence)
    return await here.call("RenewLease", hold, LeaseRenewed)


async def pass_s(pods: Near, here: Visit, seconds: int, *, phone: bool = True, fitter: bool = True) -> None:
    """Time passes in steps of a second; who is there says so every other one."""
    for second in range(seconds):
        pods.wall.now_s += 1
        pods.monotonic.now_s += 1
        pods.sweep()
        if second % 2 == 0:
            if phone:
                await beat(here)
            if fitter:
                await renew(here)
        await pods.sweep_care()


def states(pods: Near) -> tuple[str, str]:
    """The session as the fitter's pod knows it, and the phone's."""
    return care_of(pods.east)._session.state_of("d1"), care_of(pods.west)._session.state_of("d1")


def answers_nothing(pods: Near) -> None:
    """The pod of the phone says nothing any more, as if it were dead and nobody had noticed."""
    pods.buses[1].loses = lambda *_: True


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
    patience = care_of(pods.east)._session._judging._far
    monkeypatch.setattr(patience, "_patience_s", 0.05)

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
    monkeypatch.setattr(care_of(pods.east)._session._judging._far, "_patience_s", 0.05)

    async def lose(_: ConsentAsked) -> ConsentAnswer:
        answers_nothing(pods)
        return ConsentAnswer(accepted=True)

    before.phone.consent = lose
    assert refused(await before.set_mode()).retryable
    pods.buses[1].loses = lambda *_: False
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


# Who comes later


async def test_a_fitter_who_goes_on_over_another_pod_knows_at_once_how_it_stands(pods: Near, here: Visit) -> None:
    await beat(here, foreground=False)
    pods.monotonic.now_s += 11
    for foreground, state in ((False, "frozen"), (True, "live")):
        care_of(pods.east)._session._watched.clear()
        await renew(here)
        await beat(here, foreground=foreground)
        pods.monotonic.now_s += 0.1
        await pods.west.sweep_care()
        ann = await pods.connect("ann", "clinician")
        request = AcquireLease(device="d1", session="s1")
        assert isinstance(await ann.ask("AcquireLease", request, answer=LeaseAnswer), LeaseAnswer)
        assert states(pods)[0] == state


async def test_a_rise_over_a_pod_that_knows_nothing_of_the_session_is_refused(pods: Near, here: Visit) -> None:
    request = change(await lease(here.ann))
    care_of(pods.east)._session._watched.clear()
    assert refused(await submit(here.ann, request)).code == "frozen"


async def test_a_fitter_who_only_renews_his_lease_over_another_pod_goes_on(pods: Near, here: Visit) -> None:
    request = change(await lease(here.ann))
    await here.ann.stop()
    await eventually(lambda: pods.east.app_sessions() == 0)
    care_of(pods.east)._session._watched.clear()
    await pods.sweep_care()
    assert states(pods)[0] == "frozen"
    here.ann = await pods.connect("ann", "clinician")
    assert (await renew(here)).state == "live"
    await pass_s(pods, here, 15)
    assert states(pods) == ("live", "live")
    assert isinstance(await submit(here.ann, request), SubmitAnswer)


async def test_a_session_that_a_pod_only_learns_of_is_frozen_until_its_phone_is_heard_of(
    pods: Near, here: Visit
) -> None:
    care_of(pods.east)._session._watched.clear()
    answers_nothing(pods)
    await care_of(pods.east)._session.compare("d1")
    assert states(pods)[0] == "frozen"
    await pods.east.sweep_care()
    assert states(pods)[0] == "frozen"
    pods.buses[1].loses = lambda *_: False
    pods.monotonic.now_s += 2
    await pods.sweep_care()
    assert states(pods)[0] == "live"


async def test_a_pod_with_nobody_of_it_says_nothing(pods: Near, here: Visit) -> None:
    await here.ann.stop()
    await eventually(lambda: pods.east.app_sessions() == 0)
    said: list[str] = []

    def listen_in(channel: str, _: bytes) -> bool:
        said.append(channel)
        return False

    pods.buses[0].loses = listen_in
    for _ in range(40):
        pods.monotonic.now_s += 1
        await beat(here)
        await pods.sweep_care()
    assert said == []
    assert states(pods)[1] == "live"


# What is asked of it


async def test_a_read_back_reaches_the_phone_and_says_whether_one_was_there(pods: Near, before: Visit) -> None:
    assert await before.call("ReadBack", DeviceHeld(device="d1"), Relayed) == Relayed(relayed=True)
    assert (await before.phone.first(ReadBackNow)).device == "d1"
    await before.pat.stop()
    await eventually(lambda: pods.west.app_sessions() == 0)
    assert await before.call("ReadBack", DeviceHeld(device="d1"), Relayed) == Relayed(relayed=False)


async def test_no_more_is_asked_at_a_time_than_may_be(
    pods: Near, before: Visit, monkeypatch: pytest.MonkeyPatch
) -> None:
    asks = care_of(pods.east)._session._judging._far._asks
    assert asks is not None
    monkeypatch.setattr(asks, "_max_open", 0)
    assert await before.call("ReadBack", DeviceHeld(device="d1"), Relayed) == Relayed(relayed=False)
    assert pods.east.metric("auricle_bound_reached_total", bound="max_pod_asks") == 1


async def test_who_may_not_fit_a_device_any_more_hears_nothing_on_any_pod(pods: Near, before: Visit) -> None:
    told = Told()
    abe = await pods.connect("abe", "clinician", heard=told, on=pods.west)
    await abe.ask("GetDelivery", DeliveryQuery(device="d1", epoch="", seq=1), answer=DeliveryAnswer)
    phones = care_of(pods.west)._phones
    assert phones.is_watched_here("d1")
    url = f"{pods.east.url}/api/v1/devices/d1/assignments/abe"
    body = {"reason": "moved away"}
    async with pods.east.http.delete(url, json=body, headers=pods.east.bearer("ann")) as answer:
        assert answer.status in {200, 204}, await answer.text()
    await eventually(lambda: not phones.is_watched_here("d1"))


# The newest phone wins


async def attach(pods: Near, phone: Told, on: Any) -> AttachAnswer:
    pat = await pods.connect("pat", "patient", "device", heard=phone, on=on)
    claim = msgspec.structs.replace(CLAIM, epoch="")
    answer = await pat.ask("AttachDevice", claim, answer=AttachAnswer)
    assert isinstance(answer, AttachAnswer)
    return answer


async def test_a_phone_that_attaches_elsewhere_ends_the_older_connection(pods: Near, here: Visit) -> None:
    newer = Told()
    await attach(pods, newer, pods.east)
    await eventually(lambda: pods.west.app_sessions() == 0)
    assert care_of(pods.west)._phones.get("d1") is None
    assert "phone:d1" not in pods.buses[1]._handlers
    assert isinstance(await submit(here.ann, change(here.leased, *louder(-10))), SubmitAnswer)
    await newer.first(Offer)
    assert here.phone.of(Offer) == []


async def test_a_word_of_an_older_attachment_ends_nothing(pods: Near, here: Visit) -> None:
    phone = care_of(pods.west)._phones.get("d1")
    assert phone is not None
    for generation in (0, phone.generation - 1, phone.generation):
        care_of(pods.west)._phones.outdated("d1", generation)
    assert care_of(pods.west)._phones.get("d1") is phone
    await beat(here)


async def test_an_older_phone_is_not_asked_for_anything(pods: Near, before: Visit) -> None:
    newer = Told()
    # Nobody hears that it has attached.
    for bus in pods.buses:
        bus.loses = lambda *_: True
    await attach(pods, newer, pods.east)
    for bus in pods.buses:
        bus.loses = lambda *_: False
    again = await pods.connect("ann", "clinician", on=pods.west)
    request = SetMode(device="d1", mode="advanced", reason="a visit", fence=before.leased.fence)
    assert isinstance(await again.ask("SetMode", request, answer=ModeAnswer), ModeAnswer)
    assert (len(before.phone.of(ConsentAsked)), len(newer.of(ConsentAsked))) == (0, 1)
    assert care_of(pods.west)._phones.get("d1") is None


@pytest.mark.parametrize("is_live", [True, False])
async def test_without_a_bus_an_older_phone_is_let_go_when_the_log_tells_of_a_newer_one(
    pods: Near, before: Visit, is_live: bool
) -> None:
    if is_live:
        await before.go_live()
    pods.bus(BusState.DEGRADED)
    newer = Told()
    await attach(pods, newer, pods.east)
    assert care_of(pods.west)._phones.get("d1") is not None
    if is_live:
        await pods.sweep_care()
    else:
        # What looks into the log while the bus is away.
        care = pods.lookouts[1]
        pods.monotonic.now_s += 10
        await care.look()
    await eventually(lambda: pods.west.app_sessions() == 0)
    assert care_of(pods.west)._phones.get("d1") is None
    assert care_of(pods.east)._phones.get("d1") is not None


async def test_a_phone_that_comes_to_a_pod_that_only_knew_of_its_session_goes_on(pods: Near, here: Visit) -> None:
    # The fitter is on a third connection, so that his own pod has nobody.
    await here.ann.stop()
    await eventually(lambda: pods.east.app_sessions() == 0)
    care_of(pods.east)._session._watched.clear()
    await pods.sweep_care()
    assert states(pods) == ("frozen", "live")
    here.ann = await pods.connect("ann", "clinician", on=pods.west)
    accepted = await submit(here.ann, change(await lease(here.ann)))
    assert isinstance(accepted, SubmitAnswer)
    newer = Told()
    await attach(pods, newer, pods.east)
    assert (await newer.first(Offer)).seq == accepted.seq
    assert states(pods)[0] == "live"


def test_what_is_no_word_is_refused() -> None:
    assert word_of(msgspec.msgpack.encode(Wake())) == Wake()
    for wire in (b"", b"\xc0", msgspec.msgpack.encode((9,)), msgspec.msgpack.encode((3, "x"))):
        with pytest.raises(msgspec.MsgspecError):
            word_of(wire)
    assert AskPhone.__struct_config__.frozen
    assert Frozen("d1", 1) == msgspec.msgpack.decode(msgspec.msgpack.encode(Frozen("d1", 1)), type=Frozen)
