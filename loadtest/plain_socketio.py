"""python-socketio's own server on aiohttp, a yardstick: its public API with nothing around the messages.

``echo`` is acknowledged with its text, ``join`` enters a group, ``relay`` sends a text to all members of one, as
``loadtest/node/server.mjs`` does. No login, no limits. ``python -m loadtest.plain_socketio`` prints the same kind of
ready line as the server does. Read ``plain_app`` first.
"""

import asyncio
import json
import signal

import socketio
from aiohttp import web

from .bare import loop_factory

__all__ = ["plain_app"]


def plain_app() -> web.Application:
    """The yardstick as an application."""
    server = socketio.AsyncServer(async_mode="aiohttp", transports=["websocket"])

    async def echo(_: str, text: str) -> str:
        return text

    async def join(sid: str, group: str) -> str:
        await server.enter_room(sid, group)
        return ""

    async def relay(_: str, group: str, text: str) -> None:
        await server.emit("message", text, room=group)

    for handler in (echo, join, relay):
        server.on(handler.__name__, handler)
    app = web.Application()
    server.attach(app)
    return app


async def _serve() -> None:
    runner = web.AppRunner(plain_app(), access_log=None, handle_signals=False, shutdown_timeout=1.0)
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
