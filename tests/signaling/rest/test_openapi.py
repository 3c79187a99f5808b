"""The OpenAPI document is valid, lists everything that is served, and is what its command prints."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import pytest
from aiohttp import web
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]  # it ships no types

from signaling.rest.catalogue import RESOURCES
from signaling.rest.house import routes_of
from signaling.rest.openapi import openapi, problem_codes
from signaling.rest.problems import status_of
from tests.signaling.conftest import House
from tests.signaling.rest.shelf import Shelf

ROOT = Path(__file__).parents[3]
OFFICIAL = ROOT / "tests" / "schemas" / "openapi-3.1.json"
Json = dict[str, Any]


def printed(*arguments: str) -> str:
    command = [sys.executable, "-m", "signaling", "openapi", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout


@pytest.fixture(scope="module")
def document() -> Json:
    """What a person gets who asks for it."""
    return cast("Json", json.loads(printed()))


def as_read(made: Json) -> Json:
    return cast("Json", json.loads(json.dumps(made)))


def official() -> Draft202012Validator:
    return Draft202012Validator(json.loads(OFFICIAL.read_text()))


def operations(document: Json) -> dict[str, Json]:
    return {
        f"{method.upper()} {path}": operation
        for path, item in document["paths"].items()
        for method, operation in item.items()
    }


def test_it_is_valid_by_the_official_schema(document: Json) -> None:
    assert [error.message for error in official().iter_errors(document)] == []


def test_a_document_of_every_shape_of_route_is_valid_too() -> None:
    assert [error.message for error in official().iter_errors(as_read(openapi([Shelf], version="1")))] == []


def test_the_official_schema_would_refuse_another(document: Json) -> None:
    altered = as_read(document)
    del altered["info"]["version"]
    altered["paths"]["/api/v1/sheets"]["get"]["parameters"][0]["in"] = "thin air"
    assert len(list(official().iter_errors(altered))) == 2


def test_every_schema_in_it_is_one(document: Json) -> None:
    for schema in document["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)


async def test_it_lists_what_the_server_serves_and_nothing_else(house: House, document: Json) -> None:
    served = {
        f"{route.method} {route.resource.canonical}"
        for route in house.app.router.routes()
        if route.resource is not None
        and route.resource.canonical.startswith("/api/")
        and route.method != "HEAD"
        and isinstance(route, web.ResourceRoute)
    }
    assert served == set(operations(document)) == {route.key for route in routes_of(RESOURCES)}


async def test_the_server_shows_it_to_anybody(house: House, document: Json) -> None:
    async with house.http.get(f"{house.url}/openapi.json") as answer:
        assert (answer.status, answer.content_type) == (200, "application/json")
        assert answer.headers["Cache-Control"] == "no-store"
        assert await answer.json() == document


def test_it_can_be_written_to_a_file_and_on_one_line(tmp_path: Path, document: Json) -> None:
    path = tmp_path / "openapi.json"
    assert printed("--output", str(path), "--indent", "0") == ""
    assert path.read_text().count("\n") == 1
    assert json.loads(path.read_text()) == document
    asked = [sys.executable, "-m", "signaling", "openapi", "--output", str(tmp_path)]
    refused = subprocess.run(asked, capture_output=True, text=True, check=False, timeout=30)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "cannot write" in refused.stderr


def test_a_header_that_a_change_needs_is_told_as_such(document: Json) -> None:
    told = operations(document)
    needed = {
        key: header["required"]
        for key, operation in told.items()
        for header in operation["parameters"]
        if header["name"] == "If-Match"
    }
    assert needed == {
        route.key: route.told.needs_match
        for route in routes_of(RESOURCES)
        if route.method in ("PUT", "PATCH", "DELETE")
    }
    assert set(needed.values()) == {True, False}


def test_every_problem_has_its_status_and_its_code(document: Json) -> None:
    told = operations(document)
    for route in routes_of(RESOURCES):
        responses = told[route.key]["responses"]
        for code in problem_codes(route):
            assert f"`{code}`" in responses[str(status_of(code).value)]["description"], route.key


def test_examples_are_what_their_schemas_say(document: Json) -> None:
    looked_at = 0
    for operation in operations(document).values():
        contents = [operation.get("requestBody", {}), *operation["responses"].values()]
        for media in (media for one in contents for media in one.get("content", {}).values()):
            if "example" in media:
                schema = media["schema"] | {"components": document["components"]}
                assert list(Draft202012Validator(schema).iter_errors(media["example"])) == []
                looked_at += 1
    assert looked_at > len(operations(document))


def test_links_lead_to_routes_that_take_what_they_give(document: Json) -> None:
    by_name = {operation["operationId"]: operation for operation in operations(document).values()}
    links = [
        link
        for operation in by_name.values()
        for response in operation["responses"].values()
        for link in response.get("links", {}).values()
    ]
    assert links
    for link in links:
        taken = {parameter["name"] for parameter in by_name[link["operationId"]]["parameters"]}
        assert set(link["parameters"]) <= taken


def test_who_may_call_is_in_it(document: Json) -> None:
    read = operations(document)["GET /api/v1/devices/{device}"]
    assert read["x-auricle-object"] == "device"
    assert read["x-auricle-roles"]["patient"] == "own"


def test_a_path_with_two_kinds_of_documents_is_one_operation_with_both(document: Json) -> None:
    path = document["paths"]["/api/v1/devices/{device}/audiograms"]["post"]
    assert list(path["requestBody"]["content"]) == ["application/json", "application/fhir+json"]
    assert list(path["responses"]["201"]["content"]) == ["application/json"]
    # The codes of both.
    assert "`wrong_unit`" in path["responses"]["422"]["description"]
    one = document["paths"]["/api/v1/devices/{device}/audiograms/{audiogram}"]["get"]
    assert list(one["responses"]["200"]["content"]) == ["application/json", "application/fhir+json"]
    assert one["responses"]["200"]["content"]["application/json"]["schema"] != {}
