"""A real server with workers, its processes, and clients of which it is known where they landed."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import psutil  # type: ignore[import-untyped]  # the library ships no types
from prometheus_client.parser import text_string_to_metric_families

from clients.hub_client import HubClient, ReconnectPolicy
from protocol.contract.session import WhoAmIAnswer
from signaling.auth import DevTokens
from tests.eventually import eventually
from tests.running import Server, server
from tests.signaling.visit import Told

__all__ = ["BODY", "KEY", "PATIENT", "Crew", "crew", "token"]

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]
AID = {"serial": "R-1", "model": "ref10", "firmware": "2.3.1"}
BODY: dict[str, object] = {"device": "d1", "patient": "pat", "assignments": ["ann"], "right": AID}
# Nobody renews anything here, and nobody is asked in vain, however slow the machine is; what is dead says so at once.
PATIENT = {
    "AURICLE_BUS_FLUSH_S": "5",
    "AURICLE_BUS_TIMEOUT_S": "15",
    "AURICLE_BUS_CONFIRM_S": "5",
    "AURICLE_TABLE_ANSWER_S": "5",
    "AURICLE_POD_ASK_S": "10",
    "AURICLE_LEASE_TTL_S": "100",
    "AURICLE_FREEZE_AFTER_S": "100",
    "AURICLE_DEAD_MAN_S": "200",
    "AURICLE_WORKER_METRICS_S": "30",
}
KEY = "one key of all workers, of 32 bytes"
MAX_TRIES = 60
# The kernel chooses who is asked: among so many looks there is one at each worker.
LOOKS = 16


def token(user: str, *roles: str) -> str:
    """A token that every worker knows."""
    return DevTokens(KEY.encode(), time.time).mint(user=user, clinic="c1", roles=frozenset(roles), expires_in_s=600)


@dataclass
class Crew:
    """``pids``: every process there ever was, the supervisor's own left out."""

    running: Server
    stack: AsyncExitStack
    pids: set[int] = field(default_factory=set)

    @property
    def url(self) -> str:
        return self.running.url

    def children(self) -> list[Any]:
        """The children that there are."""
        found = psutil.Process(self.running.process.pid).children()
        self.pids |= {child.pid for child in found}
        return list(found)

    def worker(self, number: int) -> Any:
        """The process that is this worker now."""
        for child in self.children():
            charge = child.environ().get("AURICLE_WORKER")
            if charge is not None and json.loads(charge)["worker"] == number:
                return child
        raise AssertionError(f"there is no worker {number}")

    def valkey(self) -> list[Any]:
        """The embedded Valkey, if there is one."""
        return [child for child in self.children() if "valkey" in child.name()]

    async def client(
        self,
        worker: int,
        user: str,
        *roles: str,
        heard: Told | None = None,
        lasting: bool = False,
        path: str = "/hub",
    ) -> HubClient:
        """A client on that worker: the kernel chooses, so it is tried until it is that one."""
        for _ in range(MAX_TRIES):
            policy = ReconnectPolicy() if lasting else None
            hub = HubClient(f"{self.url}{path}", token=token(user, *roles), reconnect=policy)
            if heard is not None:
                heard.listen(hub)
            await hub.start()
            if await self.worker_of(hub) == worker:
                self.stack.push_async_callback(hub.stop)
                return hub
            await hub.stop()
        raise AssertionError(f"no connection ever came to worker {worker}")

    async def worker_of(self, hub: HubClient) -> int:
        """Where a client is now."""
        me = await hub.invoke("WhoAmI", result=WhoAmIAnswer)
        opened = [one for one in self.log() if one["event"] == "connection_opened"]
        [line] = [one for one in opened if one["connection"] == me.connection_id]
        return int(line["worker"])

    def log(self) -> list[dict[str, Any]]:
        """The lines of all processes."""
        # The last line may be half written.
        whole = self.running.log_text.rpartition("\n")[0]
        return [json.loads(line) for line in whole.splitlines() if line.startswith("{")]

    async def until_logged(self, event: str, **fields: object) -> None:
        """Until somebody says so."""
        async with asyncio.timeout(60):
            while not any({"event": event, **fields}.items() <= one.items() for one in self.log()):  # noqa: ASYNC110  # a file
                await asyncio.sleep(0.02)  # polling

    async def get(self, path: str) -> str:
        """What is answered there, by whichever worker."""
        # A connection of its own each time, so that it is not always the same worker.
        async with aiohttp.ClientSession() as http, http.get(f"{self.url}{path}") as answer:
            assert answer.status == 200
            return await answer.text()

    async def degraded(self) -> list[str]:
        """What is away."""
        found: list[str] = json.loads(await self.get("/readyz"))["degraded"]
        return found

    async def until_well(self) -> None:
        """Until nothing has been away for some looks in a row, whoever was asked."""
        async with asyncio.timeout(60):
            well = 0
            while well < LOOKS:
                well = 0 if await self.degraded() else well + 1
                await asyncio.sleep(0.02)  # polling: nobody tells

    async def metrics(self) -> Samples:
        """Every number of ``/metrics``, from a worker that answers: the kernel may choose one that hangs."""
        for _ in range(MAX_TRIES):
            with suppress(TimeoutError):
                async with asyncio.timeout(2):
                    return _samples(await self.get("/metrics"))
        raise AssertionError("no worker shows its metrics")

    async def until_nobody_is_left(self) -> None:
        """Until every process that there ever was has ended."""
        await eventually(lambda: not any(psutil.pid_exists(pid) for pid in self.pids))


def _samples(page: str) -> Samples:
    families = text_string_to_metric_families(page)
    return {(s.name, frozenset(s.labels.items())): s.value for family in families for s in family.samples}


@asynccontextmanager
async def crew(data: Path, **environ: str) -> AsyncIterator[Crew]:
    """A server with two workers; whatever happens, none of them is left."""
    clean = {"AURICLE_DEV_SIGNING_KEY": KEY} | environ
    async with server(data, "--workers", "2", **clean) as running, AsyncExitStack() as stack:
        found = Crew(running, stack)
        found.children()
        yield found
