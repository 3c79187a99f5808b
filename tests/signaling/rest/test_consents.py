"""Consents over REST: who decides, what is kept, and that live work ends when its consent is taken back."""

import asyncio
from typing import Any

import pytest

from protocol.contract.session import WhoAmIAnswer
from protocol.contract.sessions import ConsentAnswer, ConsentAsked, ModeAnswer, ModeChanged, RevertNow
from protocol.errors import Unavailable
from signaling.stores.assignments import DEVICES_PAGE
from signaling.stores.decisions import Decision, MemoryDecisionStore
from signaling.stores.devices import MemoryDeviceStore
from tests.signaling.care import Connect
from tests.signaling.conftest import House, OpenHouse
from tests.signaling.rest.desk import Said, ask, register
from tests.signaling.visit import Visit, refused, visit

SCOPES = ["live_tuning", "video", "recording", "datalog", "standard_delivery", "support_view"]
PAT = "pat patient device"


async def decide(house: House, scope: str, granted: bool, *, by: str = PAT, **more: Any) -> Said:
    said = await ask(house, f"PUT /patients/pat/consents/{scope}", {"granted": granted, **more}, by=by)
    assert said.status == 200, said
    return said


def state(said: Said, scope: str) -> str:
    return next(str(one["state"]) for one in said.body["consents"] if one["scope"] == scope)


async def test_every_scope_is_there_and_none_was_asked_for(house: House) -> None:
    await register(house)
    said = await ask(house, "GET /patients/pat/consents", by=PAT)
    assert said.body["consents"] == [{"scope": scope, "state": "unasked", "history": []} for scope in SCOPES]


async def test_a_consent_is_given_and_taken_back_and_the_history_is_kept(house: House) -> None:
    await register(house)
    assert state(await decide(house, "video", True), "video") == "granted"
    house.wall.now_s += 60
    said = await decide(house, "video", False, by="ann clinician", reason="said so on the telephone")
    assert state(said, "video") == "withdrawn"
    [video] = [one for one in said.body["consents"] if one["scope"] == "video"]
    assert video["history"] == [
        {"holds": True, "by": "pat", "role": "patient", "at": "2027-01-15T08:00:00.000Z", "reason": ""},
        {
            "holds": False,
            "by": "ann",
            "role": "clinician",
            "at": "2027-01-15T08:01:00.000Z",
            "reason": "said so on the telephone",
        },
    ]
    assert (await ask(house, "GET /patients/pat/consents")).body == said.body


async def test_a_professional_says_why(house: House) -> None:
    await register(house)
    said = await ask(house, "PUT /patients/pat/consents/video", {"granted": True})
    assert (said.code, said.body["detail"]) == ("bad_argument", "reason: a professional says why")


@pytest.mark.parametrize(
    ("by", "status"),
    [
        ("pat patient", 200),
        ("ann clinician", 200),
        ("ann assistant", 200),
        ("amy clinician", 404),
        ("pia patient", 404),
        ("pat device", 403),
        ("boss admin", 403),
        ("ann auditor", 403),
        ("ann representative", 403),
    ],
)
@pytest.mark.parametrize("method", ["GET", "PUT"])
async def test_who_may(house: House, by: str, status: int, method: str) -> None:
    await register(house)
    path = "/patients/pat/consents" + ("" if method == "GET" else "/video")
    body = None if method == "GET" else {"granted": True, "reason": "said so"}
    assert (await ask(house, f"{method} {path}", body, by=by)).status == status


async def test_another_clinics_patient_is_an_unknown_one(house: House) -> None:
    await register(house)
    other = await ask(house, "GET /patients/pat/consents", clinic="c2")
    assert (other.status, other.body) == (404, (await ask(house, "GET /patients/nobody/consents")).body)


async def test_there_is_no_other_scope(house: House) -> None:
    assert (await ask(house, "PUT /patients/pat/consents/everything", {"granted": True}, by=PAT)).code == "not_found"


async def test_a_withdrawal_is_taken_however_much_was_decided(open_house: OpenHouse) -> None:
    house = await open_house(max_decisions=1)
    await decide(house, "video", True)
    said = await ask(house, "PUT /patients/pat/consents/datalog", {"granted": True}, by=PAT)
    assert said.status == 429
    assert state(await decide(house, "video", False), "video") == "withdrawn"


async def test_only_so_many_patients_are_held_in_memory(open_house: OpenHouse) -> None:
    house = await open_house(max_patients=1)
    await decide(house, "video", True)
    said = await ask(house, "PUT /patients/pia/consents/video", {"granted": True}, by="pia patient")
    assert said.status == 429
    assert house.metric("auricle_bound_reached_total", bound="max_patients") == 1
    taken_back = await ask(house, "PUT /patients/pia/consents/live_tuning", {"granted": False}, by="pia patient")
    assert (taken_back.status, state(taken_back, "live_tuning")) == (200, "withdrawn")


async def test_who_says_what_he_has_read_changes_nothing_else(house: House) -> None:
    said = await decide(house, "video", True)
    assert said.tag == '"1"'
    stale = await ask(house, "PUT /patients/pat/consents/datalog", {"granted": True}, by=PAT, If_Match='"0"')
    assert stale.code == "precondition_failed"
    fresh = await ask(house, "PUT /patients/pat/consents/datalog", {"granted": True}, by=PAT, If_Match='"1"')
    assert (fresh.status, fresh.tag) == (200, '"2"')


# What follows for live work


async def ends_live_work(house: House, here: Visit, by: str, **more: Any) -> None:
    # The phone hears over a connection of its own that live work has begun, perhaps after the fitter's answer.
    await here.phone.first(ModeChanged)
    told = len(here.phone.of(ModeChanged))
    await decide(house, "live_tuning", False, by=by, **more)
    revert = await here.phone.first(RevertNow)
    assert (revert.cause, revert.fence) == ("consent_withdrawn", here.leased.fence)
    for end, after in ((here.fitter, 1), (here.phone, told)):
        changed = await end.first(ModeChanged, after)
        assert (changed.mode, changed.state, changed.reason) == ("standard", "none", "consent_withdrawn")
    events = (await ask(house, "GET /devices/d1/history?limit=100")).body["items"]
    assert (events[-1]["kind"], events[-1]["state"], events[-1]["actor"]) == (
        "session",
        "consent_withdrawn",
        by.split(maxsplit=1)[0],
    )


async def test_live_work_ends_when_the_patient_takes_its_consent_back(house: House, connect: Connect) -> None:
    await ends_live_work(house, await visit(connect), PAT)


async def test_live_work_ends_when_a_professional_writes_it_down(house: House, connect: Connect) -> None:
    await ends_live_work(house, await visit(connect), "abe clinician", reason="said so")


@pytest.mark.parametrize("scope", [scope for scope in SCOPES if scope != "live_tuning"])
async def test_other_consents_end_no_live_work(house: House, connect: Connect, scope: str) -> None:
    here = await visit(connect)
    await here.fitter.first(ModeChanged)
    await decide(house, scope, False)
    await house.sweep_care()
    for end in (here.ann, here.pat):
        # What was told before comes before the answer.
        await end.invoke("WhoAmI", result=WhoAmIAnswer)
    assert here.phone.of(RevertNow) == []
    assert [one.state for one in here.fitter.of(ModeChanged)] == ["live"]


async def test_without_the_consent_the_patient_is_not_even_asked(house: House, connect: Connect) -> None:
    here = await visit(connect, live=False)
    await decide(house, "live_tuning", False)
    refusal = refused(await here.set_mode())
    assert (refusal.code, refusal.retryable) == ("consent_withdrawn", False)
    assert here.phone.of(ConsentAsked) == []
    await decide(house, "live_tuning", True)
    assert isinstance(await here.set_mode(), ModeAnswer)
    assert len(here.phone.of(ConsentAsked)) == 1


async def test_who_takes_it_back_while_he_is_asked_has_answered(house: House, connect: Connect) -> None:
    here = await visit(connect, live=False)

    async def withdraw(_: ConsentAsked) -> ConsentAnswer:
        await decide(house, "live_tuning", False)
        return ConsentAnswer(accepted=True)

    here.phone.consent = withdraw
    assert refused(await here.set_mode()).code == "consent_declined"
    await house.sweep_care()
    assert [changed.state for changed in here.fitter.of(ModeChanged)] == []


async def test_live_work_that_begins_while_it_is_taken_back_ends(
    house: House, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = await visit(connect, live=False)
    really = MemoryDecisionStore.decide

    async def meanwhile(store: MemoryDecisionStore, decision: Decision, **more: Any) -> Decision | None:
        assert isinstance(await here.set_mode(), ModeAnswer)
        return await really(store, decision, **more)

    monkeypatch.setattr(MemoryDecisionStore, "decide", meanwhile)
    await decide(house, "live_tuning", False)
    assert (await here.fitter.first(ModeChanged, 1)).reason == "consent_withdrawn"


async def test_with_the_store_away_it_ends_where_his_phone_is_and_he_is_told_that_it_was_not_kept(
    house: House, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(*_: object, **__: object) -> None:
        raise Unavailable("the store is away")

    here = await visit(connect)
    monkeypatch.setattr(MemoryDeviceStore, "of_patient", fails)
    said = await ask(house, "PUT /patients/pat/consents/live_tuning", {"granted": False}, by=PAT)
    assert said.code == "unavailable"
    assert (await here.phone.first(RevertNow)).cause == "consent_withdrawn"
    assert (await here.fitter.first(ModeChanged, 1)).reason == "consent_withdrawn"


async def test_it_ends_on_every_device_that_the_patient_ever_had(house: House, connect: Connect) -> None:
    here = await visit(connect)
    for number in range(DEVICES_PAGE):
        await register(house, f"a{number}", assignments=["amy"])
    # Whoever is assigned to the last of them may write down what the patient has said.
    await ends_live_work(house, here, "abe clinician", reason="said so")


@pytest.mark.parametrize("kept_in", ["", "memory:"])
async def test_of_several_who_have_read_the_same_one_decides(
    open_house: OpenHouse, tmp_path: Any, kept_in: str
) -> None:
    house = await open_house(database_url=kept_in, data=tmp_path)
    path = "PUT /patients/pat/consents/video"
    said = await asyncio.gather(*(ask(house, path, {"granted": n == 0}, by=PAT, If_Match='"0"') for n in range(2)))
    assert sorted(one.status for one in said) == [200, 412]
