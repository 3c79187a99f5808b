"""A phone and packages over the real server: what its wearer says to one, and that nothing else has a say in it."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from msgspec import UNSET

from clients.fitter import Change, Fitter
from clients.virtual_aid.aid import VirtualAid
from clients.wearer import AgreeableWearer, NobodyThere
from protocol.contract.base import EARS, Ear
from protocol.contract.devices import DeviceAnswer, Offer
from protocol.contract.fitting import Base, Patch, PatchOp, SubmitAnswer
from tests.clients.care_bench import DEVICE, CareBench, care_bench
from tests.eventually import eventually

DOWN_DDB = 10


@pytest.fixture
async def bench() -> AsyncIterator[CareBench]:
    async with care_bench(time_scale=0.1) as bench:
        yield bench


async def package(fitter: Fitter, by_ddb: int = DOWN_DDB) -> SubmitAnswer:
    """One that lowers the maximum output of a band by so much."""
    device = await fitter.get_device(DEVICE)
    assert device.head is not UNSET
    ops = tuple(PatchOp(op="add", ear=ear, path="mpoDdb", band=3, value=-by_ddb) for ear in EARS)
    base = Base(revision=device.head.revision)
    change = Change(DEVICE, 0, base, "for the week", patch=Patch(slot=1, ops=ops), package=True)
    answer = await fitter.submit(change)
    assert isinstance(answer, SubmitAnswer), answer
    return answer


def kept(bench: CareBench) -> list[str]:
    return [bench.pair.aid(ear).read_digest("nvm") for ear in EARS]


def named(answer: SubmitAnswer) -> list[object]:
    return [getattr(answer.digests, ear) for ear in EARS]


async def head_of(fitter: Fitter) -> DeviceAnswer:
    return await fitter.get_device(DEVICE)


class Counts(AgreeableWearer):
    """Counts what they are asked to install."""

    def __init__(self, *, installs: bool = True) -> None:
        super().__init__(installs=installs)
        self.asked: list[int] = []

    async def install(self, offer: Offer) -> bool:
        self.asked.append(offer.seq)
        return self.installs


class Undecided(AgreeableWearer):
    """Never answers about a package; ``given_up`` are those that they were not asked about any longer."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[int] = []
        self.given_up: list[int] = []

    async def install(self, offer: Offer) -> bool:
        self.asked.append(offer.seq)
        try:
            return await NobodyThere().install(offer)
        finally:
            self.given_up.append(offer.seq)


async def test_what_is_being_installed_is_not_broken_off_by_whatever_is_told_meanwhile(
    bench: CareBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, write_trial = list[Ear](), VirtualAid.write_trial

    async def noted(aid: VirtualAid, *args: Any) -> None:
        begun.append(aid.ear)
        await write_trial(aid, *args)

    monkeypatch.setattr(VirtualAid, "write_trial", noted)
    wearer = Counts()
    runner = bench.runner(wearer=wearer)
    async with bench.phone(runner=runner) as phone, bench.fitter() as fitter:
        accepted = await package(fitter)
        async with asyncio.TaskGroup() as tasks:
            waiting = tasks.create_task(fitter.wait_until(DEVICE, accepted))
            while not waiting.done():
                phone.duties.look_again()
                await asyncio.sleep(0.005)  # sleep: whatever is told in between
        assert waiting.result() == "active"
        assert kept(bench) == named(accepted)
        assert begun == list(EARS)
        assert wearer.asked == [accepted.seq]


async def test_a_package_that_is_declined_changes_nothing_and_is_asked_about_once(bench: CareBench) -> None:
    wearer = Counts(installs=False)
    before = kept(bench)
    async with bench.phone(runner=bench.runner(wearer=wearer)) as phone, bench.fitter() as fitter:
        accepted = await package(fitter)
        assert await fitter.wait_until(DEVICE, accepted) == "declined"
        phone.duties.look_again()
        assert kept(bench) == before
        assert (await head_of(fitter)).head is not UNSET
    assert wearer.asked == [accepted.seq]
    assert [bench.pair.aid(ear).writes_completed for ear in EARS] == [0, 0]


async def test_one_that_nobody_answers_about_waits_over_lives_of_the_phone_until_a_newer_one_comes(
    bench: CareBench,
) -> None:
    async with bench.fitter() as fitter:
        first = Undecided()
        async with bench.phone(runner=bench.runner(wearer=first)):
            older = await package(fitter)
            await fitter.wait_until(DEVICE, older, {"awaiting_install"})
            await eventually(lambda: first.asked == [older.seq])
        again = Undecided()
        async with bench.phone(runner=bench.runner(wearer=again)):
            await eventually(lambda: again.asked == [older.seq])
            newer = await package(fitter, 2 * DOWN_DDB)
            assert await fitter.wait_until(DEVICE, older) == "superseded"
            await eventually(lambda: again.asked == [older.seq, newer.seq])
            # The screen of the one that is gone is gone, too.
            assert again.given_up == [older.seq]
