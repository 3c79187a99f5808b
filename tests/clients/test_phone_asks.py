"""Raising the maximum output: the wearer is asked before and after, and silence is a no."""

import asyncio

import pytest

from clients.journal import MemoryJournal
from clients.virtual_aid.faults import Faults
from clients.virtual_aid.memory import factory_image
from clients.virtual_aid.pair import VirtualPair
from clients.wearer import AgreeableWearer, NobodyThere, answer_within
from protocol.contract.base import EARS
from protocol.contract.devices import Offer
from tests.clients.offers import BANDS_HZ, DEVICE, again, make_offer, make_pair, told
from tests.clients.phone_bench import HAPPY, Clock, FragileJournal, Killed, Server, digests, expected, make_runner

ASKED = ["received", "right writing", "left writing"]


def louder(pair: VirtualPair) -> Offer:
    """Up by 5 dB in every band."""
    return make_offer(pair, mpo_ddb=1_050)


def holds_factory(pair: VirtualPair) -> bool:
    return all(pair.aid(ear).read_image("ram") == factory_image(ear, BANDS_HZ) for ear in EARS)


async def never(_: float) -> None:
    await asyncio.Event().wait()


@pytest.mark.parametrize("loudness", range(1, 6))
async def test_what_is_not_too_loud_is_confirmed_with_the_wearers_word(loudness: int) -> None:
    pair, server = make_pair(), Server()
    offer = louder(pair)
    await make_runner(pair, wearer=AgreeableWearer(loudness=loudness)).run_offer(offer, server.report)
    assert told(server.facts()) == [*ASKED, "right confirmed", "left confirmed"]
    assert [report.loudness for report in server.reports[-2:]] == [loudness] * 2
    assert digests(pair) == {ear: expected(offer, ear) for ear in EARS}


@pytest.mark.parametrize("loudness", [6, 7])
async def test_what_is_too_loud_is_taken_back_at_once(loudness: int) -> None:
    pair, server = make_pair(), Server()
    await make_runner(pair, wearer=AgreeableWearer(loudness=loudness)).run_offer(louder(pair), server.report)
    assert told(server.facts()) == [*ASKED, "right rolled_back E_LOUD", "left rolled_back E_LOUD"]
    assert [report.loudness for report in server.reports[-2:]] == [loudness] * 2
    assert holds_factory(pair)


class Silent(AgreeableWearer):
    """Says nothing to one of the questions."""

    def __init__(self, *, ready: bool = True) -> None:
        super().__init__()
        self.is_silent_before = not ready

    async def ready(self) -> bool:
        return await NobodyThere().ready() if self.is_silent_before else True

    async def loudness(self) -> int:
        return await NobodyThere().loudness()


async def test_silence_after_a_raise_takes_it_back() -> None:
    pair, server = make_pair(), Server()
    runner = make_runner(pair, wearer=Silent(), loudness_s=0.0)
    await runner.run_offer(louder(pair), server.report)
    assert told(server.facts())[3:] == ["right rolled_back E_LOUD", "left rolled_back E_LOUD"]
    assert holds_factory(pair)


@pytest.mark.parametrize("wearer", [AgreeableWearer(ready=False), Silent(ready=False)])
async def test_without_a_yes_before_nothing_is_written(wearer: AgreeableWearer) -> None:
    pair, server = make_pair(), Server()
    runner = make_runner(pair, wearer=wearer, ready_s=0.0)
    await runner.run_offer(louder(pair), server.report)
    assert told(server.facts()) == ["received", "right declined E_DECLINED", "left declined E_DECLINED"]
    assert [pair.aid(ear).writes_completed for ear in EARS] == [0, 0]


class Broken(AgreeableWearer):
    """An app whose screens fail."""

    async def loudness(self) -> int:
        raise ZeroDivisionError


async def test_a_screen_that_fails_is_silence() -> None:
    pair, server = make_pair(), Server()
    await make_runner(pair, wearer=Broken()).run_offer(louder(pair), server.report)
    assert told(server.facts())[3:] == ["right rolled_back E_LOUD", "left rolled_back E_LOUD"]


class Watched(AgreeableWearer):
    """Counts the questions."""

    def __init__(self) -> None:
        super().__init__()
        self.questions: list[str] = []

    async def ready(self) -> bool:
        self.questions.append("ready")
        return True

    async def loudness(self) -> int:
        self.questions.append("loudness")
        return 4


async def test_only_a_higher_maximum_output_is_asked_about() -> None:
    for mpo_ddb, questions in ((950, []), (1_000, []), (1_010, ["ready", "loudness"])):
        pair, server, wearer = make_pair(), Server(), Watched()
        await make_runner(pair, wearer=wearer).run_offer(make_offer(pair, mpo_ddb=mpo_ddb), server.report)
        assert wearer.questions == questions
        assert told(server.facts())[-1] == "left confirmed"


async def test_an_aid_that_stays_away_keeps_nobody_from_saying_that_the_other_is_too_loud() -> None:
    pair, server = make_pair(faults={"left": Faults(drop_link_after_chunk=3, refuse_connects=99)}), Server()
    runner = make_runner(pair, wearer=AgreeableWearer(loudness=7))
    await runner.run_offer(louder(pair), server.report)
    assert told(server.facts())[3:] == ["left indeterminate E_BLE_DURING", "right rolled_back E_LOUD"]
    pair.aid("left").faults = Faults()
    await runner.work(server.report)
    assert told(server.facts())[-1] == "left rolled_back E_LOUD"
    assert holds_factory(pair)


async def test_a_phone_that_dies_before_the_answer_has_heard_none() -> None:
    unheard = 0
    for dies_at in range(2, 9):
        journal, pair, server = FragileJournal(dies_at, kept=True), make_pair(), Server()
        offer, wearer = louder(pair), Watched()
        try:
            await make_runner(pair, journal, wearer=wearer).run_offer(offer, server.report)
        except Killed:
            reborn = make_runner(pair, journal, wearer=wearer)
            begun = reborn.record.in_flight is not None and reborn.record.in_flight.has_begun
            confirmed = reborn.record.in_flight is None or any(
                report.state == "confirmed" for report in reborn.record.in_flight.reports
            )
            await reborn.run_offer(again(offer), server.report)
            if begun and not confirmed:
                unheard += 1
                assert told(server.facts())[-1].endswith("E_LOUD")
                assert holds_factory(pair)
    assert unheard == 3


class Thinks(AgreeableWearer):
    """Thinks until somebody else decides."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = asyncio.Event()

    async def loudness(self) -> int:
        self.asked.set()
        return await NobodyThere().loudness()


async def test_the_dead_man_does_not_wait_for_an_answer() -> None:
    pair, server, wearer, clock = make_pair(), Server(), Thinks(), Clock()
    runner = make_runner(pair, wearer=wearer, clock=clock)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(runner.run_offer(louder(pair), server.report))
        await wearer.asked.wait()
        clock.now_s += 30.0
        assert runner.next_due_s() == clock.now_s
        assert await runner.revert("dead_man", server.report)
    assert told(server.facts())[3:] == ["right rolled_back E_TIMEOUT", "left rolled_back E_TIMEOUT"]
    assert holds_factory(pair)


async def test_what_is_to_last_is_kept_only_after_it_was_heard() -> None:
    for loudness, end in ((4, "left active"), (7, "left rolled_back E_LOUD")):
        pair, server = make_pair(), Server(kind="persist")
        offer = make_offer(pair, kind="persist", mpo_ddb=1_050)
        await make_runner(pair, wearer=AgreeableWearer(loudness=loudness)).run_offer(offer, server.report)
        assert told(server.facts())[-1] == end
        assert [pair.aid(ear).commits_completed for ear in EARS] == ([1, 1] if loudness == 4 else [0, 0])


async def test_a_change_that_raises_nothing_is_told_ear_by_ear() -> None:
    pair, server = make_pair(), Server()
    await make_runner(pair, MemoryJournal()).run_offer(make_offer(pair), server.report)
    assert told(server.facts()) == HAPPY


async def test_a_question_has_its_time_and_no_more() -> None:
    async def yes() -> bool:
        return True

    async def at_once(_: float) -> None:
        return

    assert await answer_within(yes, 15.0, never) is True
    assert await answer_within(NobodyThere().ready, 15.0, at_once) is None
    waits: list[float] = []

    async def note(seconds: float) -> None:
        waits.append(seconds)

    pair = make_pair()
    runner = make_runner(pair, wearer=Silent(), sleep=note)
    await runner.run_offer(louder(pair), Server().report)
    assert waits == [15.0, 15.0]
    assert runner.device == DEVICE
