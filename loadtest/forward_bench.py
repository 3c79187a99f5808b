"""``python -m loadtest.forward_bench --redis URL``: what it costs when a request comes to another pod than its own.

Two server processes; one connection of each kind, asked in turn over its own pod and over the other one: the CPU of
both processes together per call. It checks what it measures: a wrong or lost answer ends the run with exit code 1. It
never judges a time. Read ``run`` first.
"""

import argparse
import asyncio
import json
import secrets
import statistics
import sys
import tempfile
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final

import aiohttp

from .bench_websocket import BenchFailed
from .dev_tokens import mint
from .servers import ServerProcess

__all__ = ["main", "run"]

HUB: Final = "/hubs/conformance"
END: Final = b"\x1e"
ACK_EVERY: Final = 50
ANSWER_S: Final = 30.0
EXIT_FAILED: Final = 1
MICROSECONDS: Final = 1e6
Ask = Callable[[str, int], Awaitable[None]]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command: 0 measured, 1 failed, 2 unusable options."""
    parser = argparse.ArgumentParser(prog="python -m loadtest.forward_bench", description=__doc__)
    parser.add_argument("--redis", required=True, help="URL of a Redis or Valkey, as for AURICLE_REDIS_URL")
    parser.add_argument("--calls", type=int, default=300, help="calls of one turn (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each kind (default: %(default)s)")
    options = parser.parse_args(arguments)
    if options.calls < 1 or options.rounds < 1:
        parser.error("there must be at least one call and one round")
    try:
        print(asyncio.run(run(options.redis, calls=options.calls, rounds=options.rounds)))
    except (BenchFailed, aiohttp.ClientError, OSError) as error:
        print(f"failed: {error}", file=sys.stderr)
        return EXIT_FAILED
    return 0


async def run(redis_url: str, *, calls: int, rounds: int) -> str:
    """Measure, and say it in a table: medians of CPU microseconds per call. Raises BenchFailed."""
    key = secrets.token_hex(32)
    settings = {
        "AURICLE_DEV_SIGNING_KEY": key,
        "AURICLE_DATABASE_URL": "memory:",
        "AURICLE_REDIS_URL": redis_url,
        "AURICLE_REDIS_PREFIX": f"bench.{secrets.token_hex(4)}",
        "AURICLE_INTERNAL_LISTEN": "127.0.0.1:0",
    }
    token = mint(key.encode(), user="bench", clinic="bench", roles=["clinician"], now_s=time.time())
    async with AsyncExitStack() as stack:
        pods: list[ServerProcess] = []
        for number in range(2):
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="auricle-forward-")))
            arguments = ("-m", "signaling", "serve", "--dev", "--conformance", "--port", "0", "--data", str(folder))
            process = ServerProcess(f"pod-{number}", arguments, folder, environ=settings)
            pods.append(await stack.enter_async_context(process))
        headers = {"Authorization": f"Bearer {token}"}
        http = await stack.enter_async_context(aiohttp.ClientSession(headers=headers))
        await _know_each_other(http, pods)
        kinds: dict[str, Ask] = {
            "a call over long polling (POST and poll)": (await _Poller.opened(http, pods[0].url)).ask,
            "a call over a resumed WebSocket": (await _Socket.opened(http, pods[0].url)).ask,
        }
        found = {(kind, over): list[float]() for kind in kinds for over in (0, 1)}
        for _ in range(rounds):
            for (kind, over), figures in found.items():
                figures.append(await _cost_us(pods, kinds[kind], pods[over].url, calls))
    return _table(kinds, found)


async def _know_each_other(http: aiohttp.ClientSession, pods: list[ServerProcess]) -> None:
    for pod in pods:
        while True:
            async with http.get(f"{pod.url}/readyz") as answer:
                if not (await answer.json())["degraded"]:
                    break
            await asyncio.sleep(0.05)


async def _cost_us(pods: list[ServerProcess], ask: Ask, url: str, calls: int) -> float:
    """CPU of both pods per call that comes to the pod at ``url``, after a few that do not count."""
    for number in range(10):
        await ask(url, number)
    before_s = sum(pod.cpu_s for pod in pods)
    for number in range(calls):
        await ask(url, number)
    return (sum(pod.cpu_s for pod in pods) - before_s) / calls * MICROSECONDS


class _Poller:
    def __init__(self, http: aiohttp.ClientSession, path: str) -> None:
        self._http, self._path = http, path

    @classmethod
    async def opened(cls, http: aiohttp.ClientSession, url: str) -> "_Poller":
        poller = cls(http, await _negotiate(http, url))
        await poller._poll(url)
        await poller._post(url, b'{"protocol":"json","version":1}')
        _expect(await poller._poll(url), {})
        return poller

    async def ask(self, url: str, number: int) -> None:
        await self._post(url, _call(number))
        _expect(await self._poll(url), {"type": 3, "invocationId": str(number), "result": number})

    async def _post(self, url: str, body: bytes) -> None:
        async with self._http.post(url + self._path, data=body + END) as answer:
            if answer.status != 200:
                raise BenchFailed(f"a POST was answered with {answer.status}")

    async def _poll(self, url: str) -> bytes:
        async with self._http.get(url + self._path) as answer:
            if answer.status != 200:
                raise BenchFailed(f"a poll was answered with {answer.status}")
            return await answer.read()


class _Socket:
    """A stateful connection that changes its socket whenever it is to come over another pod."""

    def __init__(self, http: aiohttp.ClientSession, path: str) -> None:
        self._http, self._path = http, path
        self._socket: aiohttp.ClientWebSocketResponse | None = None
        self._url = ""
        self._inbox: deque[dict[str, Any]] = deque()
        self._sent = self._got = 0

    @classmethod
    async def opened(cls, http: aiohttp.ClientSession, url: str) -> "_Socket":
        one = cls(http, await _negotiate(http, url, "&useStatefulReconnect=true"))
        one._url, one._socket = url, await http.ws_connect(url + one._path)
        await one._socket.send_str('{"protocol":"json","version":2}\x1e')
        _expect((await one._socket.receive_str()).encode(), {})
        return one

    async def ask(self, url: str, number: int) -> None:
        if url != self._url:
            await self._resume(url)
        assert self._socket is not None
        self._sent += 1
        await self._socket.send_str((_call(number) + END).decode())
        message = await self._message(3)
        if (message["invocationId"], message["result"]) != (str(number), number):
            raise BenchFailed("another answer than was asked for")
        self._got += 1
        if self._got % ACK_EVERY == 0:
            await self._socket.send_str(json.dumps({"type": 8, "sequenceId": self._got}) + "\x1e")

    async def _message(self, kind: int) -> dict[str, Any]:
        """The next message of that type; others, such as pings, are passed over."""
        assert self._socket is not None
        while True:
            while self._inbox:
                message = self._inbox.popleft()
                if message["type"] == kind:
                    return message
            text = await self._socket.receive_str(timeout=ANSWER_S)
            self._inbox += map(json.loads, text.split("\x1e")[:-1])

    async def _resume(self, url: str) -> None:
        assert self._socket is not None
        old, self._url = self._socket, url
        self._socket = await self._http.ws_connect(url + self._path)
        await self._socket.send_str(json.dumps({"type": 9, "sequenceId": self._sent + 1}) + "\x1e")
        first: int = (await self._message(9))["sequenceId"]
        for _ in range(first, self._got + 1):
            # It was not acknowledged, and comes once more.
            await self._message(3)
        await old.close()


async def _negotiate(http: aiohttp.ClientSession, url: str, query: str = "") -> str:
    async with http.post(f"{url}{HUB}/negotiate?negotiateVersion=1{query}") as answer:
        return f"{HUB}?id={(await answer.json())['connectionToken']}"


def _call(number: int) -> bytes:
    call = {"type": 1, "target": "Echo", "arguments": [number], "invocationId": str(number)}
    return json.dumps(call, separators=(",", ":")).encode()


def _expect(body: bytes, wanted: dict[str, Any]) -> None:
    if json.loads(body.removesuffix(END)) != wanted:
        raise BenchFailed("another answer than was asked for")


def _table(kinds: dict[str, Ask], found: dict[tuple[str, int], list[float]]) -> str:
    lines = ["| CPU of both pods, microseconds | its own pod | another pod | more |", "| --- | --- | --- | --- |"]
    for kind in kinds:
        own, other = (statistics.median(found[kind, over]) for over in (0, 1))
        lines.append(f"| {kind} | {own:.0f} | {other:.0f} | {other - own:+.0f} ({other / own:.1f} x) |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
