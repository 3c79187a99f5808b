"""What a look at all devices comes to when something is wrong with one of them, or nothing can be done for some.

A subclass gives the fixture ``world``. Nothing here knows which database it is.
"""

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest

from fitting.log_sql.record import Write
from fitting.log_values import LogLimits
from protocol.errors import Unavailable, Unreadable
from tests.contracts.device_log_bench import DEVICE, Bench, registered
from tests.contracts.sql_world import Process, World

__all__ = ["SweepContract"]

LEASE_S = 15.0
SPOILS: dict[str, dict[str, Any]] = {
    "no record": {"working": b"\xc1"},
    "half a record": {"working": msgspec.msgpack.encode({"format": 1})},
    "of a newer version": {"working": msgspec.msgpack.encode({"format": 99, "aids": {}, "last_terminal": 0})},
    "without its revisions": {"refs": ""},
}


async def visited(process: Process, device: str) -> Bench:
    """One more device with live work on it."""
    await process.log.create(device, registered())
    bench = Bench(process.log, process.bench.clock, device=device)
    await bench.fitted()
    assert (await bench.head()).live is not None
    return bench


async def spoil(process: Process, device: str, **fields: Any) -> None:
    """Have something else in a device's row than what was written."""
    loaded = await process.tables.load(device, known=())
    assert loaded is not None
    head = msgspec.structs.replace(loaded.head, version=loaded.head.version + 1, **fields)
    assert await process.tables.commit(Write(head=head))


async def begun(bench: Bench) -> None:
    """A write that has begun and cannot be proven: no time ends it."""
    accepted = await bench.submit(expires_in_s=1.0)
    await bench.offer()
    await bench.report(accepted.seq, "indeterminate", "right")
    await bench.log.release(bench.device, session="s-1", holder="ann", fence=bench.fence, discard=True)


class SweepContract:
    """For a log in SQL."""

    @pytest.mark.parametrize("how", SPOILS)
    async def test_a_row_that_cannot_be_read_is_that_devices_trouble_alone(self, world: World, how: str) -> None:
        before = await world.first(limits=LogLimits(lease_ttl_s=LEASE_S))
        devices = ("d-0", "d-2")
        await before.bench.fitted()
        for device in devices:
            await visited(before, device)
        await spoil(before, DEVICE, **SPOILS[how])
        here = await world.process(limits=LogLimits(lease_ttl_s=LEASE_S))
        world.clock.pass_s(LEASE_S)
        assert {device for device, _ in await here.log.lapsed()} == set(devices)
        assert await here.log.expire() == ()
        assert here.troubles == [(DEVICE, Unreadable), (DEVICE, Unreadable)]
        with pytest.raises(Unreadable) as told:
            await here.bench.head()
        assert told.value.code == "unreadable"
        assert (await Bench(here.log, world.clock, device="d-2").head()).live is None

    async def test_a_revision_that_cannot_be_read_says_so_too(self, world: World) -> None:
        here = await world.first()
        await here.bench.fitted()
        real = here.tables.revisions

        async def spoiled(*wanted: Any) -> Any:
            await real(*wanted)
            return msgspec.msgpack.decode(b"\xc1")

        here.tables.revisions = spoiled  # type: ignore[assignment, method-assign]  # as if the column held that
        with pytest.raises(Unreadable):
            await here.log.revisions(DEVICE)

    @pytest.mark.parametrize("error", [RuntimeError("a bug"), Unavailable("away")])
    async def test_what_has_ended_is_told_whatever_happens_to_the_next(self, world: World, error: Exception) -> None:
        here = await world.first(limits=LogLimits(lease_ttl_s=LEASE_S))
        await here.bench.fitted()
        world.clock.pass_s(1.0)
        others = [await visited(here, f"d-{number}") for number in range(2, 7)]
        world.clock.pass_s(LEASE_S)
        real: Callable[..., Awaitable[Any]] = here.store.run

        async def run(device: str, *work: Any, **more: Any) -> Any:
            if device != DEVICE:
                raise error
            return await real(device, *work, **more)

        here.store.run = run  # type: ignore[method-assign]  # as if all but the first could not be worked on
        assert [device for device, _ in await here.log.lapsed()] == [DEVICE]
        assert 0 < len(here.troubles) <= len(others)
        if isinstance(error, Unavailable):
            with pytest.raises(Unavailable):
                await here.log.lapsed()
        here.store.run = real  # type: ignore[assignment, method-assign]  # and now they can
        assert len(await here.log.lapsed()) == len(others)

    async def test_what_no_time_can_end_is_not_due(self, world: World) -> None:
        here = await world.first(limits=LogLimits(), flush_s=0.0)
        await here.bench.fitted()
        await begun(here.bench)
        world.clock.pass_s(120)
        await here.log.expire()
        assert await here.tables.due(10) == ()

    async def test_a_change_that_time_can_end_is_due_again_after_it_was_offered(self, world: World) -> None:
        here = await world.first(limits=LogLimits(), flush_s=0.0)
        await here.bench.fitted()
        await here.bench.submit(expires_in_s=1.0)
        await here.bench.offer()
        await here.bench.report(1, "received")
        world.clock.pass_s(1.0)
        [late] = await here.log.expire()
        assert late.ended is None
        assert late.delivery.withdrawn == "expired"

    async def test_no_device_is_kept_from_its_turn_by_those_before_it(self, world: World) -> None:
        before = await world.first(limits=LogLimits(lease_ttl_s=LEASE_S))
        await before.bench.fitted()
        for number in range(2, 6):
            await visited(before, f"d-{number}")
        world.clock.pass_s(LEASE_S)
        for device in (DEVICE, "d-2", "d-3", "d-4"):
            await spoil(before, device, working=b"\xc1", due_at=1.0)
        here = await world.process(limits=LogLimits(), max_due_devices=2)
        found = []
        for _ in range(3):
            # Both looks go round on their own.
            found += [device for device, _ in await here.log.lapsed()]
            await here.log.expire()
        assert found == ["d-5"]
