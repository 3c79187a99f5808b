"""A client that polls, through a balancer, as fast as it is answered; it keeps account of what it was promised.

A call whose POST was answered 200 has been accepted: its answer has to come before the connection says goodbye.
"""

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from tests.pods_running import token_of

__all__ = ["Talker"]

HUB = "/hubs/conformance"
PAUSE_S = 0.02
HELLO = b'{"protocol":"json","version":1}\x1e'


@dataclass
class Talker:
    """``lost``: calls that were accepted, and whose answers never came, on connections that ended.

    ``ends``: the status of the last poll of each; 0: it was not answered.
    """

    url: str
    answered: int = 0
    connections: int = 0
    goodbyes: int = 0
    lost: list[int] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)
    refused: list[int] = field(default_factory=list)

    async def run(self, stop: asyncio.Event) -> None:
        """Talk over one connection after the other until told to stop."""
        headers = {"Authorization": f"Bearer {token_of('ann')}"}
        async with aiohttp.ClientSession(headers=headers) as http:
            while not stop.is_set():
                await self._live(http, stop)

    async def _live(self, http: aiohttp.ClientSession, stop: asyncio.Event) -> None:
        status, body = await self._ask(http, "POST", f"{HUB}/negotiate?negotiateVersion=1")
        if status != 200:
            return
        path = f"{HUB}?id={json.loads(body)['connectionToken']}"
        if (await self._ask(http, "GET", path))[0] != 200 or (await self._ask(http, "POST", path, HELLO))[0] != 200:
            return
        self.connections += 1
        accepted: set[int] = set()
        over = asyncio.Event()
        async with asyncio.TaskGroup() as both:
            both.create_task(self._call(http, path, accepted, over, stop))
            both.create_task(self._poll(http, path, accepted, over))
        self.lost += sorted(accepted)

    async def _call(
        self, http: aiohttp.ClientSession, path: str, accepted: set[int], over: asyncio.Event, stop: asyncio.Event
    ) -> None:
        number = 0
        while not over.is_set() and not stop.is_set():
            await asyncio.sleep(PAUSE_S)  # the pods share the machine with this
            number += 1
            accepted.add(number)
            call = {"type": 1, "target": "Echo", "arguments": [number], "invocationId": str(number)}
            status, _ = await self._ask(http, "POST", path, json.dumps(call).encode() + b"\x1e")
            if status != 200:
                accepted.discard(number)
                self.refused.append(status)
                break
        if stop.is_set() and not over.is_set():
            await self._ask(http, "POST", path, b'{"type":1,"target":"Echo","arguments":[0],"invocationId":"last"}\x1e')

    async def _poll(self, http: aiohttp.ClientSession, path: str, accepted: set[int], over: asyncio.Event) -> None:
        try:
            # To the very end: whoever does not take a goodbye keeps its pod waiting.
            while (answer := await self._ask(http, "GET", path))[0] == 200:
                for message in map(json.loads, answer[1].split(b"\x1e")[:-1]):
                    self._hear(message, accepted, over)
                if _has_last(answer[1]):
                    await self._ask(http, "DELETE", path)
                    break
            self.ends.append(answer[0])
        finally:
            over.set()

    def _hear(self, message: dict[str, Any], accepted: set[int], over: asyncio.Event) -> None:
        if message.get("type") == 7:
            self.goodbyes += 1
            over.set()
        elif message.get("type") == 3 and message["invocationId"] != "last":
            accepted.discard(message["result"])
            self.answered += 1

    async def _ask(self, http: aiohttp.ClientSession, method: str, path: str, body: bytes = b"") -> tuple[int, bytes]:
        """Status and body; 0 when there was no answer."""
        try:
            async with http.request(method, self.url + path, data=body) as answer:
                return answer.status, await answer.read()
        except (aiohttp.ClientError, OSError):
            return 0, b""


def _has_last(body: bytes) -> bool:
    """Whether the answer to the last call is in it."""
    return b'"invocationId":"last"' in body
