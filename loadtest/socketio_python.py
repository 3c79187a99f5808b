"""python-socketio on aiohttp, a yardstick: its public API with nothing around the messages, as ``node/server.mjs`` is.

With ``PEER_REDIS_URL`` its servers hear each other over its Redis manager. ``python -m loadtest.socketio_python``
prints the same kind of ready line as the other servers do. Read ``peer_app`` first.
"""

import asyncio
import json
import os
import signal
from typing import Any, Final

import socketio
from aiohttp import web

from .bare import loop_factory

__all__ = ["peer_app"]

REDIS_URL: Final = "PEER_REDIS_URL"


def peer_app(redis_url: str) -> web.Application:
    """An application; ``redis_url`` empty: it is the only server."""
    manager = socketio.AsyncRedisManager(redis_url) if redis_url else None
    io: Any = socketio.AsyncServer(async_mode="aiohttp", client_manager=manager, transports=["websocket"])

    @io.event  # type: ignore[untyped-decorator]  # the library ships no types
    async def echo(_: str, text: str) -> str:
        return text

    @io.event  # type: ignore[untyped-decorator]  # the library ships no types
    async def join(sid: str, group: str) -> str:
        await io.enter_room(sid, group)
        return ""

    @io.event  # type: ignore[untyped-decorator]  # the library ships no types
    async def relay(_: str, group: str, text: str) -> None:
        await io.emit("message", text, room=group)

    app = web.Application()
    io.attach(app)
    return app


async def _serve() -> None:
    runner = web.AppRunner(peer_app(os.environ.get(REDIS_URL, "")), access_log=None, handle_signals=False)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    print(json.dumps({"event": "ready", "url": f"http://127.0.0.1:{runner.addresses[0][1]}"}), flush=True)
    await stop.wait()
    # The library's own tasks have no end.
    os._exit(0)


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=loop_factory()) as main:
        main.run(_serve())
