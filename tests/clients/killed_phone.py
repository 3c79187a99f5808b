"""A phone process that is killed: forked for every run, so that hundreds of real deaths take seconds.

``python -m tests.clients.killed_phone`` reads one run a line, forks the phone, kills it where or when it is told to,
and answers how it ended. The phone's journal, its aids and what the server has heard are files of the run's folder.
"""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import msgspec

from clients.file_journal import FileJournal
from clients.journal import JournalRecord
from clients.virtual_aid.aid import AidChange, VirtualAid
from clients.virtual_aid.faults import Faults
from clients.virtual_aid.pair import VirtualPair
from clients.virtual_aid.store import AidStore
from fitting.digest import ear_digest
from protocol.contract.base import EARS, Ear
from protocol.contract.devices import Offer, Report
from tests.clients.offers import FIRMWARE, SERIALS
from tests.clients.phone_bench import make_runner

__all__ = ["Ended", "Nursery", "Run", "kept_pair", "nursery", "reports_in", "touches_in"]


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """One life of a phone. ``dies_at`` is a point and how often it is reached first, ``after_s`` an instant.

    ``stops``: its wearer wants the old sound back once the delivery is through.
    """

    folder: str
    offer: Offer
    dies_at: str = ""
    after_s: float | None = None
    recovers: bool = True
    stops: bool = False
    time_scale: float = 0.0


class Ended(msgspec.Struct, frozen=True):
    """How a life ended: by which signal, 0 for none; and the exit code."""

    signal: int
    code: int


class Tripwire:
    """Kills this very process as a named point is reached for the n-th time."""

    def __init__(self, dies_at: str) -> None:
        self._dies_at = dies_at
        self._seen: Counter[str] = Counter()

    def reach(self, point: str) -> None:
        if self._dies_at == f"{point}:{self._seen[point]}":
            os.kill(os.getpid(), signal.SIGKILL)
        self._seen[point] += 1


class WiredJournal(FileJournal):
    """A real journal with a tripwire before and after every save."""

    def __init__(self, path: Path, wire: Tripwire) -> None:
        super().__init__(path)
        self._wire = wire

    def save(self, record: JournalRecord) -> None:
        self._wire.reach("save")
        super().save(record)
        self._wire.reach("saved")


class Touch(msgspec.Struct, frozen=True):
    """Something that has happened to a memory, as a line of the run's folder."""

    ear: Ear
    what: str
    digest: str


def kept_pair(folder: Path, *, wire: Tripwire | None = None, time_scale: float = 0.0) -> VirtualPair:
    """The aids of a folder, as they are now."""

    def touched(change: AidChange) -> None:
        with (folder / "touched.jsonl").open("ab", buffering=0) as file:
            file.write(msgspec.json.encode(Touch(change.ear, change.what, ear_digest(change.image))) + b"\n")
        if wire is not None:
            wire.reach(change.what)

    aids = (
        VirtualAid(
            ear,
            SERIALS[ear],
            firmware=FIRMWARE,
            faults=Faults(time_scale=time_scale),
            store=AidStore(folder, ear, SERIALS[ear]),
            on_change=touched,
        )
        for ear in EARS
    )
    return VirtualPair(*aids)


def reports_in(folder: Path) -> list[Report]:
    """What the server has heard over all lives, in order."""
    path = folder / "reports.jsonl"
    lines = path.read_bytes().splitlines() if path.exists() else []
    return [msgspec.json.decode(line, type=Report) for line in lines]


def touches_in(folder: Path, ear: Ear) -> list[Touch]:
    """All that has happened to one aid over all lives, in order."""
    lines = (folder / "touched.jsonl").read_bytes().splitlines()
    touches = (msgspec.json.decode(line, type=Touch) for line in lines)
    return [touch for touch in touches if touch.ear == ear]


async def live(run: Run) -> None:
    """A phone that starts, recovers, is offered one delivery and carries it out."""
    folder, wire = Path(run.folder), Tripwire(run.dies_at)
    pair = kept_pair(folder, wire=wire, time_scale=run.time_scale)
    server = os.open(folder / "reports.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    async def report(report: Report) -> None:
        wire.reach("report")
        os.write(server, msgspec.json.encode(report) + b"\n")
        wire.reach("reported")

    with WiredJournal(folder / "journal", wire) as journal:
        runner = make_runner(pair, journal)
        if run.recovers:
            await runner.recover()
        await runner.run_offer(run.offer, report)
        if run.stops:
            await runner.revert("stop", report)


class Nursery:
    """The process that forks phones."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self._process = process

    def run(self, run: Run) -> Ended:
        """Live one life; returns when it has ended."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(msgspec.json.encode(run) + b"\n")
        self._process.stdin.flush()
        return msgspec.json.decode(self._process.stdout.readline(), type=Ended)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(timeout=10)


@contextmanager
def nursery() -> Iterator[Nursery]:
    command = [sys.executable, "-m", "tests.clients.killed_phone"]
    with Nursery(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)) as running:
        yield running


def main() -> None:
    for line in sys.stdin.buffer:
        run = msgspec.json.decode(line, type=Run)
        child = os.fork()
        if child == 0:
            asyncio.run(live(run))
            os._exit(0)
        if run.after_s is not None:
            time.sleep(run.after_s)  # sleep: the instant of the death is what is tried
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        ended = Ended(os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0, os.waitstatus_to_exitcode(status))
        sys.stdout.buffer.write(msgspec.json.encode(ended) + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
