"""Real server processes that are pods of one deployment, behind a balancer that keeps nobody on a pod."""

import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from signaling.auth import DevTokens
from tests.balancer import Balancer, balancer
from tests.eventually import eventually_asked
from tests.redis_server import RedisServer, redis_server
from tests.running import Server, server

__all__ = ["KEY", "PodsRunning", "pods_running", "token_of"]

KEY = "one key of all pods, of 32 bytes"


def token_of(user: str, *roles: str) -> str:
    """A token that every pod knows."""
    roles = roles or ("clinician",)
    return DevTokens(KEY.encode(), time.time).mint(user=user, clinic="c1", roles=frozenset(roles), expires_in_s=600)


@dataclass
class PodsRunning:
    """The processes by number, their bus, and the balancer in front."""

    folder: Path
    bus: RedisServer
    balancer: Balancer
    environ: dict[str, str]
    arguments: tuple[str, ...]
    pods: dict[int, Server] = field(default_factory=dict)
    lives: dict[int, AsyncExitStack] = field(default_factory=dict)
    logs: list[str] = field(default_factory=list)

    async def start(self, number: int) -> None:
        """Start a pod, which is soon known to all, and let clients come to it."""
        data = self.folder / str(number)
        data.mkdir(exist_ok=True)
        life = self.lives[number] = AsyncExitStack()
        pod = await life.enter_async_context(server(data, *self.arguments, **self.environ))
        self.pods[number] = pod
        self.balancer.targets.append(pod.url)

    async def terminate(self, number: int) -> int:
        """SIGTERM, as a rolling restart does it: no new clients come, and it ends when it is done; its exit code."""
        self.balancer.targets.remove(self.pods[number].url)
        code = await self.pods[number].terminate()
        await self._forget(number)
        return code

    async def kill(self, number: int) -> None:
        """SIGKILL; clients find out by themselves."""
        self.pods[number].process.kill()
        await self.pods[number].process.wait()
        self.balancer.targets.remove(self.pods[number].url)
        await self._forget(number)

    async def close(self) -> None:
        """End all."""
        for number in tuple(self.pods):
            await self._forget(number)

    async def until_known(self) -> None:
        """All pods know of each other, and of Redis."""

        async def all_ready() -> bool:
            async with aiohttp.ClientSession() as http:
                for pod in self.pods.values():
                    async with http.get(f"{pod.url}/readyz") as answer:
                        if answer.status != 200 or (await answer.json())["degraded"]:
                            return False
            return True

        await eventually_asked(all_ready)

    async def forwarded(self) -> float:
        """How many requests were carried from pod to pod."""
        total = 0.0
        async with aiohttp.ClientSession() as http:
            for pod in self.pods.values():
                async with http.get(f"{pod.url}/metrics") as answer:
                    lines = (await answer.text()).splitlines()
                total += sum(
                    float(line.rpartition(" ")[2])
                    for line in lines
                    if line.startswith("auricle_forwarded_total") and 'outcome="answered"' in line
                )
        return total

    async def _forget(self, number: int) -> None:
        self.logs.append(self.pods.pop(number).log_text)
        await self.lives.pop(number).aclose()


@asynccontextmanager
async def pods_running(
    folder: Path, *arguments: str, count: int = 3, environ: Mapping[str, str]
) -> AsyncIterator[PodsRunning]:
    """So many pods, ready."""
    async with AsyncExitStack() as stack:
        bus = stack.enter_context(redis_server())
        front = await stack.enter_async_context(balancer())
        settings = {
            "AURICLE_DEV_SIGNING_KEY": KEY,
            "AURICLE_REDIS_URL": bus.url,
            "AURICLE_INTERNAL_LISTEN": "127.0.0.1:0",
            # A machine that is busy with other tests answers late; a bus that is dead says so at once all the same.
            "AURICLE_TABLE_ANSWER_S": "1",
            "AURICLE_BUS_FLUSH_S": "5",
            "AURICLE_BUS_TIMEOUT_S": "15",
            "AURICLE_BUS_CONFIRM_S": "5",
            **environ,
        }
        running = PodsRunning(folder, bus, front, settings, arguments)
        stack.push_async_callback(running.close)
        for number in range(count):
            await running.start(number)
        await running.until_known()
        yield running
