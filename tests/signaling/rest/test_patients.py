"""Patients over REST: whose they are, who sees them, pages, and changes held to a version."""

from typing import Any

import pytest

from protocol.errors import Unavailable
from signaling.stores.rest_answers import CLAIM_S, MemoryRestAnswers
from tests.signaling.conftest import House
from tests.signaling.rest.desk import ask

PAT = {"patient": "pat", "name": "P. A. Tient"}


async def test_a_patient_is_made_once_and_read(house: House) -> None:
    made = await ask(house, "POST /patients", PAT)
    assert made.status == 201
    assert made.body == {**PAT, "ok": True, "version": 1, "createdAt": "2027-01-15T08:00:00.000Z"}
    assert (await ask(house, "POST /patients", {"patient": "pat"})).code == "already_exists"
    read = await ask(house, "GET /patients/pat")
    assert (read.status, read.body, read.tag) == (200, made.body, '"1"')
    assert (await ask(house, "GET /patients/pat", If_None_Match='"1"')).status == 304


async def test_a_request_whose_answer_could_not_be_kept_gets_it_again(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(*_: object) -> None:
        raise Unavailable("the database is away")

    with monkeypatch.context() as away:
        away.setattr(MemoryRestAnswers, "keep", fails)
        made = await ask(house, "POST /patients", PAT, Idempotency_Key="k1")
    house.wall.now_s += CLAIM_S
    again = await ask(house, "POST /patients", PAT, Idempotency_Key="k1")
    assert (again.status, again.body) == (201, made.body)
    await ask(house, "PUT /patients/pat", {"name": "P. Other"}, If_Match=made.tag)
    assert (await ask(house, "POST /patients", PAT)).code == "already_exists"


async def test_a_name_is_optional(house: House) -> None:
    made = await ask(house, "POST /patients", {"patient": "pat"})
    assert "name" not in made.body


async def test_a_patient_is_changed_by_who_has_read_him(house: House) -> None:
    await ask(house, "POST /patients", PAT)
    assert (await ask(house, "PUT /patients/pat", {"name": "x"})).code == "precondition_required"
    changed = await ask(house, "PUT /patients/pat", {"name": "P. New"}, If_Match='"1"')
    assert (changed.status, changed.body["name"], changed.tag) == (200, "P. New", '"2"')
    assert (await ask(house, "PUT /patients/pat", {}, If_Match='"1"')).code == "precondition_failed"
    assert "name" not in (await ask(house, "PUT /patients/pat", {}, If_Match='"2"')).body
    assert (await ask(house, "PUT /patients/pia", {}, If_Match='"1"')).code == "not_found"


async def test_pages_go_through_the_patients_of_the_own_clinic(house: House) -> None:
    for patient in ("p3", "p1", "p2"):
        await ask(house, "POST /patients", {"patient": patient})
    await ask(house, "POST /patients", {"patient": "p0"}, clinic="c2")
    first = await ask(house, "GET /patients?limit=2")
    assert [one["patient"] for one in first.body["items"]] == ["p1", "p2"]
    second = await ask(house, f"GET /patients?limit=2&after={first.body['next']}")
    assert [one["patient"] for one in second.body["items"]] == ["p3"]
    assert "next" not in second.body


@pytest.mark.parametrize(
    ("route", "body", "allowed"),
    [
        ("POST /patients", {"patient": "new"}, {"clinician": 201, "assistant": 201}),
        ("GET /patients", None, {"clinician": 200, "assistant": 200}),
        ("GET /patients/pat", None, {"clinician": 200, "assistant": 200, "patient": 200}),
        ("PUT /patients/pat", {}, {"clinician": 200, "assistant": 200}),
    ],
)
@pytest.mark.parametrize("role", ["clinician", "assistant", "patient", "device", "admin", "service", "auditor"])
async def test_who_may(house: House, route: str, body: Any, allowed: dict[str, int], role: str) -> None:
    await ask(house, "POST /patients", PAT)
    headers = {"If_Match": '"1"'} if route.startswith("PUT") else {}
    said = await ask(house, route, body, by=f"pat {role}", **headers)
    assert said.status == allowed.get(role, 403)


async def test_who_is_of_another_clinic_or_another_patient_sees_nobody(house: House) -> None:
    await ask(house, "POST /patients", PAT)
    unknown = await ask(house, "GET /patients/nobody")
    for said in (
        await ask(house, "GET /patients/pat", clinic="c2"),
        await ask(house, "GET /patients/pat", by="pat patient", clinic="c2"),
        await ask(house, "GET /patients/pat", by="pia patient"),
    ):
        assert (said.status, said.body) == (404, unknown.body)


@pytest.mark.parametrize("body", [{}, {"patient": "../x"}, {"patient": "p", "name": ""}, {"patient": "p", "born": 1}])
async def test_a_bad_body_is_refused(house: House, body: Any) -> None:
    assert (await ask(house, "POST /patients", body)).code == "bad_argument"


async def test_no_name_is_logged(house: House) -> None:
    await ask(house, "POST /patients", PAT)
    await ask(house, "GET /patients")
    async with house.http.get(f"{house.url}/metrics") as answer:
        page = await answer.text()
    assert "Tient" not in house.log.getvalue() + page
    assert "pat" not in house.log.getvalue()
