"""The page about REST is true: its commands run as they are printed, and its tables name what there is."""

import asyncio
import json
import os
import re
import shutil
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest

from signaling.rest.catalogue import RESOURCES
from signaling.rest.house import routes_of
from signaling.rest.openapi import problem_codes
from signaling.rest.problems import status_of
from tests.running import server
from tests.signaling.rest.shelf import Shelf

DOCS = Path(__file__).parents[3] / "docs"
PAGE = DOCS / "rest.md"
# Every route and every code is on one of these.
TABLES = "".join((DOCS / name).read_text() for name in ("rest.md", "people.md", "visits.md"))
EXAMPLES = re.compile(r"^```curl\n(.*?)^```\n```json\n(.*?)^```$", re.DOTALL | re.MULTILINE)
CODES = re.compile(r"^\| `([a-z_]+)` \| (\d{3})", re.MULTILINE)
ROUTES = re.compile(r"^\| `([A-Z]+ /api[^`?]*)", re.MULTILINE)


def agrees(told: Any, printed: Any) -> bool:
    """Whether an answer is the printed one, in which ``...`` stands for anything."""
    if isinstance(printed, dict):
        return (
            isinstance(told, dict)
            and told.keys() == printed.keys()
            and all(agrees(told[key], value) for key, value in printed.items())
        )
    if isinstance(printed, list):
        return (
            isinstance(told, list)
            and len(told) == len(printed)
            and all(agrees(one, value) for one, value in zip(told, printed, strict=True))
        )
    return printed == "..." or bool(told == printed)


@pytest.mark.skipif(shutil.which("curl") is None, reason="the examples are commands of curl")
async def test_every_example_answers_what_is_printed(tmp_path: Path) -> None:
    examples = EXAMPLES.findall(PAGE.read_text())
    assert len(examples) == PAGE.read_text().count("```curl")
    async with server(tmp_path) as running:
        environ = os.environ | {"AURICLE": running.url, "TOKEN": await running.token("ann", "clinician")}
        for command, printed in examples:
            process = await asyncio.create_subprocess_exec(
                *("bash", "-euc", command), env=environ, stdout=asyncio.subprocess.PIPE
            )
            told, _ = await process.communicate()
            assert process.returncode == 0, command
            assert agrees(json.loads(told), json.loads(printed)), (command, told.decode())


def test_the_table_of_routes_is_complete() -> None:
    assert ROUTES.findall(TABLES) == list(dict.fromkeys(route.key for route in routes_of(RESOURCES)))


def test_the_table_of_codes_is_true_and_has_every_one_that_routes_may_answer() -> None:
    told = {code: int(status) for code, status in CODES.findall(TABLES)}
    for code, status in told.items():
        assert status_of(code, HTTPStatus.IM_A_TEAPOT) == status, code
    routes = [*routes_of(RESOURCES), *routes_of([Shelf])]
    codes = {code for route in routes for code in problem_codes(route)}
    # Not read back is a refusal of the contract, told there.
    assert codes - {"not_read_back"} <= set(told)
