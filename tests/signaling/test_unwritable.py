"""A server goes on that can say nothing: its log's disk is full, or whoever read has gone."""

import asyncio
import errno
import io
import json
import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import psutil  # type: ignore[import-untyped]  # the library ships no types
import pytest

from clients.hub_client import HubClient
from protocol.contract.session import WhoAmIAnswer
from signaling.log import LogBook
from tests.ports import free_port
from tests.running import Server

FULL = Path("/dev/full")


def nobody_reads() -> int:
    """A pipe that was left by its reader."""
    read, write = os.pipe()
    os.close(read)
    return write


@asynccontextmanager
async def unheard(data: Path, *arguments: str, out: int, err: int) -> AsyncIterator[Server]:
    """A server of which only its port tells that it is ready."""
    port = free_port()
    command = ("-m", "signaling", "serve", "--dev", "--port", str(port), "--data", str(data), *arguments)
    process = await asyncio.create_subprocess_exec(sys.executable, *command, stdout=out, stderr=err)
    os.close(out)
    os.close(err)

    async def is_there() -> bool:
        async with aiohttp.ClientSession() as http:
            try:
                async with http.get(f"http://127.0.0.1:{port}/readyz") as answer:
                    return answer.status == 200 and not (await answer.json())["degraded"]
            except aiohttp.ClientError:
                assert process.returncode is None, process.returncode
                return False

    try:
        async with asyncio.timeout(60):
            while not await is_there():  # noqa: ASYNC110  # polling: it can tell nobody
                await asyncio.sleep(0.05)
        yield Server(f"http://127.0.0.1:{port}", data, process)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def work_with(running: Server) -> None:
    hub = HubClient(f"{running.url}/hub", token=await running.token("ann"), reconnect=None)
    await hub.start()
    assert (await hub.invoke("WhoAmI", result=WhoAmIAnswer)).user == "ann"
    await hub.stop()


@pytest.mark.skipif(not FULL.exists(), reason="there is no disk that is always full")
@pytest.mark.timeout(120)
@pytest.mark.parametrize("workers", ["1", "2"])
async def test_a_log_whose_disk_is_full_keeps_nobody_from_anything(tmp_path: Path, workers: str) -> None:
    out, err = nobody_reads(), os.open(FULL, os.O_WRONLY)
    async with unheard(tmp_path, "--workers", workers, out=out, err=err) as running:
        await work_with(running)
        async with aiohttp.ClientSession() as http, http.get(f"{running.url}/metrics") as page:
            lost = [line for line in (await page.text()).splitlines() if line.startswith("auricle_log_lines_lost")]
        assert sum(float(line.rpartition(" ")[2]) for line in lost) >= 2
        await running.terminate()


@pytest.mark.timeout(120)
@pytest.mark.parametrize("workers", ["1", "2"])
async def test_a_reader_that_has_gone_ends_no_server(tmp_path: Path, workers: str) -> None:
    async with unheard(tmp_path, "--workers", workers, out=nobody_reads(), err=nobody_reads()) as running:
        await work_with(running)
        if workers != "1":
            await asyncio.to_thread(kill_one_worker, running)
            await work_with(running)
        assert running.process.returncode is None
        await running.terminate()


class Disk(io.StringIO):
    """It takes no more than ``room`` characters."""

    room = 1_000

    def write(self, text: str) -> int:
        written = super().write(text[: self.room])
        self.room -= written
        if written < len(text):
            raise OSError(errno.ENOSPC, "No space left on device")
        return written


def test_a_line_that_was_cut_spoils_no_other() -> None:
    disk = Disk()
    log = LogBook(disk)
    log.stopped()
    disk.room = 10
    log.stopped()
    log.stopped()
    disk.room = 1_000
    log.stopped()
    log.stopped()
    whole = [line for line in disk.getvalue().splitlines() if line.endswith("}")]
    assert [json.loads(line)["event"] for line in whole] == ["stopped"] * 3
    assert log.lost() == 2


def kill_one_worker(running: Server) -> None:
    """Its supervisor has something to say, and starts it again."""
    supervisor = psutil.Process(running.process.pid)
    before = {child.pid for child in supervisor.children()}
    victim = next(child for child in supervisor.children() if "signaling" in child.cmdline())
    victim.kill()
    ends_s = time.monotonic() + 60
    while {child.pid for child in supervisor.children()} in (before, before - {victim.pid}):
        assert time.monotonic() < ends_s
        time.sleep(0.05)  # polling: nobody can be told
