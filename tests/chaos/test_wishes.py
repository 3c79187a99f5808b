"""What is wished for is done next, mostly, and never instead of everything else."""

import random

import pytest

from tests.chaos.fitter import WORK
from tests.chaos.wishes import CHANGES, HEARD, PACKAGES, SAVES, Wishes


def test_a_wish_is_heard_mostly_for_as_long_as_it_is_open() -> None:
    wishes, rng = Wishes(), random.Random(1)
    assert wishes.one(rng) is None
    with wishes.open("d", SAVES):
        found = [wishes.one(rng) for _ in range(1_000)]
        assert {wish.steps for wish in found if wish is not None} == {SAVES}
        assert sum(wish is not None for wish in found) == pytest.approx(1_000 * HEARD, rel=0.1)
    assert wishes.one(rng) is None


def test_all_that_are_open_have_their_turn_and_each_ends_by_itself() -> None:
    wishes, rng = Wishes(), random.Random(1)
    with wishes.open("a"):
        with wishes.open("a"), wishes.open("b"):
            assert {wish.device for _ in range(100) if (wish := wishes.one(rng))} == {"a", "b"}
        assert {wish.device for _ in range(100) if (wish := wishes.one(rng))} == {"a"}


def test_nothing_is_wished_for_that_nobody_does() -> None:
    assert {*CHANGES, *SAVES, *PACKAGES} <= WORK
