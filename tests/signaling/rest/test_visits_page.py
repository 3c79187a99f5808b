"""The page about visits is true: its commands run as they are printed, and its table of roles is that of the code."""

import asyncio
import json
import os
import re
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from media.visit import RIGHTS, Right
from tests.running import server
from tests.signaling.rest.test_page import EXAMPLES, agrees

PAGE = (Path(__file__).parents[3] / "docs" / "visits.md").read_text()
COLUMNS = ({Right.WRITE}, {Right.START_CALL}, {Right.TALK}, {Right.STOP, Right.UNDO}, {Right.MANAGE})


@pytest.mark.skipif(shutil.which("curl") is None, reason="the examples are commands of curl")
async def test_every_example_answers_what_is_printed(tmp_path: Path) -> None:
    examples = EXAMPLES.findall(PAGE)
    assert len(examples) == PAGE.count("```curl") == 2
    day = (datetime.now(UTC) + timedelta(days=1)).strftime("%Y-%m-%d")
    async with server(tmp_path) as running:
        ann = await running.token("ann", "clinician")
        environ = os.environ | {"AURICLE": running.url, "TOKEN": ann, "DAY": day}
        for command, printed in examples:
            process = await asyncio.create_subprocess_exec(
                *("bash", "-euc", command), env=environ, stdout=asyncio.subprocess.PIPE
            )
            told, _ = await process.communicate()
            assert process.returncode == 0, command
            assert agrees(json.loads(told), json.loads(printed)), (command, told.decode())


def test_the_table_of_roles_is_that_of_the_code() -> None:
    rows = re.findall(r"^\| `(\w+)` \|(.*)\|$", PAGE.partition("| role |")[2].partition("\n\n")[0], re.MULTILINE)
    told = {role: [cell.strip() == "yes" for cell in cells.split("|")] for role, cells in rows}
    assert told == {role: [rights <= RIGHTS[role] for rights in COLUMNS] for role in RIGHTS}
