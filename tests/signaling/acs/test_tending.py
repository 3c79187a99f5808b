"""What is looked after in ACS: within its bounds, by one process at a time, and after one that has died over it."""

import asyncio
import time
from dataclasses import dataclass, field
from typing import Any

import pytest
from msgspec import structs

from clients.fake_acs.service import FakeAcs
from media.acs import Reason, Trouble
from protocol.errors import Unavailable
from signaling.acs import tending
from signaling.acs.identities import AcsIdentities
from signaling.acs.tending import AcsTending, TendingPace
from signaling.stores.acs import AcsVisit, MemoryAcsStore, StoredIdentity
from tests.eventually import eventually, eventually_asked
from tests.signaling.acs.scene import AcsScene, acs_scene
from tests.signaling.acs.test_acs_chat import heard, pat_in_acs, texts
from tests.signaling.visiting import flow_of, said

KEY = b"k" * 32


def parts_of(scene: AcsScene) -> Any:
    hub: Any = scene.house.parts.hubs[0].hub
    return hub._calls.backends._acs.parts


async def test_only_so_many_are_looked_at_in_one_look() -> None:
    bounds: list[str] = []
    async with acs_scene(sweep_s=3_600) as scene:
        parts = parts_of(scene)
        reached = bounds.append
        for n in range(3):
            await parts.store.add(AcsVisit(f"x{n}", "c1", due_at_s=1.0))
        hub: Any = scene.house.parts.hubs[0].hub

        async def nothing(_: str) -> None:
            return None

        pace = type("Pace", (), {"poll_s": 1.0, "max_due": 2})()
        looks = AcsTending(hub._calls.backends._acs, None, look_up=nothing, pace=pace, reached=reached)  # type: ignore[arg-type]  # there is no chat to carry
        await looks.sweep()
        assert bounds == ["max_due_acs"]
        assert (await parts.store.visit("x0")).is_closed
        assert not (await parts.store.visit("x2")).is_closed
        await looks.sweep()
        assert (await parts.store.visit("x2")).is_closed
    assert reached("max_due_acs") is None


async def test_what_somebody_looks_at_nobody_else_does() -> None:
    async with acs_scene() as scene:
        store = parts_of(scene).store
        await eventually(lambda: scene.acs.resource.threads)
        [thread] = scene.acs.resource.threads.values()
        await settled(store)
        seen = await store.visit("v1")
        busy = structs.replace(seen, busy_until_s=time.time() + 600, due_at_s=1.0, version=seen.version + 1)
        assert await store.change(busy)
        await said(scene.ann, "while somebody else looks")
        looks = len(scene.acs.asked)
        await scene.started()
        assert texts(thread) == []
        # He has died: it is found out, and what he may have sent already is not sent again.
        late = await store.visit("v1")
        client = structs.replace(late, busy_until_s=1.0, doubt=True, version=late.version + 1)
        assert await store.change(client)
        await eventually(lambda: texts(thread) == ["while somebody else looks"])
        assert len(scene.acs.asked) > looks


class LongLook:
    """Somebody who looks at one visit, and reads it for as long as a test likes."""

    def __init__(self, scene: AcsScene) -> None:
        self.store = parts_of(scene).store
        self.go_on = asyncio.Event()
        hub: Any = scene.house.parts.hubs[0].hub
        pace = TendingPace(poll_s=1.0, max_due=2)
        none: Any = None
        visits = hub._calls.backends._acs
        self.tending = AcsTending(visits, none, look_up=self._read, pace=pace, reached=lambda _: None)

    async def _read(self, _: str) -> None:
        await self.go_on.wait()

    async def begun(self) -> "asyncio.Task[None]":
        await self.store.add(AcsVisit("x", "c1", due_at_s=1.0))
        task = asyncio.ensure_future(self.tending.look(await self.visit()))

        async def is_held() -> bool:
            return (await self.visit()).busy_until_s > 0.0

        await eventually_asked(is_held)
        return task

    async def visit(self) -> AcsVisit:
        found: AcsVisit = await self.store.visit("x")
        return found


@pytest.fixture
def short_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value_s in {"_BUSY_S": 30.0, "_RENEW_S": 0.01}.items():
        monkeypatch.setattr(tending, name, value_s)


@pytest.mark.usefixtures("short_holds")
async def test_who_looks_for_long_goes_on_saying_so() -> None:
    async with acs_scene(sweep_s=3_600) as scene:
        long = LongLook(scene)
        task = await long.begun()
        first = await long.visit()

        async def is_held_for_longer() -> bool:
            now = await long.visit()
            return now.busy_until_s > first.busy_until_s and now.due_at_s == now.busy_until_s

        await eventually_asked(is_held_for_longer)
        # Somebody wants it looked at sooner: that stays as it is.
        now = await long.visit()
        while not await long.store.change(structs.replace(now, due_at_s=2.0, version=now.version + 1)):
            now = await long.visit()

        async def is_still_wanted() -> bool:
            later = await long.visit()
            return later.version > now.version + 1 and later.due_at_s == 2.0

        await eventually_asked(is_still_wanted)
        long.go_on.set()
        await task
        assert (await long.visit()).busy_until_s == 0.0


@pytest.mark.usefixtures("short_holds")
async def test_who_is_taken_for_dead_stops_and_changes_nothing() -> None:
    async with acs_scene(sweep_s=3_600) as scene:
        long = LongLook(scene)
        task = await long.begun()
        now = await long.visit()
        while not await long.store.change(structs.replace(now, busy_until_s=5.0, sent_n=7, version=now.version + 1)):
            now = await long.visit()
        await task
        assert not long.go_on.is_set()
        after = await long.visit()
        assert (after.busy_until_s, after.sent_n, after.version) == (5.0, 7, now.version + 1)


async def test_who_cannot_say_that_he_looks_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tending, "_RENEW_S", 0.01)
    monkeypatch.setattr(tending, "_MARGIN_S", tending._BUSY_S - 0.05)
    async with acs_scene(sweep_s=3_600) as scene:
        long = LongLook(scene)
        task = await long.begun()
        reading = long.store.visit

        async def away(_: str) -> None:
            raise Unavailable("away")

        monkeypatch.setattr(long.store, "visit", away)
        with pytest.raises(Unavailable):
            await task
        assert not long.go_on.is_set()
        monkeypatch.setattr(long.store, "visit", reading)
        assert (await long.visit()).doubt


async def settled(store: Any) -> None:
    async def quiet() -> bool:
        found = await store.visit("v1")
        return bool(found is not None and found.thread and not found.doubt)

    await eventually_asked(quiet)


async def test_a_message_that_a_dead_process_had_sent_is_not_sent_again() -> None:
    async with acs_scene() as scene:
        store = parts_of(scene).store
        async with await pat_in_acs(scene):
            [thread] = scene.acs.resource.threads.values()
            await said(scene.ann, "sent, and nobody noted it")
            await eventually(lambda: texts(thread))
            await settled(store)
            seen = await store.visit("v1")
            forgotten = structs.replace(seen, sent_n=0, doubt=True, busy_until_s=1.0, version=seen.version + 1)
            assert await store.change(forgotten)
            await said(scene.ann, "next", "c2")
            await eventually(lambda: "next" in texts(thread))
        assert texts(thread) == ["sent, and nobody noted it", "next"]
        assert heard(scene).count("next") == 1


async def test_a_thread_that_somebody_deleted_is_made_anew() -> None:
    async with acs_scene() as scene:
        await eventually(lambda: scene.acs.resource.threads)
        [first] = scene.acs.resource.threads.values()
        first.deleted = True
        await said(scene.ann, "and now")
        await eventually(lambda: any(texts(one) for one in scene.acs.resource.threads.values() if one is not first))


async def test_who_joins_while_it_is_closed_is_taken_out_too() -> None:
    async with acs_scene(sweep_s=3_600) as scene:
        hub: Any = scene.house.parts.hubs[0].hub
        visits = hub._calls.backends._acs
        store, service = visits.parts.store, visits.parts.service
        await scene.started()
        visit = await flow_of(scene.house).visits.get("v1")
        assert visit is not None

        async def over(_: str) -> None:
            # The visit is over by now, and this one comes all the same.
            if len(looks) == 1:
                person = visit.find("p2")
                assert person is not None
                await visits.join(visit, person, until_s=time.monotonic() + 5)
            looks.append("looked")

        looks = ["first"]
        pace: Any = type("Pace", (), {"poll_s": 1.0, "max_due": 9})()
        bridge: Any = None
        looking = AcsTending(visits, bridge, look_up=over, pace=pace, reached=lambda _: None)
        await looking.sweep()
        assert not (await store.visit("v1")).is_closed
        await looking.sweep()
        assert (await store.visit("v1")).is_closed
        assert scene.acs.resource.rooms == {}
        assert all(one.revoked_at_s for one in scene.acs.resource.identities.values() if one.issued)
        await service.close()


@dataclass
class Slow:
    """A service that counts, and lets a test be first. ``service``: what an AcsIdentities needs of one."""

    made: list[str] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    in_between: Any = None

    async def create(self, scopes: Any, *, until_s: Any = None) -> tuple[str, Any]:
        self.made.append(f"8:acs:{len(self.made)}")
        identity = self.made[-1]
        if self.in_between is not None:
            await self.in_between()
        return identity, "token"

    async def token(self, identity: str, scopes: Any, *, until_s: Any = None) -> Any:
        if identity in self.deleted:
            raise Trouble(Reason.UNKNOWN)
        return f"token of {identity}"

    async def delete(self, identity: str) -> None:
        self.deleted.append(identity)


@pytest.fixture
def store() -> MemoryAcsStore:
    return MemoryAcsStore(max_people=9, max_visits=9, reached=lambda _: None)


async def test_of_two_who_are_first_one_identity_is_kept(store: MemoryAcsStore) -> None:
    service: Any = Slow()
    identities = AcsIdentities(service, store, KEY)

    async def other() -> None:
        service.in_between = None
        await identities.token("c1", "user:pat", ("voip",), visit="v1")

    service.in_between = other
    found: Any = await identities.token("c1", "user:pat", ("voip",), visit="v1")
    assert found == ("8:acs:1", "token of 8:acs:1")
    assert service.deleted == ["8:acs:0"], "nobody would ever use it"


async def test_what_is_kept_shows_nobody_s_identity(store: MemoryAcsStore) -> None:
    service: Any = Slow()
    identities = AcsIdentities(service, store, KEY)
    identity, _ = await identities.token("c1", "user:pat", ("voip",), visit="v1")
    kept = await store.identity("c1", "user:pat")
    assert kept is not None
    assert identity.encode() not in kept.sealed
    assert identity not in kept.mark
    assert await identities.whose("c1", identity) == "user:pat"
    # Moved to somebody else it is nobody's, and he gets one of his own.
    await store.add_identity(StoredIdentity("c1", "user:ann", "m", kept.sealed))
    assert (await identities.token("c1", "user:ann", ("voip",), visit="v1"))[0] != identity


async def test_another_key_makes_new_ones(store: MemoryAcsStore) -> None:
    service: Any = Slow()
    first, _ = await AcsIdentities(service, store, KEY).token("c1", "user:pat", ("voip",), visit="v1")
    second, _ = await AcsIdentities(service, store, b"x" * 32).token("c1", "user:pat", ("voip",), visit="v1")
    assert first != second


async def test_who_is_in_another_visit_keeps_his_tokens(store: MemoryAcsStore) -> None:
    async with acs_scene(acs=FakeAcs()) as scene:
        parts = parts_of(scene)
        mine: Any = (await scene.started()).acs
        await parts.store.used("c1", "user:ann", "v2")
        await parts.identities.revoke("c1", "user:ann", "v1")
        assert not scene.acs.resource.identities[mine.user_id].revoked_at_s
        await parts.identities.revoke("c1", "user:ann", "v2")
        assert scene.acs.resource.identities[mine.user_id].revoked_at_s
