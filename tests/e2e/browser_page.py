"""A real browser with a page of its own origin: Chromium from the path, or from npm, driven by nothing but an address.

``AURICLE_CHROMIUM`` names another one. The page says what became of it by posting to where it came from.
"""

import asyncio
import fcntl
import json
import os
import platform
import shutil
import signal
import tarfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import quote

import pytest
from aiohttp import web

from tests.e2e.node_client import FOLDER as NODE
from tests.e2e.node_client import install, node_executable

__all__ = ["FLAGS", "Page", "browser_program", "page"]

FOLDER = Path(__file__).parent / "browser"
UNPACKED = FOLDER / "node_modules" / ".unpacked"
CLIENT = NODE / "node_modules" / "@microsoft"
FILES = {
    "/": FOLDER / "page.html",
    "/page.js": FOLDER / "page.js",
    "/signalr.js": CLIENT / "signalr/dist/browser/signalr.min.js",
    "/msgpack.js": CLIENT / "signalr-protocol-msgpack/dist/browser/signalr-protocol-msgpack.min.js",
}
FLAGS = (
    *("--headless", "--no-sandbox", "--no-zygote", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-quic"),
)
VISIT_TIMEOUT_S = 45.0
UNPACK_TIMEOUT_S = 60.0


async def browser_program() -> tuple[str, dict[str, str]]:
    """A program and what its environment must have."""
    named = os.environ.get("AURICLE_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if named:
        return named, {}
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        pytest.skip("npm has no Chromium for this platform: set AURICLE_CHROMIUM")
    await install(FOLDER)
    await _unpack()
    libraries = {"LD_LIBRARY_PATH": str(UNPACKED / "lib"), "FONTCONFIG_PATH": str(UNPACKED / "fonts")}
    return str(UNPACKED / "chromium"), libraries


async def _unpack() -> None:
    """Once per checkout."""
    done = UNPACKED / "done"
    with (FOLDER / ".install.lock").open("w") as lock:
        await asyncio.to_thread(fcntl.flock, lock, fcntl.LOCK_EX)
        if done.exists():
            return
        packed = FOLDER / "node_modules" / "@sparticuz" / "chromium" / "bin"
        archives = ("al2023.tar", "fonts.tar")
        process = await asyncio.create_subprocess_exec(
            node_executable(), str(FOLDER / "unpack.mjs"), str(packed), str(UNPACKED), "chromium", *archives
        )
        assert await asyncio.wait_for(process.wait(), UNPACK_TIMEOUT_S) == 0
        for name in archives:
            with tarfile.open(UNPACKED / name) as archive:
                # The oldest Python that we run on has no filters yet; what is in there is pinned by its hash.
                if hasattr(tarfile, "data_filter"):
                    archive.extraction_filter = tarfile.data_filter
                archive.extractall(UNPACKED)
        done.touch()


@dataclass
class Page:
    """A page at ``origin``; nobody looks at it until ``visit``."""

    origin: str
    _outcomes: "asyncio.Queue[list[dict[str, Any]]]"

    async def visit(self, url: str, token: str, **asked: Any) -> list[dict[str, Any]]:
        """Open it in a browser; what became of everything that was asked, in order."""
        address = f"{self.origin}/#{quote(json.dumps({'url': url, 'token': token} | asked))}"
        program, environ = await browser_program()
        with TemporaryDirectory(prefix="auricle-browser-") as home:
            process = await asyncio.create_subprocess_exec(
                program,
                *FLAGS,
                f"--user-data-dir={home}/profile",
                address,
                env={**os.environ, "HOME": home, **environ},
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.DEVNULL,
                start_new_session=True,
            )
            try:
                return await asyncio.wait_for(self._outcomes.get(), VISIT_TIMEOUT_S)
            finally:
                # Its helpers are processes of their own, in its session.
                os.killpg(process.pid, signal.SIGKILL)
                await process.wait()


@asynccontextmanager
async def page() -> AsyncIterator[Page]:
    """A web server with nothing but the page, on a port and thus an origin of its own."""
    outcomes: asyncio.Queue[list[dict[str, Any]]] = asyncio.Queue()

    async def done(request: web.Request) -> web.Response:
        outcomes.put_nowait(json.loads(await request.read()))
        return web.Response()

    async def file(request: web.Request) -> web.FileResponse:
        return web.FileResponse(FILES[request.path])

    await install()
    app = web.Application()
    for path in FILES:
        app.router.add_get(path, file)
    app.router.add_post("/done", done)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield Page(f"http://127.0.0.1:{runner.addresses[0][1]}", outcomes)
    finally:
        await runner.cleanup()
