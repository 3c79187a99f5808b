"""What every device log says of phones that have nothing to expect, so that a sweep need not ask for each of them."""

from dataclasses import replace

from msgspec import UNSET

from protocol.contract.base import EARS
from tests.contracts.device_log_bench import DEVICE, Bench, registered
from tests.contracts.device_log_packages import LOUDER, package
from tests.contracts.sql_world import World

__all__ = ["QuietContract", "SharedQuietContract"]


async def is_quiet(bench: Bench) -> bool:
    """After a look at all devices, as in a sweep."""
    await bench.log.expire()
    return bench.log.is_quiet(bench.device, bench.generation)


class QuietContract:
    async def test_a_phone_is_quiet_but_while_something_is_to_be_offered_or_acknowledged(self, bench: Bench) -> None:
        await bench.attach()
        assert await is_quiet(bench)
        accepted = await package(bench)
        assert not await is_quiet(bench)
        await bench.offer()
        # It may have to be offered again.
        assert not await is_quiet(bench)
        await bench.report(accepted.seq, "received", UNSET)
        assert await is_quiet(bench)
        for ear in EARS:
            await bench.report(accepted.seq, "awaiting_install", ear)
        assert await is_quiet(bench)
        # A newer one takes its place, and this one is asked back.
        await package(bench, LOUDER)
        assert not await is_quiet(bench)

    async def test_whoever_has_attached_since_is_offered_it_and_the_one_before_nothing(self, bench: Bench) -> None:
        await bench.attach()
        accepted = await package(bench)
        await bench.offer()
        await bench.report(accepted.seq, "received", UNSET)
        before = bench.generation
        await bench.attach()
        assert not await is_quiet(bench)
        assert bench.log.is_quiet(DEVICE, before)

    async def test_what_is_no_device_is_nothing_that_is_known(self, bench: Bench) -> None:
        await bench.log.expire()
        assert not bench.log.is_quiet("d-none", 1)


class SharedQuietContract:
    async def test_nothing_is_said_before_the_first_look(self, world: World) -> None:
        here = await world.first()
        await here.bench.attach()
        assert not here.log.is_quiet(DEVICE, here.bench.generation)

    async def test_what_another_process_has_written_is_noticed_by_the_next_look(self, world: World) -> None:
        phone = await world.first()
        await phone.bench.attach()
        fitter = await world.another(phone)
        assert await is_quiet(phone.bench)
        await package(fitter.bench)
        phone.monotonic.pass_s(1)
        assert not await is_quiet(phone.bench)
        assert (await phone.bench.offer()).seq == 1

    async def test_whoever_is_woken_asks_at_once(self, world: World) -> None:
        phone = await world.first()
        await phone.bench.attach()
        assert await is_quiet(phone.bench)
        phone.log.overheard(DEVICE)
        assert not phone.log.is_quiet(DEVICE, phone.bench.generation)

    async def test_a_phone_that_another_process_carries_is_none_of_ours(self, world: World) -> None:
        here = await world.first()
        await here.bench.attach()
        there = await world.another(here)
        await there.bench.head()
        await there.log.expire()
        assert not there.log.is_quiet(DEVICE, here.bench.generation)

    async def test_of_more_phones_than_are_kept_in_memory_it_is_remembered(self, world: World) -> None:
        here = await world.first(max_cached_devices=2)
        benches = [here.bench]
        for number in range(2, 6):
            await here.log.create(f"d-{number}", registered())
            benches.append(replace(here.bench, device=f"d-{number}", numbers={}))
        for bench in benches:
            await bench.attach()
        await here.log.expire()
        here.counts.hits.clear()
        # Two are kept, as many more are remembered, the oldest is known no more.
        assert [here.log.is_quiet(b.device, b.generation) for b in benches] == [False, True, True, True, True]
        assert here.counts.hits == []

    async def test_what_is_remembered_is_held_to_what_others_write(self, world: World) -> None:
        here = await world.first(max_cached_devices=1)
        await here.bench.attach()
        await here.log.create("d-2", registered())
        await replace(here.bench, device="d-2").attach()
        assert await is_quiet(here.bench)
        there = await world.another(here)
        await package(there.bench)
        here.monotonic.pass_s(1)
        assert not await is_quiet(here.bench)

    async def test_what_is_remembered_is_forgotten_when_the_phone_leaves_or_is_woken(self, world: World) -> None:
        here = await world.first(max_cached_devices=1)
        await here.bench.attach()
        other = replace(here.bench, device="d-2")
        await here.log.create("d-2", registered())
        await other.attach()
        assert await is_quiet(here.bench)
        here.log.overheard(DEVICE)
        assert not here.log.is_quiet(DEVICE, here.bench.generation)
        await here.log.detach("d-2", other.generation)
        await here.bench.head()
        assert not await is_quiet(other)
