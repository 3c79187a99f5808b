"""``python -m loadtest.reconnect``: many connections are cut at once and come back, while live sessions go on.

Server processes on one database and one bus, processes of clients whose sockets are all cut in one instant, and live
sessions with connections of their own, in which changes are made at a steady rate before and meanwhile. A client that
never comes back, and a session that breaks, are told and make the exit code 1; slowness never does. Read ``run`` first.
"""

import argparse
import asyncio
import os
import secrets
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import aiohttp
import msgspec

from .bench import within
from .bench_websocket import BenchFailed
from .bounded import bounded
from .idle import require_files
from .live_sessions import open_all, tick, together
from .postgres_process import postgres_process
from .reconnect_generator import Outcome, Plan
from .reconnect_report import Live, PodUse, ReconnectResult, joined, table
from .servers import ServerProcess, auricle_migrate
from .storm_seed import Place, server_on
from .submit_report import Quantiles
from .submit_session import SubmitSession, Timings
from .valkey_process import valkey_process

__all__ = ["ReconnectSettings", "main", "run"]

EXIT_FAILED: Final = 1
CLINIC: Final = "bench"
# Slowness must not look like a loss.
GIVE_UP_S: Final = 300.0
PATIENCE_S: Final = 20.0
LOOK_S: Final = 0.25
_REASON_CHARS: Final = 200
_READ_BYTES: Final = 64 * 1_048_576


@dataclass(frozen=True, slots=True)
class ReconnectSettings:
    """``calm_s``: how long the sessions are measured with everybody connected, before the cut."""

    clients: int
    pods: int
    sessions: int
    rate: float
    jitter_s: float
    calm_s: float
    generators: int


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command: 0 everybody came back, 1 somebody did not or something failed, 2 unusable options."""
    options = _options(arguments)
    settings = ReconnectSettings(
        options.clients,
        options.pods,
        options.sessions,
        options.rate,
        options.jitter,
        options.calm,
        options.generators,
    )

    async def work() -> ReconnectResult:
        # All of them in one process while they come back: those that were cut are gone by then.
        require_files(settings.clients + 2 * settings.sessions)
        return await run(settings)

    result = bounded("reconnect", work, options.time_limit)
    if result is None:
        return EXIT_FAILED
    print(msgspec.json.encode(result).decode() if options.json else table(result))
    return 0 if result.is_whole else EXIT_FAILED


async def run(settings: ReconnectSettings) -> ReconnectResult:
    """Start everything, let it come, end everything. Raises BenchFailed."""
    timings, broken = Timings(), _Broken()
    async with _pods(settings.pods) as (servers, key), AsyncExitStack() as stack:
        peaks = _Peaks(servers)
        before = peaks.most
        crowd = _Generators(settings, tuple(server.url for server in servers), key)
        stack.push_async_callback(crowd.end)
        connected_s = await crowd.connect()
        sessions = [SubmitSession(device, timings, broken.told_of(device)) for device in _devices(settings)]
        for session in sessions:
            stack.push_async_callback(session.close)
        async with together() as tasks, aiohttp.ClientSession() as http:
            for number, server in enumerate(servers):
                await open_all(sessions[number :: len(servers)], server.url, key.encode(), http, tasks)
            tasks.create_task(tick(sessions, settings.rate))
            tasks.create_task(peaks.look())
            await asyncio.sleep(settings.calm_s / 4)  # sleep: the first changes are not measured
            timings.clear()
            await asyncio.sleep(settings.calm_s)  # sleep: what is measured
            calm, load, full = _live(timings), os.getloadavg()[0], [server.rss_bytes for server in servers]
            timings.clear()
            cpu_s = [server.cpu_s for server in servers]
            outcome = await crowd.storm()
            cpu_s = [server.cpu_s - cpu for server, cpu in zip(servers, cpu_s, strict=True)]
            storm = _live(timings)
            after = [server.rss_bytes for server in servers]
    pods = [PodUse(*use) for use in zip(before, full, peaks.most, after, cpu_s, strict=True)]
    return ReconnectResult(
        clients=settings.clients,
        jitter_s=settings.jitter_s,
        connected_s=connected_s,
        all_back_s=max(outcome.back_s, default=0.0),
        back=_quantiles(outcome.back_s),
        connect=_quantiles(outcome.connect_s),
        lost=outcome.lost,
        refused=outcome.refused,
        cut_again=outcome.cut_again,
        sessions=settings.sessions,
        rate=settings.rate,
        broken=broken.reasons,
        calm=calm,
        storm=storm,
        pods=pods,
        generator_cpu_s=outcome.cpu_s,
        load=(load, os.getloadavg()[0]),
    )


class _Broken:
    """The first thing that went wrong with each live session; the others go on."""

    def __init__(self) -> None:
        self.reasons: dict[str, str] = {}

    def told_of(self, device: str) -> Callable[[str], None]:
        """Whom to tell what went wrong with the session of a device."""

        def tell(reason: str) -> None:
            self.reasons.setdefault(device, reason[:_REASON_CHARS])

        return tell


def _devices(settings: ReconnectSettings) -> list[str]:
    return [f"bench-{number}" for number in range(settings.sessions)]


class _Peaks:
    """The most memory that each server had."""

    def __init__(self, servers: Sequence[ServerProcess]) -> None:
        self._servers = servers
        self.most = [server.rss_bytes for server in servers]

    async def look(self) -> None:
        while True:
            self.most = [max(most, server.rss_bytes) for most, server in zip(self.most, self._servers, strict=True)]
            await asyncio.sleep(LOOK_S)  # sleep: memory tells nobody when it grows


class _Generators:
    """The processes of clients."""

    def __init__(self, settings: ReconnectSettings, urls: tuple[str, ...], key: str) -> None:
        self._plans = [
            Plan(
                urls=urls,
                key=key,
                clinic=CLINIC,
                first=first,
                step=settings.generators,
                clients=settings.clients,
                jitter_s=settings.jitter_s,
                patience_s=PATIENCE_S,
                give_up_s=GIVE_UP_S,
                seed=first,
            )
            for first in range(settings.generators)
        ]
        self._processes: list[asyncio.subprocess.Process] = []

    async def connect(self) -> float:
        """Have everybody connected; how many seconds that took. Raises BenchFailed."""
        began_s = time.monotonic()
        for plan in self._plans:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "loadtest.reconnect_generator"),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                limit=_READ_BYTES,
            )
            self._processes.append(process)
            _stdin(process).write(msgspec.json.encode(plan) + b"\n")
        for process in self._processes:
            if await _line(process) != b"ready\n":
                raise BenchFailed("not all clients could connect")
        return time.monotonic() - began_s

    async def storm(self) -> Outcome:
        """Have all cut, and what became of them. Raises BenchFailed."""
        for process in self._processes:
            _stdin(process).write(b"cut\n")
        lines = [await _line(process) for process in self._processes]
        if not all(lines):
            raise BenchFailed("a process of clients has ended")
        return joined([msgspec.json.decode(line, type=Outcome) for line in lines])

    async def end(self) -> None:
        """End what still runs."""
        for process in self._processes:
            if process.returncode is None:
                process.kill()
            await process.wait()


def _stdin(process: asyncio.subprocess.Process) -> asyncio.StreamWriter:
    assert process.stdin is not None
    return process.stdin


async def _line(process: asyncio.subprocess.Process) -> bytes:
    assert process.stdout is not None
    return await process.stdout.readline()


@asynccontextmanager
async def _pods(count: int) -> AsyncIterator[tuple[list[ServerProcess], str]]:
    """Server processes with one key: one on SQLite, several on a PostgreSQL and a Valkey."""
    key = secrets.token_hex(32)
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="auricle-reconnect-")))
        url = await stack.enter_async_context(postgres_process()) if count > 1 else ""
        bus = {"AURICLE_REDIS_URL": (await stack.enter_async_context(valkey_process())).url} if count > 1 else {}
        if url:
            await auricle_migrate({"AURICLE_DATABASE_URL": url})
        servers = []
        for number in range(count):
            place = Place(folder / str(number), url, key)
            place.folder.mkdir()
            servers.append(await stack.enter_async_context(server_on(place, f"auricle-{number}", environ=bus)))
        yield servers, key


def _live(timings: Timings) -> Live:
    return Live(_quantiles(timings.offer_s), _quantiles(timings.confirmed_s), timings.late)


def _quantiles(seconds: Sequence[float]) -> Quantiles | None:
    return Quantiles.of(seconds) if seconds else None


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m loadtest.reconnect",
        description="Cut many connections at once; how long until all are back, and what live sessions notice of it.",
    )
    add = parser.add_argument
    add("--clients", type=within(int, 1, 18_000), default=10_000, metavar="N", help="connections (default 10000)")
    add("--pods", type=within(int, 1, 8), default=2, help="server processes (default 2; 1 runs on SQLite)")
    add("--sessions", type=within(int, 1, 500), default=100, metavar="N", help="live sessions (default 100)")
    add("--rate", type=within(float, 0.1, 12), default=1.0, metavar="R", help="changes a second of each (default 1)")
    add("--jitter", type=within(float, 0, 600), default=10.0, metavar="S", help="of the first try (default 10 s)")
    add("--calm", type=within(float, 0.5, 600), default=10.0, metavar="S", help="measured before the cut (default 10)")
    processes = max(1, (os.cpu_count() or 2) // 2)
    add("--generators", type=within(int, 1, 64), default=processes, metavar="N", help="processes of clients")
    add("--time-limit", type=within(float, 1, 7_200), default=900.0, metavar="S", help="of all (default 900)")
    add("--json", action="store_true", help="print one JSON object")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
