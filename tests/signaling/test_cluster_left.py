"""A server leaves a cluster for good that was the only one by which pods knew it: they follow to the others."""

from collections.abc import Iterator

import pytest

from signaling.bus.learn_redis import slot_of
from tests.bus_pods import bus_pods
from tests.bus_tables import table_pods
from tests.eventually import eventually
from tests.redis_server import RedisServer, redis_cluster
from tests.signaling.test_backplane_redis import hears

LAST = 16_384 // 3 - 1
# Both are of the server that leaves.
CHANNEL = next(name for name in map(str, range(100)) if slot_of(f"auricle:c:{name}".encode()) <= LAST)
KEY = next(name for name in map(str, range(100)) if slot_of(f"auricle:t:{name}".encode()) <= LAST)


@pytest.fixture
def cluster() -> Iterator[list[RedisServer]]:
    with redis_cluster(gone_ms=1_000) as servers:
        yield servers


async def leave(cluster: list[RedisServer]) -> None:
    """The first one is gone, and what it had is the second one's."""
    gone, heir, witness = cluster
    gone.kill()
    for server in (heir, witness):
        await eventually(lambda server=server: b"cluster_state:fail" in server.ask("CLUSTER", "INFO"))  # type: ignore[misc]  # mypy cannot infer a lambda with a default
        assert server.ask("CLUSTER", "DELSLOTSRANGE", "0", str(LAST)) == b"+OK\r\n"
    assert heir.ask("CLUSTER", "ADDSLOTSRANGE", "0", str(LAST)) == b"+OK\r\n"
    assert heir.ask("CLUSTER", "BUMPEPOCH").startswith(b"+")
    for server in (heir, witness):
        await eventually(lambda server=server: b"cluster_state:ok" in server.ask("CLUSTER", "INFO"))  # type: ignore[misc]  # mypy cannot infer a lambda with a default


async def test_messages_follow(cluster: list[RedisServer]) -> None:
    async with bus_pods(cluster[0].url) as pods:
        one, two = await pods.connected(), await pods.connected()
        await hears(one, two, channel=CHANNEL)
        await leave(cluster)
        await eventually(lambda: one.is_up and two.is_up)
        await hears(one, two, channel=CHANNEL)


async def test_tables_follow(cluster: list[RedisServer]) -> None:
    async with table_pods(cluster[0].url) as pods:
        tables = (await pods.join()).tables
        assert await tables.put(KEY, b"before", ttl_s=600, patient=True) is None
        await leave(cluster)
        await eventually(lambda: tables.is_up)
        assert await tables.put(KEY, b"after", ttl_s=600, patient=True) is None
        assert await tables.get(KEY, patient=True) == b"after"
