"""How ACS are asked: in turn, within the quota, again when they were busy, and not while they are away."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import pytest

from media.acs import Reason, Trouble
from media.acs_quota import Slots
from signaling.acs.gate import Gate, GateLimits


@dataclass
class Bench:
    """A gate over a clock of its own, which a wait moves. ``answers``: what is raised in turn, None for success."""

    answers: list[Exception | None] = field(default_factory=list)
    most: int = 1_000
    patience_s: float = 45.0
    max_waiting: int = 10
    now_s: float = 100.0
    asked_at: list[float] = field(default_factory=list)
    bounds: list[str] = field(default_factory=list)
    outcomes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.gate = Gate(
            Slots(self.most, 30.0),
            GateLimits(0.05, self.patience_s, self.max_waiting),
            translate=lambda error: error if isinstance(error, Trouble) else None,
            monotonic=lambda: self.now_s,
            reached=self.bounds.append,
            counted=self.outcomes.append,
            sleep=self.sleep,
        )

    async def sleep(self, for_s: float) -> None:
        self.now_s += for_s

    async def make(self) -> str:
        self.asked_at.append(self.now_s)
        answer = self.answers.pop(0) if self.answers else None
        if answer is not None:
            raise answer
        return "done"

    async def refused(self, make: Callable[[], Awaitable[str]] | None = None) -> Trouble:
        with pytest.raises(Trouble) as raised:
            await self.gate.admit(make or self.make)
        return raised.value


async def test_what_was_busy_is_asked_again_when_it_says() -> None:
    bench = Bench([Trouble(Reason.THROTTLED, 7.0), Trouble(Reason.THROTTLED, 3.0)])
    assert await bench.gate.admit(bench.make) == "done"
    assert bench.asked_at == pytest.approx([100.0, 107.05, 110.1], abs=0.1)
    assert bench.outcomes == ["throttled", "throttled", "done"]


async def test_nobody_waits_longer_than_he_is_patient() -> None:
    bench = Bench([Trouble(Reason.THROTTLED, 60.0)])
    trouble = await bench.refused()
    assert (trouble.reason, round(trouble.retry_after_s)) == (Reason.THROTTLED, 60)
    assert bench.bounds == ["acs_patience_s"]
    assert len(bench.asked_at) == 1, "and who comes now is told at once"
    await bench.refused()
    assert len(bench.asked_at) == 1


async def test_a_crowd_is_slowed_down_and_not_refused() -> None:
    bench = Bench(most=2)
    for _ in range(4):
        await bench.gate.admit(bench.make)
    assert bench.asked_at == [100.0, 100.0, 130.0, 130.0]
    assert "max_acs_tokens" in bench.bounds


async def test_who_is_refused_takes_nobody_s_turn() -> None:
    bench = Bench(most=1, patience_s=10.0)
    await bench.gate.admit(bench.make)
    for _ in range(5):
        assert (await bench.refused()).reason is Reason.THROTTLED
    bench.now_s += 25.0
    await bench.gate.admit(bench.make)
    assert bench.asked_at == [100.0, 130.0]


async def test_only_so_many_wait() -> None:
    bench = Bench(most=1, max_waiting=1)
    hold = asyncio.Event()

    async def sleep(_: float) -> None:
        await hold.wait()
        bench.now_s += 30.0

    bench.gate._sleep = sleep
    await bench.gate.admit(bench.make)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(bench.gate.admit(bench.make))
        await asyncio.sleep(0)
        assert (await bench.refused()).reason is Reason.BUSY
        hold.set()
    assert "max_acs_waiting" in bench.bounds


async def test_what_does_not_answer_is_not_waited_for() -> None:
    bench = Bench()

    async def hang() -> str:
        await asyncio.Event().wait()
        return ""

    assert (await bench.refused(hang)).reason is Reason.SLOW
    assert bench.bounds == ["acs_timeout_s"]


async def test_what_is_away_is_left_alone_and_tried_again() -> None:
    bench = Bench([Trouble(Reason.AWAY, 1.0)] * 5)
    for _ in range(5):
        await bench.refused()
    assert (await bench.refused()).reason is Reason.AWAY
    assert len(bench.asked_at) == 5, "not asked"
    bench.now_s += 5.0
    assert await bench.gate.admit(bench.make) == "done"


async def test_a_bug_of_ours_is_none_of_theirs() -> None:
    bench = Bench([ValueError("ours")])
    with pytest.raises(ValueError, match="ours"):
        await bench.gate.admit(bench.make)


def test_the_counters_have_the_names_of_their_fields() -> None:
    """Which bounds are looked at here: see ``tests/house/test_bounds``."""
    reached = Bench().bounds.append
    for bound in (
        reached("max_acs_tokens"),
        reached("max_acs_waiting"),
        reached("acs_patience_s"),
        reached("acs_timeout_s"),
    ):
        assert bound is None
