"""The first fit over REST: what a formula makes of the newest audiogram, trimmed, judged, and nothing changed."""

import json
from typing import Any

import msgspec
import pytest

from fitting.audiogram import STANDARD_AUDIOGRAMS
from fitting.capability import SHEETS
from fitting.digest import content_digests
from fitting.prescription import prescribe
from protocol.contract.audiograms import FirstFitAnswer
from protocol.contract.devices import AttachAnswer, LeaseAnswer
from protocol.contract.fitting import CheckAnswer, Content, Submit, SubmitAnswer
from protocol.contract.sessions import ModeAnswer, SetMode
from tests.fitting.fhir_documents import Json
from tests.signaling.care import CLAIM, CONTENT, FLAT, Connect, Heard, change
from tests.signaling.conftest import House, OpenHouse
from tests.signaling.visit import images_of

AID = {"serial": "R-1", "model": "ref10", "firmware": "2.3.1"}
URL = "/api/v1/devices/d7/first-fit"


def decibels(name: str) -> dict[str, float]:
    return {str(hz): ddb / 10 for hz, ddb in STANDARD_AUDIOGRAMS[name].ears["right"]}


async def register(house: House, **more: Any) -> None:
    body = {"device": "d7", "patient": "pat", "assignments": ["ann"], "right": AID} | more
    async with house.http.post(f"{house.url}/api/v1/devices", json=body, headers=house.bearer()) as answer:
        assert answer.status == 201, await answer.text()


async def put_on_file(house: House, name: str) -> str:
    url, body = f"{house.url}/api/v1/devices/d7/audiograms", {"right": decibels(name)}
    async with house.http.post(url, json=body, headers=house.bearer()) as answer:
        assert answer.status == 201
        return str((await answer.json())["audiogram"])


async def ask(house: House, query: str = "", *who: str) -> tuple[int, Json]:
    async with house.http.get(house.url + URL + query, headers=house.bearer(*who)) as answer:
        return answer.status, await answer.json(content_type=None)


async def preview(house: House, query: str = "") -> FirstFitAnswer:
    status, body = await ask(house, query)
    assert status == 200, body
    return msgspec.json.decode(json.dumps(body), type=FirstFitAnswer)


@pytest.mark.parametrize("rationale", ["camfit", "nal_rp"])
@pytest.mark.parametrize("name", ["N3", "N7", "S2"])
async def test_it_is_what_the_formula_makes_of_the_newest_audiogram(house: House, name: str, rationale: Any) -> None:
    await register(house, audiogram={"right": decibels("N1")})
    audiogram_id = await put_on_file(house, name)
    fit = await preview(house, f"?rationale={rationale}")
    wanted = prescribe(STANDARD_AUDIOGRAMS[name], {"right": SHEETS["ref10"]}, rationale)
    assert (fit.audiogram, fit.rationale, fit.label) == (audiogram_id, rationale, "reference computation")
    assert (fit.content, fit.targets, fit.trims) == (wanted.content, dict(wanted.targets), wanted.trims)
    assert fit.digests == content_digests(wanted.content)


async def test_every_trim_names_rule_ear_band_value_and_limit(house: House) -> None:
    await register(house, audiogram={"right": decibels("N4")})
    fit = await preview(house)
    assert {trim.rule for trim in fit.trims} == {"K4"}
    for trim in fit.trims:
        assert (trim.severity, trim.ear) == ("trim", "right")
        assert isinstance(trim.band, int)
        assert isinstance(trim.value, int)
        assert isinstance(trim.limit, int)
        assert trim.limit < trim.value
        assert trim.source


async def test_without_a_query_it_is_camfit_of_what_came_with_the_device(house: House) -> None:
    await register(house, audiogram={"right": decibels("N2")})
    fit = await preview(house)
    assert (fit.rationale, fit.audiogram) == ("camfit", "registered")
    # Nothing is known of the aids yet.
    assert fit.revision is msgspec.UNSET
    assert not fit.fitted


async def live(house: House, connect: Connect) -> tuple[Any, LeaseAnswer]:
    ann, phone = await connect("ann"), await connect("pat", "device", heard=Heard())
    await phone.ask("AttachDevice", msgspec.structs.replace(CLAIM, device="d7"), answer=AttachAnswer)
    leased = await ann.ask("AcquireLease", {"device": "d7", "session": "s1"}, answer=LeaseAnswer)
    assert isinstance(leased, LeaseAnswer)
    mode = SetMode(device="d7", mode="advanced", reason="a visit", fence=leased.fence)
    assert isinstance(await ann.ask("SetMode", mode, answer=ModeAnswer), ModeAnswer)
    return ann, leased


def submitted(leased: LeaseAnswer, content: Content) -> Submit:
    return change(
        leased, device="d7", patch=msgspec.UNSET, content=content, origin="first_fit", reason="first fit", key="fit"
    )


@pytest.mark.parametrize("name", sorted(STANDARD_AUDIOGRAMS))
async def test_whoever_submits_it_is_told_what_it_told(house: House, connect: Connect, name: str) -> None:
    await register(house, audiogram={"right": decibels(name)})
    ann, leased = await live(house, connect)
    fit = await preview(house)
    assert fit.accepted
    checked = await ann.ask("Check", submitted(leased, fit.content), answer=CheckAnswer)
    assert isinstance(checked, CheckAnswer), checked
    assert (checked.digests, checked.safety) == (fit.digests, fit.safety)
    assert isinstance(leased.head, msgspec.Struct)
    assert fit.revision == leased.head.revision


async def test_it_changes_nothing_and_says_when_the_first_change_has_been_made(house: House, connect: Connect) -> None:
    await register(house, audiogram={"right": decibels("N3")})
    ann, leased = await live(house, connect)
    url = f"{house.url}/api/v1/devices/d7/history"

    async def history() -> str:
        async with house.http.get(url, headers=house.bearer()) as answer:
            return await answer.text()

    before = await history()
    fit = await preview(house)
    assert await preview(house) == fit
    assert await history() == before
    assert isinstance(await ann.ask("Submit", change(leased, device="d7"), answer=SubmitAnswer), SubmitAnswer)
    assert (await preview(house)).fitted


async def test_what_was_measured_at_the_ear_trims_it(house: House) -> None:
    stable = [{"slot": 1, "right": [300] * 10}]
    await register(house, audiogram={"right": decibels("N4")}, maxStableGainDdb=stable)
    fit = await preview(house)
    assert fit.accepted
    assert {trim.rule for trim in fit.trims} >= {"K6"}
    right = fit.content.programs[0].right
    assert isinstance(right, msgspec.Struct)
    assert max(right.g50_ddb) <= 270


async def test_another_slots_stable_gain_does_not(house: House) -> None:
    await register(house, audiogram={"right": decibels("N4")}, maxStableGainDdb=[{"slot": 2, "right": [300] * 10}])
    assert "K6" not in {trim.rule for trim in (await preview(house)).trims}


async def test_what_the_aid_holds_as_stable_trims_it_when_that_is_less(house: House, connect: Connect) -> None:
    stable = [{"slot": 1, "right": [600] * 10}]
    await register(house, audiogram={"right": decibels("N4")}, maxStableGainDdb=stable)
    assert "K6" not in {trim.rule for trim in (await preview(house)).trims}
    part = msgspec.structs.replace(FLAT, max_stable_gain_ddb=(200,) * 10)
    held = msgspec.structs.replace(CONTENT, programs=(msgspec.structs.replace(CONTENT.programs[0], right=part),))
    phone = await connect("pat", "device", heard=Heard())
    claim = msgspec.structs.replace(CLAIM, device="d7", right=images_of(held, held))
    assert isinstance(await phone.ask("AttachDevice", claim, answer=AttachAnswer), AttachAnswer)
    fit = await preview(house)
    assert {trim.limit for trim in fit.trims if trim.rule == "K6"} == {170}


async def test_what_is_too_loud_for_the_patient_trims_it(house: House) -> None:
    await register(house, audiogram={"right": decibels("N4")}, loudnessDdb={"right": [1_000] * 10})
    fit = await preview(house)
    assert {(trim.rule, trim.limit) for trim in fit.trims if trim.rule == "K3"} == {("K3", 1_000)}
    assert fit.accepted


async def test_a_clinics_own_limits_trim_it(open_house: OpenHouse, tmp_path: Any) -> None:
    limits = tmp_path / "limits.json"
    limits.write_text(json.dumps({"c1": {"mpoCeilingDdb": 1_000}}))
    house = await open_house(clinic_limits=str(limits))
    await register(house, audiogram={"right": decibels("N7")})
    fit = await preview(house)
    assert {(trim.rule, trim.limit, trim.source) for trim in fit.trims if trim.rule == "K2"} == {
        ("K2", 1_000, "clinic policy")
    }
    assert fit.accepted


@pytest.mark.parametrize(
    ("on_file", "code", "says"),
    [
        ({}, "no_audiogram", "no audiogram is on file"),
        (
            {"left": AID | {"serial": "L-1"}, "audiogram": {"right": decibels("N3")}},
            "not_prescribable",
            "no thresholds for the left ear",
        ),
        (
            {
                "left": {"serial": "L-1", "model": "otc6", "firmware": "1.0"},
                "audiogram": {"right": decibels("N3"), "left": decibels("N3")},
            },
            "not_prescribable",
            "different bands",
        ),
    ],
)
async def test_what_cannot_be_prescribed_is_refused_with_a_code(
    house: House, on_file: Json, code: str, says: str
) -> None:
    await register(house, **on_file)
    status, body = await ask(house)
    assert (status, body["code"], body["error"]["code"]) == (409, code, code)
    assert says in body["detail"]


@pytest.mark.parametrize("query", ["?rationale=nal_nl2", "?rationale=", "?formula=camfit", "?rationale=camfit&x=1"])
async def test_what_is_asked_for_must_be_known(house: House, query: str) -> None:
    await register(house, audiogram={"right": decibels("N3")})
    status, body = await ask(house, query)
    assert (status, body["code"]) == (400, "bad_argument")


@pytest.mark.parametrize(
    ("user", "role", "status"),
    [
        ("ann", "clinician", 200),
        ("ann", "assistant", 403),
        ("pat", "patient", 403),
        ("pat", "device", 403),
        ("zoe", "clinician", 404),
    ],
)
async def test_who_may_ask(house: House, user: str, role: str, status: int) -> None:
    await register(house, audiogram={"right": decibels("N3")})
    assert (await ask(house, "", user, role))[0] == status


async def test_the_refusal_of_a_fit_that_the_kernel_does_not_pass_is_in_the_answer(house: House) -> None:
    # Louder than this is too loud for the patient, and the aid can go no lower than 80 dB SPL.
    await register(house, audiogram={"right": decibels("N3")}, loudnessDdb={"right": [700] * 10})
    fit = await preview(house)
    assert not fit.accepted
    assert {(one.rule, one.severity) for one in fit.safety.findings if one.severity == "refuse"} == {("K3", "refuse")}
