"""The contract suite of ``signaling.stores.acs.AcsStore``: an implementation is a subclass with a fixture."""

import asyncio
from dataclasses import replace

from msgspec import structs

from signaling.stores.acs import AcsStore, AcsVisit, StoredIdentity

__all__ = ["OPEN", "PAT", "AcsStoreContract"]

PAT = StoredIdentity("c1", "user:pat", "m-pat", b"\x00sealed", "")
OPEN = AcsVisit("v1", "c1", room="r-1", thread="t-1", people={"p2": "user:pat"}, due_at_s=10.5)


class AcsStoreContract:
    async def test_a_person_has_one_identity(self, store: AcsStore) -> None:
        assert await store.identity("c1", "user:pat") is None
        added = await asyncio.gather(store.add_identity(PAT), store.add_identity(replace(PAT, mark="m-2")))
        assert sorted(added) == [False, True]
        kept = await store.identity("c1", "user:pat")
        assert kept is not None
        assert kept.sealed == PAT.sealed
        assert await store.identity("c2", "user:pat") is None

    async def test_whose_an_identity_is(self, store: AcsStore) -> None:
        await store.add_identity(PAT)
        await store.add_identity(replace(PAT, clinic="c2", mark="m-pat"))
        assert await store.whose("c1", "m-pat") == PAT
        assert await store.whose("c1", "m-other") is None

    async def test_for_which_visit_it_was_used_last(self, store: AcsStore) -> None:
        await store.used("c1", "user:pat", "v1")
        await store.add_identity(PAT)
        await store.used("c1", "user:pat", "v2")
        assert await store.identity("c1", "user:pat") == replace(PAT, visit="v2")

    async def test_what_is_forgotten_can_be_made_anew(self, store: AcsStore) -> None:
        assert not await store.forget("c1", "user:pat")
        await store.add_identity(PAT)
        assert await store.forget("c1", "user:pat")
        assert await store.identity("c1", "user:pat") is None
        assert await store.add_identity(replace(PAT, mark="m-2"))

    async def test_a_change_stands_only_over_what_it_was_made_of(self, store: AcsStore) -> None:
        assert await store.visit("v1") is None
        assert sorted(await asyncio.gather(store.add(OPEN), store.add(OPEN))) == [False, True]
        assert await store.visit("v1") == OPEN
        mine, theirs = structs.replace(OPEN, sent_n=1, version=2), structs.replace(OPEN, sent_n=2, version=2)
        assert sorted(await asyncio.gather(store.change(mine), store.change(theirs))) == [False, True]
        kept = await store.visit("v1")
        assert kept in (mine, theirs)
        assert not await store.change(structs.replace(OPEN, visit="v9", version=2))

    async def test_a_thread_is_one_visit_s(self, store: AcsStore) -> None:
        await store.add(OPEN)
        await store.add(structs.replace(OPEN, visit="v2", thread=""))
        assert await store.of_thread("t-1") == OPEN
        assert await store.of_thread("t-2") is None
        assert await store.of_thread("") is None

    async def test_the_longest_due_come_first(self, store: AcsStore) -> None:
        for visit, due_at_s in (("v1", 3.0), ("v2", 1.0), ("v3", None), ("v4", 2.0), ("v5", 9.0)):
            await store.add(structs.replace(OPEN, visit=visit, thread="", due_at_s=due_at_s))
        assert [one.visit for one in await store.due(5.0, 2)] == ["v2", "v4"]
        assert [one.visit for one in await store.due(5.0, 9)] == ["v2", "v4", "v1"]
