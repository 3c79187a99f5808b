"""What is on file of a device, read and changed over REST: by whom, on which version, and that the kernel hears it."""

from typing import Any

import pytest

from protocol.contract.base import Failure
from protocol.contract.fitting import SubmitAnswer
from tests.signaling.care import Connect, change, louder
from tests.signaling.conftest import House
from tests.signaling.rest.desk import ask, register
from tests.signaling.visit import visit

PATH = "/devices/d1/on-file"
ON_FILE: dict[str, Any] = {
    "loudnessDdb": {"right": [1_050, None, *[1_100] * 8]},
    "maxStableGainDdb": [{"slot": 1, "right": [300] * 10}, {"slot": 4, "right": [None, *[250] * 9]}],
    "redFlags": True,
}


async def test_what_was_registered_is_read_as_it_was_given(house: House) -> None:
    await register(house, **ON_FILE)
    said = await ask(house, f"GET {PATH}")
    assert (said.body, said.tag) == ({"ok": True, "device": "d1", "version": 1, **ON_FILE}, '"1"')


async def test_what_is_not_on_file_is_not_shown(house: House) -> None:
    await register(house)
    said = await ask(house, f"GET {PATH}")
    assert said.body == {"ok": True, "device": "d1", "version": 1, "maxStableGainDdb": [], "redFlags": False}


async def test_what_is_named_changes_and_the_rest_stays(house: House) -> None:
    await register(house, **ON_FILE)
    new = {"loudnessDdb": {"right": [1_000] * 10}, "redFlags": False}
    said = await ask(house, f"PATCH {PATH}", {"reason": "measured again", **new}, If_Match='"1"')
    assert (said.status, said.tag) == (200, '"2"')
    whole = {"ok": True, "device": "d1", "version": 2, **ON_FILE, **new}
    who = {"changedBy": "ann", "changedAt": "2027-01-15T08:00:00.000Z", "reason": "measured again"}
    assert said.body == whole | who
    assert (await ask(house, f"GET {PATH}", by="pat patient")).body == said.body


async def test_null_takes_away_what_was_there(house: House) -> None:
    await register(house, **ON_FILE)
    gone: dict[str, Any] = {
        "reason": "of another patient",
        "loudnessDdb": None,
        "maxStableGainDdb": [],
    }
    said = await ask(house, f"PATCH {PATH}", gone, If_Match='"1"')
    assert "loudnessDdb" not in said.body
    assert said.body["maxStableGainDdb"] == []
    assert said.body["redFlags"] is True


async def test_who_changed_it_and_why_is_in_the_devices_history(house: House) -> None:
    await register(house)
    await ask(house, f"PATCH {PATH}", {"reason": "dizzy since May", "redFlags": True}, If_Match='"1"')
    [event] = (await ask(house, "GET /devices/d1/history")).body["items"]
    assert {name: event[name] for name in ("kind", "state", "actor", "text")} == {
        "kind": "device",
        "state": "on_file_changed",
        "actor": "ann",
        "text": "dizzy since May",
    }
    assert "dizzy" not in house.log.getvalue()


async def test_a_change_is_held_to_the_version_that_it_was_thought_of_on(house: House) -> None:
    await register(house)
    body = {"reason": "so", "redFlags": True}
    assert (await ask(house, f"PATCH {PATH}", body)).code == "precondition_required"
    assert (await ask(house, f"PATCH {PATH}", body, If_Match='"2"')).code == "precondition_failed"
    assert (await ask(house, f"PATCH {PATH}", body, If_Match='"1"')).status == 200
    other = await ask(house, f"PATCH {PATH}", body, If_Match='"1"', by="abe clinician")
    assert other.code == "precondition_failed"
    assert (await ask(house, f"PATCH {PATH}", body | {"reason": "no"}, If_Match='"1"')).code == "precondition_failed"


async def test_a_change_whose_answer_was_lost_may_be_sent_again(house: House) -> None:
    await register(house)
    body = {"reason": "so", "redFlags": True}
    first = await ask(house, f"PATCH {PATH}", body, If_Match='"1"')
    house.wall.now_s += 5
    again = await ask(house, f"PATCH {PATH}", body, If_Match='"1"')
    assert (again.status, again.body, again.tag) == (200, first.body, '"2"')


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({}, "reason"),
        ({"reason": "so"}, "at least one must be given"),
        ({"reason": "", "redFlags": True}, "$.reason"),
        ({"reason": "so", "redFlags": None}, "$.redFlags"),
        ({"reason": "so", "patient": "pia"}, "patient"),
        ({"reason": "so", "audiogram": {"right": {"500": 30}}}, "audiogram"),
        ({"reason": "so", "loudnessDdb": {"left": [1_050] * 10}}, "loudnessDdb: left: there is no left aid"),
        ({"reason": "so", "loudnessDdb": {"right": [1_050] * 9}}, "loudnessDdb: right: needs 10 values"),
        ({"reason": "so", "maxStableGainDdb": [{"slot": 5, "right": [300] * 10}]}, "slot 5"),
    ],
)
async def test_what_does_not_fit_is_refused_and_nothing_changes(house: House, body: Any, says: str) -> None:
    await register(house)
    said = await ask(house, f"PATCH {PATH}", body, If_Match='"1"')
    assert said.code == "bad_argument"
    assert says in said.body["detail"]
    assert (await ask(house, f"GET {PATH}")).tag == '"1"'


@pytest.mark.parametrize(
    ("by", "read", "changed"),
    [
        ("ann clinician", 200, 200),
        ("ann assistant", 200, 403),
        ("pat patient", 200, 403),
        ("amy clinician", 404, 404),
        ("pia patient", 404, 403),
        ("boss admin", 403, 403),
        ("ann auditor", 403, 403),
    ],
)
async def test_who_may(house: House, by: str, read: int, changed: int) -> None:
    await register(house)
    assert (await ask(house, f"GET {PATH}", by=by)).status == read
    body = {"reason": "so", "redFlags": True}
    assert (await ask(house, f"PATCH {PATH}", body, by=by, If_Match='"1"')).status == changed


async def test_the_safety_kernel_judges_by_what_is_on_file_now(house: House, connect: Connect) -> None:
    here = await visit(connect)
    measured = {"reason": "whistles", "maxStableGainDdb": [{"slot": 1, "right": [140] * 10}]}
    assert (await ask(house, f"PATCH {PATH}", measured, If_Match='"1"')).status == 200
    refused = await here.ann.ask("Submit", change(here.leased, *louder(20)), answer=SubmitAnswer)
    assert isinstance(refused, Failure)
    assert {(one.rule, one.limit, one.source) for one in refused.errors} == {("K6", 110, "feedback measurement")}
    none = {"reason": "another ear mould", "maxStableGainDdb": []}
    assert (await ask(house, f"PATCH {PATH}", none, If_Match='"2"')).status == 200
    accepted = await here.ann.ask("Submit", change(here.leased, *louder(20), key="k2"), answer=SubmitAnswer)
    assert isinstance(accepted, SubmitAnswer)
