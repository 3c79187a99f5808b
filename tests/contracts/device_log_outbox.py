"""What every outbox does with what is due for packages, and how processes share it."""

import asyncio

from fitting.outbox import DueItem
from tests.contracts.device_log_bench import DEVICE, FRESH, LIMITS, Bench, both_louder
from tests.contracts.device_log_packages import install, package, try_package, wait_for_install
from tests.contracts.sql_world import World

__all__ = ["OutboxContract", "SharedOutboxContract"]


class OutboxContract:
    """What is to be done at its time."""

    async def due(self, bench: Bench, limit: int = 10) -> list[tuple[str, int, int]]:
        return [(item.kind, item.seq, item.tries) for item in await self.take(bench, limit)]

    async def take(self, bench: Bench, limit: int = 10) -> tuple[DueItem, ...]:
        assert bench.outbox is not None
        return await bench.outbox.take(limit, hold_s=60)

    async def test_a_package_is_to_be_pushed_at_once_and_taken_by_one(self, bench: Bench) -> None:
        await bench.attach()
        accepted = await package(bench)
        assert await self.due(bench) == [("push", accepted.seq, 0)]
        assert await self.due(bench) == []
        bench.clock.pass_s(60)
        assert await self.due(bench) == [("push", accepted.seq, 0)]

    async def test_nothing_is_written_for_what_was_refused(self, bench: Bench) -> None:
        await bench.attach()
        await try_package(bench, ground="id-none")
        assert await self.due(bench) == []

    async def test_it_is_put_off_and_counted(self, bench: Bench) -> None:
        assert bench.outbox is not None
        await bench.attach()
        accepted = await package(bench)
        [item] = await self.take(bench)
        assert (item.device, item.due_at_s) == (DEVICE, bench.clock.now_s)
        await bench.outbox.later(item, bench.clock.now_s + 30, tried=True)
        assert await self.due(bench) == []
        bench.clock.pass_s(30)
        [item] = await self.take(bench)
        assert (item.seq, item.tries) == (accepted.seq, 1)
        await bench.outbox.later(item, bench.clock.now_s, tried=False)
        [item] = await self.take(bench)
        assert item.tries == 1
        await bench.outbox.done(item)
        await bench.outbox.later(item, bench.clock.now_s, tried=True)
        bench.clock.pass_s(1_000)
        assert await self.due(bench) == []

    async def test_so_many_at_a_time_the_longest_due_first(self, bench: Bench) -> None:
        await bench.attach()
        for number in range(1, 4):
            await package(bench, both_louder(FRESH, by=10 * number))
            bench.clock.pass_s(1)
        assert await self.due(bench, 2) == [("push", 1, 0), ("push", 2, 0)]
        assert await self.due(bench, 2) == [("push", 3, 0)]

    async def test_what_was_installed_is_asked_about_after_its_time(self, bench: Bench) -> None:
        await bench.attach()
        accepted = await package(bench)
        [push] = await self.take(bench)
        await install(bench, await wait_for_install(bench, accepted.seq))
        assert bench.outbox is not None
        await bench.outbox.done(push)
        bench.clock.pass_s(LIMITS.question_after_s - 1)
        assert await self.due(bench) == []
        bench.clock.pass_s(1)
        assert await self.due(bench) == [("question", accepted.seq, 0)]

    async def test_a_way_back_is_asked_about_when_it_leads_to_what_was_never_worn(self, bench: Bench) -> None:
        """A draft of a lost session, for one."""
        await bench.attach()
        accepted = await package(bench, origin="rollback")
        await install(bench, await wait_for_install(bench, accepted.seq))
        bench.clock.pass_s(2 * LIMITS.question_after_s)
        assert ("question", accepted.seq, 0) in await self.due(bench)

    async def test_what_was_taken_back_is_not_asked_about(self, bench: Bench) -> None:
        await bench.attach()
        accepted = await package(bench)
        await install(bench, await wait_for_install(bench, accepted.seq))
        bench.clock.pass_s(40 * 24 * 3_600)
        back = await package(bench, FRESH, origin="rollback")
        await install(bench, await wait_for_install(bench, back.seq))
        bench.clock.pass_s(2 * LIMITS.question_after_s)
        due = [(kind, seq) for kind, seq, _ in await self.due(bench)]
        assert ("question", accepted.seq) in due
        assert ("question", back.seq) not in due


class SharedOutboxContract:
    """Several processes look after what is due; a subclass gives the fixture ``world``."""

    async def test_what_is_due_is_taken_by_one_process_whoever_else_looks(self, world: World) -> None:
        here = await world.first()
        there = await world.another(here)
        await here.bench.attach()
        for number in range(1, 9):
            await package(here.bench, both_louder(FRESH, by=10 * number))
        outboxes = [process.bench.outbox for process in (here, there)]
        looks = [one.take(3, hold_s=60) for _ in range(3) for one in outboxes if one is not None]
        taken = [item.seq for items in await asyncio.gather(*looks) for item in items]
        assert sorted(taken) == list(range(1, 9))

    async def test_what_a_process_took_and_did_not_do_is_done_by_another(self, world: World) -> None:
        here = await world.first()
        await here.bench.attach()
        accepted = await package(here.bench)
        assert here.bench.outbox is not None
        await here.bench.outbox.take(3, hold_s=60)
        await here.kill()
        there = await world.process()
        assert there.bench.outbox is not None
        assert await there.bench.outbox.take(3, hold_s=60) == ()
        world.clock.pass_s(60)
        [item] = await there.bench.outbox.take(3, hold_s=60)
        assert (item.kind, item.seq, item.tries) == ("push", accepted.seq, 0)
