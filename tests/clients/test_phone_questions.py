"""What a phone asks its wearer of packages, tells the server of the answers, and makes of the server's."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest
from msgspec import UNSET

from clients.hub_errors import HubCallError, HubOverloaded
from clients.phone_questions import Errand, Questions
from clients.wearer import AgreeableWearer, KeepAnswer, NobodyThere, Wearer
from protocol.contract.base import Failure, Refusal
from protocol.contract.devices import Offer
from protocol.contract.packages import AnswerKeep, KeepAnswered, KeepAsked, RegisterPush
from tests.clients.offers import DEVICE, EPOCH, make_offer, make_pair
from tests.clients.phone_bench import make_runner

PUSH = RegisterPush(device=DEVICE, platform="fcm", token="t0ken")
NOT_WORN = Refusal(code="not_worn", message="that package is not what the aids keep")


class Hub:
    """Answers as it is told to, once ``lets_answer`` is set, and keeps what was said."""

    def __init__(self) -> None:
        self.said: list[AnswerKeep | RegisterPush] = []
        self.answers: list[object] = []
        self.lets_answer = asyncio.Event()
        self.lets_answer.set()
        self.handlers: dict[str, Callable[[KeepAsked], None]] = {}

    def on(self, target: str, handler: Callable[[KeepAsked], None], _: type[KeepAsked]) -> None:
        self.handlers[target] = handler

    async def ask(self, target: str, payload: Any, *, answer: type[Any]) -> object:
        assert target == type(payload).__name__
        self.said.append(payload)
        await self.lets_answer.wait()
        given = self.answers.pop(0) if self.answers else answer()
        if isinstance(given, Exception):
            raise given
        return given


class Bench:
    def __init__(self, wearer: Wearer | None = None, *, push: RegisterPush | None = None) -> None:
        self.hub, self.wearer = Hub(), wearer or AgreeableWearer()
        self.errands: list[Errand] = []
        self.is_full = False
        hub: Any = self.hub
        self.runner = make_runner(make_pair())
        self.questions = Questions(
            hub, DEVICE, lambda: self.wearer, agreements=self.runner, errand=self.errand, push=push
        )
        self.questions.listen()

    def errand(self, errand: Errand) -> None:
        if self.is_full:
            raise HubOverloaded("too many")
        self.errands.append(errand)

    def ask(self, seq: int = 1, device: str = DEVICE) -> None:
        asked = KeepAsked(device=device, epoch=EPOCH, seq=seq, revision_id="r2")
        self.hub.handlers["KeepAsked"](asked)

    async def run(self) -> None:
        """All that is to be done."""
        while self.errands:
            await self.errands.pop(0)()


def offer(seq: int = 7) -> Offer:
    return make_offer(make_pair(), seq=seq, kind="persist", mode="standard")


class Screen(AgreeableWearer):
    """Counts what it shows of packages to install, and stays until somebody taps."""

    def __init__(self) -> None:
        super().__init__()
        self.shown = 0
        self.gone = 0

    async def install(self, offer: Offer) -> bool:
        self.shown += 1
        try:
            return await NobodyThere().install(offer)
        finally:
            self.gone += 1


class Broken(AgreeableWearer):
    async def install(self, offer: Offer) -> bool:
        raise ZeroDivisionError

    async def keep(self, asked: KeepAsked) -> KeepAnswer:
        raise ZeroDivisionError


# Whether to keep it


async def test_the_wearers_answer_is_told_word_for_word() -> None:
    bench = Bench(AgreeableWearer(keeps=KeepAnswer(keep=True, rating=5, words="clearer")))
    bench.ask()
    await bench.run()
    assert bench.hub.said == [AnswerKeep(device=DEVICE, epoch=EPOCH, seq=1, keep=True, rating=5, words="clearer")]


async def test_what_they_do_not_say_is_left_out() -> None:
    bench = Bench(AgreeableWearer(keeps=KeepAnswer(keep=True)))
    bench.ask()
    await bench.run()
    [said] = bench.hub.said
    assert isinstance(said, AnswerKeep)
    assert (said.rating, said.words) == (UNSET, UNSET)


async def test_they_are_asked_once_until_they_have_answered_and_then_anew() -> None:
    bench = Bench()
    for _ in range(3):
        bench.ask()
    bench.ask(seq=2)
    assert len(bench.errands) == 2
    await bench.run()
    bench.ask()
    assert len(bench.errands) == 1


async def test_of_the_aids_of_others_they_are_not_asked() -> None:
    bench = Bench()
    bench.ask(device="another")
    assert bench.errands == []


async def test_a_screen_that_fails_is_no_answer_and_they_are_asked_again() -> None:
    bench = Bench(Broken())
    bench.ask()
    await bench.run()
    assert bench.hub.said == []
    bench.ask()
    assert len(bench.errands) == 1


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (Failure(error=NOT_WORN, errors=(NOT_WORN,)), "not_worn"),
        (HubCallError("unavailable", "the database is away"), "unavailable"),
        (HubOverloaded("too many calls"), "overloaded"),
    ],
)
async def test_an_answer_that_is_not_taken_is_logged_by_its_code_and_the_phone_goes_on(
    answer: object, code: str, caplog: pytest.LogCaptureFixture
) -> None:
    bench = Bench(AgreeableWearer(keeps=KeepAnswer(keep=True, words="too dull")))
    bench.hub.answers = [answer]
    bench.ask()
    with caplog.at_level(logging.WARNING):
        await bench.run()
    assert caplog.messages == [f"the server did not take an answer: {code}"]
    bench.ask()
    assert len(bench.errands) == 1


async def test_a_link_that_dies_under_an_answer_leaves_the_question_open() -> None:
    bench = Bench()
    bench.hub.answers = [ConnectionError("cut")]
    bench.ask()
    with pytest.raises(ConnectionError):
        await bench.run()
    bench.ask()
    assert len(bench.errands) == 1


async def test_a_question_that_there_is_no_room_for_is_asked_the_next_time() -> None:
    bench = Bench()
    bench.is_full = True
    with pytest.raises(HubOverloaded):
        bench.ask()
    bench.is_full = False
    bench.ask()
    assert len(bench.errands) == 1


# Taking back, and no second tap


async def test_what_was_asked_for_by_taking_another_back_needs_no_tap() -> None:
    bench = Bench(Screen())
    bench.hub.answers = [KeepAnswered(epoch=EPOCH, seq=7)]
    answer = await bench.questions.take_back(EPOCH, 1, words="too dull")
    assert answer == KeepAnswered(epoch=EPOCH, seq=7)
    assert bench.hub.said == [AnswerKeep(device=DEVICE, epoch=EPOCH, seq=1, keep=False, words="too dull")]
    assert await bench.questions.install(offer(7)) is True
    assert isinstance(bench.wearer, Screen)
    assert bench.wearer.shown == 0


async def test_a_package_that_is_there_before_its_name_waits_for_the_name() -> None:
    """The server offers before it has answered."""
    bench = Bench(Screen())
    bench.hub.answers = [KeepAnswered(epoch=EPOCH, seq=7)]
    bench.hub.lets_answer.clear()
    async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
        back = tasks.create_task(bench.questions.take_back(EPOCH, 1))
        await asyncio.sleep(0)
        installing = tasks.create_task(bench.questions.install(offer(7)))
        await asyncio.sleep(0)
        bench.hub.lets_answer.set()
        assert await installing is True
        await back
    assert isinstance(bench.wearer, Screen)
    assert bench.wearer.shown == 0


async def test_an_answer_that_was_lost_and_is_given_again_takes_the_screen_away() -> None:
    bench = Bench(Screen())
    bench.hub.answers = [ConnectionError("cut"), KeepAnswered(epoch=EPOCH, seq=7)]
    with pytest.raises(ConnectionError):
        await bench.questions.take_back(EPOCH, 1)
    async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
        installing = tasks.create_task(bench.questions.install(offer(7)))
        for _ in range(5):
            await asyncio.sleep(0)
        await bench.questions.take_back(EPOCH, 1)
        assert await installing is True
    assert isinstance(bench.wearer, Screen)
    assert (bench.wearer.shown, bench.wearer.gone) == (1, 1)


async def test_of_every_other_package_the_wearer_is_asked() -> None:
    bench = Bench(AgreeableWearer(installs=False))
    bench.hub.answers = [KeepAnswered(epoch=EPOCH, seq=7)]
    await bench.questions.take_back(EPOCH, 1)
    assert await bench.questions.install(offer(8)) is False
    bench.wearer = AgreeableWearer()
    assert await bench.questions.install(offer(8)) is True
    bench.wearer = Broken()
    assert await bench.questions.install(offer(8)) is None


async def test_a_refused_way_back_agrees_to_nothing() -> None:
    bench = Bench(AgreeableWearer(installs=False))
    bench.hub.answers = [Failure(error=NOT_WORN, errors=(NOT_WORN,))]
    assert isinstance(await bench.questions.take_back(EPOCH, 1), Failure)
    assert await bench.questions.install(offer(7)) is False


async def test_only_the_newest_agreements_are_remembered() -> None:
    bench = Bench(AgreeableWearer(installs=False))
    bench.hub.answers = [KeepAnswered(epoch=EPOCH, seq=seq) for seq in range(1, 10)]
    for _ in range(9):
        await bench.questions.take_back(EPOCH, 1)
    assert [await bench.questions.install(offer(seq)) for seq in (1, 2, 9)] == [False, True, True]


# Being woken


async def test_a_phone_tells_how_it_is_woken_each_time_that_it_has_attached() -> None:
    bench = Bench(push=PUSH)
    for _ in range(2):
        bench.questions.attached()
    await bench.run()
    assert bench.hub.said == [PUSH, PUSH]


async def test_one_that_is_not_woken_tells_nothing() -> None:
    bench = Bench()
    bench.questions.attached()
    assert bench.errands == []


async def test_a_phone_with_too_much_to_do_tells_the_next_time() -> None:
    bench = Bench(push=PUSH)
    bench.is_full = True
    bench.questions.attached()
    assert bench.errands == []


@pytest.mark.parametrize("error", [HubCallError("bad_argument", "token: is none of fcm"), HubOverloaded("too many")])
async def test_a_token_that_is_not_taken_is_said_without_it(
    error: HubCallError | HubOverloaded, caplog: pytest.LogCaptureFixture
) -> None:
    bench = Bench(push=PUSH)
    bench.hub.answers = [error]
    bench.questions.attached()
    with caplog.at_level(logging.WARNING):
        await bench.run()
    assert caplog.messages == [f"the server did not take how this phone is woken: {error.code}"]


async def test_a_phone_that_is_not_the_bound_one_says_so(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench(push=PUSH)
    bench.hub.answers = [Failure(error=Refusal(code="not_bound", message="another phone was bound"))]
    bench.questions.attached()
    with caplog.at_level(logging.WARNING):
        await bench.run()
    assert caplog.messages == ["the server did not take how this phone is woken: not_bound"]
