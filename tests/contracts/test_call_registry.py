"""The registries of calls keep the contract, in memory and over Redis."""

from collections.abc import AsyncIterator, Iterator

import pytest
from msgspec.structs import replace

from media.call import Call, close
from signaling.calls.registry import CallRegistry, MemoryCalls
from signaling.calls.registry_redis import RedisCalls
from signaling.metrics import Metrics
from tests.bus_tables import PodTables, TablePods, table_pods
from tests.contracts.call_registry import CallRegistryContract, NewRegistry, a_call, answered
from tests.eventually import eventually
from tests.redis_server import PROGRAMS, RedisServer, redis_server

LIMIT = 8


class TestMemoryCalls(CallRegistryContract):
    """Within one process."""

    @pytest.fixture
    def registry(self) -> NewRegistry:
        reached: list[str] = []
        one = MemoryCalls(LIMIT, reached.append)
        return lambda: one

    async def test_the_bound_is_counted(self) -> None:
        metrics = Metrics()
        await self.test_there_is_room_for_so_many(lambda: MemoryCalls(LIMIT, metrics.reached))
        assert metrics.registry.get_sample_value("auricle_bound_reached_total", {"bound": "max_calls"}) == 1


def over(pod: PodTables, *, key: bytes = b"k" * 32, reached: list[str] | None = None) -> RedisCalls:
    told = [] if reached is None else reached
    return RedisCalls(pod.tables, key=key, ttl_s=60, limit=LIMIT, reached=told.append)


async def both(pods: TablePods) -> tuple[PodTables, PodTables]:
    """Two pods that reach Redis."""
    east, west = await pods.join(), await pods.join()
    await eventually(lambda: east.tables.is_up and west.tables.is_up)
    return east, west


async def known_to_both(pods: TablePods) -> tuple[tuple[PodTables, PodTables], tuple[RedisCalls, RedisCalls], Call]:
    """Two pods, their registries, and a call that both know."""
    east, west = await both(pods)
    here, there, call = over(east), over(west), a_call()
    await here.begin(call)
    assert await there.get("v1") == call
    return (east, west), (here, there), call


class TestRedisCalls(CallRegistryContract):
    """Over Valkey, and Redis when there is one."""

    @pytest.fixture(params=PROGRAMS)
    def server(self, request: pytest.FixtureRequest) -> Iterator[RedisServer]:
        with redis_server(program=request.param) as server:
            yield server

    @pytest.fixture
    async def pods(self, server: RedisServer) -> AsyncIterator[TablePods]:
        async with table_pods(server.url) as pods:
            yield pods

    @pytest.fixture
    async def registry(self, pods: TablePods) -> NewRegistry:
        made = [await pods.join(), await pods.join()]
        await eventually(lambda: all(pod.tables.is_up for pod in made))

        def registry() -> CallRegistry:
            made.append(made.pop(0))
            return over(made[-1])

        return registry

    async def test_without_redis_calls_go_on_for_those_who_know_them_and_are_there_for_all_when_it_is_back(
        self, pods: TablePods, server: RedisServer
    ) -> None:
        east, west = await both(pods)
        here, there, call = over(east), over(west), a_call()
        await here.begin(call)
        server.kill()
        await eventually(lambda: not east.tables.is_up and not west.tables.is_up)
        assert await there.get("v1") is None
        assert await here.swap(call, answered(call, "p1"))
        assert not await here.swap(call, answered(call, "p2"))
        assert await here.get("v1") == answered(call, "p1")
        assert await here.begin(a_call("v2", "c2")) is None
        server.start()
        await eventually(lambda: east.tables.is_up and west.tables.is_up)
        assert await here.get("v1") == answered(call, "p1")
        assert await there.get("v1") == answered(call, "p1")

    @pytest.mark.parametrize("how", ["emptied", "killed"])
    async def test_who_did_not_hear_of_changes_that_redis_has_lost_finds_them_as_soon_as_they_are_kept_again(
        self, pods: TablePods, server: RedisServer, how: str
    ) -> None:
        (east, west), (here, there), call = await known_to_both(pods)
        if how == "killed":
            server.kill()
            await eventually(lambda: not east.tables.is_up and not west.tables.is_up)
        once = answered(call, "p1")
        twice = replace(once, version=once.version + 1)
        assert await here.swap(call, once)
        assert await here.swap(once, twice)
        if how == "killed":
            server.start()
            await eventually(lambda: east.tables.is_up and west.tables.is_up)
        else:
            server.ask("FLUSHALL")
        assert await here.get("v1") == twice
        assert await there.get("v1") == twice
        assert not await there.swap(call, replace(once, version=call.version + 1))

    async def test_how_a_call_has_ended_is_known_to_those_who_knew_it(self, registry: NewRegistry) -> None:
        here, there, call = registry(), registry(), a_call()
        await here.begin(call)
        assert await there.get("v1") == call
        assert await there.ended(call) is None
        after = answered(call, "p1")
        over_now = replace(close(after, "hung_up"), version=after.version + 1)
        assert await here.swap(call, after)
        assert await here.swap(after, over_now)
        assert await there.get("v1") is None
        assert await there.ended(call) == over_now

    @pytest.mark.parametrize("differ", [False, True], ids=["nobody else has changed it", "somebody else has"])
    async def test_a_call_that_ended_without_redis_is_over_for_the_others_unless_it_is_theirs(
        self, pods: TablePods, server: RedisServer, differ: bool
    ) -> None:
        (east, west), (here, there), call = await known_to_both(pods)
        server.kill()
        await eventually(lambda: not east.tables.is_up and not west.tables.is_up)
        over_now = replace(close(call, "cancelled"), version=call.version + 1)
        assert await here.swap(call, over_now)
        await here.settle()
        theirs = replace(answered(call, "p1"), version=call.version + 1)
        if differ:
            assert await there.swap(call, theirs)
        server.start()
        await eventually(lambda: east.tables.is_up and west.tables.is_up)
        assert await there.get("v1") == (theirs if differ else call)
        for _ in range(2):
            await here.settle()
        if differ:
            assert await there.get("v1") == await here.get("v1") == theirs
            return
        assert await there.get("v1") is await here.get("v1") is None
        assert await there.ended(call) == over_now
        assert await there.begin(a_call(call_id="c2")) is None

    async def test_another_call_that_has_begun_meanwhile_goes_on(self, pods: TablePods, server: RedisServer) -> None:
        east, west = await both(pods)
        here, there, call, other = over(east), over(west), a_call(), a_call(call_id="c2")
        await here.begin(call)
        server.kill()
        await eventually(lambda: not east.tables.is_up and not west.tables.is_up)
        await here.swap(call, replace(close(call, "cancelled"), version=call.version + 1))
        server.start()
        await eventually(lambda: east.tables.is_up and west.tables.is_up)
        assert await there.begin(other) is None
        await here.settle()
        assert await here.get("v1") == await there.get("v1") == other

    async def test_what_could_not_be_told_is_bounded(self, pods: TablePods, server: RedisServer) -> None:
        east, reached = await pods.join(), list[str]()
        await eventually(lambda: east.tables.is_up)
        here = over(east, reached=reached)
        server.kill()
        await eventually(lambda: not east.tables.is_up)
        for number in range(LIMIT + 1):
            call = a_call(f"v{number}", f"c{number}", user=f"u{number}")
            assert await here.begin(call) is None
            assert await here.swap(call, replace(close(call, "cancelled"), version=call.version + 1))
        assert reached == ["max_calls"]

    async def test_nothing_that_names_anybody_is_there_to_read_and_nothing_is_left(
        self, pods: TablePods, server: RedisServer
    ) -> None:
        east = await pods.join()
        await eventually(lambda: east.tables.is_up)
        here, call = over(east), a_call("visit-4711", "c1", user="annabelle")
        await here.begin(call)
        keys = server.ask("KEYS", "*")
        assert b"call:" in keys
        assert b"4711" not in keys
        assert b"annabelle" not in keys
        assert await over(east, key=b"x" * 32).get("visit-4711") is None
        ended = answered(call, "p1")
        await here.swap(call, ended)
        for _ in range(3):
            await here.keep(ended)
        assert await here.get("visit-4711") == ended

    async def test_what_is_remembered_is_bounded(self, pods: TablePods) -> None:
        east, west, reached = await pods.join(), await pods.join(), list[str]()
        await eventually(lambda: east.tables.is_up and west.tables.is_up)
        for number in range(LIMIT):
            await over(east).begin(a_call(f"v{number}", f"c{number}", user=f"u{number}"))
        here = over(west, reached=reached)
        for number in range(LIMIT):
            assert await here.get(f"v{number}") is not None
        await over(east).begin(a_call("v9", "c9"))
        assert await here.get("v9") is not None
        assert reached == ["max_calls"]
