"""The demo with one visit over the stand-in for ACS, as a user runs it."""

import asyncio
import json
import sys

import pytest


@pytest.mark.timeout(360)
async def test_the_visit_over_acs_holds_every_check() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "signaling", "demo", "--backend", "acs", "--json"),
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    events = [json.loads(line) for line in output.decode().splitlines()]
    assert process.returncode == 0, events[-1]
    told = [one["event"] for one in events]
    acs = ["acs_call", "acs_chat", "acs_failed", "acs_closed"]
    assert [one for one in told if one.startswith("acs")] == acs
    assert events[-1]["ok"] is True
