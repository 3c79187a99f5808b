"""The database of a storm: devices that were read back once and have one package waiting each; and a look at it after.

Devices are registered over REST at a real server. What their phones and their fitter would have done is then taken as
one step a device by the device log's own code, with the kernel's judgement of each package, many devices to a commit;
no server runs meanwhile. It must not know what a storm measures. Read ``seed`` first.
"""

import asyncio
import secrets
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

import aiohttp
import msgspec

from fitting.log_attaching import attach, detach
from fitting.log_packages import append_package
from fitting.log_rows import DeviceRows
from fitting.log_sql.postgres import PostgresDatabase
from fitting.log_sql.postgres_log import PostgresLog
from fitting.log_sql.sqlite import SqliteDatabase
from fitting.log_sql.sqlite_log import SqliteLog
from fitting.log_sql.store import SqlLogStore
from fitting.log_values import Accepted, Attached, LogLimits, Proposal
from protocol.contract.base import EARS, Refusal

from .bench_websocket import BenchFailed
from .dev_tokens import mint
from .servers import ServerProcess, auricle_migrate
from .storm_package import FITTER, claim, device_name, judged, registration, wanted

__all__ = ["CLINIC", "Place", "seed", "server_on", "states_of"]

# All live sessions have the same fitter.
_ONE_FITTER: Final = {"AURICLE_MAX_USER_CONNECTIONS": "1000000"}

CLINIC: Final = "storm"
_AT_ONCE: Final = 256
_REGISTERED_AT_ONCE: Final = 32
_TOLD_EVERY_S: Final = 5.0
_WEEK_S: Final = 7 * 24 * 3_600.0


@dataclass(frozen=True, slots=True)
class Place:
    """Where everything is: ``folder`` for a server's data and its log, ``url`` of a PostgreSQL database or empty.

    ``key`` is the key that the server's development tokens are signed with.
    """

    folder: Path
    url: str
    key: str

    @property
    def file(self) -> Path:
        """The SQLite database."""
        return self.folder / "auricle.db"


def server_on(
    place: Place, name: str = "auricle", profile: Path | None = None, environ: Mapping[str, str] = MappingProxyType({})
) -> ServerProcess:
    """A server process on it."""
    profiled = () if profile is None else ("-m", "cProfile", "-o", str(profile))
    serve = ("-m", "signaling", "serve", "--dev", "--port", "0", "--data", str(place.folder))
    own = {"AURICLE_DATABASE_URL": place.url, "AURICLE_DEV_SIGNING_KEY": place.key}
    return ServerProcess(name, (*profiled, *serve), place.folder, environ={**own, **_ONE_FITTER, **environ})


async def seed(place: Place, devices: int) -> None:
    """Give an empty database its devices and their packages. Raises BenchFailed."""
    if place.url:
        await auricle_migrate({"AURICLE_DATABASE_URL": place.url})
    async with server_on(place, "seeding") as server:
        await _register(server.url, place.key.encode(), devices)
    async with _store(place) as store:
        await _each("packages", devices, _AT_ONCE, lambda number: _fill(store, number))


async def states_of(place: Place, numbers: Iterable[int]) -> dict[int, str]:
    """How it stands with the packages of some devices, by the log itself; no server may run."""
    states: dict[int, str] = {}

    def state(rows: DeviceRows, _: float) -> str:
        entry = rows.oldest()
        return "no package" if entry is None else f"{entry.delivery.state} at {rows.last_seq}"

    async with _store(place) as store:
        for number in numbers:
            found = await store.run(device_name(number), state)
            states[number] = found.code if isinstance(found, Refusal) else found
    return states


async def _register(url: str, key: bytes, devices: int) -> None:
    token = mint(key, user=FITTER, clinic=CLINIC, roles=("clinician",), now_s=time.time())
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}

    async with aiohttp.ClientSession(headers=headers) as http:

        async def register(number: int) -> None:
            body = msgspec.json.encode(registration(number))
            async with http.post(f"{url}/api/v1/devices", data=body) as answer:
                if answer.status != 201:
                    raise BenchFailed(f"registering a device was answered with {answer.status}")

        await _each("devices", devices, _REGISTERED_AT_ONCE, register)


async def _fill(store: SqlLogStore, number: int) -> None:
    """A phone has attached once and is gone, and a package waits for it."""

    def step(rows: DeviceRows, now_s: float) -> Accepted | Refusal:
        attached = attach(rows, now_s, claim(number), _new_id)
        if not isinstance(attached, Attached) or rows.head is None:
            raise BenchFailed("a device could not be attached")
        detach(rows, attached.generation)
        return append_package(rows, now_s, _proposal(number, rows.head.revision_id), _new_id)

    outcome = await store.run(device_name(number), step)
    if isinstance(outcome, Refusal):
        raise BenchFailed(f"a package was refused: {outcome.code}")


def _proposal(number: int, ground: str) -> Proposal:
    content = wanted(number)
    digests, safety = judged(content)
    return Proposal(
        device=device_name(number),
        key="storm",
        request_hash="storm",
        expected_head=ground,
        kind="persist",
        mode="standard",
        fence=0,
        author=FITTER,
        reason="benchmark",
        origin="fitting",
        content=content,
        digests=digests,
        ears=EARS,
        safety=safety,
        expires_in_s=_WEEK_S,
        ground=ground,
    )


@asynccontextmanager
async def _store(place: Place) -> AsyncIterator[SqlLogStore]:
    """The device log's own store, with no server around it."""
    database: SqliteDatabase | PostgresDatabase
    tables: SqliteLog | PostgresLog
    if place.url:
        database = PostgresDatabase(place.url, monotonic=time.monotonic)
        tables = PostgresLog(database)
    else:
        database = SqliteDatabase(place.file, monotonic=time.monotonic)
        tables = SqliteLog(database, clock=time.time, monotonic=time.monotonic)
    await database.open()
    try:
        await tables.open()
        store = SqlLogStore(tables, name=_new_id(), monotonic=time.monotonic, limits=LogLimits())
        yield store
        await store.close()
    finally:
        await database.close()


async def _each(what: str, count: int, at_once: int, work: Callable[[int], Awaitable[None]]) -> None:
    """Do it for every number; how far it is is told now and then."""
    numbers = iter(range(count))
    told_s = time.monotonic()

    async def some(left: Iterator[int]) -> None:
        nonlocal told_s
        for number in left:
            await work(number)
            if time.monotonic() - told_s >= _TOLD_EVERY_S:
                told_s = time.monotonic()
                print(f"seeding {what}: {number} of {count}", file=sys.stderr, flush=True)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(min(at_once, count)):
                group.create_task(some(numbers))
    except* BenchFailed as failures:
        raise BenchFailed(str(failures.exceptions[0])) from None


def _new_id() -> str:
    return secrets.token_hex(12)
