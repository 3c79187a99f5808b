"""The contract suite of ``signaling.stores.decisions.DecisionStore``: an implementation is a subclass with a fixture.

The store of each test holds at most ``MAX`` decisions per owner, and has told ``bounds`` of those that it reached.
"""

import asyncio
from dataclasses import replace

import pytest

from protocol.errors import Overloaded
from signaling.stores.decisions import Decision, DecisionStore, standing

__all__ = ["MAX", "YES", "DecisionStoreContract"]

MAX = 4
YES = Decision("c1", "d1", "ann", True, "boss", "admin", "on duty", 1_000.25)
NO = replace(YES, holds=False, by="abe", role="clinician", reason="has left", at_s=2_000.5)


class DecisionStoreContract:
    async def test_a_decision_is_found_as_it_was_made(self, store: DecisionStore) -> None:
        assert await store.decide(YES) == YES
        assert await store.newest("c1", "d1", "ann") == YES
        assert await store.history("c1", "d1") == (YES,)

    async def test_what_was_never_decided_is_nothing(self, store: DecisionStore) -> None:
        await store.decide(YES)
        assert await store.newest("c1", "d1", "abe") is None
        assert await store.newest("c1", "d2", "ann") is None
        assert await store.newest("c2", "d1", "ann") is None
        assert await store.history("c2", "d1") == ()

    async def test_the_newest_stands_and_the_history_is_kept(self, store: DecisionStore) -> None:
        await store.decide(YES)
        second = await store.decide(NO)
        third = await store.decide(replace(YES, at_s=3_000.0))
        assert second == replace(NO, n=2)
        assert third == replace(YES, at_s=3_000.0, n=3)
        assert await store.newest("c1", "d1", "ann") == third
        assert await store.history("c1", "d1") == (YES, second, third)

    async def test_a_no_may_be_the_first_word(self, store: DecisionStore) -> None:
        assert await store.decide(NO) == NO
        assert await store.newest("c1", "d1", "ann") == NO

    async def test_what_changes_nothing_is_not_recorded(self, store: DecisionStore) -> None:
        await store.decide(YES)
        assert await store.decide(replace(YES, by="abe", at_s=9_000.0)) == YES
        assert await store.history("c1", "d1") == (YES,)

    async def test_what_was_begun_with_is_the_first_decision_or_none(self, store: DecisionStore) -> None:
        assert await store.begin(YES)
        assert not await store.begin(replace(YES, by="abe"))
        assert await store.history("c1", "d1") == (YES,)
        await store.decide(NO)
        assert not await store.begin(YES)
        assert (await store.newest("c1", "d1", "ann")) == replace(NO, n=2)

    async def test_owners_and_clinics_do_not_see_each_other(self, store: DecisionStore) -> None:
        others = [replace(YES, clinic="c2"), replace(YES, owner="d2"), replace(YES, subject="abe")]
        for decision in (YES, *others):
            assert await store.decide(decision) == decision
        assert [one.subject for one in await store.history("c1", "d1")] == ["abe", "ann"]
        assert set(standing(await store.history("c1", "d1"))) == {"abe", "ann"}

    async def test_of_two_that_decide_the_same_at_once_one_is_recorded(self, store: DecisionStore) -> None:
        made = await asyncio.gather(*(store.decide(replace(YES, by=user)) for user in ("ann", "abe", "amy")))
        assert len(await store.history("c1", "d1")) == 1
        assert len({decision and decision.by for decision in made}) == 1

    async def test_only_so_many_are_kept_and_a_no_is_taken_all_the_same(
        self, store: DecisionStore, bounds: list[str]
    ) -> None:
        for number in range(MAX // 2):
            await store.decide(replace(YES, at_s=float(number)))
            await store.decide(NO)
        with pytest.raises(Overloaded):
            await store.decide(YES)
        assert bounds == ["max_decisions"]
        for decision in (replace(NO, subject="abe"), replace(YES, owner="d2")):
            assert await store.decide(decision) == decision

    async def test_a_decision_over_what_was_seen_is_made_while_that_stands_only(self, store: DecisionStore) -> None:
        assert await store.decide(YES, seen=0) == YES
        assert await store.decide(NO, seen=0) is None
        assert await store.decide(NO, seen=1) == replace(NO, n=2)
        assert await store.decide(NO, seen=1) is None
        assert len(await store.history("c1", "d1")) == 2

    async def test_of_several_over_the_same_at_once_one_is_made(self, store: DecisionStore) -> None:
        await store.decide(YES)
        made = await asyncio.gather(*(store.decide(replace(NO, by=user), seen=1) for user in ("ann", "abe", "amy")))
        assert len([one for one in made if one is not None]) == 1
        assert len(await store.history("c1", "d1")) == 2
