"""``python -m clients.phone`` as others run it: beside a server, killed and started again."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from clients.fitter import Fitter
from clients.virtual_aid.store import AidStore
from protocol.contract.base import EARS
from protocol.contract.devices import LeaseAnswer
from protocol.contract.fitting import SubmitAnswer
from protocol.contract.sessions import ModeAnswer
from tests.clients.care_bench import DEVICE, CareBench, care_bench, raise_of
from tests.eventually import eventually, eventually_asked

PATIENCE_S = 30.0


def flags(bench: CareBench, folder: Path, *more: str) -> list[str]:
    token = bench.token("pat", "patient", "device")
    return [
        *("-m", "clients.phone", "--url", bench.url, "--token", token, "--device", DEVICE),
        *("--right", "S-right", "--left", "S-left", "--write-ms", "40"),
        *("--journal", str(folder / "journal"), "--aids", str(folder), "--events", str(folder / "events"), *more),
    ]


@asynccontextmanager
async def phone(
    bench: CareBench, folder: Path, *more: str, kill: str = ""
) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *flags(bench, folder, *more),
        env={**os.environ, "AURICLE_TEST_KILL_PHONE": kill},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGINT)
            await process.wait()
        # Closes the pipes.
        await process.communicate()


def events(folder: Path, step: str) -> list[dict[str, Any]]:
    path = folder / "events"
    # The phone may be writing the last one.
    lines = path.read_bytes().rpartition(b"\n")[0].splitlines() if path.exists() else []
    return [line["v"] for line in map(msgspec.json.decode, lines) if line["f"] == step]


async def live(fitter: Fitter) -> LeaseAnswer:
    granted = await fitter.acquire_lease(DEVICE, "session-1")
    assert isinstance(granted, LeaseAnswer)
    if granted.mode != "advanced":
        assert isinstance(await fitter.go_live(DEVICE, granted.fence), ModeAnswer)
    return granted


async def change(fitter: Fitter) -> SubmitAnswer:
    granted = await fitter.acquire_lease(DEVICE, "session-1")
    assert isinstance(granted, LeaseAnswer)
    answer = await fitter.submit(raise_of(granted))
    assert isinstance(answer, SubmitAnswer), answer
    return answer


def ram(folder: Path) -> list[str]:
    stored = (AidStore(folder, ear, f"S-{ear}").load("ram") for ear in EARS)
    return ["" if each is None else each.digest for each in stored]


async def test_a_change_is_carried_out_and_every_step_of_it_is_told(tmp_path: Path) -> None:
    async with care_bench() as bench, phone(bench, tmp_path) as process, bench.fitter() as fitter:
        await eventually(lambda: events(tmp_path, "welcome"))
        await live(fitter)
        answer = await change(fitter)
        assert await fitter.wait_until(DEVICE, answer, timeout_s=PATIENCE_S) == "confirmed"
        await eventually(lambda: events(tmp_path, "settled_in"))
        assert ram(tmp_path) == [answer.digests.right, answer.digests.left]
        process.send_signal(signal.SIGUSR2)
        await eventually(lambda: ram(tmp_path) == [bench.pair.aid(ear).read_digest("ram") for ear in EARS])
        await eventually(lambda: events(tmp_path, "restore"))
    for step in ("boot", "hello", "offer_in", "journal", "chunk", "side_commit", "result_out", "restore"):
        assert events(tmp_path, step), step
    assert bench.token("pat", "patient", "device")[:20] not in (tmp_path / "events").read_text()


@pytest.mark.parametrize(
    "kill", ["journal.received:1", "chunk.left:3", "side_commit.right:1", "result_out.confirmed:2"]
)
async def test_a_phone_that_is_killed_at_a_step_goes_on_from_its_files(tmp_path: Path, kill: str) -> None:
    async with care_bench() as bench, bench.fitter() as fitter:
        async with phone(bench, tmp_path, kill=kill) as process:
            await eventually(lambda: events(tmp_path, "welcome"))
            await live(fitter)
            answer = await change(fitter)
            async with asyncio.timeout(PATIENCE_S):
                assert await process.wait() == -signal.SIGKILL
        async with phone(bench, tmp_path):
            state = await fitter.wait_until(DEVICE, answer, timeout_s=PATIENCE_S)
            assert state in {"confirmed", "rolled_back"}

            async def is_known() -> bool:
                """What the aids hold; one may be on its way back to what it held before."""
                in_aid = (await fitter.get_device(DEVICE)).in_aid
                return ram(tmp_path) == [getattr(in_aid, ear).ram for ear in EARS]

            await eventually_asked(is_known)
    assert len(events(tmp_path, "boot")) == 2


async def test_a_phone_that_starts_with_no_server_restores_and_goes_on_trying(tmp_path: Path) -> None:
    async with care_bench() as bench, bench.fitter() as fitter:
        base = [bench.pair.aid(ear).read_digest("ram") for ear in EARS]
        async with phone(bench, tmp_path) as process:
            await eventually(lambda: events(tmp_path, "welcome"))
            await live(fitter)
            answer = await change(fitter)
            assert await fitter.wait_until(DEVICE, answer, timeout_s=PATIENCE_S) == "confirmed"
            process.kill()
            await process.wait()
    tried = [answer.digests.right, answer.digests.left]
    assert ram(tmp_path) == tried != base
    async with phone(bench, tmp_path, "--dead-man-s", "0.5") as process:
        await eventually(lambda: ram(tmp_path) == base)
        assert process.returncode is None
        assert process.stderr is not None
        async with asyncio.timeout(PATIENCE_S):
            said = await process.stderr.readline()
    assert said.startswith(b"no connection to the hub, it is tried again: no connection: ")


async def test_a_damaged_journal_keeps_the_phone_from_starting_and_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "journal").write_bytes(b"auricle-journal 1 5 abc\nhello")
    async with care_bench() as bench, phone(bench, tmp_path) as process:
        async with asyncio.timeout(PATIENCE_S):
            _, stderr = await process.communicate()
    assert process.returncode == 1
    assert b"JournalDamaged" in stderr
    assert b"keep the file" in stderr


@pytest.mark.parametrize("wrong", [("--fault", "flood@1"), ("--loudness", "9"), ("--model", "none")])
async def test_flags_that_make_no_sense_are_said_so(tmp_path: Path, wrong: tuple[str, str]) -> None:
    async with care_bench() as bench, phone(bench, tmp_path, *wrong) as process:
        async with asyncio.timeout(PATIENCE_S):
            _, stderr = await process.communicate()
    assert process.returncode == 2
    assert wrong[0].encode() in stderr
