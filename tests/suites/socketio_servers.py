"""The servers that the suites of engine.io-protocol and socket.io-protocol talk to, over our own transports.

Both are small: one sends every message back, the other answers ``message`` and ``message-with-ack`` in two namespaces.
"""

import asyncio
import io
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from protocol.errors import RemoteProtocolError
from protocol.socketio.engine import SEPARATOR
from protocol.socketio.packets import PacketLimits
from signaling.log import LogBook
from signaling.tasks import TaskSet
from signaling.transports.aiohttp_seam import Deadlines, StrictRunner
from signaling.transports.engineio_server import EngineServer
from signaling.transports.engineio_socket import EngineLimits, EngineSocket
from signaling.transports.socketio_seam import BoundedServer

__all__ = ["engine_server", "socket_server"]

# What both suites expect to be told.
TIMES = {"ping_interval_s": 0.3, "ping_timeout_s": 0.2, "max_body_bytes": 1_000_000, "max_packet_bytes": 1_000_000}
SWEEP_S = 0.02
APART_S = 0.1


class Echo:
    """An ``EngineOwner`` that says everything again."""

    front: EngineServer

    def received(self, socket: EngineSocket, data: bytes, *, binary: bool) -> None:
        if binary:
            socket.write_binary(data)
        else:
            socket.write(b"4" + data + SEPARATOR)

    def drained(self, socket: EngineSocket) -> None: ...

    def broken(self, socket: EngineSocket, error: RemoteProtocolError) -> None: ...

    def gone(self, socket: EngineSocket, reason: str) -> None:
        self.front.forget(socket)


@asynccontextmanager
async def engine_server(port: int) -> AsyncIterator[str]:
    """The server of the engine.io suite; its address."""
    owner = Echo()
    limits = EngineLimits(**TIMES, connect_timeout_s=60)  # type: ignore[arg-type]  # of two types
    sids = iter(range(1_000_000))
    owner.front = EngineServer(
        limits,
        new_sid=lambda: f"sid{next(sids)}",
        no_room=lambda: None,
        monotonic=time.monotonic,
        reached=lambda _: None,
    )
    owner.front.owner = owner
    async with _running("/engine.io/", owner.front.handle, owner.front.sweep, port) as url:
        yield url


@asynccontextmanager
async def socket_server(port: int) -> AsyncIterator[str]:
    """The server of the socket.io suite; its address."""
    limits = EngineLimits(**TIMES, connect_timeout_s=1.0)  # type: ignore[arg-type]  # of two types
    tasks = TaskSet("suite", LogBook(io.StringIO()))
    server = BoundedServer(
        PacketLimits(),
        limits,
        tasks=tasks,
        no_room=lambda: None,
        monotonic=time.monotonic,
        reached=lambda _: None,
        on_broken=lambda _: None,
        namespaces=("/", "/custom"),
        always_connect=True,
    )
    for namespace in ("/", "/custom"):
        _answer(server, namespace)
    async with _running("/socket.io/", server.front.handle, server.sweep, port) as url:
        yield url
    await tasks.close()


def _answer(server: BoundedServer, namespace: str) -> None:
    async def connect(sid: str, _: object, auth: Any) -> None:
        # The suite listens anew for each message, and would miss the second of two that come in one piece.
        await asyncio.sleep(APART_S)
        await server.emit("auth", auth or {}, to=sid, namespace=namespace)

    async def message(sid: str, *args: Any) -> None:
        await server.emit("message-back", args, to=sid, namespace=namespace)

    async def with_ack(_: str, *args: Any) -> tuple[Any, ...]:
        return args

    server.on("connect", connect, namespace=namespace)
    server.on("message", message, namespace=namespace)
    server.on("message-with-ack", with_ack, namespace=namespace)


@asynccontextmanager
async def _running(
    path: str, handle: Callable[[web.Request], Awaitable[web.StreamResponse]], sweep: Callable[[], None], port: int
) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_route("*", path, handle)
    deadlines = Deadlines(request_s=10, body_s=10, idle_s=10, reached=lambda _: None)
    runner = StrictRunner(app, deadlines, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "localhost", port).start()

        async def sweeps() -> None:
            while True:
                await asyncio.sleep(SWEEP_S)  # what a server does every half second
                sweep()

        async with asyncio.TaskGroup() as tasks:
            sweeping = tasks.create_task(sweeps())
            yield f"http://localhost:{runner.addresses[0][1]}"
            sweeping.cancel()
    finally:
        await runner.cleanup()
