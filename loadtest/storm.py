"""``python -m loadtest.storm``: the phones of many sleeping devices wake up at once, and a package waits for each.

A database of devices with one package each, a server process on it, and processes of phones that attach, take what is
offered, set it aside, and leave. A package that is lost, or that another device gets, fails the run; slowness never
does. Read ``run`` first.
"""

import argparse
import asyncio
import os
import secrets
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import aiohttp
import msgspec

from protocol.signalr.codec import ProtocolName

from .bare import loop_factory
from .bench import within
from .bench_websocket import BenchFailed
from .idle import require_files
from .postgres_process import postgres_process
from .servers import ServerProcess
from .storm_generator import Outcome, Plan
from .storm_package import MAX_DEVICES, device_name
from .storm_report import WAITING, Memory, StormResult, counted_between, joined, storm_table
from .storm_seed import CLINIC, Place, seed, server_on, states_of
from .submit_report import Quantiles, commits_between

__all__ = ["StormSettings", "main", "run"]

EXIT_FAILED: Final = 1
# Time for the generators to start before the first phone is due.
LEAD_S: Final = 2.0
LOOK_S: Final = 0.25
SETTLE_S: Final = 3.0
# Slowness must not look like a loss: a server that is behind by far catches up within this.
GIVE_UP_S: Final = 1_800.0
PATIENCE_S: Final = 60.0
ASKED_OF_THE_LOG: Final = 1_000
SERVERS_FILES: Final = 19_000
_READ_BYTES: Final = 64 * 1_048_576


@dataclass(frozen=True, slots=True)
class StormSettings:
    """``on_line``: phones that are connected at a time, all generators together. ``profile``: where the server's
    cProfile statistics go, None for none.
    """

    devices: int
    within_s: float
    protocol: ProtocolName = "messagepack"
    generators: int = 1
    on_line: int = SERVERS_FILES
    stay_s: float = 3.0
    profile: Path | None = None


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command: 0 every package arrived, 1 one did not or something failed, 2 unusable options."""
    options = _options(arguments)
    try:
        require_files(options.on_line)
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            result = runner.run(_bounded(_settings(options), options))
    except BenchFailed as error:
        print(f"storm: {error}", file=sys.stderr)
        return EXIT_FAILED
    except asyncio.CancelledError:
        print("storm: ended by a signal", file=sys.stderr)
        return EXIT_FAILED
    print(msgspec.json.encode(result).decode() if options.json else storm_table(result))
    for fault in result.faults:
        print(f"storm: {fault}", file=sys.stderr)
    return 0 if result.is_whole else EXIT_FAILED


async def run(settings: StormSettings, place: Place, database: str) -> StormResult:
    """Let it come over a seeded database. Raises BenchFailed."""
    async with server_on(place, profile=settings.profile) as server, aiohttp.ClientSession() as http:
        before, rss_before, cpu_s = await _metrics(http, server), server.rss_bytes, server.cpu_s
        begin_s = time.time() + LEAD_S
        outcome, peak = await _weather(settings, place, server, begin_s)
        cpu_s = server.cpu_s - cpu_s
        await asyncio.sleep(SETTLE_S)  # sleep: what is left when they have gone
        after = await _metrics(http, server)
        memory = Memory(rss_before, max(peak, server.rss_bytes), server.rss_bytes)
    given_up = set(outcome.given_up)
    asked = set(range(0, settings.devices, max(1, settings.devices // ASKED_OF_THE_LOG)))
    states = await states_of(place, sorted(asked | given_up))
    left = {number: states[number] in WAITING for number in given_up}
    wall_s, devices = outcome.ended_s - begin_s, settings.devices
    return StormResult(
        database=database,
        protocol=settings.protocol,
        devices=devices,
        within_s=settings.within_s,
        wall_s=wall_s,
        attach=_quantiles(outcome.attach),
        connect=_quantiles(outcome.connect),
        due=_quantiles(outcome.due),
        late=outcome.late,
        latest_s=outcome.latest_s,
        most=outcome.most,
        failed=outcome.failed,
        put_off=outcome.put_off,
        lost=[device_name(number) for number, waits in left.items() if not waits],
        waiting=[device_name(number) for number, waits in left.items() if waits],
        wrong=outcome.wrong,
        states=Counter(states[number] for number in asked - given_up),
        memory=memory,
        server_ms=cpu_s / devices * 1_000,
        server_busy=cpu_s / wall_s,
        generator_ms=outcome.cpu_s / devices * 1_000,
        generator_busy=outcome.cpu_s / wall_s,
        generators=settings.generators,
        counted=counted_between(before, after),
        commits=commits_between(before, after),
    )


async def _weather(settings: StormSettings, place: Place, server: ServerProcess, begin_s: float) -> tuple[Outcome, int]:
    """What became of all phones, and the most memory that the server had meanwhile."""
    peak = 0

    async def look() -> None:
        nonlocal peak
        while True:
            peak = max(peak, server.rss_bytes)
            await asyncio.sleep(LOOK_S)  # sleep: memory tells nobody when it grows

    looking = asyncio.get_running_loop().create_task(look())
    try:
        async with asyncio.TaskGroup() as group:
            plans = [_plan(settings, place, server.url, begin_s, first) for first in range(settings.generators)]
            running = [group.create_task(_generate(plan)) for plan in plans]
    except* BenchFailed as failures:
        raise BenchFailed(str(failures.exceptions[0])) from None
    finally:
        looking.cancel()
    return joined(task.result() for task in running), peak


def _plan(settings: StormSettings, place: Place, url: str, begin_s: float, first: int) -> Plan:
    pace_s = settings.within_s / settings.devices
    return Plan(
        url=url,
        key=place.key,
        clinic=CLINIC,
        protocol=settings.protocol,
        first=first,
        step=settings.generators,
        devices=settings.devices,
        pace_s=pace_s * settings.generators,
        begin_s=begin_s + first * pace_s,
        on_line=max(1, settings.on_line // settings.generators),
        stay_s=settings.stay_s,
        patience_s=PATIENCE_S,
        give_up_s=GIVE_UP_S,
    )


async def _generate(plan: Plan) -> Outcome:
    """A process of phones. Raises BenchFailed when it fails."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "loadtest.storm_generator"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=_READ_BYTES,
    )
    try:
        said, _ = await process.communicate(msgspec.json.encode(plan))
    except BaseException:
        if process.returncode is None:
            process.kill()
            await process.wait()
        raise
    if process.returncode != 0:
        raise BenchFailed(f"a generator ended with {process.returncode}")
    return msgspec.json.decode(said, type=Outcome)


def _quantiles(seconds: Sequence[float]) -> Quantiles | None:
    return Quantiles.of(seconds) if seconds else None


async def _metrics(http: aiohttp.ClientSession, server: ServerProcess) -> str:
    async with http.get(f"{server.url}/metrics") as answer:
        return await answer.text()


async def _bounded(settings: StormSettings, options: argparse.Namespace) -> StormResult:
    task = asyncio.current_task()
    assert task is not None
    # Ended from outside, the servers must still be ended from here.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    try:
        async with asyncio.timeout(options.time_limit), _seeded(settings, options) as (place, database):
            return await run(settings, place, database)
    except TimeoutError:
        raise BenchFailed(f"not finished within the time limit of {options.time_limit:g} s") from None


@asynccontextmanager
async def _seeded(settings: StormSettings, options: argparse.Namespace) -> AsyncIterator[tuple[Place, str]]:
    """A database that nothing has happened on yet, and its name; what was made here is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="auricle-storm-") as name:
        place = Place(Path(name), "", secrets.token_hex(32))
        if options.database == "sqlite":
            kept = None if options.data is None else options.data / f"storm-{settings.devices}.db"
            if kept is not None and kept.exists():
                shutil.copyfile(kept, place.file)
            else:
                await seed(place, settings.devices)
                if kept is not None:
                    _keep(place.file, kept)
            yield place, "sqlite"
            return
        async with _postgres(options.database) as url:
            place = Place(place.folder, url, place.key)
            await seed(place, settings.devices)
            yield place, "postgresql"


def _keep(file: Path, kept: Path) -> None:
    """Put a copy aside; a file by that name is always a whole one."""
    kept.parent.mkdir(parents=True, exist_ok=True)
    part = kept.with_suffix(".part")
    shutil.copyfile(file, part)
    part.replace(kept)


@asynccontextmanager
async def _postgres(database: str) -> AsyncIterator[str]:
    if database != "postgres":
        yield database
        return
    async with postgres_process() as url:
        yield url


def _settings(options: argparse.Namespace) -> StormSettings:
    return StormSettings(
        devices=options.devices,
        within_s=options.within,
        protocol=options.hub_protocol,
        generators=options.generators,
        on_line=options.on_line,
        stay_s=options.stay,
        profile=options.profile,
    )


def _database(text: str) -> str:
    if text in ("sqlite", "postgres") or text.startswith(("postgresql://", "postgres://")):
        return text
    raise argparse.ArgumentTypeError("must be sqlite, postgres, or the URL of an empty PostgreSQL database")


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m loadtest.storm",
        description="Sleeping devices with one package each: all their phones attach within a time.",
    )
    add = parser.add_argument
    add("--devices", type=within(int, 1, MAX_DEVICES), default=100_000, metavar="N", help="default 100000")
    add("--within", type=within(float, 0.1, 86_400), default=120.0, metavar="S", help="seconds (default 120)")
    add("--stay", type=within(float, 0, 600), default=3.0, metavar="S", help="seconds on the line (default 3)")
    add("--hub-protocol", choices=("json", "messagepack"), default="messagepack")
    add(
        "--database",
        type=_database,
        default="sqlite",
        help="sqlite (default), postgres (a server of its own), or a URL",
    )
    add(
        "--data",
        type=Path,
        metavar="DIR",
        help="keep the seeded SQLite database here, and use it if it is here already",
    )
    processes = max(1, (os.cpu_count() or 2) // 2)
    add("--generators", type=within(int, 1, 64), default=processes, metavar="N", help="processes of phones")
    add("--on-line", type=within(int, 1, SERVERS_FILES), default=SERVERS_FILES, metavar="N", help="phones at a time")
    add("--profile", type=Path, metavar="FILE", help="write the server's cProfile statistics")
    add("--time-limit", type=within(float, 1, 86_400), default=7_200.0, metavar="S", help="of all (default 7200)")
    add("--json", action="store_true", help="print one JSON object")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
