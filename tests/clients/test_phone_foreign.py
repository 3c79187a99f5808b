"""A clinic, or another app, saves something in an aid while a package is being kept: that is not ours to overwrite."""

from collections.abc import Callable, Sequence

import pytest
from msgspec import UNSET

from clients.virtual_aid.memory import factory_image, with_slots
from clients.virtual_aid.pair import VirtualPair
from protocol.contract.base import EARS, Ear
from protocol.contract.devices import EarImage, Offer, Report, Settled
from tests.clients.offers import BANDS_HZ, DEVICE, EPOCH, make_offer, make_pair, make_save, slot_with, told
from tests.clients.phone_bench import FragileJournal, Killed, Server, make_runner

FACTORY = {ear: factory_image(ear, BANDS_HZ) for ear in EARS}
THEIRS = (slot_with(70),)
THEIR_IMAGE = {ear: with_slots(FACTORY[ear], THEIRS) for ear in EARS}


def package(pair: VirtualPair) -> Offer:
    return make_offer(pair, kind="persist", mode="standard")


def held(pair: VirtualPair, ear: Ear) -> tuple[EarImage, EarImage]:
    return pair.aid(ear).read_image("ram"), pair.aid(ear).read_image("nvm")


def saves(pair: VirtualPair, *ears: Ear) -> None:
    for ear in ears:
        pair.aid(ear).save_by_another_app(THEIRS)


def keeps_only(pair: VirtualPair, ear: Ear) -> None:
    """RAM still plays what is ours: the phone has written it again since."""
    pair.aid(ear)._nvm = THEIR_IMAGE[ear]


async def run(pair: VirtualPair, at: str, strike: Callable[[], None]) -> Sequence[str]:
    """Install a package, with something happening right before that report; what was told."""
    hub = Server(kind="persist")

    async def report(sent: Report) -> None:
        if told([sent]) == [at]:
            strike()
        await hub.report(sent)

    runner, offer = make_runner(pair), package(pair)
    await runner.run_offer(offer, report)
    await runner.answer_install(offer, accepted=True, report=report)
    assert runner.record.in_flight is None
    return told(hub.facts())


async def test_what_is_saved_in_the_second_ear_while_the_first_one_keeps_it_stays_and_the_first_goes_back() -> None:
    pair = make_pair()
    words = await run(pair, "left committing", lambda: saves(pair, "left"))
    assert words[-2:] == ["right rolled_back E_PARTIAL", "left rolled_back E_BASE"]
    assert held(pair, "left") == (THEIR_IMAGE["left"], THEIR_IMAGE["left"])
    assert held(pair, "right") == (FACTORY["right"], FACTORY["right"])
    assert [pair.aid(ear).commits_completed for ear in EARS] == [2, 0]


@pytest.mark.parametrize("at", ["left writing", "right confirmed", "left confirmed", "right committing"])
async def test_what_is_saved_in_both_ears_before_the_first_copy_stays_in_both(at: str) -> None:
    pair = make_pair()
    words = await run(pair, at, lambda: saves(pair, *EARS))
    assert set(words[-2:]) <= {
        *("right rolled_back E_BASE", "left rolled_back E_PARTIAL"),
        *("right rolled_back E_PARTIAL", "left rolled_back E_BASE"),
    }
    assert [held(pair, ear)[1] for ear in EARS] == [THEIR_IMAGE[ear] for ear in EARS]
    assert [pair.aid(ear).commits_completed for ear in EARS] == [0, 0]


async def test_ram_that_plays_what_is_ours_gives_it_up_beside_what_somebody_else_has_saved() -> None:
    pair = make_pair()
    words = await run(pair, "left confirmed", lambda: keeps_only(pair, "left"))
    assert words[-2:] == ["right rolled_back E_PARTIAL", "left rolled_back E_BASE"]
    assert held(pair, "left") == (FACTORY["left"], THEIR_IMAGE["left"])
    assert held(pair, "right") == (FACTORY["right"], FACTORY["right"])


async def test_what_is_saved_in_the_first_ear_after_its_copy_stays_when_the_second_one_does_not_keep_it() -> None:
    pair = make_pair()

    def strike() -> None:
        saves(pair, "right")
        pair.aid("left").faults = type(pair.aid("left").faults)(nvm_failures=3)

    words = await run(pair, "left committing", strike)
    assert words[-2:] == ["right rolled_back E_PARTIAL", "left rolled_back E_NVM"]
    assert held(pair, "right") == (THEIR_IMAGE["right"], THEIR_IMAGE["right"])
    assert held(pair, "left") == (FACTORY["left"], FACTORY["left"])


async def test_a_save_gives_way_too_and_what_was_tried_goes_on_in_ram() -> None:
    pair, hub = make_pair(), Server(kind="persist")
    runner = make_runner(pair)
    await runner.run_offer(make_offer(pair), Server().report)
    runner.settled(Settled(device=DEVICE, epoch=EPOCH, seq=1))
    tried = {ear: held(pair, ear)[0] for ear in EARS}

    async def report(sent: Report) -> None:
        if told([sent]) == ["left committing"]:
            keeps_only(pair, "left")
        await hub.report(sent)

    await runner.run_offer(make_save(pair, seq=2), report)
    assert told(hub.facts())[-2:] == ["right rolled_back E_PARTIAL", "left rolled_back E_BASE"]
    assert held(pair, "left") == (tried["left"], THEIR_IMAGE["left"])
    assert held(pair, "right") == (tried["right"], FACTORY["right"])


@pytest.mark.parametrize("kept", [True, False])
async def test_what_is_saved_while_the_phone_is_dead_stays_wherever_it_has_died(kept: bool) -> None:
    deaths = 0
    for dies_at in range(40):
        pair, journal, hub = make_pair(), FragileJournal(dies_at, kept=kept), Server(kind="persist")
        try:
            await make_runner(pair, journal).run_offer(make_offer(pair, kind="persist"), hub.report)
        except Killed:
            deaths += 1
        journal.dies_at = -1
        saves(pair, "left")
        runner = make_runner(pair, journal)
        await runner.recover()
        await runner.work(hub.report)
        assert held(pair, "left")[1] == THEIR_IMAGE["left"]
    assert deaths > 5


async def test_a_package_is_refused_when_an_aid_keeps_something_else_than_it_plays() -> None:
    """RAM was given back what it held before; the clinic's own change is in NVM all the same."""
    pair, hub = make_pair(), Server(kind="persist")
    offer = package(pair)
    keeps_only(pair, "left")
    await make_runner(pair).run_offer(offer, hub.report)
    assert told(hub.reports) == ["right rejected E_PARTIAL", "left rejected E_BASE"]
    assert hub.reports[-1].digest is not UNSET
