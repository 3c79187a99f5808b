"""Live work of two pods, when somebody moves: another fitter's connection, a newer phone, a pod that knew nothing."""

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
    ConsentAsked,
    DeviceHeld,
    ModeAnswer,
    ReadBackNow,
    Relayed,
    SetMode,
)
from signaling.backplane import BusState
from signaling.flows.phone_words import AskPhone, Frozen, Wake, word_of
from tests.eventually import eventually
from tests.signaling.care import CLAIM, change, lease, louder, submit
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
from tests.signaling.visit import Told, Visit, refused

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
    answers_again(pods)
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
    for _ in range(9):
        # Not so long that the fitter is missed.
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
    await eventually(lambda: care_of(pods.west)._phones.get("d1") is None)
    waits_for_nobody(pods)
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
