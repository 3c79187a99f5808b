"""Sliders against the real server and a real phone."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from msgspec import UNSET

from clients.fitter import Fitter
from clients.live_edits import Edited, LiveEdits
from protocol.contract.base import EARS, Failure
from protocol.contract.devices import DeviceAnswer, LeaseAnswer
from protocol.contract.fitting import BandPath, Base, Patch, PatchOp
from protocol.errors import BadArgument
from tests.clients.care_bench import DEVICE, CareBench, care_bench
from tests.clients.fitter_bench import Ticks, code_of, fitter_of, live, tried
from tests.clients.hub_double import until

GAINS: tuple[BandPath, ...] = ("g50Ddb", "g65Ddb", "g80Ddb")


@pytest.fixture
async def bench() -> AsyncIterator[CareBench]:
    async with care_bench() as bench:
        yield bench


def added(value: int, band: int = 5) -> Patch:
    ops = (PatchOp(op="add", ear=ear, path=path, band=band, value=value) for ear in EARS for path in GAINS)
    return Patch(slot=1, ops=tuple(ops))


class Sliders:
    """Edits that run, with their time in the test's hand."""

    def __init__(self, fitter: Fitter, granted: LeaseAnswer, *, end_s: float = 30.0) -> None:
        assert granted.head is not UNSET
        head = granted.head
        base = Base(revision=head.revision, left=head.digests.left, right=head.digests.right)
        self.ticks, self.edited = Ticks(), list[Edited]()
        self.edits = LiveEdits(
            fitter,
            DEVICE,
            granted.fence,
            base,
            on_edited=self.edited.append,
            clock=self.ticks.clock,
            sleep=self.ticks.sleep,
            end_s=end_s,
        )

    async def join(self) -> None:
        await self.ticks.pass_s(0.25)

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Sliders"]:
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(self.edits.run())
            yield self
            running.cancel()


def gain_of(device: DeviceAnswer, band: int = 5) -> int:
    assert device.head is not UNSET
    left = device.head.content.programs[0].left
    assert left is not UNSET
    return left.g65_ddb[band]


async def test_a_hundred_moves_of_a_hand_are_one_write_of_their_sum(bench: CareBench) -> None:
    async with bench.phone(), fitter_of(bench) as (fitter, _):
        async with Sliders(fitter, await live(fitter)).running() as sliders:
            before = gain_of(await fitter.get_device(DEVICE))
            for _ in range(100):
                sliders.edits.move(added(1))
                sliders.edits.move(added(-1))
            sliders.edits.move(added(20))
            await sliders.join()
            await sliders.edits.idle()
        assert [one.state for one in sliders.edited] == ["confirmed"]
        assert gain_of(await fitter.get_device(DEVICE)) == before + 20
    assert [bench.pair.aid(ear).writes_completed for ear in EARS] == [1, 1]


async def test_what_comes_while_one_is_being_written_goes_out_next_as_one_on_the_newest_revision(
    bench: CareBench,
) -> None:
    async with bench.phone(), fitter_of(bench) as (fitter, _):
        async with Sliders(fitter, await live(fitter)).running() as sliders:
            before = gain_of(await fitter.get_device(DEVICE))
            for aid in (bench.pair.aid(ear) for ear in EARS):
                aid.faults = replace(aid.faults, time_scale=0.2)
            sliders.edits.move(added(10))
            await sliders.join()
            await until(lambda: bench.pair.aid("right").writes_completed == 1)
            assert sliders.edited == []
            for _ in range(10):
                sliders.edits.move(added(1))
            await until(lambda: len(sliders.edited) == 1)
            await sliders.join()
            await sliders.edits.idle()
        assert [one.state for one in sliders.edited] == ["confirmed", "confirmed"]
        assert gain_of(await fitter.get_device(DEVICE)) == before + 20


async def test_a_refused_move_is_told_with_its_reason_and_the_next_one_goes_on(bench: CareBench) -> None:
    async with bench.phone(), fitter_of(bench) as (fitter, _):
        granted = await live(fitter)
        async with Sliders(fitter, granted).running() as sliders:
            sliders.edits.move(added(80))
            await sliders.join()
            await until(lambda: len(sliders.edited) == 1)
            sliders.edits.move(added(20))
            await sliders.join()
            await sliders.edits.idle()
    first, second = sliders.edited
    assert isinstance(first.answer, Failure)
    assert (first.answer.error.rule, first.state) == ("K7", None)
    assert second.state == "confirmed"


async def test_after_somebody_else_has_changed_the_device_one_move_is_refused_and_the_next_is_on_what_is_new(
    bench: CareBench,
) -> None:
    async with bench.phone(), fitter_of(bench) as (fitter, _):
        granted = await live(fitter)
        async with Sliders(fitter, granted).running() as sliders:
            await tried(fitter, granted, 10)
            for count in (1, 2):
                sliders.edits.move(added(10))
                await sliders.join()
                await sliders.edits.idle()
                assert len(sliders.edited) == count
    first, second = sliders.edited
    assert code_of(first.answer) == "base_mismatch"
    assert second.state == "confirmed"


async def test_a_patch_without_an_end_in_time_is_told_as_one_and_holds_the_next_back_no_longer(
    bench: CareBench,
) -> None:
    async with fitter_of(bench) as (fitter, _):
        async with bench.phone():
            granted = await live(fitter)
        async with Sliders(fitter, granted, end_s=0.05).running() as sliders:
            for _ in range(2):
                sliders.edits.move(added(10))
                await sliders.join()
                await sliders.edits.idle()
    assert [(isinstance(one.answer, Failure), one.state) for one in sliders.edited] == [(False, None)] * 2


async def test_a_move_that_makes_no_sense_is_refused_where_it_is_made(bench: CareBench) -> None:
    async with bench.phone(), fitter_of(bench) as (fitter, _):
        sliders = Sliders(fitter, await live(fitter))
        mic = PatchOp(op="add", ear="left", path="mic", value="omni")
        with pytest.raises(BadArgument, match="added"):
            sliders.edits.move(Patch(slot=1, ops=(mic,)))
