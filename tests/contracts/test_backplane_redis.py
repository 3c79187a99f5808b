"""The backplane over Redis keeps the contract, over every kind of server that there is here."""

from collections.abc import AsyncIterator, Iterator

import pytest

from signaling.backplane import Backplane
from signaling.bus import learn_redis
from signaling.bus.plan import Seen
from tests.bus_pods import BusPods, bus_pods, settled
from tests.contracts.backplane import BackplaneContract, Join, Settled
from tests.redis_server import PROGRAMS, RedisServer, redis_cluster, redis_server


class _OverRedis(BackplaneContract):
    @pytest.fixture
    async def pods(self, url: str) -> AsyncIterator[BusPods]:
        async with bus_pods(url) as pods:
            yield pods

    @pytest.fixture
    def join(self, pods: BusPods) -> Join:
        async def join() -> Backplane:
            return (await pods.connected()).backplane

        return join

    @pytest.fixture
    def settled(self) -> Settled:
        return settled


class TestOneServer(_OverRedis):
    """Valkey, and Redis when there is one."""

    @pytest.fixture(params=PROGRAMS)
    def url(self, request: pytest.FixtureRequest) -> Iterator[str]:
        with redis_server(program=request.param) as server:
            yield server.url


class TestServerBefore7(_OverRedis):
    """A server that knows no sharded messages: this one is not asked whether it does."""

    @pytest.fixture
    def url(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
        monkeypatch.setattr(learn_redis, "seen", lambda _: Seen(is_cluster=False, is_sharded=False))
        with redis_server() as server:
            yield server.url
            assert b"cmdstat_spublish" not in server.ask("INFO", "commandstats")


@pytest.fixture(scope="module")
def cluster() -> Iterator[list[RedisServer]]:
    """One cluster for all its tests: it takes two seconds to come about."""
    with redis_cluster() as servers:
        yield servers
        assert all(b"cmdstat_spublish" in server.ask("INFO", "commandstats") for server in servers)


class TestCluster(_OverRedis):
    """Three servers that share the channels; an address that says nothing of a cluster does as well."""

    @pytest.fixture(params=["redis", "redis+cluster"])
    def url(self, cluster: list[RedisServer], request: pytest.FixtureRequest) -> str:
        hosts = [server.url.partition("://")[2] for server in cluster]
        return f"{request.param}://{','.join(hosts if '+' in request.param else hosts[:1])}"
