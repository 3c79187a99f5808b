"""Assignments over REST: who may give and take them, that they hold at once, and that the history is kept."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from signaling.app import PARTS
from signaling.hubs.care_hub import CareHub
from tests.signaling.conftest import House, OpenHouse
from tests.signaling.rest.desk import AID, ask, register

WHY = {"reason": "takes over"}


async def people(house: House, device: str = "d1") -> list[str]:
    said = await ask(house, f"GET /devices/{device}/assignments", by="boss admin")
    assert said.status == 200, said
    return [one["person"] for one in said.body["assigned"]]


async def events(house: House) -> list[tuple[str, str, str]]:
    said = await ask(house, "GET /devices/d1/history?limit=100", by="abe clinician")
    return [(one["state"], one["actor"], one["text"]) for one in said.body["items"] if "text" in one]


async def test_a_registration_is_the_first_decision(house: House) -> None:
    await register(house)
    said = await ask(house, "GET /devices/d1/assignments")
    made = {"holds": True, "by": "ann", "role": "clinician", "at": "2027-01-15T08:00:00.000Z", "reason": "registered"}
    shown = [{"person": person, "decision": made} for person in ("abe", "ann")]
    assert said.body == {"ok": True, "device": "d1", "assigned": shown, "history": shown}


async def test_somebody_is_assigned_and_removed_with_a_reason_that_is_kept(house: House) -> None:
    await register(house)
    assert (await ask(house, "GET /devices/d1", by="amy clinician")).status == 404
    assert (await ask(house, "PUT /devices/d1/assignments/amy", WHY)).status == 200
    assert (await ask(house, "GET /devices/d1", by="amy clinician")).status == 200
    house.wall.now_s += 60
    left = await ask(house, "DELETE /devices/d1/assignments/amy", {"reason": "has left"}, by="boss admin")
    assert [one["person"] for one in left.body["assigned"]] == ["abe", "ann"]
    mine = [one["decision"] for one in left.body["history"] if one["person"] == "amy"]
    assert [(one["holds"], one["by"], one["role"], one["reason"]) for one in mine] == [
        (True, "ann", "clinician", "takes over"),
        (False, "boss", "admin", "has left"),
    ]
    # At once, although it was remembered that she may.
    assert (await ask(house, "GET /devices/d1", by="amy clinician")).status == 404
    assert await events(house) == [("assigned", "ann", "takes over"), ("unassigned", "boss", "has left")]


async def test_whoever_is_not_assigned_has_acted_as_an_admin(house: House) -> None:
    await register(house)
    await ask(house, "PUT /devices/d1/assignments/amy", WHY, by="boss clinician admin")
    said = await ask(house, "PUT /devices/d1/assignments/amos", WHY, by="ann admin clinician")
    roles = {one["person"]: one["decision"]["role"] for one in said.body["assigned"]}
    assert (roles["amy"], roles["amos"]) == ("admin", "clinician")


async def test_doing_it_twice_does_it_once(house: House) -> None:
    await register(house)
    await ask(house, "PUT /devices/d1/assignments/ann", WHY)
    again = await ask(house, "PUT /devices/d1/assignments/abe", WHY)
    assert len(again.body["history"]) == 2
    assert (await ask(house, "DELETE /devices/d1/assignments/abe", WHY)).status == 200
    again = await ask(house, "DELETE /devices/d1/assignments/abe", WHY)
    assert (again.status, len(again.body["history"])) == (200, 3)
    other = await ask(house, "DELETE /devices/d1/assignments/abe", {"reason": "has left"})
    assert other.code == "not_found"
    assert await people(house) == ["ann"]


async def test_a_registration_that_is_sent_again_brings_nobody_back(house: House) -> None:
    await register(house)
    await ask(house, "DELETE /devices/d1/assignments/abe", WHY)
    again = {"device": "d1", "patient": "pat", "assignments": ["ann", "abe"], "right": AID}
    assert (await ask(house, "POST /devices", again)).code == "already_exists"
    assert await people(house) == ["ann"]


@pytest.mark.parametrize("kept_in", ["", "memory:"])
async def test_who_was_registered_before_there_were_decisions_stays_until_one_is_made(
    open_house: OpenHouse, tmp_path: Any, kept_in: str
) -> None:
    house = await open_house(database_url=kept_in, data=tmp_path)
    await register(house, assignments=[])
    hub = house.app[PARTS].hubs[0].hub
    assert isinstance(hub, CareHub)
    devices = hub._delivery._devices
    record = await devices.get("d1")
    assert record is not None
    # As an older version has left it: named in the registration alone.
    assert await devices.change(replace(record, assignments=frozenset({"ann", "abe"}), version=2))
    assert (await ask(house, "GET /devices/d1")).status == 200
    shown = await ask(house, "DELETE /devices/d1/assignments/abe", WHY)
    assert (shown.body["assigned"], len(shown.body["history"])) == ([{"person": "ann"}], 1)
    assert (await ask(house, "GET /devices/d1", by="abe clinician")).status == 404


@pytest.mark.parametrize(
    ("by", "status"),
    [
        ("ann clinician", 200),
        ("ann assistant", 200),
        ("boss admin", 200),
        ("amy clinician", 404),
        ("pat patient", 403),
        ("pat device", 403),
        ("ann auditor", 403),
        ("ann service", 403),
    ],
)
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
async def test_who_may(house: House, by: str, status: int, method: str) -> None:
    await register(house)
    path = "/devices/d1/assignments" + ("" if method == "GET" else "/abe")
    said = await ask(house, f"{method} {path}", None if method == "GET" else WHY, by=by)
    assert said.status == status


async def test_another_clinics_device_is_an_unknown_one(house: House) -> None:
    await register(house)
    for by in ("ann clinician", "boss admin"):
        other = await ask(house, "PUT /devices/d1/assignments/amy", WHY, by=by, clinic="c2")
        unknown = await ask(house, "PUT /devices/d9/assignments/amy", WHY, by=by, clinic="c2")
        assert (other.status, other.body) == (404, unknown.body)


async def test_a_reason_is_needed(house: House) -> None:
    await register(house)
    for method in ("PUT", "DELETE"):
        for body in ({}, {"reason": ""}):
            assert (await ask(house, f"{method} /devices/d1/assignments/amy", body)).code == "bad_argument"


async def test_only_so_many_decisions_are_kept_and_a_removal_is_always_taken(open_house: OpenHouse) -> None:
    house = await open_house(max_decisions=2)
    await register(house)
    assert (await ask(house, "PUT /devices/d1/assignments/amy", WHY)).status == 429
    assert house.metric("auricle_bound_reached_total", bound="max_decisions") == 1
    assert (await ask(house, "DELETE /devices/d1/assignments/abe", WHY)).status == 200


async def test_who_says_what_he_has_read_changes_nothing_else(house: House) -> None:
    await register(house)
    read = await ask(house, "GET /devices/d1/assignments")
    for method, person in (("PUT", "amy"), ("DELETE", "abe")):
        stale = await ask(house, f"{method} /devices/d1/assignments/{person}", WHY, If_Match='"1"')
        assert stale.code == "precondition_failed"
    said = await ask(house, "PUT /devices/d1/assignments/amy", WHY, If_Match=read.tag)
    assert (read.tag, said.status, said.tag) == ('"2"', 200, '"3"')


@pytest.mark.parametrize("kept_in", ["", "memory:"])
async def test_of_several_who_have_read_the_same_one_changes_it(
    open_house: OpenHouse, tmp_path: Any, kept_in: str
) -> None:
    house = await open_house(database_url=kept_in, data=tmp_path)
    await register(house)
    path = "DELETE /devices/d1/assignments/abe"
    said = await asyncio.gather(*(ask(house, path, {"reason": f"r{n}"}, If_Match='"2"') for n in range(4)))
    assert sorted(one.status for one in said) == [200, 412, 412, 412]
