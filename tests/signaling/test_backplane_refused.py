"""A server that answers and takes no message, or no listener: it is no bus, and that is told once."""

from collections.abc import AsyncIterator, Iterator

import pytest

from signaling.bus.commands_redis import COMMANDS
from tests.bus_pods import BusPods, bus_pods
from tests.eventually import eventually
from tests.redis_server import PROGRAMS, RedisServer, redis_cluster, redis_server
from tests.signaling.test_backplane_redis import events, hears

USER = ("SETUSER", "default", "resetchannels", "&auricle:*", "resetkeys", "~auricle:*", "-@all")
MAY = tuple(f"+{name}" for name in (*COMMANDS, "acl", "client", "cluster"))


@pytest.fixture(params=(*PROGRAMS, "cluster"))
def servers(request: pytest.FixtureRequest) -> Iterator[list[RedisServer]]:
    if request.param == "cluster":
        with redis_cluster() as cluster:
            yield cluster
    else:
        with redis_server(program=request.param) as server:
            yield [server]


@pytest.fixture
async def pods(servers: list[RedisServer]) -> AsyncIterator[BusPods]:
    async with bus_pods(servers[0].url) as pods:
        yield pods


@pytest.mark.parametrize("lacks", ["spublish", "ssubscribe", "ping"])
async def test_whoever_may_not_do_everything_is_away_all_the_time_until_he_may(
    servers: list[RedisServer], pods: BusPods, lacks: str
) -> None:
    # A busy machine is not late.
    one, two = [await pods.connected(bus_flush_s=5.0, bus_timeout_s=10.0) for _ in range(2)]
    await hears(one, two)
    for server in servers:
        assert server.ask("ACL", *USER, *MAY, f"-{lacks}") == b"+OK\r\n"
        # Whoever is connected has not to do it again.
        server.ask("CLIENT", "KILL", "TYPE", "pubsub")
    await eventually(lambda: not one.is_up)
    # What was let in before it was noticed has had its answer by then.
    tried = one.metric("auricle_backplane_lost_total")
    await eventually(lambda: one.metric("auricle_backplane_lost_total") >= tried + 2)
    back, tried = len(one.missed), one.metric("auricle_backplane_lost_total")

    def is_tried() -> bool:
        # Not only he who has nothing to say is away.
        one.backplane.publish("c", lambda: b"x")
        return one.metric("auricle_backplane_lost_total") >= tried + 3 * len(servers)

    await eventually(is_tried)
    # Whenever it is back it is looked for what was missed.
    assert len(one.missed) == back
    assert not one.is_up
    assert len(events(one, "backplane_away")) == 1
    for server in servers:
        server.ask("ACL", "SETUSER", "default", f"+{lacks}")
    await eventually(lambda: one.is_up and two.is_up)
    await hears(one, two)
