"""What every registry of calls must do.

An implementation supplies ``registry``, which gives one more pod's view of the calls of one deployment.
"""

import asyncio
from collections.abc import Callable

import pytest
from msgspec.structs import replace

from media.call import Call, CallTimes, Place, answer, close, start
from protocol.errors import Overloaded
from signaling.calls.registry import CallRegistry

__all__ = ["CallRegistryContract", "NewRegistry", "a_call"]

NewRegistry = Callable[[], CallRegistry]


def a_call(visit: str = "v1", call_id: str = "c1", *, user: str = "ann", others: tuple[str, ...] = ("pat",)) -> Call:
    """One that rings."""
    return start(
        call_id,
        visit=visit,
        clinic="c1",
        starter=user,
        place=Place(f"{user}-1", "east"),
        others=others,
        busy=(),
        media="audio",
        now_s=1_000,
        times=CallTimes(30, 15),
    )


def answered(call: Call, connection: str) -> Call:
    """The patient has answered with this connection."""
    after = answer(call, "pat", Place(connection, "west"), now_s=1_001, max_peers=4)
    assert isinstance(after, Call)
    return after


class CallRegistryContract:
    """One call of a visit at a time, and one change of it at a time."""

    async def test_a_call_is_there_for_all_until_it_ends(self, registry: NewRegistry) -> None:
        here, there = registry(), registry()
        call = a_call()
        assert await there.get("v1") is None
        assert await here.begin(call) is None
        assert await there.get("v1") == await here.get("v1") == call
        assert await there.swap(call, close(call, "hung_up"))
        assert await here.get("v1") is await there.get("v1") is None
        assert await here.begin(a_call(call_id="c2")) is None
        assert await there.get("v1") == a_call(call_id="c2")

    async def test_of_two_that_begin_at_once_one_is_the_call(self, registry: NewRegistry) -> None:
        here, there = registry(), registry()
        calls = a_call(call_id="c1"), a_call(call_id="c2", user="pat", others=("ann",))
        found = await asyncio.gather(here.begin(calls[0]), there.begin(calls[1]))
        assert sorted(one is None for one in found) == [False, True]
        won = calls[found.index(None)]
        assert next(one for one in found if one is not None) == won
        assert await here.get("v1") == await there.get("v1") == won

    async def test_of_two_answers_one_is_first(self, registry: NewRegistry) -> None:
        here, there = registry(), registry()
        call = a_call()
        await here.begin(call)
        await there.get("v1")
        after = answered(call, "p1"), answered(call, "p2")
        won = await asyncio.gather(here.swap(call, after[0]), there.swap(call, after[1]))
        assert sorted(won) == [False, True]
        assert await here.get("v1") == await there.get("v1") == after[won.index(True)]

    async def test_what_was_changed_meanwhile_is_not_changed(self, registry: NewRegistry) -> None:
        here, there = registry(), registry()
        call = a_call()
        await here.begin(call)
        assert await here.swap(call, answered(call, "p1"))
        assert not await here.swap(call, close(call, "cancelled"))
        assert not await there.swap(call, close(call, "cancelled"))
        ended = close(answered(call, "p1"), "hung_up")
        assert await there.swap(answered(call, "p1"), ended)
        assert not await here.swap(answered(call, "p1"), replace(answered(call, "p2"), version=3))

    async def test_who_takes_part_is_busy_for_other_visits(self, registry: NewRegistry) -> None:
        here, there = registry(), registry()
        call = a_call()
        await here.begin(call)
        assert await there.busy("c1", ("ann", "pat"), but="v2") == {"ann"}
        assert await there.busy("c1", ("ann", "pat"), but="v1") == frozenset()
        assert await there.busy("c2", ("ann",), but="v2") == frozenset()
        await here.swap(call, answered(call, "p1"))
        assert await there.busy("c1", ("ann", "pat"), but="v2") == {"ann", "pat"}
        await here.swap(answered(call, "p1"), close(answered(call, "p1"), "hung_up"))
        assert await there.busy("c1", ("ann", "pat"), but="v2") == frozenset()

    async def test_one_that_is_over_at_once_is_not_kept(self, registry: NewRegistry) -> None:
        here = registry()
        assert await here.begin(close(a_call(), "busy")) is None
        assert await here.get("v1") is None

    async def test_there_is_room_for_so_many(self, registry: NewRegistry) -> None:
        here = registry()
        for number in range(8):
            await here.begin(a_call(f"v{number}", f"c{number}", user=f"u{number}"))
        with pytest.raises(Overloaded):
            await here.begin(a_call("v9", "c9"))
