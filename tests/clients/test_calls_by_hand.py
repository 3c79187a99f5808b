"""The commands by hand meet in a visit and call each other, beside a real server."""

import asyncio
import sys
from pathlib import Path

import pytest

from tests.e2e.meeting import schedule
from tests.running import server

PATIENCE_S = 90.0


def lines_of(out: bytes, beginning: str) -> list[str]:
    return [line for line in out.decode().splitlines() if line.startswith(beginning)]


@pytest.mark.timeout(150)
async def test_fitter_and_phone_see_and_hear_each_other_and_find_another_way(tmp_path: Path) -> None:
    async with server(tmp_path) as running:
        meeting = await schedule(running.url, running.token)
        pat = await running.token(meeting.patient, "patient", "device")
        common = ("--url", running.url, "--device", meeting.device, "--visit", meeting.visit)
        serial = meeting.device.replace("d", "R")
        phone = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "clients.phone", *common, "--token", pat, "--right", serial, "--answer"),
            stdout=asyncio.subprocess.PIPE,
        )
        call = ("--call", "video", "--call-s", "6", "--restart-after-s", "3", "--say", "Good morning")
        fitter = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "clients.fitter", *common, "--token", meeting.token, *call),
            stdout=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(PATIENCE_S):
                hers, _ = await fitter.communicate()
            phone.terminate()
            his, _ = await phone.communicate()
        finally:
            for process in (fitter, phone):
                if process.returncode is None:
                    process.kill()
                    await process.wait()
    # It has decoded sound and pictures.
    assert fitter.returncode == 0, hers
    assert lines_of(hers, "letting in: patient")
    assert lines_of(hers, "call: finding another way")
    flow = lines_of(his, "call: ")
    assert flow[-1] == "call: over, hung_up"
    sounds = [int(line.partition("decoded ")[2].split()[0]) for line in flow if "decoded" in line]
    # More than three seconds of it: the call went on over the other way.
    assert sounds[-1] > 170, flow
    assert lines_of(his, "written: Good morning")
