"""The contract suite of ``signaling.stores.patients.PatientStore``: an implementation is a subclass with a fixture."""

import asyncio
from dataclasses import replace

from signaling.stores.patients import Patient, PatientStore

__all__ = ["PAT", "PatientStoreContract"]

PAT = Patient("c1", "pat", 1_000.25, "P. A. Tient")


class PatientStoreContract:
    async def test_a_patient_is_found_as_he_was_given(self, store: PatientStore) -> None:
        assert await store.create(PAT)
        assert await store.create(replace(PAT, patient="pia", name=None))
        assert await store.get("c1", "pat") == PAT
        assert await store.get("c1", "pia") == replace(PAT, patient="pia", name=None)

    async def test_an_unknown_patient_is_nothing(self, store: PatientStore) -> None:
        await store.create(PAT)
        assert await store.get("c1", "pia") is None
        assert await store.get("c2", "pat") is None

    async def test_an_id_is_taken_once_in_each_clinic(self, store: PatientStore) -> None:
        outcomes = await asyncio.gather(*(store.create(replace(PAT, name=name)) for name in ("a", "b")))
        assert sorted(outcomes) == [False, True]
        assert await store.get("c1", "pat") == replace(PAT, name="ab"[outcomes.index(True)])
        assert await store.create(replace(PAT, clinic="c2"))

    async def test_a_change_is_held_to_the_version_that_is_there(self, store: PatientStore) -> None:
        await store.create(PAT)
        second = replace(PAT, name=None, version=2)
        assert await store.change(second)
        assert not await store.change(replace(second, name="late"))
        assert not await store.change(replace(PAT, name="early", version=4))
        assert not await store.change(replace(second, clinic="c2"))
        assert await store.get("c1", "pat") == second
        assert await store.change(replace(PAT, name="again", version=3))

    async def test_pages_go_through_all_of_one_clinic_by_id(self, store: PatientStore) -> None:
        for name in ("p3", "p1", "p2"):
            await store.create(replace(PAT, patient=name))
        await store.create(replace(PAT, clinic="c2", patient="p0"))
        first = await store.page("c1", "", 2)
        assert [patient.patient for patient in first] == ["p1", "p2"]
        assert [patient.patient for patient in await store.page("c1", "p2", 2)] == ["p3"]
        assert await store.page("c1", "p3", 2) == ()
