"""The tables of owners keep the contract, in memory and over Redis; and what is special about one that forgets."""

import time
from collections.abc import AsyncIterator, Iterator
from typing import ClassVar

import pytest

from signaling.log import LogBook
from signaling.pods.owners import OWNERS_AWAY, MemoryOwners, OwnerBoard, Owners, OwnersAway
from signaling.pods.owners_redis import RedisOwners, RedisOwnersParts
from signaling.tasks import TaskSet
from tests.bus_tables import PodTables, TablePods, table_pods
from tests.contracts.owners import LASTING_S, NewOwners, OwnersContract, OwnersEndContract
from tests.eventually import eventually, eventually_asked
from tests.redis_server import PROGRAMS, RedisServer, redis_server


class Memory:
    """Owners within one process."""

    ttl_s: ClassVar[float]

    @pytest.fixture
    def pod(self) -> NewOwners:
        board = OwnerBoard()

        async def pod(name: str) -> Owners:
            return MemoryOwners(name, board, ttl_s=self.ttl_s, monotonic=time.monotonic)

        return pod


class TestMemoryOwners(Memory, OwnersContract):
    """Who has a connection."""


class TestMemoryOwnersEnd(Memory, OwnersEndContract):
    """And for how long."""


class Redis:
    """Owners over a real server."""

    ttl_s: ClassVar[float]

    @pytest.fixture(params=PROGRAMS)
    def server(self, request: pytest.FixtureRequest) -> Iterator[RedisServer]:
        with redis_server(program=request.param) as server:
            yield server

    @pytest.fixture
    async def pods(self, server: RedisServer) -> AsyncIterator[TablePods]:
        async with table_pods(server.url) as pods:
            yield pods

    @pytest.fixture
    async def pod(self, pods: TablePods) -> AsyncIterator[NewOwners]:
        made: list[RedisOwners] = []

        async def pod(name: str) -> Owners:
            joined = await pods.join()
            tasks = TaskSet("owners", LogBook(joined.log))
            owners = RedisOwners(parts_of(joined, name, self.ttl_s, tasks))
            made.append(owners)
            await owners.open()
            await eventually(lambda: owners.are_sure)
            return owners

        yield pod
        for one in made:
            await one.close()


class TestRedisOwners(Redis, OwnersContract):
    """Over Valkey, and Redis when there is one."""


class TestRedisOwnersEnd(Redis, OwnersEndContract):
    """The same, where entries end."""


class TestRedisFromTheStart:
    """A pod that has just begun, and is asked at once."""

    async def test_it_says_what_others_have_and_does_not_take_it(self) -> None:
        with redis_server() as server:
            async with table_pods(server.url) as pods:
                one, two = await begun(pods, "one"), await begun(pods, "two")
                assert await one.claim("c1") == "one"
                late = await begun(pods, "three")
                assert (await late.claim("c1"), await late.find("c1")) == ("one", "one")
                for owners in (one, two, late):
                    await owners.close()

    async def test_without_redis_it_says_so_soon(self) -> None:
        with redis_server() as server:
            async with table_pods(server.url) as pods:
                server.kill()
                alone = await begun(pods, "one")
                assert await alone.claim("c1") == OWNERS_AWAY
                await alone.close()


def parts_of(
    joined: PodTables, name: str, ttl_s: float, tasks: TaskSet, *, max_unwritten: int = 1_000
) -> RedisOwnersParts:
    return RedisOwnersParts(
        joined.tables,
        name,
        ttl_s=ttl_s,
        open_s=60,
        max_unwritten=max_unwritten,
        tasks=tasks,
        monotonic=time.monotonic,
        reached=joined.metrics.reached,
    )


async def begun(pods: TablePods, name: str) -> RedisOwners:
    """Opened, and not waited for."""
    joined = await pods.join()
    tasks = TaskSet("owners", LogBook(joined.log))
    owners = RedisOwners(parts_of(joined, name, LASTING_S, tasks))
    await owners.open()
    return owners


class TestRedisThatForgets(Redis):
    """It is killed, and comes back empty."""

    ttl_s = LASTING_S

    async def test_what_is_kept_is_written_again_before_anybody_is_sure(
        self, server: RedisServer, pod: NewOwners
    ) -> None:
        one, two = await pod("one"), await pod("two")
        for number in range(200):
            assert await one.claim(f"c{number}") == "one"
            one.keep(f"c{number}")
        server.kill()
        await eventually(lambda: not (is_believed(one) or is_believed(two)))
        assert [await two.claim("c1"), await two.find("c1")] == [OWNERS_AWAY, OWNERS_AWAY]
        server.start()
        seen: set[object] = set()

        async def is_known() -> bool:
            found = await two.claim("c199")
            seen.add(found)
            return found == "one"

        await eventually_asked(is_known)
        # Nobody had it in between.
        assert seen <= {"one", OWNERS_AWAY}
        for number in range(200):
            assert await two.find(f"c{number}") == "one"

    async def test_what_was_taken_meanwhile_is_written_down_when_it_is_there(
        self, server: RedisServer, pod: NewOwners
    ) -> None:
        one, two = await pod("one"), await pod("two")
        server.kill()
        await eventually(lambda: not (is_believed(one) or is_believed(two)))
        taken = [f"c{number}" for number in range(200)]
        for connection_id in taken:
            assert await one.take(connection_id) == OWNERS_AWAY
        server.start()
        assert isinstance(one, RedisOwners)
        await eventually(lambda: not one._unwritten)
        await eventually(lambda: is_believed(two))
        assert [await two.claim(connection_id) for connection_id in taken] == ["one"] * 200
        # Before anybody is believed, too.
        server.kill()
        await eventually(lambda: not (is_believed(one) or is_believed(two)))
        server.start()

        for owners in (one, two):

            async def is_taken(owners: Owners = owners) -> bool:
                return await owners.take("before") == "one"

            await eventually_asked(is_taken)

    async def test_what_makes_room_while_it_is_written_down_harms_nobody(
        self, pods: TablePods, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        joined = await pods.join()
        await eventually(lambda: joined.tables.is_up)
        tasks = TaskSet("owners", LogBook(joined.log))
        one = RedisOwners(parts_of(joined, "one", LASTING_S, tasks, max_unwritten=1))

        async def claimed(connection_id: str, *, patient: bool = True) -> str | OwnersAway:
            if connection_id == "first" and patient:
                await one.take("second")
                return "one"
            return OWNERS_AWAY

        monkeypatch.setattr(one, "_claim", claimed)
        await one.take("first")
        await one._write_down()
        assert list(one._unwritten) == ["second"]
        assert joined.metric("auricle_bound_reached_total", bound="max_known_owners") == 1

    async def test_one_that_was_gone_for_a_moment_is_not_believed_either(
        self, server: RedisServer, pod: NewOwners
    ) -> None:
        one = await pod("one")
        assert isinstance(one, RedisOwners)
        life = one._parts.tables.life
        server.kill()
        server.start()
        await eventually(lambda: one._parts.tables.life > life)
        assert await one.claim("c") == OWNERS_AWAY


def is_believed(owners: Owners) -> bool:
    assert isinstance(owners, RedisOwners)
    return owners.are_sure
