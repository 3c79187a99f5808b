"""Audiograms over REST: as JSON and as FHIR, who may, which one counts, and what cannot be put on file."""

import json
from typing import Any

import msgspec
import pytest

from fitting.audiogram import STANDARD_AUDIOGRAMS
from fitting.fhir import read_fhir
from protocol.contract.base import Failure
from protocol.contract.devices import AttachAnswer, LeaseAnswer
from protocol.contract.fitting import CheckAnswer, Patch, PatchOp
from protocol.contract.sessions import ModeAnswer, SetMode
from tests.fitting.fhir_documents import Json, component, panel, thresholds
from tests.signaling.care import CLAIM, Connect, Heard, change
from tests.signaling.conftest import House, OpenHouse

FHIR = "application/fhir+json"
AID = {"serial": "R-1", "model": "ref10", "firmware": "2.3.1"}
MILD = {"500": 10, "1000": 10, "2000": 15, "4000": 30}
N3 = {str(hz): ddb / 10 for hz, ddb in STANDARD_AUDIOGRAMS["N3"].ears["right"]}
URL = "/api/v1/devices/d7/audiograms"


@pytest.fixture
async def house(open_house: OpenHouse) -> House:
    """Clinician ann is assigned to pat's right aid, registered with a mild loss."""
    return await registered(await open_house())


async def registered(house: House, device: str = "d7", **more: Any) -> House:
    body = {"device": device, "patient": "pat", "assignments": ["ann", "abe"], "right": AID} | more
    if "audiogram" not in more:
        body["audiogram"] = {"right": MILD}
    if body["audiogram"] is None:
        del body["audiogram"]
    assert (await call(house, "POST", "/api/v1/devices", body))[0] == 201
    return house


async def call(
    house: House, method: str, path: str, body: Any = None, *who: str, kind: str = "application/json", **headers: str
) -> tuple[int, Any, Any]:
    """Status, body and headers; ``headers`` with underscores for dashes."""
    sent = house.bearer(*who) | {name.replace("_", "-"): value for name, value in headers.items()}
    data = None
    if body is not None:
        data, sent["Content-Type"] = body if isinstance(body, bytes) else json.dumps(body).encode(), kind
    async with house.http.request(method, house.url + path, data=data, headers=sent) as answer:
        text = await answer.read()
        return answer.status, json.loads(text) if text else None, answer.headers


async def test_an_audiogram_is_put_on_file_and_read_as_it_was_given(house: House) -> None:
    given = {
        "name": "of today",
        "right": N3,
        "left": MILD,
        "masked": {"right": [500]},
        "noResponse": {"left": [4000, 2000]},
        "measuredOn": "2026-11-20",
    }
    status, stored, headers = await call(house, "POST", URL, given)
    assert status == 201
    assert headers["Location"] == f"{URL}/{stored['audiogram']}"
    assert {key: stored[key] for key in given} == given | {"noResponse": {"left": [2000, 4000]}}
    assert (stored["source"], stored["method"], stored["counts"]) == ("manual", "clinical", True)
    assert (stored["recordedBy"], stored["recordedAt"]) == ("ann", "2027-01-15T08:00:00.000Z")
    status, read, headers = await call(house, "GET", headers["Location"])
    assert (status, read) == (200, stored)
    assert headers["Content-Type"] == "application/json"


async def test_what_came_with_the_device_is_its_first_and_counts_until_there_is_another(house: House) -> None:
    first: Json = {
        "ok": True,
        "device": "d7",
        "audiogram": "registered",
        "source": "registration",
        "method": "clinical",
        "counts": True,
        "name": "",
        "right": {key: float(value) for key, value in MILD.items()},
        "leftOut": [],
    }
    assert (await call(house, "GET", f"{URL}/registered"))[1] == first
    assert (await call(house, "GET", URL))[1] == {"ok": True, "items": [first]}
    stored = (await call(house, "POST", URL, {"right": N3}))[1]
    assert (await call(house, "GET", URL))[1]["items"] == [stored, first | {"counts": False}]


async def test_a_device_without_any_has_an_empty_list(house: House) -> None:
    await registered(house, "d2", audiogram=None)
    assert (await call(house, "GET", "/api/v1/devices/d2/audiograms"))[1] == {"ok": True, "items": []}
    assert (await call(house, "GET", "/api/v1/devices/d2/audiograms/registered"))[0] == 404


async def test_pages_follow_each_other_down_to_the_first(house: House) -> None:
    made = [(await call(house, "POST", URL, {"right": MILD}))[1]["audiogram"] for _ in range(3)]
    path, found = f"{URL}?limit=2", []
    while path:
        _, page, headers = await call(house, "GET", path)
        found.append([item["audiogram"] for item in page["items"]])
        path = headers.get("Link", "").partition(">")[0].removeprefix("<")
    assert found == [[made[2], made[1]], [made[0], "registered"]]
    _, page, _ = await call(house, "GET", f"{URL}?limit=3")
    assert (await call(house, "GET", f"{URL}?limit=3&after={page['next']}"))[1]["items"][0]["source"] == "registration"


async def test_a_fhir_document_is_put_on_file_and_what_was_left_out_is_told(house: House) -> None:
    document = panel([*thresholds(), component("12345-6", 5)])
    status, stored, _ = await call(house, "POST", URL, document, kind=FHIR)
    assert status == 201
    assert stored["leftOut"] == [{"where": "Observation.component[4]", "reason": "unknown_code", "code": "12345-6"}]
    assert (stored["source"], stored["measuredOn"]) == ("fhir", "2026-11-20")
    assert stored["right"] == {"500": 35.0, "1000": 40.0, "2000": 50.0, "4000": 60.0}
    assert (await call(house, "GET", f"{URL}/{stored['audiogram']}"))[1] == stored | {"leftOut": []}


async def test_an_audiogram_is_given_as_fhir_to_who_asks_for_it(house: House) -> None:
    given = {"right": N3, "noResponse": {"right": [6000]}, "measuredOn": "2026-11-20", "name": "Mrs Jones"}
    _, stored, headers = await call(house, "POST", URL, given)
    status, document, headers = await call(house, "GET", f"{URL}/{stored['audiogram']}", Accept=FHIR)
    assert (status, headers["Content-Type"]) == (200, FHIR)
    found = read_fhir(json.dumps(document).encode(), patient="pat")
    assert found.audiogram.ears["right"] == STANDARD_AUDIOGRAMS["N3"].ears["right"]
    assert (found.audiogram.no_response, found.measured_on) == ({"right": (6000,)}, "2026-11-20")
    # And it comes back in at another device of the same patient, but not at one of another.
    await registered(house, "d2")
    await registered(house, "d3", patient="pia")
    assert (await call(house, "POST", "/api/v1/devices/d2/audiograms", document, kind=FHIR))[0] == 201
    refused = await call(house, "POST", "/api/v1/devices/d3/audiograms", document, kind=FHIR)
    assert (refused[0], refused[1]["code"]) == (422, "wrong_patient")


@pytest.mark.parametrize(
    ("accept", "status", "kind"),
    [
        ("*/*", 200, "application/json"),
        ("application/json", 200, "application/json"),
        ("application/*", 200, "application/json"),
        (FHIR, 200, FHIR),
        (f"application/json;q=0.5, {FHIR}", 200, FHIR),
        (f"{FHIR};q=0.5, application/json", 200, "application/json"),
        (f"text/html, {FHIR};q=0.1", 200, FHIR),
        ("text/html", 406, "application/problem+json"),
        (f"{FHIR};q=0", 406, "application/problem+json"),
    ],
)
async def test_who_asks_gets_the_kind_that_he_wants_most(house: House, accept: str, status: int, kind: str) -> None:
    answered, _, headers = await call(house, "GET", f"{URL}/registered", Accept=accept)
    assert (answered, headers["Content-Type"]) == (status, kind)


@pytest.mark.parametrize("kind", ["text/plain", "application/xml", "application/fhir+xml"])
async def test_what_is_neither_kind_is_not_read(house: House, kind: str) -> None:
    status, body, _ = await call(house, "POST", URL, {"right": N3}, kind=kind)
    assert (status, body["code"]) == (415, "unsupported_media_type")


async def test_each_form_has_an_entity_tag_of_its_own(house: House) -> None:
    tags = {}
    for accept in ("application/json", FHIR):
        _, _, headers = await call(house, "GET", f"{URL}/registered", Accept=accept)
        tags[accept] = headers["ETag"]
        again = await call(house, "GET", f"{URL}/registered", Accept=accept, If_None_Match=headers["ETag"])
        assert again[:2] == (304, None)
    assert len(set(tags.values())) == 2


@pytest.mark.parametrize("kind", ["application/json", FHIR])
async def test_the_same_request_again_puts_nothing_on_file_twice(house: House, kind: str) -> None:
    body = panel() if kind == FHIR else {"right": N3}
    answers = [await call(house, "POST", URL, body, kind=kind, Idempotency_Key="k1") for _ in range(2)]
    assert answers[0][:2] == answers[1][:2]
    other = await call(house, "POST", URL, {"right": MILD}, Idempotency_Key="k1")
    assert (other[0], other[1]["code"]) == (409, "idempotency_conflict")
    assert len((await call(house, "GET", URL))[1]["items"]) == 2


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"right": {}}, "right: thresholds must be an object"),
        ({"right": MILD | {"500": 121}}, "right 500 Hz: the threshold must be from -10"),
        ({"right": {"500": 10}}, "right: too few frequencies"),
        ({"masked": {"right": [750]}}, "masked: right: there is no threshold at 750 Hz"),
        ({"masked": {"left": [500]}}, "masked: left: there is no threshold at 500 Hz"),
        ({"noResponse": {"right": [500, 500]}}, "noResponse: right: a frequency is there twice"),
        ({"noResponse": {"right": [100]}}, "$.noResponse.right[0]"),
        ({"measuredOn": "2026-02-30"}, "$.measuredOn"),
        ({"measuredOn": "yesterday"}, "$.measuredOn"),
        ({"measuredOn": "2027-01-16"}, "the day is still to come"),
        ({"method": "imported"}, "$.method"),
        ({"surprise": 1}, "surprise"),
    ],
)
async def test_an_audiogram_that_cannot_be_used_is_refused_where_it_is_wrong(
    house: House, change: Json, says: str
) -> None:
    status, body, _ = await call(house, "POST", URL, {"right": MILD} | change)
    assert (status, body["code"]) == (400, "bad_argument")
    assert says in body["detail"]
    assert len((await call(house, "GET", URL))[1]["items"]) == 1


@pytest.mark.parametrize(
    ("document", "status", "code"),
    [
        (b"{", 400, "bad_argument"),
        ({}, 422, "not_fhir"),
        (panel(status="preliminary"), 422, "not_final"),
        (panel([component("89025-1", 35, valueQuantity={"value": 35, "unit": "dB SPL"})]), 422, "wrong_unit"),
        (panel([*thresholds(), *thresholds()]), 422, "duplicate_threshold"),
        (panel(thresholds()[1:]), 422, "bad_audiogram"),
        (panel(effectiveDateTime="2027-01-17"), 400, "bad_argument"),
    ],
)
async def test_a_document_that_cannot_be_trusted_is_refused_with_its_code(
    house: House, document: Any, status: int, code: str
) -> None:
    answered, body, _ = await call(house, "POST", URL, document, kind=FHIR)
    assert (answered, body["code"]) == (status, code)
    assert len((await call(house, "GET", URL))[1]["items"]) == 1


async def test_one_that_was_measured_before_the_newest_does_not_take_its_place(house: House) -> None:
    newest = (await call(house, "POST", URL, {"right": N3, "measuredOn": "2026-11-21"}))[1]
    status, body, _ = await call(house, "POST", URL, panel(), kind=FHIR)
    assert (status, body["code"]) == (409, "older_audiogram")
    assert (await call(house, "GET", f"{URL}/{newest['audiogram']}"))[1]["counts"]


async def test_what_the_aids_measured_themselves_is_given_to_nobody_as_a_clinical_one(house: House) -> None:
    stored = (await call(house, "POST", URL, {"right": N3, "method": "in_situ"}))[1]
    assert (stored["method"], stored["counts"]) == ("in_situ", True)
    status, body, _ = await call(house, "GET", f"{URL}/{stored['audiogram']}", Accept=FHIR)
    assert (status, body["code"]) == (409, "not_exportable")


@pytest.mark.parametrize(
    ("user", "role", "reads", "writes"),
    [
        ("ann", "clinician", 200, 201),
        ("ann", "assistant", 200, 403),
        ("pat", "patient", 200, 403),
        ("pat", "device", 200, 403),
        ("zoe", "clinician", 404, 404),
        ("pia", "patient", 404, 403),
        ("ann", "admin", 403, 403),
        ("ann", "auditor", 403, 403),
        ("ann", "service", 403, 403),
    ],
)
async def test_who_may(house: House, user: str, role: str, reads: int, writes: int) -> None:
    for kind in ("application/json", FHIR):
        assert (await call(house, "GET", f"{URL}/registered", None, user, role, Accept=kind))[0] == reads
        body = {"right": N3} if kind == "application/json" else panel()
        assert (await call(house, "POST", URL, body, user, role, kind=kind))[0] == writes
    assert (await call(house, "GET", URL, None, user, role))[0] == reads


async def test_what_is_not_there_is_not_found(house: House) -> None:
    assert (await call(house, "GET", f"{URL}/nothing"))[0] == 404
    assert (await call(house, "GET", "/api/v1/devices/d9/audiograms"))[0] == 404


async def test_a_device_has_only_so_many(open_house: OpenHouse) -> None:
    house = await registered(await open_house(max_audiograms=1))
    assert (await call(house, "POST", URL, {"right": N3}))[0] == 201
    status, body, _ = await call(house, "POST", URL, {"right": N3})
    assert (status, body["code"]) == (429, "overloaded")
    assert house.metric("auricle_bound_reached_total", bound="max_audiograms") == 1


async def test_the_log_of_the_device_tells_who_put_it_there(house: House) -> None:
    stored = (await call(house, "POST", URL, {"right": N3}, "abe"))[1]
    events = (await call(house, "GET", "/api/v1/devices/d7/history"))[1]["items"]
    assert [(event["kind"], event["state"], event["actor"], event["text"]) for event in events][-1:] == [
        ("device", "audiogram", "abe", stored["audiogram"])
    ]


async def test_an_audiogram_is_in_no_log_and_no_metric(house: House) -> None:
    await call(house, "POST", URL, {"right": MILD | {"750": 63.7}, "name": "Mrs Jones"})
    await call(house, "POST", URL, panel([component("89025-1", 93.7, status="x")]), kind=FHIR)
    async with house.http.get(f"{house.url}/metrics") as answer:
        shown = house.log.getvalue() + await answer.text()
    for secret in ("63.7", "637", "93.7", "Jones", "89025"):
        assert secret not in shown


def mpo(ddb: int) -> Patch:
    return Patch(slot=1, ops=(PatchOp(op="set", ear="right", path="mpoDdb", band=0, value=ddb),))


async def test_changes_are_judged_by_the_newest_and_by_nothing_older(house: House, connect: Connect) -> None:
    ann, phone = await connect("ann"), await connect("pat", "device", heard=Heard())
    await phone.ask("AttachDevice", msgspec.structs.replace(CLAIM, device="d7"), answer=AttachAnswer)
    leased = await ann.ask("AcquireLease", {"device": "d7", "session": "s1"}, answer=LeaseAnswer)
    assert isinstance(leased, LeaseAnswer)
    live = SetMode(device="d7", mode="advanced", reason="a visit", fence=leased.fence)
    assert isinstance(await ann.ask("SetMode", live, answer=ModeAnswer), ModeAnswer)

    async def limit() -> int | None:
        """The maximum output that K3 allows, None when it allows 103 dB SPL."""
        checked = await ann.ask("Check", change(leased, device="d7", patch=mpo(1_030)), answer=CheckAnswer)
        if isinstance(checked, CheckAnswer):
            return None
        assert isinstance(checked, Failure)
        [reason] = [one for one in checked.errors if one.rule == "K3"]
        assert isinstance(reason.limit, int)
        return reason.limit

    normal = {str(hz): 0 for hz in (500, 1000, 2000, 4000)}
    assert await limit() is None
    await call(house, "POST", URL, {"right": normal} | {"measuredOn": "2026-11-21"})
    assert await limit() == 890 + 120
    await call(house, "POST", URL, panel(effectiveDateTime="2026-11-22"), kind=FHIR)
    assert await limit() is None
    await call(house, "POST", URL, {"right": normal, "measuredOn": "2026-11-22"})
    assert await limit() == 890 + 120


async def test_a_key_that_was_used_long_ago_hides_no_new_audiogram(house: House) -> None:
    await call(house, "POST", URL, {"right": N3}, Idempotency_Key="k1")
    house.wall.now_s += 86_400
    status, stored, _ = await call(house, "POST", URL, {"right": MILD}, Idempotency_Key="k1")
    assert (status, stored["right"]["4000"], stored["counts"]) == (201, 30.0, True)
