"""Bare aiohttp, the yardstick: a WebSocket server by the public API with nothing around the messages.

``/echo`` returns what comes; ``/relay/{own}/{to}`` joins one group and sends to another; ``/hold`` only holds, with
keep-alives, which the others have not. No login, no limits: what it costs bounds what anything built on aiohttp costs.
``python -m loadtest.bare`` prints the same kind of ready line as the server does. Read ``relay`` first.
"""

import asyncio
import contextlib
import json
import os
import signal
from typing import Final

from aiohttp import WSMsgType, web

__all__ = ["bare_app", "loop_factory"]

HEARTBEAT_S: Final = "BARE_HEARTBEAT_S"
GROUPS: Final = web.AppKey("groups", dict[str, list[web.WebSocketResponse]])


async def echo(request: web.Request) -> web.WebSocketResponse:
    """Every text back to where it came from."""
    socket = web.WebSocketResponse(compress=False)
    await socket.prepare(request)
    async for message in socket:
        if message.type is not WSMsgType.TEXT:
            break
        await socket.send_str(message.data)
    return socket


async def relay(request: web.Request) -> web.WebSocketResponse:
    """Every text to all members of the group ``to``; the first message joins ``own`` and is answered."""
    groups = request.app[GROUPS]
    members = groups.setdefault(request.match_info["own"], [])
    receivers = groups.setdefault(request.match_info["to"], [])
    socket = web.WebSocketResponse(compress=False)
    await socket.prepare(request)
    await socket.receive_str()
    members.append(socket)
    await socket.send_str("joined")
    try:
        async for message in socket:
            if message.type is not WSMsgType.TEXT:
                break
            for receiver in tuple(receivers):
                await receiver.send_str(message.data)
    finally:
        members.remove(socket)
    return socket


async def hold(request: web.Request) -> web.WebSocketResponse:
    """Nothing but the keep-alives that aiohttp itself sends."""
    socket = web.WebSocketResponse(compress=False, heartbeat=float(os.environ.get(HEARTBEAT_S, "15")))
    await socket.prepare(request)
    async for _ in socket:
        pass
    return socket


def bare_app() -> web.Application:
    """The yardstick as an application."""
    app = web.Application()
    app[GROUPS] = {}
    app.add_routes([web.get("/echo", echo), web.get("/relay/{own}/{to}", relay), web.get("/hold", hold)])
    return app


def loop_factory() -> "type[asyncio.AbstractEventLoop] | None":
    """uvloop when it is installed, as the server does."""
    with contextlib.suppress(ImportError):
        import uvloop

        return uvloop.Loop
    return None


async def _serve() -> None:
    runner = web.AppRunner(bare_app(), access_log=None, handle_signals=False, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        print(json.dumps({"event": "ready", "url": f"http://127.0.0.1:{runner.addresses[0][1]}"}), flush=True)
        await stop.wait()
    finally:
        await runner.cleanup()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=loop_factory()) as main:
        main.run(_serve())
