"""The server of a run: one process, or several pods on one database and one bus, and what each of them is told.

Pods reach database and bus through an edge of their own, so that either can be away for one pod only. What they go
through is for the nemesis. Read ``fleet`` first.
"""

import asyncio
import random
import secrets
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

import jwt

from tests.chaos.balancer import Balancer
from tests.chaos.bus import Bus, bus
from tests.chaos.database import Database, PostgresDatabase, database
from tests.chaos.history import HistoryFile
from tests.chaos.plan import Plan
from tests.chaos.processes import ServerProcess
from tests.chaos.proxy import Proxy, proxy
from tests.chaos.waiting import PATIENCE

__all__ = ["CLINIC", "DEAD_MAN_S", "LEASE_TTL_S", "Edges", "Fleet", "Tokens", "background", "fleet"]

CLINIC: Final = "canary-clinic"
_READER: Final = ("--user", "reader", "--clinic", "any", "--role", "clinician", "--expires-in", "86400")
LEASE_TTL_S: Final = 3.0 * PATIENCE
DEAD_MAN_S: Final = str(9 * PATIENCE)
_TIMES: Final = {
    "AURICLE_CLIENT_TIMEOUT_S": 3.0,
    "AURICLE_OFFER_TIMEOUT_S": 1.5,
    "AURICLE_FREEZE_AFTER_S": 4.0,
    "AURICLE_DISCONNECT_TIMEOUT_S": 3.0,
    "AURICLE_CLOSE_TIMEOUT_S": 0.5,
    "AURICLE_DRAIN_S": 3.0,
    "AURICLE_GRANT_PATIENCE_S": 1.0,
    "AURICLE_RTT_TO_BEGIN_MS": 800,
    "AURICLE_RTT_TO_GO_ON_MS": 1_500,
}
SERVER: Final = {
    **{name: str(type(value)(value * PATIENCE)) for name, value in _TIMES.items()},
    "AURICLE_KEEP_ALIVE_S": "1",
    "AURICLE_MAX_USER_CONNECTIONS": "1000",
    "AURICLE_LEASE_TTL_S": str(LEASE_TTL_S),
    "AURICLE_SWEEP_S": "0.2",
    "AURICLE_DEAD_MAN_S": DEAD_MAN_S,
    "AURICLE_QUESTION_AFTER_S": "1",
}
# Beside that, for pods: where they reach each other, a hub that says what it is asked to, a bound that a slow reader
# meets soon, and patience with a connection that is being resumed while other things go wrong.
POD: Final = {
    "AURICLE_INTERNAL_LISTEN": "127.0.0.1:0",
    "AURICLE_CONFORMANCE": "1",
    "AURICLE_MAX_SEND_QUEUE_BYTES": "262144",
    "AURICLE_DISCONNECT_TIMEOUT_S": str(10.0 * PATIENCE),
    "AURICLE_LOOK_S": "0.5",
}


class Tokens:
    """Tokens for everybody, minted with the key that the server was given."""

    def __init__(self) -> None:
        self.key = secrets.token_urlsafe(48)
        self.minted: list[str] = []
        self._claims: dict[str, object] = {}

    def learn(self, token: str) -> None:
        """Take the form of the claims from a token of the server's own command."""
        self._claims = jwt.decode(token, options={"verify_signature": False})

    def mint(self, user: str, *roles: str) -> str:
        """One more, in the same form."""
        claims = self._claims | {"sub": user, "clinic": CLINIC, "roles": list(roles)}
        self.minted.append(jwt.encode(claims, self.key, algorithm="HS256"))
        return self.minted[-1]


@dataclass(frozen=True, slots=True)
class Edges:
    """What a pod reaches its database and its bus through."""

    database: Proxy
    bus: Proxy


@dataclass(slots=True)
class Fleet:
    """``pods`` by lane, ``edges`` too; a server that is alone has neither edges nor a bus.

    ``environ`` is what all of them are told.
    """

    database: Database
    tokens: Tokens
    balancer: Balancer
    pods: dict[str, ServerProcess] = field(default_factory=dict)
    edges: dict[str, Edges] = field(default_factory=dict)
    bus: Bus | None = None
    environ: dict[str, str] = field(default_factory=lambda: dict(SERVER))

    @property
    def log_texts(self) -> dict[str, str]:
        """What every life of every pod wrote to stderr."""
        return {name: text for pod in self.pods.values() for name, text in pod.log_texts.items()}

    async def restart(self) -> None:
        """One pod after the other, so that somebody is always there when there are several."""
        for pod in self.pods.values():
            pod.kill_point = pod.then = ""
            await pod.restart()

    async def stop(self) -> list[int]:
        """End all at once, for good; their exit codes."""
        async with asyncio.TaskGroup() as tasks:
            ends = [tasks.create_task(pod.stop()) for pod in self.pods.values()]
        return [end.result() for end in ends]


@asynccontextmanager
async def background(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Carried on beside the block and ended with it; what it raises comes out when the block ends."""
    task = asyncio.get_running_loop().create_task(work)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})
        if not task.cancelled():
            task.result()


@asynccontextmanager
async def fleet(plan: Plan, folder: Path, history: HistoryFile) -> AsyncIterator[Fleet]:
    """All pods, ready; ended with the block. When each of them is not there, ``history`` tells."""
    async with AsyncExitStack() as stack:
        lanes = [f"pod-{number}" for number in range(plan.pods)]
        for lane in lanes:
            (folder / lane / "data").mkdir(parents=True)
        kept = stack.enter_context(database(plan.database, folder / lanes[0] / "data"))
        balancer = Balancer(lanes, random.Random(f"{plan.seed} balancer"))
        found = Fleet(kept, Tokens(), balancer)
        balancer.on_late = partial(_tell_late, history)
        if plan.pods > 1:
            found.bus = stack.enter_context(bus())
        for lane in lanes:
            await _pod(found, folder, lane, history, stack)
        found.tokens.learn(await found.pods[lanes[0]].command("token", *_READER))
        if plan.pods > 1:
            await stack.enter_async_context(background(balancer.watch()))
        yield found


def _tell_late(history: HistoryFile, pod: str, ms: int) -> None:
    history.write("ok", "late", pod=pod, ms=ms)


async def _pod(found: Fleet, folder: Path, lane: str, history: HistoryFile, stack: AsyncExitStack) -> None:
    environ = found.environ | found.database.environ | {"AURICLE_DEV_SIGNING_KEY": found.tokens.key}
    if found.bus is not None:
        assert isinstance(found.database, PostgresDatabase)
        edges = found.edges[lane] = Edges(
            await stack.enter_async_context(proxy(found.database.target)),
            await stack.enter_async_context(proxy(found.bus.url)),
        )
        edges.bus.follow(_to(found.bus))
        environ |= POD | found.database.environ_through(edges.database.url)
        environ["AURICLE_REDIS_URL"] = edges.bus.url.replace("http://", "redis://")
    gone = {"fault": "server_gone", "lane": lane}

    def came(url: str) -> None:
        found.balancer.came(lane, url)
        history.write("ok", "stop", **gone)

    def went() -> None:
        found.balancer.went(lane)
        history.write("ok", "start", **gone)

    pod = found.pods[lane] = ServerProcess(
        lane,
        folder / lane,
        environ,
        on_ready=came,
        on_gone=went,
    )
    if found.database.needs_migration and len(found.pods) == 1:
        await pod.command("migrate")
    await pod.start()
    stack.push_async_callback(pod.stop)


def _to(found: Bus) -> Any:
    return lambda: (found.url,)
