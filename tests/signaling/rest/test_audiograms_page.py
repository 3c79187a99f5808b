"""The page about audiograms is true: its documents are taken as it says, and its tables are the program's."""

import json
import re
from pathlib import Path
from typing import Any

import msgspec

from fitting.fhir_codes import LOINC, THRESHOLD_CODES
from fitting.fhir_errors import FHIR_CODES
from protocol.contract.audiograms import FirstFitAnswer
from signaling.rest.audiograms import Audiograms
from signaling.rest.problems import status_of
from signaling.rest.resource import declared_routes
from tests.signaling.conftest import House

PAGE = (Path(__file__).parents[3] / "docs" / "audiograms.md").read_text()
AID = {"serial": "R-1", "model": "ref10", "firmware": "2.3.1"}


def block(language: str) -> Any:
    found = re.search(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    assert found
    return json.loads(found[1])


async def post(house: House, path: str, body: Any, kind: str) -> dict[str, Any]:
    headers = house.bearer() | {"Content-Type": kind}
    async with house.http.post(house.url + path, data=json.dumps(body), headers=headers) as answer:
        told: dict[str, Any] = await answer.json(content_type=None)
        assert answer.status == 201, told
        return told


async def test_the_examples_are_put_on_file_as_the_page_says(house: House) -> None:
    device = {"device": "d1", "patient": "pat", "assignments": ["ann"], "right": AID, "left": AID | {"serial": "L-1"}}
    await post(house, "/api/v1/devices", device, "application/json")
    url = "/api/v1/devices/d1/audiograms"
    given = block("json")
    stored = await post(house, url, given, "application/json")
    assert {key: stored[key] for key in given} == given
    read = await post(house, url, block("fhir"), "application/fhir+json")
    said = re.search(r"This one is put on file as `(.*?)` of the right ear", PAGE)
    assert said
    assert (read["right"], "left" in read) == (json.loads(said[1]), False)
    assert (read["masked"], read["noResponse"]) == ({"right": [1000]}, {"right": [4000]})
    assert [(one["reason"], one["code"]) for one in read["leftOut"]] == [("not_measured", "not-performed")]
    assert read["measuredOn"] == "2026-01-30"


def test_the_table_of_codes_is_the_one_that_documents_are_read_by() -> None:
    told: dict[tuple[str, int], str] = {}
    for frequency, right, left in re.findall(r"^\| (\d+) \| `([\w-]+)` \| `([\w-]+)` \|$", PAGE, re.MULTILINE):
        told |= {("right", int(frequency)): right, ("left", int(frequency)): left}
    assert told == {place: code for (_, code), place in THRESHOLD_CODES.items()}
    assert {code for system, code in THRESHOLD_CODES if system == LOINC} == {
        code for code in told.values() if code[0].isdigit()
    }


def test_every_refusal_of_a_document_has_a_row_and_is_422() -> None:
    rows = PAGE.partition("| code of a refusal |")[2].partition("\n\n")[0]
    told = re.findall(r"^\| `([a-z_]+)` \| \S", rows, re.MULTILINE)
    assert sorted(told) == sorted((*FHIR_CODES, "bad_audiogram"))
    assert {status_of(code).value for code in told} == {422}


def test_the_routes_are_those_of_the_resource() -> None:
    told = re.findall(r"^\| `([A-Z]+ /api[^`?]*)", PAGE, re.MULTILINE)
    assert sorted(told) == sorted({route.key for route in declared_routes(Audiograms)})


def test_every_field_of_a_first_fit_is_told() -> None:
    rows = PAGE.partition("## The first fit")[2]
    told = set(re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (`.*?) \|", rows, re.MULTILINE))))
    named = {field.encode_name for field in msgspec.structs.fields(FirstFitAnswer)}
    assert told == named - {"ok", "device", "label"}
