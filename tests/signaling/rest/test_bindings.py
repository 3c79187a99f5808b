"""Binding a phone over REST: a code is shown once and works once, and trying codes tells nothing and is bounded."""

import re
from typing import Any

import pytest

from fitting.log_memory import MemoryDeviceLog
from fitting.signing import key_id_of
from protocol.errors import HubError, Overloaded, StorageFull, Unavailable
from signaling.bind_codes import ALPHABET, CODE_CHARS
from signaling.stores.rest_answers import CLAIM_S, MemoryRestAnswers
from tests.signaling.conftest import House, OpenHouse
from tests.signaling.rest.desk import Said, ask, register

PHONE = "pat patient device"
WRONG = "A" * CODE_CHARS


async def make(house: House, device: str = "d1", way: str = "clinic") -> str:
    said = await ask(house, f"POST /devices/{device}/bind-codes", {"way": way})
    assert said.status == 201, said
    return str(said.body["code"])


async def bind(house: House, code: str, by: str = PHONE, **more: Any) -> Said:
    body = {name: value for name, value in (("code", code), ("phone", more.pop("phone", None))) if value is not None}
    return await ask(house, "POST /bind", body, by=by, **more)


async def states(house: House) -> list[tuple[str, str]]:
    said = await ask(house, "GET /devices/d1/history")
    return [(event["state"], event["actor"]) for event in said.body["items"]]


async def test_a_code_binds_the_phone_of_its_patient(house: House) -> None:
    await register(house)
    made = await ask(house, "POST /devices/d1/bind-codes", {})
    assert made.body == {
        "ok": True,
        "code": made.body["code"],
        "device": "d1",
        "expiresAt": "2027-01-15T08:15:00.000Z",
    }
    assert re.fullmatch(f"[{ALPHABET}]{{{CODE_CHARS}}}", made.body["code"])
    bound = await bind(house, made.body["code"])
    assert bound.status == 200
    # A hash of it in a header would be written down on the way, and tell it to whoever tries them all.
    assert made.tag == ""
    assert {name: bound.body[name] for name in ("ok", "device", "contract")} == {
        "ok": True,
        "device": "d1",
        "contract": 1,
    }
    assert await states(house) == [("bind_code_made", "ann"), ("bound", "pat")]
    assert made.body["code"] not in house.log.getvalue()


async def test_the_key_is_the_one_that_offers_are_signed_with(house: House) -> None:
    await register(house)
    bound = await bind(house, await make(house))
    assert bound.body["keyId"] == key_id_of(bound.body["publicKey"])


async def test_a_code_may_be_typed_in_lower_case_with_a_hyphen(house: House) -> None:
    await register(house)
    code = (await make(house)).lower()
    assert (await bind(house, f" {code[:4]}-{code[4:]} ")).status == 200


async def test_what_cannot_be_used_looks_the_same_whatever_the_reason(house: House) -> None:
    await register(house)
    await register(house, "d2", patient="pia")
    used, expired, others = await make(house), await make(house), await make(house, "d2")
    assert (await bind(house, used)).status == 200
    house.wall.now_s += 900
    house.monotonic.now_s += 900
    said = [await bind(house, code) for code in (WRONG, used, expired, others, "", "?" * 64)]
    assert said[-2].code == "bad_argument"
    told = [(one.status, one.body) for one in said if one is not said[-2]]
    assert all(one == told[0] for one in told[:4])
    assert (told[0][0], said[0].code) == (403, "bad_code")


async def test_a_code_lasts_longer_when_it_is_mailed(house: House) -> None:
    await register(house)
    code = await make(house, way="mail")
    house.wall.now_s += 72 * 3_600 - 1
    assert (await bind(house, code)).status == 200


async def test_a_code_of_another_clinic_or_patient_is_none_and_is_not_used_up(house: House) -> None:
    await register(house)
    code = await make(house)
    for by, clinic in (("pia patient", "c1"), (PHONE, "c2"), ("ann patient", "c1")):
        assert (await bind(house, code, by, clinic=clinic)).code == "bad_code"
    assert (await bind(house, code)).status == 200


async def test_an_answer_that_was_lost_is_given_again_to_the_same_request(house: House) -> None:
    await register(house)
    code = await make(house)
    first = await bind(house, code, Idempotency_Key="k1")
    again = await bind(house, code, Idempotency_Key="k1")
    assert (again.status, again.body) == (200, first.body)
    assert (await bind(house, code, Idempotency_Key="k2")).code == "bad_code"


@pytest.mark.parametrize("error", [Overloaded, Unavailable, StorageFull])
async def test_a_code_is_not_lost_because_it_cannot_be_noted(
    house: House, monkeypatch: pytest.MonkeyPatch, error: type[HubError]
) -> None:
    async def fails(*_: object, **__: object) -> None:
        raise error

    await register(house)
    monkeypatch.setattr(MemoryDeviceLog, "note", fails)
    assert (await bind(house, await make(house))).status == 200


async def test_a_phone_that_says_its_name_gets_a_lost_answer_again_and_nobody_else_does(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(*_: object) -> None:
        raise Unavailable("the database is away")

    await register(house)
    code = await make(house)
    mine = {"code": code, "phone": "mine"}
    with monkeypatch.context() as away:
        away.setattr(MemoryRestAnswers, "keep", fails)
        first = await ask(house, "POST /bind", mine, by=PHONE, Idempotency_Key="k1")
    house.wall.now_s += CLAIM_S
    again = await ask(house, "POST /bind", mine, by=PHONE, Idempotency_Key="k1")
    assert (again.status, again.body) == (200, first.body)
    for body in (mine | {"phone": "another"}, {"code": code}):
        assert (await ask(house, "POST /bind", body, by=PHONE)).code == "bad_code"
    assert (await ask(house, "POST /bind", mine, by="pia patient device")).code == "bad_code"


async def test_a_lost_answer_is_not_given_again_when_the_code_is_over_or_another_phone_was_bound(
    open_house: OpenHouse,
) -> None:
    house = await open_house(max_bind_attempts=100)
    await register(house)
    first, second = await make(house), await make(house)
    assert (await bind(house, first, phone="one")).status == 200
    assert (await bind(house, first, phone="one")).status == 200
    assert (await bind(house, second, phone="two")).status == 200
    assert (await bind(house, first, phone="one")).code == "bad_code"
    house.wall.now_s += 900
    assert (await bind(house, second, phone="two")).code == "bad_code"


async def test_a_code_cannot_be_asked_for_again_by_a_key_which_is_not_left_out_silently(house: House) -> None:
    await register(house)
    said = await ask(house, "POST /devices/d1/bind-codes", {}, Idempotency_Key="k1")
    assert said.code == "bad_argument"
    assert "Idempotency-Key" in said.body["detail"]


async def test_of_a_device_only_so_many_codes_are_live(open_house: OpenHouse) -> None:
    house = await open_house(max_bind_codes=2)
    await register(house)
    codes = [await make(house) for _ in range(2)]
    assert (await ask(house, "POST /devices/d1/bind-codes", {})).code == "too_many_codes"
    assert house.metric("auricle_bound_reached_total", bound="max_bind_codes") == 1
    await bind(house, codes[0])
    await make(house)


async def test_one_caller_tries_only_so_often_and_is_told_when_again(open_house: OpenHouse) -> None:
    house = await open_house(max_bind_attempts=3, bind_window_s=30)
    await register(house)
    code = await make(house)
    for _ in range(3):
        assert (await bind(house, WRONG)).code == "bad_code"
    refused = await bind(house, code)
    assert (refused.status, refused.code, refused.retry_after) == (429, "overloaded", "10")
    assert house.metric("auricle_bound_reached_total", bound="max_bind_attempts") == 1
    house.monotonic.now_s += 10
    assert (await bind(house, code)).status == 200


async def test_a_whole_clinic_tries_only_so_often_and_others_go_on(open_house: OpenHouse) -> None:
    house = await open_house(max_clinic_bind_attempts=2, bind_window_s=30)
    for user in ("p1", "p2"):
        assert (await bind(house, WRONG, f"{user} patient")).code == "bad_code"
    refused = await bind(house, WRONG, "p3 patient")
    assert (refused.status, refused.retry_after) == (429, "15")
    assert house.metric("auricle_bound_reached_total", bound="max_clinic_bind_attempts") == 1
    assert (await bind(house, WRONG, "p3 patient", clinic="c2")).code == "bad_code"


async def test_what_the_clinic_must_wait_for_does_not_count_for_the_caller(open_house: OpenHouse) -> None:
    house = await open_house(max_clinic_bind_attempts=2, max_bind_attempts=1, bind_window_s=30)
    for user in ("p1", "p2"):
        await bind(house, WRONG, f"{user} patient")
    assert (await bind(house, WRONG, "p3 patient")).code == "overloaded"
    house.monotonic.now_s += 15
    assert (await bind(house, WRONG, "p3 patient")).code == "bad_code"


async def test_only_so_many_callers_are_remembered(open_house: OpenHouse) -> None:
    house = await open_house(max_bind_callers=2)
    for user in ("p1", "p2", "p3"):
        await bind(house, WRONG, f"{user} patient")
    assert house.metric("auricle_bound_reached_total", bound="max_bind_callers") == 1


@pytest.mark.parametrize(
    ("by", "makes", "binds"),
    [
        ("ann clinician", 201, 403),
        ("ann assistant", 201, 403),
        ("amy clinician", 404, 403),
        ("boss admin", 403, 403),
        ("pat patient", 403, 200),
        ("pat device", 403, 200),
        ("pat representative", 403, 403),
    ],
)
async def test_who_may(house: House, by: str, makes: int, binds: int) -> None:
    await register(house)
    assert (await ask(house, "POST /devices/d1/bind-codes", {}, by=by)).status == makes
    assert (await bind(house, await make(house), by)).status == binds


async def test_nothing_that_is_kept_tells_a_code(open_house: OpenHouse, tmp_path: Any) -> None:
    house = await open_house(database_url="", data=tmp_path)
    await register(house)
    live, used = await make(house), await make(house)
    assert (await bind(house, used, Idempotency_Key="k1")).status == 200
    kept = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"registered" in kept
    for code in (live, used):
        assert code.encode() not in kept
