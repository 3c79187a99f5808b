"""What is on file of a patient and what a clinic has decided, over the wire: the safety kernel judges by it.

Each test fails when the server leaves the field of ``SafetyContext`` that it is about at its default.
"""

import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from clients.hub_client import HubClient
from fitting.audiogram import STANDARD_AUDIOGRAMS
from fitting.digest import ear_digest
from fitting.limits import KERNEL_LIMITS
from fitting.model import ear_image
from protocol.contract.base import Failure
from protocol.contract.devices import AttachAnswer, LeaseAnswer
from protocol.contract.fitting import (
    BAND_PATHS,
    CheckAnswer,
    Content,
    EarProgram,
    Finding,
    Patch,
    PatchOp,
    Program,
    SubmitAnswer,
)
from protocol.contract.sessions import ExpectedDigests, ModeAnswer, Save, SetMode
from tests.signaling.care import CLAIM, CONTENT, FLAT, Connect, Heard, change, louder
from tests.signaling.conftest import House, OpenHouse
from tests.signaling.visit import refused, visit

DOCS = Path(__file__).parents[2] / "docs"
AID = {"serial": "R-1", "model": "ref10", "firmware": "2.3.1"}
N3 = {str(hz): tenths / 10 for hz, tenths in STANDARD_AUDIOGRAMS["N3"].ears["right"]}


def example(page: str, after: str) -> str:
    """The first JSON block of a documentation page that comes after some words."""
    found = re.search(r"```json\n(.*?)```", (DOCS / page).read_text().partition(after)[2], re.DOTALL)
    assert found
    return found[1]


@pytest.fixture
async def house(open_house: OpenHouse, tmp_path: Path) -> House:
    """A server with the example of the documentation: clinic c1 is stricter."""
    path = tmp_path / "limits.json"
    path.write_text(example("operations.md", "## A clinic's own limits"))
    return await open_house(clinic_limits=str(path))


def mpo(ddb: int, band: int = 0) -> PatchOp:
    return PatchOp(op="add", ear="right", path="mpoDdb", band=band, value=ddb)


async def registered(
    connect: Connect, house: House, *, clinic: str = "c1", **on_file: Any
) -> tuple[HubClient, LeaseAnswer]:
    """A fitter who works live on device d2 of a clinic, registered with this on file."""
    body = {"device": "d2", "patient": "pat", "assignments": ["ann"], "right": AID} | on_file
    headers = house.bearer("ann", clinic=clinic)
    async with house.http.post(f"{house.url}/api/v1/devices", json=body, headers=headers) as answer:
        assert answer.status == 201, await answer.text()
    ann = await connect("ann", "clinician", clinic=clinic)
    phone = await connect("pat", "device", clinic=clinic, heard=Heard())
    await phone.ask("AttachDevice", msgspec.structs.replace(CLAIM, device="d2"), answer=AttachAnswer)
    leased = await ann.ask("AcquireLease", {"device": "d2", "session": "s1"}, answer=LeaseAnswer)
    assert isinstance(leased, LeaseAnswer)
    request = SetMode(device="d2", mode="advanced", reason="a visit", fence=leased.fence)
    assert isinstance(await ann.ask("SetMode", request, answer=ModeAnswer), ModeAnswer)
    return ann, leased


async def both(ann: HubClient, leased: LeaseAnswer, *ops: PatchOp, **options: Any) -> CheckAnswer | Failure:
    """What ``Check`` says; ``Submit`` says no other thing."""
    request = change(leased, *ops, **({"device": "d2"} | options))
    checked = await ann.ask("Check", request, answer=CheckAnswer)
    submitted = await ann.ask("Submit", request, answer=SubmitAnswer)
    if isinstance(checked, Failure):
        assert submitted == checked
    else:
        assert isinstance(submitted, SubmitAnswer)
        assert submitted.safety == checked.safety
    return checked


def reasons(answer: CheckAnswer | Failure) -> set[tuple[object, ...]]:
    assert isinstance(answer, Failure), answer
    return {(one.rule, one.value, one.limit, one.source) for one in answer.errors}


async def test_a_clinics_own_limit_of_a_rise_holds_and_says_that_it_is_the_clinics(
    connect: Connect, house: House
) -> None:
    ann, leased = await registered(connect, house)
    answer = await both(ann, leased, *louder(30))
    assert reasons(answer) == {("K7", 30, 20, "clinic policy")}
    assert isinstance(answer, Failure)
    assert answer.error.message == (
        "K7: right 1000 Hz gain may rise by at most 2.0 dB at once, asked for 3.0 dB (clinic policy)"
    )
    accepted = await both(ann, leased, *louder(20), key="k2")
    assert isinstance(accepted, CheckAnswer)
    limits = accepted.safety.limits
    assert (limits["liveRiseDdb"], limits["mpoCeilingDdb"], limits["sessionRiseDdb"]) == (20, 1_000, 120)


async def test_a_clinics_own_ceiling_of_output_holds(connect: Connect, house: House) -> None:
    ann, leased = await registered(connect, house, audiogram={"right": N3})
    assert reasons(await both(ann, leased, mpo(10))) == {("K2", 1_010, 1_000, "clinic policy")}


async def test_another_clinic_has_the_kernels_own_limits(connect: Connect, house: House) -> None:
    ann, leased = await registered(connect, house, clinic="c2", audiogram={"right": N3})
    answer = await both(ann, leased, *louder(30), mpo(10))
    assert isinstance(answer, CheckAnswer)
    assert answer.safety.limits["liveRiseDdb"] == KERNEL_LIMITS.live_rise_ddb
    assert answer.safety.limits["mpoCeilingDdb"] == KERNEL_LIMITS.mpo_ceiling_ddb


async def test_what_was_found_in_ram_is_not_saved_past_a_clinics_own_ceiling(connect: Connect) -> None:
    here = await visit(connect)
    program = msgspec.structs.replace(CONTENT.programs[0], right=msgspec.structs.replace(FLAT, mpo_ddb=(1_010,) * 10))
    found = msgspec.structs.replace(CONTENT, programs=(program,))
    await here.tell("other_app", found, CONTENT)
    expect = ExpectedDigests(right=ear_digest(ear_image(found, "right")))
    request = Save(device="d1", fence=here.leased.fence, expect=expect, reason="good so", idempotency_key="s")
    answer = await here.ann.ask("Save", request, answer=SubmitAnswer)
    assert ("K2", 1_010, 1_000, "clinic policy") in {(r.rule, r.value, r.limit, r.source) for r in answer.errors}  # type: ignore[union-attr]  # a refusal, or the test fails
    assert refused(answer).code == "unsafe"


def fit(gain_ddb: int, mpo_ddb: int, **more: Any) -> dict[str, Any]:
    """A first fit with one value per path."""
    gain, mpo = (gain_ddb,) * 10, (mpo_ddb,) * 10
    part = EarProgram(g50_ddb=gain, g65_ddb=gain, g80_ddb=gain, mpo_ddb=mpo, **more)
    content = Content(bands_hz=CONTENT.bands_hz, programs=(Program(slot=1, name="Universal", right=part),))
    return {"patch": msgspec.UNSET, "content": content, "origin": "first_fit"}


@pytest.mark.parametrize("levels", [[1_050] * 10, [None] * 9 + [1_050]])
async def test_no_output_above_what_was_measured_as_too_loud(
    connect: Connect, house: House, levels: list[int | None]
) -> None:
    on_file: dict[str, Any] = {"audiogram": {"right": N3}, "loudnessDdb": {"right": levels}}
    ann, leased = await registered(connect, house, clinic="c2", **on_file)
    answer = await both(ann, leased, **fit(100, 1_060))
    assert reasons(answer) == {("K3", 1_060, 1_050, "loudness level on file")}
    assert isinstance(answer, Failure)
    assert len(answer.errors) == sum(level is not None for level in levels)
    assert isinstance(await both(ann, leased, key="k2", **fit(100, 1_050)), CheckAnswer)


async def test_gain_stays_under_the_stable_gain_on_file_in_its_slot_only(connect: Connect, house: House) -> None:
    measured = [{"slot": 1, "right": [None] * 3 + [140] * 7}, {"slot": 2, "right": [50] * 10}]
    ann, leased = await registered(connect, house, clinic="c2", maxStableGainDdb=measured)
    assert reasons(await both(ann, leased, *louder(20))) == {("K6", 120, 110, "feedback measurement")}
    assert isinstance(await both(ann, leased, *louder(10), *louder(20, band=2), key="k2"), CheckAnswer)


async def test_a_clinics_own_margin_to_the_stable_gain_holds(connect: Connect, house: House) -> None:
    measured = [{"slot": 1, "right": [140] * 10}]
    ann, leased = await registered(connect, house, maxStableGainDdb=measured)
    assert reasons(await both(ann, leased, *louder(10))) == {("K6", 110, 80, "clinic policy")}


async def test_what_a_live_session_found_to_be_stable_lowers_what_is_on_file(connect: Connect, house: House) -> None:
    measured = [{"slot": 1, "right": [400] * 10}]
    ann, leased = await registered(connect, house, clinic="c2", maxStableGainDdb=measured)
    newer = await both(ann, leased, **fit(100, 1_000, max_stable_gain_ddb=(140,) * 10))
    assert isinstance(newer, CheckAnswer)
    again = await ann.ask("AcquireLease", {"device": "d2", "session": "s1"}, answer=LeaseAnswer)
    assert isinstance(again, LeaseAnswer)
    # A whole content that leaves the measurement out does not get around it.
    whole = fit(120, 1_000) | {"origin": "fitting"}
    assert ("K6", 120, 110, "feedback measurement") in reasons(await both(ann, again, key="k2", **whole))


@pytest.mark.parametrize("red_flags", [True, False])
async def test_a_red_flag_on_file_is_a_warning_in_advanced_mode_that_is_kept(
    connect: Connect, house: House, red_flags: bool
) -> None:
    ann, leased = await registered(connect, house, redFlags=red_flags)
    answer = await both(ann, leased, *louder(20))
    assert isinstance(answer, CheckAnswer)
    flagged = [finding for finding in answer.safety.findings if finding.rule == "K12"]
    warning = Finding(
        rule="K12",
        severity="warn",
        message="K12: a sign that needs a physician is on file and was not dismissed (red flags on file)",
        source="red flags on file",
    )
    assert flagged == ([warning] if red_flags else [])


async def test_the_registration_of_the_documentation_is_one(connect: Connect, house: House) -> None:
    body: dict[str, Any] = json.loads(example("contract.md", "What is on file of the patient"))
    ann, leased = await registered(connect, house, clinic="c2", **body)
    ops = tuple(PatchOp(op="set", ear="right", path=path, band=7, value=290) for path in BAND_PATHS[:3])
    assert ("K6", 290, 270, "feedback measurement") in reasons(
        await both(ann, leased, patch=Patch(slot=1, ops=ops), reason="loud")
    )


async def test_what_is_on_file_is_in_no_log_and_no_metric(connect: Connect, house: House) -> None:
    levels: dict[str, Any] = {
        "loudnessDdb": {"right": [1_234] * 10},
        "maxStableGainDdb": [{"slot": 1, "right": [987] * 10}],
    }
    await registered(connect, house, **levels)
    bad = {"device": "d3", "patient": "pat", "right": AID, "loudnessDdb": {"right": [1_234]}}
    async with house.http.post(f"{house.url}/api/v1/devices", json=bad, headers=house.bearer("ann")) as answer:
        assert answer.status == 400
    async with house.http.get(f"{house.url}/metrics") as answer:
        shown = house.log.getvalue() + await answer.text()
    assert not re.search(r"1_?234|\b987\b|loudness", shown)
