"""The contract suite of ``signaling.stores.rest_answers.RestAnswers``: an implementation is a subclass, one fixture.

The fixture ``answers`` keeps ``LIMIT`` of each caller.
"""

import asyncio
from dataclasses import replace

from signaling.stores.rest_answers import CLAIM_S, KEEP_S, AnswerKey, KeptAnswer, RestAnswers

__all__ = ["BOUNDS", "LIMIT", "RestAnswersContract"]

LIMIT = 3
NOW_S = 1_700_000_000.0
KEY = AnswerKey("c1", "ann", "k1")
# What the stores under test tell of their bound.
BOUNDS: list[str] = []


class RestAnswersContract:
    async def test_a_key_is_claimed_once_and_its_answer_is_kept(self, answers: RestAnswers) -> None:
        assert await answers.claim(KEY, "h", NOW_S) is None
        assert await answers.claim(KEY, "h", NOW_S + 1) == KeptAnswer("h", None)
        await answers.keep(KEY, "h", b"answer")
        assert await answers.claim(KEY, "h", NOW_S + KEEP_S - 1) == KeptAnswer("h", b"answer")
        assert await answers.claim(KEY, "other", NOW_S + 1) == KeptAnswer("h", b"answer")

    async def test_of_two_at_once_one_has_it(self, answers: RestAnswers) -> None:
        found = await asyncio.gather(*(answers.claim(KEY, "h", NOW_S) for _ in range(4)))
        assert sorted(found, key=str) == [*[KeptAnswer("h", None)] * 3, None]

    async def test_a_key_is_one_callers_own(self, answers: RestAnswers) -> None:
        for key in (KEY, replace(KEY, clinic="c2"), replace(KEY, author="abe"), replace(KEY, key="k2")):
            assert await answers.claim(key, "h", NOW_S) is None

    async def test_one_that_was_given_free_can_be_had_again(self, answers: RestAnswers) -> None:
        await answers.claim(KEY, "h", NOW_S)
        await answers.drop(KEY, "h")
        assert await answers.claim(KEY, "h2", NOW_S) is None

    async def test_an_answer_is_not_given_free(self, answers: RestAnswers) -> None:
        await answers.claim(KEY, "h", NOW_S)
        await answers.keep(KEY, "h", b"answer")
        await answers.drop(KEY, "h")
        await answers.keep(KEY, "h", b"another")
        assert await answers.claim(KEY, "h", NOW_S) == KeptAnswer("h", b"answer")

    async def test_a_claim_whose_server_died_is_taken_over_and_the_late_one_changes_nothing(
        self, answers: RestAnswers
    ) -> None:
        await answers.claim(KEY, "h", NOW_S)
        assert await answers.claim(KEY, "h2", NOW_S + CLAIM_S - 1) == KeptAnswer("h", None)
        assert await answers.claim(KEY, "h2", NOW_S + CLAIM_S) is None
        await answers.keep(KEY, "h", b"late")
        await answers.drop(KEY, "h")
        assert await answers.claim(KEY, "h2", NOW_S + CLAIM_S) == KeptAnswer("h2", None)

    async def test_an_answer_is_forgotten_after_a_day(self, answers: RestAnswers) -> None:
        for key in (KEY, replace(KEY, author="abe")):
            await answers.claim(key, "h", NOW_S)
            await answers.keep(key, "h", b"answer")
        assert await answers.claim(KEY, "h", NOW_S + KEEP_S) is None
        assert await answers.claim(replace(KEY, author="abe"), "h", NOW_S + 1) is None
        assert BOUNDS == []

    async def test_of_one_caller_the_oldest_beyond_the_bound_is_forgotten(self, answers: RestAnswers) -> None:
        others = replace(KEY, author="abe")
        await answers.claim(others, "h", NOW_S - 1)
        await answers.keep(others, "h", b"answer")
        keys = [replace(KEY, key=f"k{number}") for number in range(LIMIT + 1)]
        for age, key in enumerate(keys):
            assert await answers.claim(key, "h", NOW_S + age) is None
            await answers.keep(key, "h", b"answer")
        assert BOUNDS == ["max_rest_answers"]
        assert await answers.claim(others, "h", NOW_S) == KeptAnswer("h", b"answer")
        for key in keys[1:]:
            assert await answers.claim(key, "h", NOW_S) == KeptAnswer("h", b"answer")
        assert await answers.claim(keys[0], "h", NOW_S + LIMIT + 1) is None

    async def test_many_of_one_instant_are_no_more_than_the_bound_and_the_claimed_one_stays(
        self, answers: RestAnswers
    ) -> None:
        keys = [replace(KEY, key=f"k{number}") for number in range(LIMIT + 2)]
        for key in keys:
            assert await answers.claim(key, "h", NOW_S) is None
            assert await answers.claim(key, "h", NOW_S) == KeptAnswer("h", None)
