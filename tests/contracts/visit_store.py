"""The contract suite of ``signaling.stores.visits.VisitStore``: an implementation is a subclass with a fixture."""

import asyncio
from dataclasses import replace

import pytest

from media.visit import JoinLink, Participant, Visit
from protocol.errors import Overloaded
from signaling.stores.visits import VisitStore, place_of
from tests.media.visits import NOON_S, visit_of

__all__ = ["MAX_OPEN", "VisitStoreContract"]

MAX_OPEN = 3
KIM = Participant("p3", "interpreter", name="Kim", link=JoinLink("1", NOON_S, used_at_s=NOON_S - 1), connections=("c",))


def live(visit: Visit) -> Visit:
    return replace(visit, state="live", version=visit.version + 1, live_at_s=NOON_S, base_revision="r1")


class VisitStoreContract:
    async def test_a_visit_is_found_as_it_was_given(self, store: VisitStore) -> None:
        visit = visit_of(KIM, missed_by="both", over_at_s=1.5)
        assert await store.create(visit)
        assert await store.get("v1") == visit
        assert await store.get("v2") is None

    async def test_an_id_is_taken_once(self, store: VisitStore) -> None:
        outcomes = await asyncio.gather(*(store.create(visit_of(zone=zone)) for zone in ("UTC", "Asia/Tokyo")))
        assert sorted(outcomes) == [False, True]

    async def test_a_change_is_held_to_the_version_that_is_there(self, store: VisitStore) -> None:
        await store.create(visit_of())
        second = visit_of(version=2, by="abe")
        outcomes = await asyncio.gather(store.change(second), store.change(replace(second, by="ann")))
        assert sorted(outcomes) == ["changed", "stale"]
        assert await store.change(replace(second, version=4)) == "stale"
        assert await store.change(replace(second, visit="v9")) == "stale"
        assert await store.change(replace(second, version=3, by="eve")) == "changed"
        found = await store.get("v1")
        assert found is not None
        assert (found.version, found.by) == (3, "eve")

    async def test_a_device_has_one_live_visit(self, store: VisitStore) -> None:
        first, second = visit_of(), visit_of(visit="v2")
        other = visit_of(visit="v3", device="d2")
        for one in (first, second, other):
            await store.create(one)
        outcomes = await asyncio.gather(store.change(live(first)), store.change(live(second)))
        assert sorted(outcomes) == ["busy", "changed"]
        began, waits = (first, second) if outcomes[0] == "changed" else (second, first)
        assert await store.change(live(other)) == "changed"
        assert await store.live_of("d1") == live(began)
        again = replace(live(began), version=3)
        assert await store.change(again) == "changed", "it is not in its own way"
        assert await store.change(replace(again, version=4, state="ended", due_at_s=None)) == "changed"
        assert await store.live_of("d1") is None
        assert await store.change(live(waits)) == "changed"

    async def test_only_so_many_visits_of_a_device_may_be_to_come(self, store: VisitStore, bounds: list[str]) -> None:
        for number in range(MAX_OPEN):
            assert await store.create(visit_of(visit=f"v{number}"))
        with pytest.raises(Overloaded):
            await store.create(visit_of(visit="v9"))
        assert bounds == ["max_open_visits"]
        assert not await store.create(visit_of(visit="v0")), "what is there is there"
        assert await store.create(visit_of(visit="v9", device="d2"))
        await store.change(visit_of(visit="v0", version=2, state="cancelled", due_at_s=None))
        assert await store.create(visit_of(visit="v9b"))

    async def test_pages_go_from_the_latest_to_the_earliest(self, store: VisitStore) -> None:
        times = {"v1": NOON_S, "v2": NOON_S + 60, "v3": NOON_S}
        for name, starts_at_s in times.items():
            await store.create(visit_of(visit=name, starts_at_s=starts_at_s))
        await store.create(visit_of(visit="v4", device="d2", patient="pia", professional="pat"))
        await store.create(visit_of(visit="v5", device="d3", clinic="c2"))
        first = await store.of_device("d1", None, 2)
        assert [one.visit for one in first] == ["v2", "v3"]
        assert [one.visit for one in await store.of_device("d1", place_of(first[-1]), 2)] == ["v1"]
        assert [one.visit for one in await store.of_user("c1", "pat", None, 9)] == ["v2", "v4", "v3", "v1"]
        assert [one.visit for one in await store.of_user("c1", "ann", place_of(first[-1]), 9)] == ["v1"]
        assert await store.of_user("c1", "eve", None, 9) == ()

    async def test_a_visit_that_was_moved_is_found_where_it_is(self, store: VisitStore) -> None:
        await store.create(visit_of())
        await store.create(visit_of(visit="v2", starts_at_s=NOON_S + 1))
        await store.change(visit_of(version=2, starts_at_s=NOON_S + 60, due_at_s=NOON_S + 600))
        assert [one.visit for one in await store.of_device("d1", None, 9)] == ["v1", "v2"]

    async def test_those_that_have_begun_and_are_not_over(self, store: VisitStore) -> None:
        for name, starts_at_s, due_at_s in (
            ("v1", NOON_S, NOON_S + 9),
            ("v2", NOON_S + 1, NOON_S + 9),
            ("v3", NOON_S, None),
            ("v4", NOON_S + 3, NOON_S + 9),
        ):
            await store.create(visit_of(visit=name, device=name, starts_at_s=starts_at_s, due_at_s=due_at_s))
        first = await store.begun(NOON_S + 2, None, 1)
        assert [one.visit for one in first] == ["v2"]
        assert [one.visit for one in await store.begun(NOON_S + 2, place_of(first[0]), 9)] == ["v1"]
        assert await store.begun(NOON_S - 1, None, 9) == ()

    async def test_what_is_due_is_found_the_longest_due_first(self, store: VisitStore) -> None:
        for name, due_at_s in (("v1", NOON_S + 2), ("v2", NOON_S + 1), ("v3", None)):
            await store.create(visit_of(visit=name, device=name, due_at_s=due_at_s))
        assert await store.due(NOON_S, 9) == ()
        assert [one.visit for one in await store.due(NOON_S + 1, 9)] == ["v2"]
        assert [one.visit for one in await store.due(NOON_S + 2, 9)] == ["v2", "v1"]
        assert [one.visit for one in await store.due(NOON_S + 2, 1)] == ["v2"]
