"""A package that brings back what is much louder: both aids get there in steps, and what stops it gives all back."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from clients.gentle_rise import steps_up
from clients.phone_driver import OfferRunner
from clients.virtual_aid.aid import AidChange, VirtualAid
from clients.virtual_aid.faults import Faults
from clients.virtual_aid.memory import factory_image, with_slots
from clients.virtual_aid.pair import VirtualPair
from fitting.capability import SHEETS
from protocol.contract.base import EARS, Ear
from protocol.contract.devices import EarImage, Offer
from tests.clients.offers import BANDS_HZ, FIRMWARE, SERIALS, at_once, make_offer, slot_with, told
from tests.clients.phone_bench import FragileJournal, Killed, Server, make_runner

SHEET = SHEETS["ref10"]
QUIET, LOUD = 60, 300
"""24 dB: four steps of 6."""


def image(ear: Ear, gain_ddb: int, mpo_ddb: int = 950) -> EarImage:
    return with_slots(factory_image(ear, BANDS_HZ), (slot_with(gain_ddb, mpo_ddb),))


class Worn:
    """A pair that plays little, and all that its aids have been heard to play since."""

    def __init__(self, *, gain_ddb: int = QUIET, sleep: Callable[[float], Awaitable[None]] = at_once) -> None:
        self.heard: dict[Ear, list[int]] = {ear: [] for ear in EARS}
        aids = []
        for ear in EARS:
            held = image(ear, gain_ddb)
            aids.append(
                VirtualAid(
                    ear,
                    SERIALS[ear],
                    firmware=FIRMWARE,
                    image=held,
                    sleep=sleep,
                    on_change=self._changed,
                    faults=Faults(),
                )
            )
        self.pair = VirtualPair(*aids)

    def _changed(self, change: AidChange) -> None:
        if change.what in ("written", "restored"):
            self.heard[change.ear].append(change.image.slots[0].program.g50_ddb[0])

    def package(self, gain_ddb: int = LOUD) -> Offer:
        return make_offer(self.pair, kind="persist", mode="standard", gain_ddb=gain_ddb)

    def playing(self) -> list[int]:
        return [self.pair.aid(ear).read_image("ram").slots[0].program.g50_ddb[0] for ear in EARS]

    def kept(self) -> list[int]:
        return [self.pair.aid(ear).read_image("nvm").slots[0].program.g50_ddb[0] for ear in EARS]


async def installed(worn: Worn, runner: OfferRunner, server: Server, gain_ddb: int = LOUD) -> None:
    package = worn.package(gain_ddb)
    await runner.run_offer(package, server.report)
    await runner.answer_install(package, accepted=True, report=server.report)


async def test_both_aids_get_there_in_steps_of_at_most_6_db_each_heard_for_a_moment() -> None:
    worn, server, slept = Worn(), Server(kind="persist"), list[float]()

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    await installed(worn, make_runner(worn.pair, sleep=sleep, rise_pause_s=0.25), server)
    assert worn.heard == {ear: [120, 180, 240, 300] for ear in EARS}
    assert slept == [0.25] * 6
    assert told(server.facts())[-2:] == ["right active", "left active"]
    assert worn.kept() == [LOUD, LOUD]
    # One package, told of as such.
    assert told(server.facts()).count("right writing") == 1


@pytest.mark.parametrize(("gain_ddb", "heard"), [(QUIET + 60, [120]), (QUIET + 70, [120, 130]), (QUIET - 20, [40])])
async def test_only_what_rises_by_more_than_6_db_is_written_in_steps(gain_ddb: int, heard: list[int]) -> None:
    worn, server = Worn(), Server(kind="persist")
    await installed(worn, make_runner(worn.pair, sleep=at_once), server, gain_ddb)
    assert worn.heard == dict.fromkeys(EARS, heard)


async def test_what_is_done_live_is_not_split_by_the_phone() -> None:
    worn, server = Worn(), Server()
    await make_runner(worn.pair, sleep=at_once).run_offer(make_offer(worn.pair, gain_ddb=LOUD), server.report)
    assert worn.heard == {ear: [LOUD] for ear in EARS}


async def test_a_stop_on_the_way_gives_back_what_was_there_before() -> None:
    worn, server, climbing = Worn(), Server(kind="persist"), asyncio.Event()

    async def sleep(_: float) -> None:
        climbing.set()
        await asyncio.Event().wait()

    runner = make_runner(worn.pair, sleep=sleep)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(installed(worn, runner, server))
        await climbing.wait()
        assert worn.playing() == [120, QUIET]
        assert await runner.revert("stop", server.report)
    assert worn.playing() == worn.kept() == [QUIET, QUIET]
    assert max(worn.heard["right"]) == 120
    assert told(server.facts())[-2:] == ["right rolled_back E_USER_STOP", "left rejected E_USER_STOP"]


async def test_a_link_that_is_lost_on_the_way_takes_both_back() -> None:
    worn, server, steps = Worn(), Server(kind="persist"), 0

    async def sleep(_: float) -> None:
        nonlocal steps
        steps += 1
        if steps == 2:
            worn.pair.aid("right").faults = Faults(drop_link_after_chunk=3)

    await installed(worn, make_runner(worn.pair, sleep=sleep), server)
    assert worn.playing() == worn.kept() == [QUIET, QUIET]
    assert max(worn.heard["right"]) <= 180
    assert worn.heard["left"] == []


async def test_a_phone_that_dies_on_the_way_takes_both_back_when_it_is_there_again() -> None:
    worn, server, steps = Worn(), Server(kind="persist"), 0

    async def sleep(_: float) -> None:
        nonlocal steps
        steps += 1
        if steps == 5:
            raise Killed

    journal = FragileJournal(-1, kept=True)
    with pytest.raises(Killed):
        await installed(worn, make_runner(worn.pair, journal, sleep=sleep), server)
    assert worn.playing() == [LOUD, 180]
    reborn = make_runner(worn.pair, journal, sleep=at_once)
    await reborn.recover()
    assert worn.playing() == worn.kept() == [QUIET, QUIET]


async def test_an_aid_that_loses_what_it_plays_before_it_has_kept_it_climbs_again() -> None:
    worn, server = Worn(), Server(kind="persist")

    async def report(sent: object) -> None:
        await server.report(sent)  # type: ignore[arg-type]  # a Report, as the runner sends them
        if told([sent])[0] == "left confirmed":  # type: ignore[list-item]  # ditto
            worn.pair.aid("right").reboot()

    runner, package = make_runner(worn.pair, sleep=at_once), worn.package()
    await runner.run_offer(package, report)
    await runner.answer_install(package, accepted=True, report=report)
    assert worn.heard["right"] == [120, 180, 240, 300] * 2
    assert worn.kept() == [LOUD, LOUD]


def test_gains_rise_before_limits_and_every_level_by_a_step_at_most() -> None:
    before, after = image("right", 100, 900), image("right", 190, 1_000)
    way = [before, *steps_up(before, after, SHEET), after]
    levels = [(one.slots[0].program.g50_ddb[0], one.slots[0].program.mpo_ddb[0]) for one in way]
    assert levels == [(100, 900), (160, 900), (190, 900), (190, 960), (190, 1_000)]
    assert steps_up(before, before, SHEET) == ()


def test_a_program_that_was_not_there_comes_with_the_target() -> None:
    before = image("left", QUIET)
    after = with_slots(before, (slot_with(LOUD), slot_with(LOUD, slot=2)))
    way = steps_up(before, after, SHEET)
    assert [len(one.slots) for one in way] == [1, 1, 1, 1]
    assert way[-1].slots[0].program.g50_ddb[0] == LOUD
