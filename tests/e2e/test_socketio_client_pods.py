"""socket.io-client from npm, unmodified, through a balancer that keeps nobody on a pod, and on several workers."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.databases import new_postgres
from tests.e2e.node_client import NodeDriver
from tests.pods_running import PodsRunning, pods_running, token_of
from tests.postgres import PostgresServer
from tests.signaling.workers.crew import PATIENT, crew, token

TRANSPORTS = (("polling",), ("polling", "websocket"))
CALLS = 40


@pytest.fixture(params=TRANSPORTS, ids="+".join)
def transports(request: pytest.FixtureRequest) -> list[str]:
    return list(request.param)


@pytest.fixture
async def pods(tmp_path: Path, postgres: PostgresServer) -> AsyncIterator[PodsRunning]:
    environ = {"AURICLE_DATABASE_URL": await new_postgres(postgres)}
    async with pods_running(tmp_path, count=2, environ=environ) as running:
        yield running


async def called(their: NodeDriver, name: str) -> None:
    """Calls one after the other, and many together."""
    for _ in range(CALLS // 4):
        assert (await their.invoke(name, "WhoAmI"))["user"] == "ann"
    answers: list[dict[str, Any]] = await asyncio.gather(*(their.invoke(name, "WhoAmI") for _ in range(CALLS)))
    assert all(answer["user"] == "ann" for answer in answers)


async def test_calls_reach_the_pod_that_has_the_session_over_any_other(
    their: NodeDriver, pods: PodsRunning, transports: list[str]
) -> None:
    for number in range(4):
        name = f"client{number}"
        await their.call(
            "connect", connection=name, url=f"{pods.balancer.url}/hub", token=token_of("ann"), transports=transports
        )
        if len(transports) > 1:
            await their.event("upgraded", name, transport="websocket")
        await called(their, name)
    assert await pods.forwarded() > 0


async def test_workers_of_one_machine_are_one_server_to_it(
    their: NodeDriver, tmp_path: Path, transports: list[str]
) -> None:
    async with crew(tmp_path, **PATIENT) as workers:
        await workers.until_well()
        for number in range(6):
            name = f"client{number}"
            url = f"{workers.url}/hub"
            await their.call(
                "connect", connection=name, url=url, token=token("ann", "clinician"), transports=transports
            )
            if len(transports) > 1:
                await their.event("upgraded", name, transport="websocket")
            await called(their, name)
