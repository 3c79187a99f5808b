"""The contract suite of ``signaling.stores.bindings.BindStore``: an implementation is a subclass with one fixture.

The store of each test lets ``MAX`` codes of a device be live at a time, and tells ``bounds`` when there are so many.
"""

import asyncio
from dataclasses import replace

from signaling.stores.bindings import BindCode, BindStore

__all__ = ["CODE", "MAX", "BindStoreContract"]

MAX = 2
CODE = BindCode(b"1" * 32, "c1", "d1", "pat", "ann", 1_000.0, 1_900.0)


def code(number: int, **changes: object) -> BindCode:
    return replace(CODE, code_hash=str(number).encode() * 32, **changes)  # type: ignore[arg-type]  # fields by name


class BindStoreContract:
    async def test_a_live_code_is_found_by_its_patient_alone(self, store: BindStore) -> None:
        assert await store.add(CODE)
        assert await store.live("c1", "pat", 1_899.9) == (CODE,)
        assert await store.live("c1", "pia", 1_000.0) == ()
        assert await store.live("c2", "pat", 1_000.0) == ()

    async def test_a_code_lives_until_its_time_is_over(self, store: BindStore) -> None:
        await store.add(CODE)
        assert await store.live("c1", "pat", 1_900.0) == ()
        assert not await store.redeem(CODE.code_hash, by="pat", at_s=1_900.0)
        assert await store.redeem(CODE.code_hash, by="pat", at_s=1_899.9)

    async def test_a_code_is_used_once_and_is_the_record_of_the_binding(self, store: BindStore) -> None:
        assert await store.bound("c1", "d1") is None
        await store.add(CODE)
        outcomes = await asyncio.gather(*(store.redeem(CODE.code_hash, by="pat", at_s=1_100.0) for _ in range(3)))
        assert sorted(outcomes) == [False, False, True]
        assert await store.live("c1", "pat", 1_100.0) == ()
        assert await store.bound("c1", "d1") == replace(CODE, bound_by="pat", bound_at_s=1_100.0)
        assert await store.bound("c2", "d1") is None
        assert await store.bound("c1", "d2") is None

    async def test_an_unknown_code_is_not_used(self, store: BindStore) -> None:
        await store.add(CODE)
        assert not await store.redeem(b"2" * 32, by="pat", at_s=1_100.0)
        assert await store.live("c1", "pat", 1_100.0) == (CODE,)

    async def test_the_newest_binding_counts(self, store: BindStore) -> None:
        for number, at_s in ((1, 1_100.0), (2, 1_200.0)):
            await store.add(code(number))
            await store.redeem(code(number).code_hash, by="pat", at_s=at_s, phone=f"phone-{number}")
        newest = {"bound_by": "pat", "bound_at_s": 1_200.0, "phone": "phone-2"}
        assert await store.bound("c1", "d1") == code(2, **newest)

    async def test_a_code_that_was_used_is_found_by_itself(self, store: BindStore) -> None:
        await store.add(CODE)
        assert await store.used(CODE.code_hash) is None
        await store.redeem(CODE.code_hash, by="pat", at_s=1_100.0, phone="mine")
        assert await store.used(CODE.code_hash) == await store.bound("c1", "d1")
        assert await store.used(b"2" * 32) is None

    async def test_used_codes_are_forgotten_when_they_have_expired_but_for_the_one_that_binds(
        self, store: BindStore
    ) -> None:
        for number, at_s in ((1, 1_100.0), (2, 1_200.0)):
            await store.add(code(number))
            await store.redeem(code(number).code_hash, by="pat", at_s=at_s)
        await store.add(code(3, device="d2"))
        await store.redeem(code(3).code_hash, by="pat", at_s=1_150.0)
        assert await store.add(code(4, made_at_s=1_900.0, expires_at_s=2_800.0))
        assert await store.used(code(1).code_hash) is None
        assert await store.used(code(2).code_hash) == await store.bound("c1", "d1")
        assert await store.used(code(3).code_hash) == await store.bound("c1", "d2")

    async def test_of_a_device_only_so_many_are_live(self, store: BindStore, bounds: list[str]) -> None:
        outcomes = await asyncio.gather(*(store.add(code(number)) for number in range(4)))
        assert sorted(outcomes) == [False, False, True, True]
        assert set(bounds) == {"max_bind_codes"}
        assert len(await store.live("c1", "pat", 1_000.0)) == MAX
        assert await store.add(code(8, device="d2"))

    async def test_a_place_is_free_again_when_a_code_was_used_or_has_expired(self, store: BindStore) -> None:
        assert await store.add(code(1))
        assert await store.add(code(2, expires_at_s=1_500.0))
        assert not await store.add(code(3))
        await store.redeem(code(1).code_hash, by="pat", at_s=1_100.0)
        assert await store.add(code(3))
        assert not await store.add(code(4, made_at_s=1_499.9))
        assert await store.add(code(4, made_at_s=1_500.0))
        bound = await store.bound("c1", "d1")
        assert bound is not None
        assert bound.code_hash == code(1).code_hash

    async def test_a_code_is_kept_once(self, store: BindStore) -> None:
        assert await store.add(CODE)
        assert not await store.add(replace(CODE, device="d2"))
        assert await store.live("c1", "pat", 1_000.0) == (CODE,)
