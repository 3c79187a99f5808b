"""A request that is sent again with its key makes nothing twice."""

import asyncio
import json

import pytest

from signaling.stores.rest_answers import CLAIM_S, KEEP_S
from tests.eventually import eventually
from tests.signaling.rest.shelf import ShelfHouse, Told

BOOKS = "/api/v1/books"


async def make(here: ShelfHouse, title: str = "x", key: str = "k1", who: str = "ann", **more: object) -> Told:
    headers = {"Idempotency-Key": key}
    return await here.ask("POST", BOOKS, json={"title": title, **more}, who=here.bearer(who), headers=headers)


def code(told: Told) -> tuple[int, str]:
    return told.status, json.loads(told.body)["code"]


async def test_the_same_request_gets_its_first_answer(here: ShelfHouse) -> None:
    first, again = await make(here), await make(here)
    assert (first.status, again.status) == (201, 201)
    assert again.body == first.body
    assert again.headers["Location"] == first.headers["Location"]
    assert again.headers["ETag"] == first.headers["ETag"]
    assert here.shelf.made == 1


async def test_how_the_body_was_written_does_not_matter(here: ShelfHouse) -> None:
    await make(here)
    headers = {"Idempotency-Key": "k1", "Content-Type": "application/json"}
    again = await here.ask("POST", BOOKS, data=b'{ "pages": 0, "title": "x" }', headers=headers)
    assert (again.status, here.shelf.made) == (201, 1)


async def test_the_same_key_for_another_request_is_refused(here: ShelfHouse) -> None:
    await make(here)
    assert code(await make(here, "y")) == (409, "idempotency_conflict")
    assert code(await make(here, pages=1)) == (409, "idempotency_conflict")
    assert here.shelf.made == 1


async def test_a_key_is_the_callers_own(here: ShelfHouse) -> None:
    first, other = await make(here), await make(here, "y", who="abe")
    assert other.status == 201
    assert json.loads(first.body)["book"] != json.loads(other.body)["book"]


async def test_without_a_key_each_request_is_its_own(here: ShelfHouse) -> None:
    for _ in range(2):
        assert (await here.ask("POST", BOOKS, json={"title": "x"})).status == 201
    assert here.shelf.made == 2


async def test_a_repetition_while_the_first_still_runs_is_told_so(here: ShelfHouse) -> None:
    here.shelf.gate.clear()
    running = asyncio.ensure_future(make(here))
    await eventually(lambda: here.shelf.made == 1)
    told = await make(here)
    assert code(told) == (409, "in_progress")
    assert told.headers["Retry-After"] == "1"
    assert code(await make(here, "y")) == (409, "idempotency_conflict")
    here.shelf.gate.set()
    first = await running
    assert (await make(here)).body == first.body
    assert here.shelf.made == 1


@pytest.mark.parametrize(("title", "status"), [("forbidden", 422), ("broken", 500)])
async def test_what_came_to_nothing_may_be_asked_for_again(here: ShelfHouse, title: str, status: int) -> None:
    for _ in range(2):
        assert (await make(here, title)).status == status
    assert here.shelf.made == 2
    assert (await make(here, "x")).status == 201


async def test_who_died_in_the_middle_is_taken_over_and_what_is_made_has_the_same_name(here: ShelfHouse) -> None:
    here.shelf.gate.clear()
    first = asyncio.ensure_future(make(here))
    await eventually(lambda: here.shelf.made == 1)
    here.now_s[0] += CLAIM_S
    second = asyncio.ensure_future(make(here))
    await eventually(lambda: here.shelf.made == 2)
    here.shelf.gate.set()
    assert (await first).body == (await second).body
    assert len(here.shelf.titles) == 3


async def test_after_a_day_the_key_is_free(here: ShelfHouse) -> None:
    await make(here)
    here.now_s[0] += KEEP_S
    assert (await make(here, "y")).status == 201


async def test_after_a_day_what_another_request_makes_has_another_name(here: ShelfHouse) -> None:
    first = await make(here)
    here.now_s[0] += KEEP_S
    other = await make(here, "y")
    assert json.loads(first.body)["book"] != json.loads(other.body)["book"]
    assert sorted(here.shelf.titles.values()) == ["One", "Two", "x", "y"]


@pytest.mark.parametrize("key", ["", " ", "a b", "x" * 256, "ä"])
async def test_a_key_that_cannot_be_kept_is_400(here: ShelfHouse, key: str) -> None:
    assert code(await make(here, key=key)) == (400, "bad_argument")
    assert here.shelf.made == 0
