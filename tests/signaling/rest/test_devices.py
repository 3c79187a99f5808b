"""``POST /api/v1/devices``: who may, what a body must be, and that every error is a problem document."""

from pathlib import Path
from typing import Any

import pytest

from tests.signaling.conftest import House, OpenHouse

AID = {"serial": "R-1", "model": "ref10", "firmware": "2.3.1"}
BODY: dict[str, Any] = {"device": "d1", "patient": "pat", "assignments": ["ann"], "right": AID}


async def post(house: House, body: Any, headers: dict[str, str] | None = None) -> tuple[int, dict[str, Any]]:
    options: dict[str, Any] = {"data": body} if isinstance(body, (bytes, str)) else {"json": body}
    given = {"Content-Type": "application/json"} | (house.bearer() if headers is None else headers)
    async with house.http.post(f"{house.url}/api/v1/devices", headers=given, **options) as answer:
        kind = "application/json" if answer.status == 201 else "application/problem+json"
        assert answer.content_type == kind
        return answer.status, await answer.json(content_type=None)


async def test_a_device_is_registered_once(house: House) -> None:
    status, body = await post(house, BODY)
    assert (status, body) == (201, {"ok": True, "device": "d1", "patient": "pat", "assignments": ["ann"]})
    status, body = await post(house, BODY | {"patient": "other"})
    assert (status, body["code"]) == (409, "already_exists")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"device": ""}, "$.device"),
        ({"device": "../x"}, "$.device"),
        ({"right": AID | {"model": "unheard-of"}}, "right.model"),
        ({"right": AID | {"serial": ""}}, "$.right.serial"),
        ({"right": AID | {"colour": "red"}}, "colour"),
        ({"surprise": 1}, "surprise"),
        ({"patient": None}, "$.patient"),
        ({"assignments": "ann"}, "$.assignments"),
    ],
)
async def test_a_bad_body_is_400_and_says_where(house: House, change: dict[str, Any], says: str) -> None:
    status, body = await post(house, BODY | change)
    assert (status, body["code"], body["status"]) == (400, "bad_argument", 400)
    assert says in body["detail"]


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff", b"[" * 20_000, b"nul"])
async def test_what_is_not_a_body_at_all_is_400_too(house: House, body: bytes) -> None:
    status, answer = await post(house, body)
    assert (status, answer["code"]) == (400, "bad_argument")


async def test_a_registration_that_is_sent_again_gets_its_first_answer(house: House) -> None:
    key = house.bearer() | {"Idempotency-Key": "k1"}
    first = await post(house, BODY, key)
    assert first == await post(house, BODY, key)
    status, body = await post(house, BODY | {"patient": "other"}, key)
    assert (status, body["code"]) == (409, "idempotency_conflict")


async def test_only_so_many_answers_of_one_caller_are_kept(open_house: OpenHouse) -> None:
    house = await open_house(max_rest_answers=1)
    for number in range(2):
        key = house.bearer() | {"Idempotency-Key": f"k{number}"}
        assert (await post(house, BODY | {"device": f"d{number}"}, key))[0] == 201
    assert house.metric("auricle_bound_reached_total", bound="max_rest_answers") == 1


@pytest.mark.parametrize("body", [BODY, BODY | {"patient": "other"}])
async def test_a_key_outlives_the_server(open_house: OpenHouse, tmp_path: Path, body: dict[str, Any]) -> None:
    answers = []
    for sent in (BODY, body):
        house = await open_house(database_url="", data=tmp_path)
        answers.append(await post(house, sent, house.bearer() | {"Idempotency-Key": "k1"}))
        await house.runner.cleanup()
    assert answers[1] == answers[0] if body is BODY else answers[1][1]["code"] == "idempotency_conflict"


async def test_a_device_without_an_aid_is_refused(house: House) -> None:
    body = {key: value for key, value in BODY.items() if key != "right"}
    assert (await post(house, body))[0] == 400


async def test_a_body_over_the_bound_is_413(house: House) -> None:
    status, body = await post(house, b"x" * 70_000)
    assert (status, body["code"]) == (413, "request_entity_too_large")


@pytest.mark.parametrize(
    ("role", "status"),
    [
        ("clinician", 201),
        ("assistant", 201),
        ("admin", 201),
        ("patient", 403),
        ("device", 403),
        ("representative", 403),
        ("service", 403),
        ("auditor", 403),
    ],
)
async def test_who_may_register(house: House, role: str, status: int) -> None:
    assert (await post(house, BODY, house.bearer("ann", role)))[0] == status


async def test_without_a_token_it_is_401(house: House) -> None:
    status, body = await post(house, BODY, {})
    assert (status, body["code"]) == (401, "unauthenticated")


@pytest.mark.parametrize(
    ("audiogram", "says"),
    [
        ({}, "audiogram: the audiogram is empty"),
        ({"right": {"500": 30}}, "audiogram: right: too few frequencies"),
        ({"right": {"500": 30, "1000": 200, "2000": 30, "4000": 30}}, "audiogram: right 1000 Hz: the threshold"),
        ({"right": {"500": True, "1000": 30, "2000": 30, "4000": 30}}, "audiogram.right"),
        ({"middle": {}}, "middle"),
        ([], "audiogram"),
    ],
)
async def test_an_audiogram_that_cannot_be_used_is_refused_where_it_is_wrong(
    house: House, audiogram: Any, says: str
) -> None:
    status, body = await post(house, BODY | {"audiogram": audiogram})
    assert (status, body["code"]) == (400, "bad_argument")
    assert says in body["detail"]


LEVELS = [1_050] * 10
GAINS = [300] * 10


@pytest.mark.parametrize(
    ("measured", "says"),
    [
        ({"loudnessDdb": {}}, "loudnessDdb: left, right: at least one ear"),
        ({"loudnessDdb": {"left": LEVELS}}, "loudnessDdb: left: there is no left aid"),
        ({"loudnessDdb": {"right": LEVELS[1:]}}, "loudnessDdb: right: needs 10 values, one per band of the aid, not 9"),
        ({"loudnessDdb": {"right": [105, *LEVELS[1:]]}}, "$.loudnessDdb.right[0]"),
        ({"loudnessDdb": {"right": [1_401, *LEVELS[1:]]}}, "$.loudnessDdb.right[0]"),
        ({"loudnessDdb": {"right": [1_050.5, *LEVELS[1:]]}}, "$.loudnessDdb.right[0]"),
        ({"loudnessDdb": {"right": [True, *LEVELS[1:]]}}, "$.loudnessDdb.right[0]"),
        ({"loudnessDdb": {"right": None}}, "$.loudnessDdb.right"),
        ({"loudnessDdb": {"middle": LEVELS}}, "middle"),
        ({"maxStableGainDdb": [{"slot": 1}]}, "maxStableGainDdb: slot 1: left, right: at least one ear"),
        ({"maxStableGainDdb": [{"slot": 5, "right": GAINS}]}, "slot 5: the right aid has 4 program slots"),
        ({"maxStableGainDdb": [{"slot": 9, "right": GAINS}]}, "$.maxStableGainDdb[0].slot"),
        ({"maxStableGainDdb": [{"slot": 2, "right": GAINS}] * 2}, "maxStableGainDdb: slot 2 is there twice"),
        ({"maxStableGainDdb": [{"slot": 1, "left": GAINS}]}, "slot 1: left: there is no left aid"),
        ({"maxStableGainDdb": [{"slot": 1, "right": GAINS * 2}]}, "slot 1: right: needs 10 values"),
        ({"maxStableGainDdb": [{"slot": 1, "right": [-1, *GAINS[1:]]}]}, "$.maxStableGainDdb[0].right[0]"),
        ({"maxStableGainDdb": [{"slot": 1, "right": [1_001, *GAINS[1:]]}]}, "$.maxStableGainDdb[0].right[0]"),
        ({"redFlags": 1}, "$.redFlags"),
        ({"redFlags": None}, "$.redFlags"),
    ],
)
async def test_what_was_measured_is_refused_where_it_does_not_fit_the_aids(
    house: House, measured: Any, says: str
) -> None:
    status, body = await post(house, BODY | measured)
    assert (status, body["code"]) == (400, "bad_argument")
    assert says in body["detail"]


async def test_what_was_measured_may_come_with_the_device_up_to_the_ends_of_its_ranges(house: House) -> None:
    measured = {
        "loudnessDdb": {"right": [None, 300, 1_400, *LEVELS[3:]]},
        "maxStableGainDdb": [{"slot": slot, "right": [None, 0, 1_000, *GAINS[3:]]} for slot in (1, 4)],
        "redFlags": True,
    }
    assert (await post(house, BODY | measured))[0] == 201


async def test_an_audiogram_may_come_with_the_device(house: House) -> None:
    thresholds = {"500": 30, "1000": 35.5, "2000": 40, "4000": 60}
    assert (await post(house, BODY | {"audiogram": {"right": thresholds, "name": "of today"}}))[0] == 201
