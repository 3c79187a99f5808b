"""The page about people is true: its commands run as they are printed, and its table of scopes has every one."""

import asyncio
import json
import os
import re
import shutil
from pathlib import Path

import pytest

from fitting.consents import SCOPES
from tests.running import server
from tests.signaling.rest.test_page import EXAMPLES, agrees

PAGE = (Path(__file__).parents[3] / "docs" / "people.md").read_text()


@pytest.mark.skipif(shutil.which("curl") is None, reason="the examples are commands of curl")
async def test_every_example_answers_what_is_printed(tmp_path: Path) -> None:
    examples = EXAMPLES.findall(PAGE)
    assert len(examples) == PAGE.count("```curl") == 5
    async with server(tmp_path) as running:
        ann, phone = await running.token("ann", "clinician"), await running.token("pat", "patient", "device")
        environ = os.environ | {"AURICLE": running.url, "TOKEN": ann, "PHONE": phone}
        for command, printed in examples:
            process = await asyncio.create_subprocess_exec(
                *("bash", "-euc", command), env=environ, stdout=asyncio.subprocess.PIPE
            )
            told, _ = await process.communicate()
            assert process.returncode == 0, command
            assert agrees(json.loads(told), json.loads(printed)), (command, told.decode())


def test_every_scope_is_explained() -> None:
    table = PAGE.partition("| scope |")[2].partition("\n\n")[0]
    first = "".join(row.split("|")[1] for row in table.splitlines()[2:])
    assert sorted(re.findall(r"`(\w+)`", first)) == sorted(SCOPES)
