"""FHIR documents are read exactly, or refused with a code; what is only not understood is told."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fitting.audiogram import FREQUENCIES_HZ, STANDARD_AUDIOGRAMS, AudiogramError, audiogram_of, with_marks
from fitting.fhir import read_fhir, write_fhir
from fitting.fhir_errors import FHIR_CODES, FhirError, LeftOut
from protocol.contract.base import EARS
from protocol.errors import AuricleError
from tests.fitting.fhir_documents import (
    Json,
    bundle,
    component,
    concept,
    observation,
    panel,
    read,
    single,
    thresholds,
)

RIGHT = ((500, 350), (1000, 400), (2000, 500), (4000, 600))
REPORT: Json = {"resourceType": "DiagnosticReport", "status": "final", "code": concept("89015-2")}
SUBJECT = {"reference": "Patient/1"}
OTHERS = {"identifier": {"system": "urn:auricle:patient", "value": "other"}}


@pytest.mark.parametrize(
    "document",
    [
        panel(),
        bundle(panel()),
        bundle(panel(), kind="searchset"),
        bundle(*(single(code, value) for code, value in (("89025-1", 35), ("89017-8", 40))), panel(thresholds()[2:])),
        REPORT | {"contained": [panel()]},
        bundle(REPORT, panel()),
        bundle(REPORT | {"status": "appended"}, panel(status="corrected")),
        panel(subject=SUBJECT, note=[{"text": "calm"}], device={"display": "an audiometer"}),
        panel(effectiveDateTime=None) | {"effectiveDateTime": "2026-11-20"},
        {**panel(), "effectivePeriod": {"start": "2026-11-20T08:00:00Z"}, "effectiveDateTime": ""},
    ],
    ids=["observation", "bundle", "searchset", "mixed", "contained", "beside", "corrected", "more", "day", "period"],
)
def test_thresholds_are_read_wherever_a_document_keeps_them(document: Json) -> None:
    found = read(document)
    assert dict(found.audiogram.ears) == {"right": RIGHT}
    assert found.measured_on == "2026-11-20"
    assert [one.reason for one in found.left_out] == []


def test_both_ears_are_read_apart() -> None:
    left = {"89024-4": 10, "89016-0": 15.5, "89018-6": 20, "89022-8": -10}
    found = read(panel(thresholds() + thresholds(left)))
    assert found.audiogram.ears["left"] == ((500, 100), (1000, 155), (2000, 200), (4000, -100))
    assert found.audiogram.ears["right"] == RIGHT
    assert list(found.audiogram.ears) == ["right", "left"]


def test_a_tone_that_was_not_heard_is_marked_and_so_is_masking() -> None:
    quantity = component("89023-6", 110)["valueQuantity"] | {"comparator": ">"}
    masked = [{"url": "urn:auricle:masked", "valueBoolean": True}, {"url": "urn:somebody:else", "valueString": "x"}]
    parts = [*thresholds()[:2], component("89019-4", 50, extension=masked)]
    found = read(panel([*parts, component("89023-6", 110, valueQuantity=quantity)]))
    assert found.audiogram.no_response == {"right": (4000,)}
    assert found.audiogram.masked == {"right": (2000,)}
    assert found.audiogram.ears["right"][-1] == (4000, 1_100)


@pytest.mark.parametrize("day", ["", "2026", "2026-11"])
def test_a_day_that_is_not_said_is_not_made_up(day: str) -> None:
    assert read(panel(effectiveDateTime=day)).measured_on == ""


ABSENT = {"code": concept("89027-7"), "dataAbsentReason": {"coding": [{"code": "not-performed"}]}}
BONE = {"text": "bone conduction", "coding": [{"system": "urn:x", "code": "bone"}]}


@pytest.mark.parametrize(
    ("document", "left_out"),
    [
        (panel([*thresholds(), component("12345-6", 5)]), ("Observation.component[4]", "unknown_code", "12345-6")),
        (panel([*thresholds(), {"code": {"text": "ULL"}}]), ("Observation.component[4]", "unknown_code", "")),
        (panel([*thresholds(), ABSENT]), ("Observation.component[4]", "not_measured", "not-performed")),
        (panel([*thresholds(), {"code": concept("89027-7")}]), ("Observation.component[4]", "not_measured", "")),
        (panel([*thresholds(), component("91376-4", 60)]), ("Observation.component[4]", "frequency", "91376-4")),
        (
            REPORT | {"contained": [panel(), REPORT | {"contained": [panel()]}]},
            ("DiagnosticReport.contained[1]", "resource", "DiagnosticReport"),
        ),
        (bundle(panel(), {"resourceType": "Patient"}), ("Bundle.entry[1].resource", "resource", "Patient")),
        (bundle(panel(), single("8867-4", 70)), ("Bundle.entry[1].resource", "unknown_code", "8867-4")),
        (
            bundle(panel(), observation(code=concept("12345-6"), component=thresholds())),
            ("Bundle.entry[1].resource", "unknown_code", "12345-6"),
        ),
        (bundle(panel(), panel(method=BONE)), ("Bundle.entry[1].resource.method", "method", "bone")),
    ],
)
def test_what_is_not_understood_or_not_measured_is_left_out_and_told(
    document: Json, left_out: tuple[str, Any, str]
) -> None:
    found = read(document)
    assert found.audiogram.ears["right"] == RIGHT
    assert found.left_out == (LeftOut(*left_out),)


def changed(index: int, **changes: Any) -> list[Json]:
    parts = thresholds()
    parts[index] = parts[index] | changes
    return parts


def quantity(**changes: Any) -> list[Json]:
    return changed(0, valueQuantity=thresholds()[0]["valueQuantity"] | changes)


@pytest.mark.parametrize(
    ("document", "code", "says"),
    [
        (5, "not_fhir", "resourceType"),
        ({}, "not_fhir", "resourceType"),
        ({"resourceType": "Patient"}, "not_fhir", "only an Observation"),
        ({"resourceType": ["Bundle"]}, "not_fhir", "resourceType"),
        (bundle(panel(), kind="history"), "not_fhir", "Bundle"),
        (bundle(panel(), kind="transaction"), "not_fhir", "Bundle"),
        (bundle() | {"entry": {}}, "not_fhir", "Bundle.entry"),
        (bundle() | {"entry": [{"resource": 5}]}, "not_fhir", "entry[0].resource"),
        (panel(component=[5]), "not_fhir", "Observation.component"),
        (panel(code=[]), "not_fhir", "Observation.code"),
        (panel(status=5), "not_fhir", "Observation.status"),
        (panel(effectiveDateTime="2026-13-01"), "not_fhir", "no date"),
        (panel(changed(0, extension=[{"url": "urn:auricle:masked", "valueBoolean": 1}])), "not_fhir", "masked"),
        (panel(thresholds() * 26), "too_many_entries", "at most 100"),
        (bundle(*[{"resourceType": "Patient"}] * 101), "too_many_entries", "at most 100"),
        (panel(changed(0, code={"coding": [{}] * 21})), "too_many_entries", "at most 20"),
        (panel(modifierExtension=[{"url": "urn:not"}]), "unknown_modifier", "modifierExtension"),
        (panel(changed(0, modifierExtension=[{"url": "urn:not"}])), "unknown_modifier", "component[0]"),
        (panel(implicitRules="urn:rules"), "unknown_modifier", "implicitRules"),
        (bundle(panel()) | {"implicitRules": "urn:rules"}, "unknown_modifier", "Bundle.implicitRules"),
        (panel(status="preliminary"), "not_final", "status"),
        (panel(status="entered-in-error"), "not_final", "status"),
        ({**panel(), "status": ""}, "not_final", "status"),
        (bundle(REPORT | {"status": "entered-in-error"}, panel()), "not_final", "entry[0]"),
        (panel(quantity(unit="dB SPL")), "wrong_unit", "dB HL"),
        (panel(quantity(code="dB[SPL]")), "wrong_unit", "dB HL"),
        (panel(quantity(system="urn:x")), "wrong_unit", "dB HL"),
        (panel(quantity(code="")), "wrong_unit", "dB HL"),
        (panel(quantity(comparator="<")), "unsupported_value", "comparator"),
        (panel(quantity(comparator="<=")), "unsupported_value", "comparator"),
        (panel(quantity(comparator=">=")), "unsupported_value", "comparator"),
        (panel(changed(0, valueQuantity=None, valueInteger=35)), "unsupported_value", "one valueQuantity"),
        (panel([*thresholds()[1:], {"code": concept("89025-1"), "valueString": "35"}]), "unsupported_value", "one"),
        (panel(changed(0, dataAbsentReason={"text": "why"})), "contradiction", "a reason why there is none"),
        (panel(changed(0, code=concept("89025-1", display="Ear - left --500 Hz"))), "contradiction", "left ear"),
        (panel(changed(0, code=concept("89025-1", display="Ear - right --2000 Hz"))), "contradiction", "2000 Hz"),
        (panel(changed(0, code=concept("89025-1") | {"text": "left"})), "contradiction", "left ear"),
        (
            panel(changed(0, code={"coding": [*concept("89025-1")["coding"], *concept("89024-4")["coding"]]})),
            "contradiction",
            "different ears",
        ),
        (
            panel(bodySite={"coding": [{"system": "http://snomed.info/sct", "code": "89644007"}]}),
            "contradiction",
            "bodySite",
        ),
        (panel([*thresholds(), component("89025-1", 35)]), "duplicate_threshold", "right 500 Hz"),
        (bundle(panel(), single("89025-1", 35)), "duplicate_threshold", "right 500 Hz"),
        (
            bundle(panel(thresholds()[1:]), single("89025-1", 35, effectiveDateTime="2026-11-19")),
            "different_tests",
            "different days",
        ),
        (bundle(panel(thresholds()[1:]), single("89025-1", 35, effectiveDateTime="")), "different_tests", "days"),
        (panel(subject=OTHERS), "wrong_patient", "another patient"),
        (
            bundle(panel(thresholds()[1:], subject=SUBJECT), single("89025-1", 35, subject={"reference": "Patient/2"})),
            "wrong_patient",
            "different people",
        ),
        (panel([]), "bad_audiogram", "empty"),
        (panel(thresholds()[1:]), "bad_audiogram", "right: too few frequencies, 500 Hz missing"),
        (panel([*thresholds(), component("89024-4", 10)]), "bad_audiogram", "left: too few frequencies"),
        (panel(quantity(value=121)), "bad_audiogram", "from -10 to 120"),
        (panel(quantity(value="35")), "bad_audiogram", "must be a number"),
        (panel(quantity(value=True)), "bad_audiogram", "must be a number"),
        (panel(quantity(value=None)), "bad_audiogram", "must be a number"),
        (panel(quantity(value=float("nan"))), "bad_audiogram", "from -10 to 120"),
        (panel(quantity(value=35.05)), "bad_audiogram", "multiple of 0.1"),
    ],
)
def test_what_cannot_be_trusted_is_refused_with_a_code_and_where(document: Any, code: str, says: str) -> None:
    with pytest.raises(AuricleError) as caught:
        read(document)
    assert (caught.value.code, says in caught.value.public_message) == (code, True), caught.value.public_message
    assert "\n" not in caught.value.public_message
    assert code in (*FHIR_CODES, "bad_audiogram")


def test_an_audiogram_of_ours_is_read_for_its_patient_only() -> None:
    mine = panel(subject={"identifier": {"system": "urn:auricle:patient", "value": "pat"}})
    assert read(mine, patient="pat").audiogram.ears
    with pytest.raises(FhirError):
        read(mine, patient="pia")


@pytest.mark.parametrize(
    "code",
    [concept("89015-2", display="Bone conduction audiometry"), concept("89015-2") | {"text": "Bone conduction right"}],
)
def test_words_beside_the_code_of_a_panel_are_read_too(code: Json) -> None:
    with pytest.raises(FhirError, match="bone") as caught:
        read(panel(code=code))
    assert caught.value.code == "contradiction"
    assert read(panel(code=concept("89015-2", display="Pure tone air conduction threshold panel"))).audiogram.ears


def undated(**more: Any) -> Json:
    return {name: value for name, value in panel(**more).items() if name != "effectiveDateTime"}


@pytest.mark.parametrize(
    ("report", "inner", "day"),
    [
        ({"effectiveDateTime": "2020-01-30"}, undated(), "2020-01-30"),
        ({"effectivePeriod": {"start": "2020-01-30T10:00:00Z"}}, undated(), "2020-01-30"),
        ({"effectiveDateTime": "2020-01-30"}, panel(), "2026-11-20"),
        ({}, undated(), ""),
    ],
)
def test_what_a_report_contains_is_of_its_day_unless_it_says_another(report: Json, inner: Json, day: str) -> None:
    assert read(REPORT | report | {"contained": [inner]}).measured_on == day


PIA = {"system": "urn:auricle:patient", "value": "pia"}
OF_PIA = {"resourceType": "Patient", "identifier": [{"system": "http://other.example", "value": "7"}, PIA]}


@pytest.mark.parametrize(
    "document",
    [
        {**REPORT, "subject": {"identifier": PIA}},
        {**REPORT, "subject": {"reference": "Patient/2"}, "contained": [panel(subject=SUBJECT)]},
        {**REPORT, "contained": [panel(subject=SUBJECT), OF_PIA]},
        bundle(panel(subject=SUBJECT), OF_PIA),
        bundle(OF_PIA, REPORT),
        panel(subject={"reference": "#p"}, contained=[{**OF_PIA, "id": "p"}]),
        bundle({"resourceType": "Composition", "subject": {"identifier": PIA}}, panel()),
    ],
    ids=["report", "two people", "beside it", "in the bundle", "before a report", "inside", "composition"],
)
def test_whoever_else_is_meant_anywhere_in_a_document_is_noticed(document: Json) -> None:
    with pytest.raises(FhirError) as caught:
        read(document, patient="pat")
    assert caught.value.code == "wrong_patient"


def test_a_patient_beside_the_findings_may_be_ours_or_known_elsewhere_only() -> None:
    ours = {"resourceType": "Patient", "identifier": [{"system": "urn:auricle:patient", "value": "pat"}]}
    theirs = {"resourceType": "Patient", "identifier": [{"system": "http://other.example", "value": "7"}]}
    for known in (ours, theirs, {"resourceType": "Patient"}):
        assert read(bundle(panel(subject=SUBJECT), known), patient="pat").audiogram.ears


@pytest.mark.parametrize(
    "data", [b"", b"{", b"\xff", b"[" * 60_000, b" " * 65_537, b'{"resourceType": "Bundle", "resourceType": "x"}']
)
def test_bytes_that_are_no_document_are_refused(data: bytes) -> None:
    with pytest.raises(AudiogramError):
        read_fhir(data, patient="pat")


AUDIOGRAMS = st.dictionaries(
    st.sampled_from(EARS),
    st.dictionaries(st.sampled_from(FREQUENCIES_HZ), st.integers(-100, 1_200)).map(
        lambda points: dict.fromkeys((500, 1000, 2000, 4000), 0) | points
    ),
    min_size=1,
).map(audiogram_of)


@given(AUDIOGRAMS, st.data(), st.dates().map(lambda day: day.isoformat()) | st.just(""))
def test_what_is_written_is_read_back_as_it_was(audiogram: Any, data: st.DataObject, measured_on: str) -> None:
    frequencies = {ear: [frequency for frequency, _ in points] for ear, points in audiogram.ears.items()}
    marks = [
        {ear: data.draw(st.lists(st.sampled_from(known), unique=True)) for ear, known in frequencies.items()}
        for _ in range(2)
    ]
    marked = with_marks(audiogram, masked=marks[0], no_response=marks[1])
    written = write_fhir(marked, audiogram_id="a-1", patient="pat", measured_on=measured_on)
    found = read(written)
    assert (found.audiogram, found.measured_on, found.left_out) == (marked, measured_on, ())


def test_what_is_written_names_no_person_and_no_label() -> None:
    named = audiogram_of({"right": dict(RIGHT)}, "Mrs Jones")
    text = json.dumps(write_fhir(named, audiogram_id="a-1", patient="pat", measured_on=""))
    assert "Jones" not in text
    assert read(json.loads(text)).audiogram.name == ""


def test_one_audiogram_has_one_name_in_every_copy_and_another_one_another() -> None:
    names = {
        write_fhir(STANDARD_AUDIOGRAMS[of], audiogram_id=one, patient="pat", measured_on="")["entry"][0]["fullUrl"]
        for of, one in (("N3", "a-1"), ("N3", "a-1"), ("N3", "a-2"))
    }
    assert len(names) == 2


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=10,
)


@given(st.data())
def test_any_part_of_any_shape_is_read_or_refused(data: st.DataObject) -> None:
    # A copy: the pieces are shared with other tests.
    document = json.loads(json.dumps(bundle(panel(subject=SUBJECT, bodySite={"coding": []}), REPORT)))
    place: Any = document
    while isinstance(place, (dict, list)) and place:
        key = data.draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
        if data.draw(st.booleans()) or not isinstance(place[key], (dict, list)):
            place[key] = data.draw(JSON)
            break
        place = place[key]
    try:
        found = read(document)
    except (FhirError, AudiogramError):
        return
    assert found.audiogram.ears
