"""What a connection costs that says nothing: resident memory, and CPU with the keep-alives of both ends.

The holder answers what a real client must answer and nothing else: a hub client sends a Ping when the server's
interval has passed, a plain WebSocket answers pings with pongs. A connection that ends, or that hears no keep-alive,
fails the run. It must not know how servers are started. Read ``measure_idle`` first.
"""

import asyncio
import resource
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final, cast

from .bench_websocket import BenchFailed, Opcode, client_frame, upgrade_request
from .report import IdleSample
from .servers import ServerProcess

__all__ = ["BARE", "HUB", "HUB_MESSAGEPACK", "Habits", "Idle", "Idler", "measure_idle", "require_files"]

AT_ONCE: Final = 64
OPEN_S: Final = 120.0
# So that what the first connections bring into memory once is not counted as theirs.
WARM_UP: Final = 50
SPARE_FILES: Final = 200
_KIB: Final = 1_024
_PING: Final = 0x89
_PONG_HEAD: Final = bytes((0x8A, 0x80, 0, 0, 0, 0))


@dataclass(frozen=True, slots=True)
class Habits:
    """How one kind of client idles: its path, its first words and their answer, its own sign of life and the server's.

    Without a ``keep_alive`` the server's are WebSocket pings.
    """

    path: str
    hello: bytes = b""
    welcome: bytes = b""
    sign_of_life: bytes = b""
    keep_alive: bytes = b""


HUB: Final = Habits(
    path="/hubs/conformance",
    hello=client_frame(Opcode.TEXT, b'{"protocol":"json","version":1}\x1e'),
    welcome=b"\x81\x03{}\x1e",
    sign_of_life=client_frame(Opcode.TEXT, b'{"type":6}\x1e'),
    keep_alive=b'\x81\x0b{"type":6}\x1e',
)
HUB_MESSAGEPACK: Final = Habits(
    path="/hubs/conformance",
    hello=client_frame(Opcode.TEXT, b'{"protocol":"messagepack","version":1}\x1e'),
    welcome=b"\x82\x03{}\x1e",
    sign_of_life=client_frame(Opcode.BINARY, b"\x02\x91\x06"),
    keep_alive=b"\x82\x03\x02\x91\x06",
)
BARE: Final = Habits(path="/hold")


@dataclass(frozen=True, slots=True)
class Idler:
    """A running server, and who idles there."""

    name: str
    server: ServerProcess
    habits: Habits
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Idle:
    """How many connections are held, for how long, and how often both ends show that they live.

    ``window_s`` must hold at least one interval of the server's keep-alive and a sweep. ``settle_s`` goes by before
    anything is measured.
    """

    connections: int
    window_s: float = 30.0
    keep_alive_s: float = 15.0
    settle_s: float = 1.0


class _Holder(asyncio.Protocol):
    """One idle connection; it keeps nothing but what it needs to count keep-alives."""

    __slots__ = ("_habits", "_held", "_on_end", "_request", "_transport", "heard", "ready")

    def __init__(self, request: bytes, habits: Habits, on_end: Callable[[str], None]) -> None:
        self._request = request
        self._habits = habits
        self._on_end = on_end
        self._held: bytes | None = b""
        self._transport: asyncio.Transport | None = None
        self.ready: asyncio.Future[None] | None = asyncio.get_running_loop().create_future()
        self.heard = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See ``asyncio.Protocol``."""
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(self._request + self._habits.hello)

    def data_received(self, data: bytes) -> None:
        """The answer to the upgrade and the welcome; after them keep-alives, each in a segment of its own."""
        if self._held is not None:
            self._open(self._held + data)
        elif data[0] == _PING and len(data) == 2:
            self.heard += 1
            self.write(_PONG_HEAD)
        elif data == self._habits.keep_alive:
            self.heard += 1
        else:
            self._on_end(f"an idle connection got {data[:60]!r}")

    def _open(self, data: bytes) -> None:
        head, end, rest = data.partition(b"\r\n\r\n")
        if end and not head.startswith(b"HTTP/1.1 101"):
            self._on_end(f"no WebSocket upgrade: {head[:80]!r}")
        elif not end or len(rest) < len(self._habits.welcome):
            self._held = data
        elif rest != self._habits.welcome:
            self._on_end(f"the greeting was answered with {rest[:80]!r}")
        elif self.ready is not None:
            self._held = None
            self.ready.set_result(None)
            self.ready = None
            self.write(self._habits.sign_of_life)

    def connection_lost(self, _: Exception | None, /) -> None:
        """See ``asyncio.Protocol``."""
        self._on_end("an idle connection was ended")

    def write(self, frame: bytes) -> None:
        """Send a whole frame, if there is one to send."""
        if frame and self._transport is not None:
            self._transport.write(frame)

    def drop(self) -> None:
        """End it without a word."""
        if self._transport is not None:
            self._transport.abort()


class _Hall:
    """All idle connections of one measurement."""

    def __init__(self, url: str, habits: Habits, headers: dict[str, str]) -> None:
        self._host, self._port, self._request = upgrade_request(url + habits.path, headers)
        self._habits = habits
        self._holders: list[_Holder] = []
        self._over: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    @property
    def heard(self) -> Iterator[int]:
        """Keep-alives that each connection has got."""
        return (holder.heard for holder in self._holders)

    async def fill(self, count: int) -> None:
        """Open so many more. Raises BenchFailed."""
        todo = iter(range(count))
        try:
            async with asyncio.timeout(OPEN_S):
                await self._open_all(todo)
        except TimeoutError:
            raise BenchFailed(f"not all of {count} connections opened within {OPEN_S:g} s") from None

    async def _open_all(self, todo: Iterator[int]) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(AT_ONCE):
                    group.create_task(self._open_from(todo))
        except* (OSError, BenchFailed) as failures:
            raise BenchFailed(f"cannot open idle connections: {failures.exceptions[0]}") from None

    async def _open_from(self, todo: Iterator[int]) -> None:
        loop = asyncio.get_running_loop()
        for _ in todo:
            _, holder = await loop.create_connection(
                lambda: _Holder(self._request, self._habits, self._end), self._host, self._port
            )
            self._holders.append(holder)
            if holder.ready is not None:
                either: set[asyncio.Future[Any]] = {holder.ready, self._over}
                await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            self._check()

    async def idle(self, seconds: float, interval_s: float) -> None:
        """Let the time pass; every connection says once in an interval that it lives. Raises BenchFailed."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        said = 0
        while (passed := loop.time() - began) < seconds:
            due = int(passed / interval_s * len(self._holders))
            for number in range(said, due):
                self._holders[number % len(self._holders)].write(self._habits.sign_of_life)
            said = due
            await asyncio.wait({self._over}, timeout=min(0.05, seconds - passed))
            self._check()

    def empty(self) -> None:
        """Drop them all."""
        if not self._over.done():
            self._over.set_result("")
        for holder in self._holders:
            holder.drop()

    def _end(self, reason: str) -> None:
        if not self._over.done():
            self._over.set_result(reason)

    def _check(self) -> None:
        if self._over.done():
            raise BenchFailed(self._over.result())


async def measure_idle(one: Idler, idle: Idle, number: int) -> IdleSample:
    """Hold ``idle.connections`` on a server that has just been started. Raises BenchFailed."""
    server, hall = one.server, _Hall(one.server.url, one.habits, one.headers)
    try:
        await hall.fill(WARM_UP)
        await hall.idle(idle.settle_s, idle.keep_alive_s)
        rss_before = server.rss_bytes
        await hall.fill(idle.connections)
        await hall.idle(idle.settle_s, idle.keep_alive_s)
        heard_before = list(hall.heard)
        began, cpu_before = time.perf_counter(), server.cpu_s
        await hall.idle(idle.window_s, idle.keep_alive_s)
        wall_s, cpu_s = time.perf_counter() - began, server.cpu_s - cpu_before
        silent = sum(now == before for now, before in zip(hall.heard, heard_before, strict=True))
        if silent:
            raise BenchFailed(f"{one.name}: {silent} idle connections heard no keep-alive in {idle.window_s:g} s")
        return IdleSample(
            round=number,
            server=one.name,
            connections=idle.connections,
            kib_per_connection=(server.rss_bytes - rss_before) / idle.connections / _KIB,
            busy=cpu_s / wall_s,
            wall_s=wall_s,
        )
    finally:
        hall.empty()


def require_files(count: int) -> None:
    """Let this process and those that it starts open ``count`` sockets. Raises BenchFailed when they may not."""
    needed = count + SPARE_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft >= needed or soft == resource.RLIM_INFINITY:
        return
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise BenchFailed(f"{count} connections need {needed} open files in a process, and {hard} are allowed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
