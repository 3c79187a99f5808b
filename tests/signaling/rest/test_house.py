"""How a request becomes a call and an answer: who may, what is taken, and that every error is a problem document."""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

import pytest
from aiohttp import web

from protocol.errors import LocalProtocolError
from signaling.policy import IncompletePolicy, Rule
from signaling.rest.house import routes_of
from tests.signaling.rest.shelf import Shelf, ShelfHouse, Told

JSON = {"Content-Type": "application/json"}


def problem(told: Told) -> tuple[int, str]:
    assert told.headers["Content-Type"].startswith("application/problem+json"), told
    assert told.headers["Cache-Control"] == "no-store"
    document: dict[str, Any] = json.loads(told.body)
    assert (document["type"], document["status"]) == ("about:blank", told.status)
    assert document["title"]
    assert document["detail"]
    return told.status, document["code"]


async def test_a_route_gets_what_its_method_says(here: ShelfHouse) -> None:
    told = await here.ask("GET", "/api/v1/books/b1/leaves/7")
    assert (told.status, json.loads(told.body)) == (200, {"ok": True, "book": "b1", "title": "ann reads 8"})
    assert told.headers["Cache-Control"] == "no-store"
    assert told.headers["Content-Type"] == "application/json"


@pytest.mark.parametrize(
    ("who", "path", "told"),
    [
        ({}, "/api/v1/books/b1", (401, "unauthenticated")),
        ({"Authorization": "Bearer x"}, "/api/v1/books/b1", (401, "unauthenticated")),
        ({"Authorization": "Basic YTpi"}, "/api/v1/books/b1", (401, "unauthenticated")),
        (("ann", "patient"), "/api/v1/books/b1", (403, "not_allowed")),
        (("ann", "patient"), "/api/v1/books/b9", (403, "not_allowed")),
        (("ann", "clinician", "c2"), "/api/v1/books/b1", (404, "not_found")),
        (("ann",), "/api/v1/books/b9", (404, "not_found")),
        (("ann",), "/api/v1/books/%20", (404, "not_found")),
        (("ann",), "/api/v1/books/b1/leaves/x", (404, "not_found")),
        (("ann",), "/api/v1/books/b1/leaves/-1", (404, "not_found")),
        (("ann",), "/api/v1/nothing", (404, "not_found")),
        (("ann",), "/api/v1/books/b1?x=1", (400, "bad_argument")),
        (("ann",), "/api/v1/books?limit=0", (400, "bad_argument")),
        (("ann",), "/api/v1/books?limit=101", (400, "bad_argument")),
        (("ann",), "/api/v1/books?limit=ten", (400, "bad_argument")),
        (("ann",), "/api/v1/books?limit=1&limit=2", (400, "bad_argument")),
        (("ann",), "/api/v1/books?after=", (400, "bad_argument")),
        (("ann",), "/api/v1/books?after=%2F", (400, "bad_argument")),
        (("ann",), "/api/v1/books?after=abcd", (404, "not_found")),
    ],
)
async def test_what_is_wrong_is_told_in_this_order(here: ShelfHouse, who: Any, path: str, told: Any) -> None:
    assert problem(await here.ask("GET", path, who=who if isinstance(who, dict) else here.bearer(*who))) == told


async def test_who_may_not_learns_nothing_of_what_a_request_should_be(here: ShelfHouse) -> None:
    mine = here.bearer("ann", "patient")
    assert problem(await here.ask("POST", "/api/v1/books", who=mine, data=b"{")) == (403, "not_allowed")
    assert problem(await here.ask("POST", "/api/v1/books", who={}, data=b"{")) == (401, "unauthenticated")
    assert here.metrics.registry.get_sample_value("auricle_unauthenticated_total") == 1


async def test_a_token_in_the_query_is_none_and_is_not_told(here: ShelfHouse) -> None:
    token = here.bearer()["Authorization"].removeprefix("Bearer ")
    bare = await here.ask("GET", f"/api/v1/books?access_token={token}", who={})
    both = await here.ask("GET", f"/api/v1/books?access_token={token}")
    assert (problem(bare), problem(both)) == ((401, "unauthenticated"), (400, "bad_argument"))
    assert token.encode() not in both.body


async def test_methods_that_a_path_has_not_are_405_with_those_that_it_has(here: ShelfHouse) -> None:
    told = await here.ask("PATCH", "/api/v1/books/b1")
    assert problem(told) == (405, "method_not_allowed")
    assert set(told.headers["Allow"].split(",")) >= {"GET", "PUT", "DELETE"}


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"\xff", "not JSON"),
        (b"[" * 900, "too deep"),
        (b'{"title": "x", "title": "y"}', "twice"),
        (b'{"title": "x"} {}', "not JSON"),
        (b"[]", "object"),
        (b"{}", "title"),
        (b'{"title": 1}', "$.title"),
        (b'{"title": "x", "colour": "red"}', "colour"),
        (b'{"title": "x", "pages": -1}', "$.pages"),
    ],
)
async def test_a_bad_body_is_400_and_says_why(here: ShelfHouse, body: bytes, says: str) -> None:
    told = await here.ask("POST", "/api/v1/books", data=body, headers=JSON)
    assert problem(told) == (400, "bad_argument")
    assert says in json.loads(told.body)["detail"]
    assert here.shelf.made == 0


@pytest.mark.parametrize("kind", ["text/plain", "application/jsonx", "application/json-seq", "json"])
async def test_a_body_of_another_kind_is_415(here: ShelfHouse, kind: str) -> None:
    told = await here.ask("POST", "/api/v1/books", data=b"{}", headers={"Content-Type": kind})
    assert problem(told) == (415, "unsupported_media_type")
    assert json.loads(told.body)["detail"] == "The body must be application/json"


async def test_a_compressed_body_is_415_and_a_large_one_413(here: ShelfHouse) -> None:
    squeezed = JSON | {"Content-Encoding": "gzip"}
    assert problem(await here.ask("POST", "/api/v1/books", data=b"x", headers=squeezed)) == (
        415,
        "unsupported_media_type",
    )
    told = await here.ask("POST", "/api/v1/books", data=b"x" * 1_001, headers=JSON)
    assert problem(told) == (413, "request_entity_too_large")


async def test_json_may_say_its_character_set(here: ShelfHouse) -> None:
    headers = {"Content-Type": "Application/JSON; charset=utf-8"}
    assert (await here.ask("POST", "/api/v1/books", data=b'{"title": "x"}', headers=headers)).status == 201


@pytest.mark.parametrize(
    ("accept", "status"),
    [
        ("application/json", 200),
        ("*/*", 200),
        ("application/*", 200),
        ("text/html, application/json;q=0.1", 200),
        ("", 200),
        ("text/html", 406),
        ("application/json;q=0", 406),
        ("*/*, application/json;q=0", 406),
        ("*/*;q=0, application/json", 200),
        ("application/json;q=x", 406),
        ("application/problem+json", 406),
    ],
)
async def test_who_does_not_take_what_there_is_gets_406(here: ShelfHouse, accept: str, status: int) -> None:
    told = await here.ask("GET", "/api/v1/books/b1", headers={"Accept": accept})
    assert told.status == status
    if status == 406:
        assert problem(told) == (406, "not_acceptable")


async def test_what_the_domain_refuses_is_a_problem_with_all_that_it_said(here: ShelfHouse) -> None:
    told = await here.ask("POST", "/api/v1/books", json={"title": "forbidden"})
    assert problem(told) == (422, "unsafe")
    document = json.loads(told.body)
    assert document["detail"] == "not that one"
    assert document["error"]["rule"] == "K1"
    assert [one["code"] for one in document["errors"]] == ["unsafe"]


async def test_an_error_of_ours_is_500_and_tells_nothing(here: ShelfHouse) -> None:
    told = await here.ask("POST", "/api/v1/books", json={"title": "broken"})
    assert problem(told) == (500, "internal")
    assert b"secret" not in told.body


async def test_what_was_made_says_where_it_is(here: ShelfHouse) -> None:
    told = await here.ask("POST", "/api/v1/books", json={"title": "Three"})
    assert (told.status, told.headers["Location"]) == (201, "/api/v1/books/made-up")


async def test_a_head_is_a_get_without_its_body(here: ShelfHouse) -> None:
    got, told = await here.ask("GET", "/api/v1/books/b1"), await here.ask("HEAD", "/api/v1/books/b1")
    assert (told.status, told.body, told.headers["ETag"]) == (200, b"", got.headers["ETag"])
    assert told.headers["Content-Length"] == str(len(got.body))


async def test_pages_follow_each_other_by_their_link(here: ShelfHouse) -> None:
    path, seen = "/api/v1/books?limit=2", []
    for _ in range(3):
        told = await here.ask("GET", path)
        body = json.loads(told.body)
        seen.append(body["items"])
        if "next" not in body:
            assert "Link" not in told.headers
            break
        link = told.headers["Link"]
        assert link.endswith('>; rel="next"')
        path = link.removeprefix("<").removesuffix('>; rel="next"')
        assert path == f"/api/v1/books?limit=2&after={body['next']}"
    assert seen == [[1, 2], [3, 4], [5]]


async def test_a_last_page_that_is_full_is_known_to_be_the_last(here: ShelfHouse) -> None:
    told = await here.ask("GET", "/api/v1/books?limit=5")
    assert json.loads(told.body) == {"ok": True, "items": [1, 2, 3, 4, 5]}


class Unruled(Shelf):
    policy: ClassVar[Mapping[str, Rule]] = {
        key: rule for key, rule in Shelf.policy.items() if not key.startswith("DELETE")
    }


def test_a_route_without_a_rule_keeps_the_server_from_starting() -> None:
    with pytest.raises(IncompletePolicy, match=r"no rule for DELETE /api/v1/books/\{book\}"):
        routes_of([Unruled])


async def test_a_rule_about_something_that_nobody_knows_does_so_too(here: ShelfHouse) -> None:
    house = replace(here.rest, grants={})
    with pytest.raises(IncompletePolicy, match="nobody knows who may see a book"):
        house.mount(web.Application(), [Shelf()])


def test_two_routes_cannot_be_the_same() -> None:
    with pytest.raises(LocalProtocolError, match="the same form"):
        routes_of([Shelf, Shelf])
