"""Channels that move from one server to another: a fail-over by sentinels, and slots of a cluster."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from signaling.bus.learn_redis import slot_of
from signaling.config import MEMORY, Config
from tests.bus_pods import BusPods, bus_pods, settled
from tests.eventually import eventually
from tests.redis_server import PROGRAMS, RedisServer, redis_cluster, redis_server
from tests.signaling.conftest import running_house
from tests.signaling.pods import is_connected
from tests.signaling.test_backplane_redis import hears

LOOKS_S = 0.5


@contextmanager
def sentinel(primary: RedisServer) -> Iterator[RedisServer]:
    """One that watches a server, decides alone, and quickly."""
    with tempfile.TemporaryDirectory(prefix="auricle-bus-") as name, redis_server(tcp=True) as spare:
        # Its port is free once it has gone.
        spare.kill()
        settings = Path(name) / "sentinel.conf"
        settings.write_text(
            f"sentinel monitor main 127.0.0.1 {primary.port} 1\n"
            "sentinel down-after-milliseconds main 300\n"
            "sentinel failover-timeout main 2000\n"
        )
        watcher = RedisServer(Path(name), PROGRAMS["valkey"], spare.port)
        watcher.arguments = (str(settings), "--sentinel")
        try:
            watcher.start()
            # Whoever was held up for two seconds does nothing for half a minute: that is no news on a busy machine.
            assert watcher.ask("SENTINEL", "DEBUG", "tilt-trigger", "600000") == b"+OK\r\n"
            yield watcher
        finally:
            watcher.kill()


async def test_pods_follow_a_fail_over_and_lose_nothing_but_what_was_on_its_way() -> None:
    with redis_server(tcp=True) as primary:
        replica_of = ("--replicaof", "127.0.0.1", str(primary.port), "--repl-diskless-sync-delay", "0")
        with redis_server(*replica_of, tcp=True) as replica, sentinel(primary) as watcher:
            await eventually(lambda: b"master_link_status:up" in replica.ask("INFO", "replication"))
            await eventually(lambda: b"slaves=1" in watcher.ask("INFO", "sentinel"))
            # One that is not there is passed over.
            url = f"redis+sentinel://127.0.0.1:1,127.0.0.1:{watcher.port}/main"
            async with bus_pods(url) as pods:
                one, two = await pods.connected(), await pods.connected()
                await hears(one, two)
                primary.kill()
                await eventually(lambda: not one.is_up and not two.is_up)
                await eventually(lambda: one.is_up and two.is_up)
                assert b"role:master" in replica.ask("INFO", "replication")
                await hears(one, two)


async def test_pods_go_where_sentinels_say_though_the_old_one_lives_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("signaling.bus.learn_redis._LOOKS_S", LOOKS_S)
    with redis_server(tcp=True) as old, redis_server(tcp=True) as new, sentinel(old) as watcher:
        url = f"redis+sentinel://127.0.0.1:1,127.0.0.1:{watcher.port}/main"
        config = Config(redis_url=url, database_url=MEMORY, dev=True, table_answer_s=1)
        async with bus_pods(url) as pods, running_house(config, None) as house:
            one, two = await pods.connected(), await pods.connected()
            await hears(one, two)
            await eventually(lambda: b":t:{pods}" in old.ask("KEYS", "*"))
            # As a network that is cut in two shows it to who reaches both sides.
            assert watcher.ask("SENTINEL", "REMOVE", "main") == b"+OK\r\n"
            assert watcher.ask("SENTINEL", "MONITOR", "main", "127.0.0.1", str(new.port), "1") == b"+OK\r\n"
            await eventually(lambda: b":t:{pods}" in new.ask("KEYS", "*"))
            await eventually(lambda: not old.ask("PUBSUB", "SHARDCHANNELS").count(b"auricle"))
            await eventually(lambda: one.is_up and two.is_up and is_connected(house))
            await hears(one, two)
            assert new.ask("PUBSUB", "SHARDCHANNELS").count(b"auricle")
            # Who says nothing, or is not there, moves nobody.
            watcher.kill()
            await asyncio.sleep(3 * LOOKS_S)  # nothing happens, which nothing tells of
            assert one.is_up
            assert two.is_up
            assert is_connected(house)


@pytest.fixture
def cluster() -> Iterator[list[RedisServer]]:
    with redis_cluster() as servers:
        yield servers


@pytest.fixture
async def pods(cluster: list[RedisServer]) -> AsyncIterator[BusPods]:
    async with bus_pods(cluster[0].url) as pods:
        yield pods


def name_of(server: RedisServer) -> str:
    return server.ask("CLUSTER", "MYID").split(b"\r\n")[1].decode()


async def test_a_channel_whose_slot_moves_is_followed(cluster: list[RedisServer], pods: BusPods) -> None:
    one, two = await pods.connected(), await pods.connected()
    await hears(one, two, channel="c")
    slot = str(slot_of(b"auricle:c:c"))
    owner = next(server for server in cluster if int(slot) // (16_384 // 3) == cluster.index(server))
    other = next(server for server in cluster if server is not owner)
    missed = len(two.missed)
    for server in (other, owner, *(s for s in cluster if s not in (owner, other))):
        assert server.ask("CLUSTER", "SETSLOT", slot, "NODE", name_of(other)) == b"+OK\r\n"
    await eventually(lambda: len(two.missed) > missed and two.is_up)
    heard: list[bytes] = []
    two.backplane.subscribe("c", heard.append)

    def is_heard() -> bool:
        # Who only publishes learns of it by the first message, which is lost.
        one.backplane.publish("c", lambda: b"x")
        return bool(heard)

    await eventually(is_heard)
    assert b":1\r\n" in other.ask("PUBSUB", "SHARDNUMSUB", "auricle:c:c")


async def test_while_one_server_of_a_cluster_is_away_the_others_go_on(
    cluster: list[RedisServer], pods: BusPods
) -> None:
    one, two = await pods.connected(), await pods.connected()
    heard: dict[str, list[bytes]] = {f"channel {number}": [] for number in range(40)}
    for channel, messages in heard.items():
        two.backplane.subscribe(channel, messages.append)
    await settled(one.backplane, two.backplane)
    cluster[2].kill()
    await eventually(lambda: not one.is_up and not two.is_up)
    for channel in heard:
        one.backplane.publish(channel, lambda: b"x")
    third = 2 * (16_384 // 3)
    lucky = {channel for channel in heard if slot_of(f"auricle:c:{channel}".encode()) < third}
    await eventually(lambda: {channel for channel, messages in heard.items() if messages} == lucky)
    assert 0 < len(lucky) < len(heard)
    cluster[2].start()
    await eventually(lambda: one.is_up and two.is_up)
    await hears(one, two)
