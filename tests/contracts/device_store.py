"""The contract suite of ``signaling.stores.devices.DeviceStore``: an implementation is a subclass with one fixture."""

import asyncio
from dataclasses import replace
from typing import Any

from fitting.audiogram import STANDARD_AUDIOGRAMS
from protocol.contract.devices import RegisteredAid
from signaling.stores.devices import DeviceRecord, DeviceStore

__all__ = ["RECORD", "DeviceStoreContract"]

RECORD = DeviceRecord(
    device="d1",
    clinic="c1",
    patient="pat",
    assignments=frozenset({"ann", "abe"}),
    aids={"right": RegisteredAid(serial="R-1", model="ref10", firmware="1.0")},
    audiogram=STANDARD_AUDIOGRAMS["N3"],
    loudness_ddb={"right": (1_050, None, *(1_100,) * 8)},
    max_stable_gain_ddb={(1, "right"): (300,) * 10, (4, "left"): (None, *(250,) * 9)},
    red_flags=True,
)


class DeviceStoreContract:
    async def test_a_registered_device_is_found_as_it_was_given(self, store: DeviceStore) -> None:
        assert await store.register(RECORD)
        assert await store.get("d1") == RECORD
        assert await store.get("d1") == RECORD

    async def test_an_unknown_device_is_nothing(self, store: DeviceStore) -> None:
        assert await store.get("d1") is None
        await store.register(RECORD)
        assert await store.get("d2") is None
        assert await store.get("") is None

    async def test_an_id_is_taken_once_and_what_was_there_stays(self, store: DeviceStore) -> None:
        await store.register(RECORD)
        assert not await store.register(replace(RECORD, clinic="c2", patient="other"))
        assert await store.get("d1") == RECORD

    async def test_of_two_that_register_one_id_at_once_one_does(self, store: DeviceStore) -> None:
        rivals = [replace(RECORD, patient=patient) for patient in ("pat", "pia")]
        outcomes = await asyncio.gather(*(store.register(rival) for rival in rivals))
        assert sorted(outcomes) == [False, True]
        assert await store.get("d1") == rivals[outcomes.index(True)]

    async def test_a_device_that_was_looked_for_before_it_was_there_is_found_afterwards(
        self, store: DeviceStore
    ) -> None:
        assert await store.get("d1") is None
        await store.register(RECORD)
        assert await store.get("d1") == RECORD

    async def test_what_is_optional_may_be_missing(self, store: DeviceStore) -> None:
        bare = DeviceRecord("d2", "c1", "pat", frozenset(), {})
        assert await store.register(bare)
        assert await store.get("d2") == bare

    async def test_a_change_is_stored_with_the_version_after_the_one_that_is_there(self, store: DeviceStore) -> None:
        await store.register(RECORD)
        assert await store.get("d1") == RECORD
        changed: dict[str, Any] = {"changed_by": "ann", "changed_because": "new", "changed_at_s": 5.5}
        second = replace(RECORD, red_flags=False, audiogram=None, version=2, **changed)
        assert await store.change(second)
        assert await store.get("d1") == second

    async def test_a_change_of_another_version_than_the_one_that_is_there_changes_nothing(
        self, store: DeviceStore
    ) -> None:
        await store.register(RECORD)
        for version in (1, 3):
            assert not await store.change(replace(RECORD, red_flags=False, version=version))
        assert not await store.change(replace(RECORD, device="d2", version=2))
        assert await store.get("d1") == RECORD
        assert await store.get("d2") is None

    async def test_of_two_that_change_one_version_at_once_one_does(self, store: DeviceStore) -> None:
        await store.register(RECORD)
        rivals = [replace(RECORD, version=2, changed_by=user) for user in ("ann", "abe")]
        outcomes = await asyncio.gather(*(store.change(rival) for rival in rivals))
        assert sorted(outcomes) == [False, True]
        assert await store.get("d1") == rivals[outcomes.index(True)]

    async def test_the_devices_of_a_patient_are_those_of_his_own_clinic(self, store: DeviceStore) -> None:
        await store.register(replace(RECORD, device="d2"))
        await store.register(RECORD)
        assert await store.of_patient("c1", "pat", 10) == ("d1", "d2")
        assert await store.of_patient("c1", "pat", 1) == ("d1",)
        assert await store.of_patient("c1", "pat", 1, after="d1") == ("d2",)
        assert await store.of_patient("c1", "pat", 1, after="d2") == ()
        assert await store.of_patient("c2", "pat", 10) == ()
        assert await store.of_patient("c1", "pia", 10) == ()
