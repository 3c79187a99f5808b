"""Entity tags: what a caller has already is not sent again, and a change is a change of what he has seen."""

import asyncio
import json

import pytest

from signaling.auth import Principal
from signaling.rest.entity import tag_of_bytes, tags
from signaling.rest.problems import PreconditionFailed
from signaling.rest.resource import Call
from tests.signaling.rest.shelf import ShelfHouse

BOOK = "/api/v1/books/b1"
NOBODY = Principal("ann", "c1", frozenset(), 0.0)


@pytest.mark.parametrize(
    ("header", "strong", "weak"),
    [
        ('"1"', True, True),
        ('W/"1"', False, True),
        ('"0", "1"', True, True),
        ('"0",W/"1" , "2"', False, True),
        (', "1"', True, True),
        ("*", True, True),
        (" * ", True, True),
        ('"2"', False, False),
        ("1", False, False),
        ('"1', False, False),
        ('"1" x', False, False),
        ('w/"1"', False, False),
        ("", False, False),
    ],
)
def test_what_a_header_of_tags_names(header: str, strong: bool, weak: bool) -> None:
    named = tags(header)
    assert named is not None
    assert (named.match('"1"'), named.match_weakly('"1"')) == (strong, weak)


def test_without_a_header_nothing_is_demanded() -> None:
    assert tags(None) is None


def test_the_tag_of_an_answer_is_that_of_its_bytes() -> None:
    assert tag_of_bytes(b"a") == tag_of_bytes(b"a") != tag_of_bytes(b"b")


@pytest.mark.parametrize(("header", "version"), [("*", None), ('"1"', None), ('"1"', "2"), ('W/"1"', "1")])
def test_a_change_of_what_is_not_there_is_refused(header: str, version: str | None) -> None:
    with pytest.raises(PreconditionFailed):
        Call(NOBODY, "x", tags(header)).expects(version)


@pytest.mark.parametrize(("header", "version"), [("*", "1"), ('"1"', "1"), (None, "1"), (None, None)])
def test_a_change_of_what_is_there_goes_on_and_so_does_one_that_demands_nothing(
    header: str | None, version: str | None
) -> None:
    Call(NOBODY, "x", tags(header)).expects(version)


async def test_what_the_caller_has_is_304_without_a_body(here: ShelfHouse) -> None:
    told = await here.ask("GET", BOOK)
    assert told.headers["ETag"] == '"1"'
    again = await here.ask("GET", BOOK, headers={"If-None-Match": 'W/"1"'})
    assert (again.status, again.body, again.headers["ETag"]) == (304, b"", '"1"')
    assert again.headers["Cache-Control"] == "no-store"
    assert (await here.ask("GET", BOOK, headers={"If-None-Match": '"2"'})).status == 200
    page = await here.ask("GET", "/api/v1/books")
    kept = {"If-None-Match": page.headers["ETag"]}
    assert (await here.ask("GET", "/api/v1/books", headers=kept)).status == 304
    assert (await here.ask("GET", "/api/v1/books?limit=1", headers=kept)).status == 200


async def test_who_may_not_see_it_gets_no_304(here: ShelfHouse) -> None:
    told = await here.ask("GET", BOOK, who=here.bearer(clinic="c2"), headers={"If-None-Match": "*"})
    assert told.status == 404


async def test_a_read_of_what_is_no_longer_there_is_412(here: ShelfHouse) -> None:
    told = await here.ask("GET", BOOK, headers={"If-Match": '"2"'})
    assert (told.status, json.loads(told.body)["code"]) == (412, "precondition_failed")
    assert (await here.ask("GET", BOOK, headers={"If-Match": '"1"'})).status == 200


async def test_a_change_says_what_it_is_a_change_of(here: ShelfHouse) -> None:
    body = {"title": "New"}
    told = await here.ask("PUT", BOOK, json=body)
    assert (told.status, json.loads(told.body)["code"]) == (428, "precondition_required")
    told = await here.ask("PUT", BOOK, json=body, headers={"If-Match": 'W/"1"'})
    assert (told.status, json.loads(told.body)["code"]) == (412, "precondition_failed")
    told = await here.ask("PUT", BOOK, json=body, headers={"If-Match": '"1"'})
    assert (told.status, told.headers["ETag"]) == (200, '"2"')
    told = await here.ask("PUT", BOOK, json=body, headers={"If-Match": '"1"'})
    assert told.status == 412


async def test_of_two_that_change_the_same_one_is_told(here: ShelfHouse) -> None:
    told = await asyncio.gather(
        *(here.ask("PUT", BOOK, json={"title": title}, headers={"If-Match": '"1"'}) for title in ("A", "B"))
    )
    assert sorted(one.status for one in told) == [200, 412]


async def test_a_change_that_need_not_say_it_may(here: ShelfHouse) -> None:
    assert (await here.ask("DELETE", BOOK, headers={"If-Match": '"9"'})).status == 412
    told = await here.ask("DELETE", BOOK)
    assert (told.status, told.body) == (204, b"")
    assert "ETag" not in told.headers
