"""What every table of owners must do.

An implementation supplies ``pod``, which gives the view of one more pod. Entries last for ``ttl_s`` of the suite: for
longer than any test, but where they are to end.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import ClassVar, Final

from signaling.pods.owners import Owners
from tests.eventually import eventually_asked

__all__ = ["LASTING_S", "NewOwners", "OwnersContract", "OwnersEndContract"]

LASTING_S: Final = 600.0
NewOwners = Callable[[str], Awaitable[Owners]]


class OwnersContract:
    """The first who claims a connection has it."""

    ttl_s: ClassVar[float] = LASTING_S

    async def test_the_first_who_claims_it_has_it_and_all_know(self, pod: NewOwners) -> None:
        one, two = await pod("one"), await pod("two")
        assert await two.find("c") is None
        assert await one.claim("c") == "one"
        assert [await one.claim("c"), await two.claim("c"), await two.find("c")] == ["one"] * 3
        assert await two.claim("d") == "two"

    async def test_what_no_other_pod_has_is_had_by_the_first_who_takes_it(self, pod: NewOwners) -> None:
        one, two = await pod("one"), await pod("two")
        assert await two.take("c") == "two"
        assert [await one.take("c"), await one.claim("c"), await two.find("c")] == ["two"] * 3

    async def test_of_many_who_claim_it_together_one_has_it(self, pod: NewOwners) -> None:
        pods = [await pod(str(number)) for number in range(4)]
        async with asyncio.TaskGroup() as group:
            claims = [group.create_task(one.claim("c")) for one in pods for _ in range(8)]
        assert len({claim.result() for claim in claims}) == 1


class OwnersEndContract:
    """What nobody keeps ends, soon, and yet not while a busy machine stands still for a moment."""

    ttl_s: ClassVar[float] = 2.0

    async def test_what_nobody_keeps_ends_by_itself(self, pod: NewOwners) -> None:
        one, two = await pod("one"), await pod("two")
        assert await one.claim("c") == "one"

        async def is_free() -> bool:
            return await two.find("c") is None

        await eventually_asked(is_free)
        assert await two.claim("c") == "two"

    async def test_what_is_kept_does_not_until_it_is_left(self, pod: NewOwners) -> None:
        one, two = await pod("one"), await pod("two")
        for connection_id in ("kept", "other"):
            assert await one.claim(connection_id) == "one"
        one.keep("kept")

        async def other_is_free() -> bool:
            return await two.find("other") is None

        await eventually_asked(other_is_free)
        assert [await two.find("kept"), await two.claim("kept")] == ["one", "one"]
        one.leave("kept")
        one.leave("unknown")

        async def is_free() -> bool:
            return await two.find("kept") is None

        await eventually_asked(is_free)
