"""Presence keeps the contract, in memory and over Redis."""

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack

import pytest

from signaling.presence import MemoryPresence, Presence, PresenceBoard
from tests.bus_tables import table_pods
from tests.contracts.presence import NewPresence, PresenceContract
from tests.eventually import eventually
from tests.redis_server import PROGRAMS, RedisServer, redis_cluster, redis_server


class TestMemoryPresence(PresenceContract):
    """Within one process."""

    @pytest.fixture
    def pod(self) -> NewPresence:
        board = PresenceBoard()

        async def pod() -> Presence:
            presence = MemoryPresence(board)
            await presence.open()
            return presence

        return pod


@pytest.fixture(scope="module")
def cluster() -> Iterator[list[RedisServer]]:
    """One cluster for all its tests: it takes two seconds to come about."""
    with redis_cluster() as servers:
        yield servers


class TestRedisPresence(PresenceContract):
    """Over Valkey, Redis when there is one, and a cluster."""

    @pytest.fixture(params=(*PROGRAMS, "cluster"))
    def url(self, request: pytest.FixtureRequest) -> Iterator[str]:
        if request.param == "cluster":
            servers = request.getfixturevalue("cluster")
            yield servers[0].url
            for server in servers:
                assert server.ask("FLUSHALL") == b"+OK\r\n"
        else:
            with redis_server(program=request.param) as server:
                yield server.url

    @pytest.fixture
    async def pod(self, url: str) -> AsyncIterator[NewPresence]:
        async with table_pods(url) as pods, AsyncExitStack() as opened:
            names = iter("abc")

            async def pod() -> Presence:
                joined = await pods.join(pod_beat_s=0.2, pod_gone_s=2, presence_flush_s=0.01)
                directory, presence = joined.present(next(names))
                await directory.open()
                opened.push_async_callback(directory.close)
                await presence.open()
                opened.push_async_callback(presence.close)
                # Before the first message, so that it is heard.
                await eventually(lambda: joined.backplane.is_settled)
                return presence

            yield pod
