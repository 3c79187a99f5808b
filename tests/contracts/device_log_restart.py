"""What a device log in SQL does beyond the contract when its process ends, in order or not.

A subclass gives the fixture ``world`` and reads the outbox. Nothing here knows which database it is.
"""

from typing import Any

import pytest
from msgspec import UNSET
from msgspec.structs import replace

from fitting.log_chain import verify
from fitting.log_parts import OutboxItem
from fitting.log_rows import DeviceRows
from fitting.log_values import Accepted, DeviceHead, LeaseGranted, LogEvent
from tests.contracts.device_log_bench import BOTH_LOUDER, DEVICE, Bench, digest, louder, refused
from tests.contracts.sql_world import Process, World

__all__ = ["RestartContract", "chain", "finish_all", "fit"]

# How far a delivery of both ears has come, by what the phone has said of it.
WAYS: dict[str, list[tuple[Any, Any]]] = {
    "accepted": [],
    "offered": [],
    "received": [("received", UNSET)],
    "writing": [("received", UNSET), ("writing", "right")],
    "indeterminate": [("received", UNSET), ("indeterminate", "right")],
    "half": [("received", UNSET), ("confirmed", "right")],
}


async def on_its_way(bench: Bench, way: str) -> None:
    """A change that has come so far, and one behind it."""
    await bench.fitted()
    await bench.submit(BOTH_LOUDER)
    await bench.submit(louder(BOTH_LOUDER))
    if way != "accepted":
        await bench.offer()
    for state, ear in WAYS[way]:
        proof = digest(BOTH_LOUDER, "right") if state == "confirmed" else UNSET
        await bench.report(1, state, ear, digest=proof)


async def chain(bench: Bench) -> tuple[LogEvent, ...]:
    """All events, which must be chained without a break."""
    events = await bench.log.changed_since(DEVICE, 0, limit=10_000)
    assert verify(DEVICE, events) is None
    return events


async def fit(bench: Bench) -> Accepted:
    """A change that comes about, a while after the last one."""
    bench.clock.pass_s(11)
    await bench.acquire()
    return await bench.apply()


async def finish_all(bench: Bench) -> list[int]:
    """A phone attaches, and does all that waits; the numbers in the order in which they were offered."""
    await bench.attach(None)
    offered = []
    while (delivery := await bench.log.next_offer(DEVICE, bench.generation)) is not None:
        offered.append(delivery.seq)
        for ear in (ear for ear, state in delivery.ears.items() if state != "confirmed"):
            proof = digest(delivery.revision.content, ear)
            await bench.report(delivery.seq, "confirmed", ear, digest=proof, attempt=delivery.attempt)
    return offered


class RestartContract:
    @pytest.mark.parametrize("way", WAYS)
    async def test_after_a_restart_everything_is_as_it_was_told(self, world: World, way: str) -> None:
        before = await world.first()
        await on_its_way(before.bench, way)
        head, (first, second) = await before.bench.head(), await before.log.pending(DEVICE)
        await before.close()
        after = await world.another(before)
        if way == "accepted":
            # While a phone is attached, another process may have offered it and died.
            first = replace(first, state="offered", attempt=1, ears=dict.fromkeys(first.ears, "offered"))
        assert await after.log.pending(DEVICE) == (first, second)
        assert await after.bench.head() == head
        assert await finish_all(after.bench) == [1, 2]
        await chain(after.bench)

    @pytest.mark.parametrize("way", WAYS)
    async def test_after_a_kill_each_change_is_offered_again_and_ends_once(self, world: World, way: str) -> None:
        before = await world.first()
        await on_its_way(before.bench, way)
        await before.kill()
        after = await world.another(before)
        assert await finish_all(after.bench) == [1, 2]
        events = await chain(after.bench)
        assert [e.seq for e in events if e.state == "confirmed" and e.ear is None] == [1, 2]

    @pytest.mark.parametrize("way", WAYS)
    async def test_after_a_kill_a_change_that_may_be_known_to_the_phone_never_expires_silently(
        self, world: World, way: str
    ) -> None:
        before = await world.first()
        await on_its_way(before.bench, way)
        await before.kill()
        after = await world.another(before)
        world.clock.pass_s(3_600)
        ended = [one.delivery.seq for one in await after.log.expire() if one.ended is not None]
        assert ended == [2]
        [first] = await after.log.pending(DEVICE)
        assert first.seq == 1

    async def test_what_nobody_can_have_been_offered_expires_after_a_kill(self, world: World) -> None:
        before = await world.first()
        await before.bench.fitted()
        await before.log.detach(DEVICE, before.bench.generation)
        await before.bench.submit(expires_in_s=10.0)
        await before.kill()
        after = await world.another(before)
        assert await after.log.expire() == ()
        world.clock.pass_s(10)
        [late] = await after.log.expire()
        assert (late.ended is not None, late.delivery.state) == (True, "expired")

    async def test_history_is_kept_whole(self, world: World) -> None:
        before = await world.first()
        bench = before.bench
        await bench.fitted()
        answers = [await fit(bench) for _ in range(6)]
        events, revisions = await chain(bench), await bench.log.revisions(DEVICE, limit=100)
        deliveries = [await bench.log.delivery(DEVICE, seq) for seq in range(1, 7)]
        await before.kill()
        after = await world.another(before)
        assert await chain(after.bench) == events
        assert await after.log.revisions(DEVICE, limit=100) == revisions
        assert [await after.log.delivery(DEVICE, seq) for seq in range(1, 7)] == deliveries
        assert [one.revision_id for one in revisions[:-1]] == [answer.revision_id for answer in reversed(answers)]
        assert await after.log.revision(DEVICE, answers[2].revision_id) == revisions[3]
        assert await after.log.revisions(DEVICE, before=answers[2].revision_id, limit=2) == revisions[4:6]

    async def test_a_key_means_what_it_meant(self, world: World) -> None:
        before = await world.first()
        await before.bench.fitted()
        proposal = await before.bench.proposal()
        answer = await before.log.append(proposal)
        await before.kill()
        after = await world.another(before)
        asked = await after.log.head(DEVICE, key=proposal.key, request_hash=proposal.request_hash)
        assert isinstance(asked, DeviceHead)
        assert isinstance(answer, Accepted)
        assert asked.answered == replace(answer, replayed=True)
        assert await after.log.append(proposal) == asked.answered
        conflict = await after.log.append(replace(proposal, request_hash="another"))
        assert refused(conflict).code == "idempotency_conflict"
        assert (await after.bench.head()).last_seq == 1

    async def test_a_lease_and_live_work_go_on(self, world: World) -> None:
        before = await world.first()
        await before.bench.fitted()
        live = (await before.bench.head()).live
        await before.kill()
        after = await world.another(before)
        assert live is not None
        assert (await after.bench.head()).live == live
        again = await after.log.acquire(DEVICE, session="s-1", holder="ann")
        assert isinstance(again, LeaseGranted)
        assert (again.fence, again.renewed) == (1, True)
        world.clock.pass_s(15)
        [(device, ended)] = await after.log.lapsed()
        assert (device, ended.cause) == (DEVICE, "lease_lost")

    async def test_the_epoch_stays(self, world: World) -> None:
        before = await world.first()
        await before.bench.attach()
        epoch = (await before.bench.head()).epoch
        await before.close()
        after = await world.another(before)
        assert (await after.bench.attach(epoch=epoch)).resume == "ok"
        assert (await after.bench.head()).epoch == epoch

    async def test_something_for_the_outside_is_written_with_what_it_is_about(self, world: World) -> None:
        process = await world.first()

        def step(rows: DeviceRows, now_s: float) -> None:
            rows.note("device", "told", now_s, actor="server")
            rows.fresh.outbox.append(OutboxItem("push", 7, now_s + 1))

        await process.store.run(DEVICE, step)
        assert await self.outbox(process) == [(DEVICE, "push", 7, world.clock.now_s + 1, 0)]

    async def outbox(self, process: Process) -> list[tuple[object, ...]]:
        raise NotImplementedError
