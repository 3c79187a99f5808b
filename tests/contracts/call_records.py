"""What every store of calls that are over must do; an implementation supplies ``store``."""

import asyncio

from signaling.stores.call_records import CallPart, CallPlace, CallRecords

__all__ = ["CallRecordsContract", "part"]


def part(call_id: str = "c1", name: str = "", *, visit: str = "v1", at_s: float = 5.0) -> CallPart:
    return CallPart(visit, call_id, name, at_s, f"{call_id}{name}".encode())


class CallRecordsContract:
    """Kept once, and found by visit."""

    async def test_one_that_is_there_is_never_changed(self, store: CallRecords) -> None:
        assert await store.add(part())
        assert not await store.add(part()._replace(record=b"other", at_s=9.0))
        assert await store.of_visit("v1", None, 9) == (part(),)

    async def test_of_two_that_are_kept_at_once_one_is(self, store: CallRecords) -> None:
        assert sorted(await asyncio.gather(store.add(part()), store.add(part()))) == [False, True]

    async def test_calls_of_a_visit_page_by_page_the_latest_first(self, store: CallRecords) -> None:
        kept = [part(f"c{n}", at_s=float(n // 2)) for n in range(5)]
        for one in (*kept, part("c9", visit="v2"), part("c1", "east")):
            assert await store.add(one)
        found, before = list[CallPart](), None
        while page := await store.of_visit("v1", before, 2):
            found += page
            before = CallPlace(page[-1].at_s, page[-1].call_id)
        assert found == [kept[n] for n in (4, 3, 2, 1, 0)]

    async def test_what_pods_tell_of_a_call_is_beside_it(self, store: CallRecords) -> None:
        for one in (part(), part("c1", "west"), part("c1", "east"), part("c2", "east")):
            await store.add(one)
        assert await store.beside("c1") == (part("c1", "east"), part("c1", "west"))
        assert await store.beside("c3") == ()
