"""The contract suite of ``signaling.stores.audiograms.AudiogramStore``: an implementation is a subclass with a fixture.

The devices ``d1`` and ``d2`` are registered; a device may have at most ``MAX_AUDIOGRAMS``.
"""

import asyncio
from dataclasses import replace

import pytest

from fitting.audiogram import STANDARD_AUDIOGRAMS, with_marks
from protocol.errors import Overloaded
from signaling.stores.audiograms import AudiogramRecord, AudiogramStore, OlderAudiogram

__all__ = ["MAX_AUDIOGRAMS", "RECORD", "AudiogramStoreContract"]

MAX_AUDIOGRAMS = 6
MARKED = with_marks(STANDARD_AUDIOGRAMS["N3"], masked={"right": [500]}, no_response={"left": [4000, 6000]})
RECORD = AudiogramRecord(
    device="d1",
    audiogram_id="a-1",
    source="fhir",
    audiogram=MARKED,
    recorded_by="ann",
    recorded_at_s=1_800_000_000.25,
    measured_on="2026-11-20",
    method="clinical",
)


def record(number: int, **changes: object) -> AudiogramRecord:
    return replace(RECORD, audiogram_id=f"a-{number}", **changes)  # type: ignore[arg-type]  # fields by name


class AudiogramStoreContract:
    async def test_what_was_put_on_file_is_found_as_it_was_given(self, store: AudiogramStore) -> None:
        stored = await store.add(replace(RECORD, number=77))
        assert stored == replace(RECORD, number=1)
        assert await store.get("d1", "a-1") == stored
        assert await store.newest("d1") == stored
        assert await store.page("d1", before=None, limit=10) == (stored,)

    async def test_a_device_without_any_has_none(self, store: AudiogramStore) -> None:
        assert await store.newest("d1") is None
        assert await store.get("d1", "a-1") is None
        assert await store.page("d1", before=None, limit=10) == ()

    async def test_the_one_that_was_put_on_file_last_counts(self, store: AudiogramStore) -> None:
        await store.add(RECORD)
        assert await store.newest("d1") == replace(RECORD, number=1)
        newer = await store.add(record(2, source="manual", audiogram=STANDARD_AUDIOGRAMS["N1"], method="in_situ"))
        assert newer.number == 2
        assert await store.newest("d1") == newer
        assert await store.get("d1", "a-1") == replace(RECORD, number=1)

    async def test_each_device_has_its_own(self, store: AudiogramStore) -> None:
        await store.add(RECORD)
        other = await store.add(replace(RECORD, device="d2", audiogram=STANDARD_AUDIOGRAMS["S1"]))
        assert other.number == 1
        assert await store.newest("d2") == other
        assert await store.newest("d1") == replace(RECORD, number=1)
        assert await store.get("d2", "a-2") is None

    async def test_an_id_that_is_there_is_answered_with_what_stands_under_it(self, store: AudiogramStore) -> None:
        first = await store.add(RECORD)
        await store.add(record(2))
        assert await store.add(replace(RECORD, audiogram=STANDARD_AUDIOGRAMS["N7"])) == first
        assert [one.number for one in await store.page("d1", before=None, limit=10)] == [2, 1]

    async def test_of_several_at_once_each_gets_a_number_of_its_own(self, store: AudiogramStore) -> None:
        stored = await asyncio.gather(*(store.add(record(number)) for number in range(1, 5)))
        assert sorted(one.number for one in stored) == [1, 2, 3, 4]
        newest = await store.newest("d1")
        assert newest is not None
        assert newest.number == 4

    async def test_one_id_from_two_at_once_is_one_audiogram(self, store: AudiogramStore) -> None:
        one, other = await asyncio.gather(store.add(RECORD), store.add(RECORD))
        assert one == other
        assert len(await store.page("d1", before=None, limit=10)) == 1

    @pytest.mark.parametrize("measured_on", ["2026-11-19", "2025-12-31"])
    async def test_one_that_was_measured_earlier_does_not_take_its_place(
        self, store: AudiogramStore, measured_on: str
    ) -> None:
        await store.add(RECORD)
        with pytest.raises(OlderAudiogram):
            await store.add(record(2, measured_on=measured_on))
        assert await store.newest("d1") == replace(RECORD, number=1)

    async def test_nor_does_it_behind_some_of_which_nobody_said_when(self, store: AudiogramStore) -> None:
        await store.add(RECORD)
        for number in (2, 3):
            await store.add(record(number, measured_on=""))
        with pytest.raises(OlderAudiogram):
            await store.add(record(4, measured_on="2026-11-19"))
        assert (await store.add(record(5, measured_on="2026-11-20"))).number == 4

    @pytest.mark.parametrize("measured_on", ["", "2026-11-20", "2026-11-21"])
    async def test_one_of_that_day_a_later_one_or_an_unknown_one_does(
        self, store: AudiogramStore, measured_on: str
    ) -> None:
        await store.add(RECORD)
        stored = await store.add(record(2, measured_on=measured_on))
        assert await store.newest("d1") == stored

    async def test_pages_are_newest_first_and_follow_each_other(self, store: AudiogramStore) -> None:
        for number in range(1, 6):
            await store.add(record(number))
        first = await store.page("d1", before=None, limit=2)
        assert [one.number for one in first] == [5, 4]
        assert [one.number for one in await store.page("d1", before=4, limit=2)] == [3, 2]
        assert [one.number for one in await store.page("d1", before=2, limit=2)] == [1]

    async def test_a_device_has_only_so_many(self, store: AudiogramStore, bounds: list[str]) -> None:
        for number in range(MAX_AUDIOGRAMS):
            await store.add(record(number))
        with pytest.raises(Overloaded):
            await store.add(record(MAX_AUDIOGRAMS))
        assert bounds.count("max_audiograms") == 1
        assert (await store.add(replace(RECORD, device="d2"))).number == 1
