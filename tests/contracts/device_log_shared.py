"""What a device log in SQL does beyond the contract when several processes have it, and how much it keeps in memory.

A subclass gives the fixture ``world``. Nothing here knows which database it is.
"""

import asyncio
from dataclasses import replace

import msgspec
import pytest
from msgspec import UNSET

from fitting.log_rows import DeviceRows
from fitting.log_values import Accepted, Learned, LeaseGranted, LogLimits
from protocol.contract.base import EARS, Refusal
from protocol.contract.devices import EarTruth
from protocol.contract.sessions import ReportDevice
from protocol.errors import BadArgument
from tests.contracts.device_log_bench import (
    BOTH_LOUDER,
    DEVICE,
    FRESH,
    LIMITS,
    Bench,
    digest,
    images,
    refused,
    registered,
)
from tests.contracts.device_log_restart import chain, finish_all, fit
from tests.contracts.device_log_thefts import steal
from tests.contracts.sql_world import World

__all__ = ["BoundsContract", "SharedContract"]


class SharedContract:
    async def test_nothing_is_refused_because_of_what_another_process_changed(self, world: World) -> None:
        here = await world.first()
        await here.bench.fitted()
        there = await world.another(here)
        await there.bench.head()
        await here.bench.submit()
        # What is kept there says that the head is another, which alone would be a refusal.
        accepted = await there.log.append(await here.bench.proposal())
        assert isinstance(accepted, Accepted)
        assert accepted.seq == 2

    async def test_the_newest_event_is_known_whoever_has_recorded_it(self, world: World) -> None:
        here = await world.first()
        await here.bench.fitted()
        there = await world.another(here)
        known = await there.log.newest([DEVICE])
        await here.bench.submit()
        assert await there.log.newest([DEVICE]) == {DEVICE: known[DEVICE] + 1}

    async def test_an_error_that_was_true_of_old_rows_only_is_not_raised(self, world: World) -> None:
        here = await world.first()
        there = await world.another(here)
        await there.bench.head()
        await here.bench.attach()
        # Of rows without a revision, these images would be the first one, and no configuration.
        program = msgspec.structs.replace(FRESH.programs[0], name="Music")
        odd = images(msgspec.structs.replace(FRESH, programs=(program,)), "left")
        assert (await there.bench.attach(FRESH, left=odd)).changed == ("left",)
        with pytest.raises(BadArgument):
            await there.log.append(msgspec.structs.replace(await there.bench.proposal(), ears=()))

    async def test_of_two_processes_one_takes_a_number_and_the_other_the_next(self, world: World) -> None:
        here = await world.first(limits=LogLimits())
        await here.bench.fitted()
        there = await world.another(here, limits=LogLimits())
        seqs: list[int] = []

        async def submit(bench: Bench, times: int) -> None:
            while times:
                outcome = await bench.log.append(await bench.proposal())
                if isinstance(outcome, Accepted):
                    seqs.append(outcome.seq)
                    times -= 1
                else:
                    assert outcome.code == "base_mismatch"

        await asyncio.gather(submit(here.bench, 10), submit(there.bench, 10))
        assert sorted(seqs) == list(range(1, 21))
        assert await finish_all(there.bench) == list(range(1, 21))
        await chain(here.bench)

    async def test_one_key_is_one_theft_wherever_it_is_asked_for(self, world: World) -> None:
        here = await world.first()
        await here.bench.fitted()
        there = await world.another(here)
        await there.bench.head()
        stolen = await steal(here.bench, session="s-2", holder="bob", key="steal-1")
        await steal(here.bench, session="s-1", holder="ann", key="steal-2")
        late = await steal(there.bench, session="s-2", holder="bob", key="steal-1")
        assert (late.granted.fence, late.granted.lease_for_s) == (stolen.granted.fence, 0.0)
        assert (await here.bench.head()).fence == stolen.granted.fence + 1

    async def test_one_key_is_one_change_wherever_it_is_asked_for(self, world: World) -> None:
        here = await world.first()
        await here.bench.fitted()
        others = [await world.another(here) for _ in range(3)]
        proposal = await here.bench.proposal()
        for other in others:
            await other.bench.head()
        outcomes = await asyncio.gather(*(one.log.append(proposal) for one in (here, *others)))
        answers = [outcome for outcome in outcomes if isinstance(outcome, Accepted)]
        assert [answer.seq for answer in answers] == [1] * 4
        assert sorted(answer.replayed for answer in answers) == [False, True, True, True]

    async def test_a_fence_is_granted_once_whoever_asks(self, world: World) -> None:
        here = await world.first()
        await here.bench.attach()
        processes = [here, *[await world.another(here) for _ in range(3)]]
        for process in processes:
            await process.bench.head()
        fences = []
        for _ in range(4):
            asked = (one.log.acquire(DEVICE, session=f"s-{n}", holder="ann") for n, one in enumerate(processes))
            outcomes = await asyncio.gather(*asked)
            granted = [outcome for outcome in outcomes if isinstance(outcome, LeaseGranted)]
            assert len(granted) == 1
            assert {o.code for o in outcomes if isinstance(o, Refusal)} == {"lease_held"}
            fences.append(granted[0].fence)
            world.clock.pass_s(LIMITS.lease_ttl_s)
        assert fences == [1, 2, 3, 4]

    async def test_what_a_process_told_survives_what_another_writes(self, world: World) -> None:
        """The phone is here, the fitter there: neither's work undoes the other's."""
        phone = await world.first()
        await phone.bench.fitted()
        fitter = await world.another(phone)
        await fitter.bench.submit(BOTH_LOUDER)
        phone.log.overheard(DEVICE)
        await phone.bench.offer()
        await phone.bench.report(1, "received")
        await phone.bench.report(1, "confirmed", "right", digest=digest(BOTH_LOUDER, "right"))
        await fitter.bench.submit()
        done = await phone.bench.report(1, "confirmed", "left", digest=digest(BOTH_LOUDER, "left"))
        assert (done.ended, done.delivery.state) == (True, "confirmed")
        events = await chain(phone.bench)
        told = [(event.state, event.ear) for event in events if event.seq == 1]
        assert told == [
            *[("accepted", None), ("received", None), ("confirmed", "right")],
            *[("confirmed", "left"), ("confirmed", None)],
        ]

    @pytest.mark.parametrize("generation", ["its own", "nobody's"])
    async def test_what_a_process_was_told_of_the_aids_gives_way_to_what_another_has_read_since(
        self, world: World, generation: str
    ) -> None:
        here = await world.first()
        await here.bench.fitted()
        await here.bench.apply(BOTH_LOUDER)
        trial = {ear: images(BOTH_LOUDER, ear, nvm=digest(FRESH, ear)) for ear in EARS}
        told = ReportDevice(device=DEVICE, cause="read_back", left=trial["left"], right=trial["right"])
        said_by = here.bench.generation if generation == "its own" else None
        assert isinstance(await here.log.report_device(told, generation=said_by), Learned)
        there = await world.another(here)
        world.clock.pass_s(LIMITS.lease_ttl_s)
        await there.bench.attach(FRESH)
        here.log.overheard(DEVICE)
        await here.log.close()
        await there.log.close()
        head = await there.bench.head()
        assert (head.revision and head.revision.content, head.is_saved) == (FRESH, True)

    async def test_a_report_of_then_counts_and_does_not_undo_what_was_read_since(self, world: World) -> None:
        here = await world.first()
        await here.bench.fitted()
        await here.bench.submit(BOTH_LOUDER)
        await here.bench.offer()
        await here.bench.report(1, "confirmed", "right", digest=digest(BOTH_LOUDER, "right"))
        there = await world.another(here)
        world.clock.pass_s(1)
        await there.bench.attach(FRESH)
        here.log.overheard(DEVICE)
        [delivery] = await here.log.pending(DEVICE)
        assert delivery.ears == {"right": "confirmed", "left": "offered"}
        truth = (await here.bench.head()).in_aid.right
        assert isinstance(truth, EarTruth)
        assert truth.ram == digest(FRESH, "right")

    async def test_a_change_that_another_process_may_have_offered_does_not_fall_away(self, world: World) -> None:
        phone = await world.first()
        await phone.bench.fitted()
        fitter = await world.another(phone)
        await fitter.bench.submit()
        phone.log.overheard(DEVICE)
        offered = await phone.bench.offer()
        ended = await fitter.log.end_session(DEVICE, cause="left", actor="ann")
        assert not isinstance(ended, Refusal)
        assert ended is not None
        assert (ended.ended, [one.seq for one in ended.withdraw]) == ((), [1])
        assert (await phone.bench.confirm(offered)).ended

    async def test_a_change_is_seen_at_once_by_whoever_is_woken(self, world: World) -> None:
        phone = await world.first()
        await phone.bench.fitted()
        fitter = await world.another(phone)
        await fitter.bench.submit()
        phone.log.overheard(DEVICE)
        assert (await phone.bench.offer()).seq == 1

    async def test_a_change_is_seen_soon_by_whoever_is_not(self, world: World) -> None:
        phone = await world.first(stale_s=0.25)
        await phone.bench.fitted()
        fitter = await world.another(phone)
        await fitter.bench.submit()
        phone.monotonic.pass_s(0.5)
        assert (await phone.bench.offer()).seq == 1

    async def test_one_look_at_all_devices_tells_which_have_changed(self, world: World) -> None:
        phone = await world.first(stale_s=60.0)
        await phone.bench.fitted()
        fitter = await world.another(phone)
        await fitter.bench.submit()
        assert await phone.log.next_offer(DEVICE, phone.bench.generation) is None
        phone.monotonic.pass_s(1)
        await phone.log.expire()
        assert (await phone.bench.offer()).seq == 1

    async def test_a_phone_that_attaches_elsewhere_is_offered_nothing_here(self, world: World) -> None:
        here = await world.first()
        await here.bench.fitted()
        there = await world.another(here)
        await there.bench.attach()
        await there.bench.submit()
        here.log.overheard(DEVICE)
        assert await here.log.next_offer(DEVICE, here.bench.generation) is None
        assert (await there.bench.offer()).seq == 1

    async def test_a_step_that_others_have_left_no_room_for_is_let_go(self, world: World) -> None:
        """What was told of a change that another process has ended meanwhile."""
        phone = await world.first()
        await phone.bench.fitted()
        await phone.bench.submit()
        await phone.bench.offer()

        def step(rows: DeviceRows, now_s: float) -> None:
            entry = rows.entries.get(1)
            if entry is None:
                raise BadArgument("it is not there any more")
            rows.offer(entry, now_s)

        await phone.store.run(DEVICE, step)
        fitter = await world.another(phone)
        proof = digest((await fitter.bench.newest()).content, "right")
        await fitter.bench.report(1, "confirmed", "right", digest=proof)
        phone.log.overheard(DEVICE)
        assert await phone.log.pending(DEVICE) == ()
        await phone.bench.submit()
        await chain(phone.bench)


class BoundsContract:
    async def test_what_was_told_is_written_after_a_while(self, world: World) -> None:
        here = await world.first(flush_s=0.5)
        await here.bench.fitted()
        await here.bench.submit()
        await here.bench.offer()
        await here.bench.report(1, "received")
        await here.log.expire()
        written = await here.tables.events(DEVICE, 0, 100)
        assert written[-1].state == "accepted"
        here.monotonic.pass_s(0.5)
        await here.log.expire()
        assert [e.state for e in await here.tables.events(DEVICE, written[-1].n, 100)] == ["offered", "received"]

    async def test_only_so_many_devices_are_kept_in_memory_and_none_is_lost(self, world: World) -> None:
        here = await world.first(max_cached_devices=2)
        await here.bench.fitted()
        await here.bench.submit()
        await here.bench.offer()
        for number in range(2, 6):
            await here.log.create(f"d-{number}", registered())
            await here.log.head(f"d-{number}")
        assert here.counts.count(bound="max_cached_devices") == 3
        here.counts.hits.clear()
        [waiting] = await here.log.pending(DEVICE)
        assert here.counts.hits == [False]
        assert (waiting.state, waiting.attempt) == ("offered", 1)
        await here.bench.confirm(waiting)
        await chain(here.bench)

    async def test_what_is_no_device_takes_no_room(self, world: World) -> None:
        here = await world.first(max_cached_devices=2)
        await here.bench.fitted()
        for number in range(5):
            assert refused(await here.log.head(f"d-none-{number}")).code == "not_found"
        assert here.counts.count(bound="max_cached_devices") == 0
        here.counts.hits.clear()
        await here.bench.head()
        assert here.counts.hits == [True]

    async def test_when_all_wait_to_be_written_the_oldest_is_written_first(self, world: World) -> None:
        here = await world.first(max_cached_devices=2)
        benches = []
        for number in range(2, 5):
            device = f"d-{number}"
            await here.log.create(device, registered())
            benches.append(replace(here.bench, device=device))
            await benches[-1].fitted()
            await benches[-1].submit()
            await benches[-1].offer()
        for bench in benches:
            [waiting] = await here.log.pending(bench.device)
            assert (waiting.state, waiting.attempt) == ("offered", 1)

    async def test_only_so_many_steps_stay_unwritten(self, world: World) -> None:
        here = await world.first(max_unwritten_steps=3)
        await here.bench.fitted()
        await here.bench.submit(BOTH_LOUDER)
        await here.bench.offer()
        for state, ear in (("received", UNSET), ("writing", "right"), ("writing", "left")):
            await here.bench.report(1, state, ear)
        assert here.counts.count(bound="max_unwritten_steps") == 1
        await here.kill()
        after = await world.another(here)
        [waiting] = await after.log.pending(DEVICE)
        assert waiting.ears == {"right": "writing", "left": "writing"}

    async def test_one_look_finds_only_so_many_devices(self, world: World) -> None:
        here = await world.first(max_due_devices=2)
        for number in range(2, 5):
            device = f"d-{number}"
            await here.log.create(device, registered())
            bench = replace(here.bench, device=device)
            await bench.fitted()
            await bench.submit(expires_in_s=1.0)
            await here.log.detach(device, bench.generation)
        world.clock.pass_s(1)
        assert len(await here.log.expire()) == 2
        assert here.counts.count(bound="max_due_devices") == 1
        assert len(await here.log.expire()) == 1

    async def test_a_key_that_is_long_forgotten_leaves_no_row(self, world: World) -> None:
        here = await world.first()
        await here.bench.fitted()
        first = here.bench.keys + 1
        for _ in range(LIMITS.max_keys + 1):
            await fit(here.bench)
        known = [(await here.tables.key_at(DEVICE, f"k-{first + n}"))[1] for n in range(LIMITS.max_keys + 1)]
        assert [key is None for key in known] == [True, *[False] * LIMITS.max_keys]
