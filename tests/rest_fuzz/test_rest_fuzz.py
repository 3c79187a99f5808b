"""The short run: what is generated from the server's own document finds nothing wrong with it."""

import json
from pathlib import Path

import aiohttp
import pytest

from tests.rest_fuzz.runner import Effort, fuzz
from tests.rest_fuzz.stage import live_through
from tests.running import server


@pytest.mark.timeout(240)
async def test_nothing_is_found_wrong_with_the_rest_surface(tmp_path: Path) -> None:
    async with server(tmp_path) as running:
        outcome = await fuzz(running, await live_through(running), Effort(examples=12, seconds=180))
        assert outcome.code == 0, outcome.output
        assert "request_crashed" not in running.log_text


@pytest.mark.timeout(120)
async def test_a_document_that_is_not_quite_true_is_found_out(tmp_path: Path) -> None:
    """A status that is not told of, a field that is not there, a number that may be larger: each is found."""
    async with server(tmp_path) as running:
        past = await live_through(running)
        async with aiohttp.ClientSession() as http, http.get(f"{running.url}/openapi.json") as answer:
            document = await answer.json()
        paths = document["paths"]
        document["paths"] = {path: paths[path] for path in ("/api/v1/sheets", "/api/v1/devices/{device}")}
        sheets, device = (item["get"] for item in document["paths"].values())
        for operation in (sheets, device):
            # They lead to what is not looked at here.
            operation["responses"]["200"].pop("links")
        del device["responses"]["404"]
        document["components"]["schemas"]["SheetView"]["required"].append("colour")
        sheets["parameters"][0]["schema"]["maximum"] = 200
        untrue = tmp_path / "untrue.json"
        untrue.write_text(json.dumps(document))
        outcome = await fuzz(running, past, Effort(examples=10, seconds=60), untrue)
    assert outcome.code == 1
    for found in ("ST103 Undocumented", "ST108 Response violates", "ST202 Schema-valid request rejected"):
        assert found in outcome.output, outcome.output
