"""Every store about people keeps its contract: in memory, in SQLite, in PostgreSQL."""

from dataclasses import replace

import pytest

from protocol.errors import Overloaded
from signaling.stores.bindings import BindStore, MemoryBindStore
from signaling.stores.bindings_sql import SqlBindStore
from signaling.stores.decisions import DecisionStore, MemoryDecisionStore
from signaling.stores.decisions_sql import SqlDecisionStore
from signaling.stores.patients import MemoryPatientStore, PatientStore
from signaling.stores.patients_sql import SqlPatientStore
from signaling.stores.sql import Rows
from signaling.stores.tables import assignment, consent
from tests.contracts import bind_store, decision_store
from tests.contracts.bind_store import CODE, BindStoreContract
from tests.contracts.decision_store import YES, DecisionStoreContract
from tests.contracts.patient_store import PAT, PatientStoreContract


class TestMemoryDecisionStore(DecisionStoreContract):
    @pytest.fixture
    def store(self, bounds: list[str]) -> DecisionStore:
        return MemoryDecisionStore(
            max_owners=4, owners_bound="max_patients", max_decisions=decision_store.MAX, reached=bounds.append
        )

    async def test_only_so_many_owners_are_held(self, bounds: list[str]) -> None:
        store = MemoryDecisionStore(max_owners=1, owners_bound="max_patients", max_decisions=9, reached=bounds.append)
        await store.decide(YES)
        with pytest.raises(Overloaded):
            await store.decide(replace(YES, owner="d2"))
        assert bounds == ["max_patients"]


class TestSqliteDecisionStore(DecisionStoreContract):
    @pytest.fixture
    def store(self, sqlite: Rows, bounds: list[str]) -> DecisionStore:
        return SqlDecisionStore(sqlite, assignment, max_decisions=decision_store.MAX, reached=bounds.append)

    async def test_assignments_and_consents_are_apart(self, store: DecisionStore, sqlite: Rows) -> None:
        await store.decide(YES)
        consents = SqlDecisionStore(sqlite, consent, max_decisions=9, reached=lambda _: None)
        assert await consents.history("c1", "d1") == ()


class TestPostgresDecisionStore(DecisionStoreContract):
    @pytest.fixture
    def store(self, postgres_rows: Rows, bounds: list[str]) -> DecisionStore:
        return SqlDecisionStore(postgres_rows, consent, max_decisions=decision_store.MAX, reached=bounds.append)


class TestMemoryPatientStore(PatientStoreContract):
    @pytest.fixture
    def store(self, bounds: list[str]) -> PatientStore:
        return MemoryPatientStore(max_patients=4, reached=bounds.append)

    async def test_only_so_many_patients_are_held(self, store: PatientStore, bounds: list[str]) -> None:
        for number in range(4):
            await store.create(replace(PAT, patient=f"p{number}"))
        with pytest.raises(Overloaded):
            await store.create(PAT)
        assert bounds == ["max_patients"]


class TestSqlitePatientStore(PatientStoreContract):
    @pytest.fixture
    def store(self, sqlite: Rows) -> PatientStore:
        return SqlPatientStore(sqlite)


class TestPostgresPatientStore(PatientStoreContract):
    @pytest.fixture
    def store(self, postgres_rows: Rows) -> PatientStore:
        return SqlPatientStore(postgres_rows)


class TestMemoryBindStore(BindStoreContract):
    @pytest.fixture
    def store(self, bounds: list[str]) -> BindStore:
        return MemoryBindStore(max_live=bind_store.MAX, max_codes=9, codes_bound="max_devices", reached=bounds.append)

    async def test_only_so_many_codes_are_held(self, bounds: list[str]) -> None:
        store = MemoryBindStore(max_live=2, max_codes=1, codes_bound="max_devices", reached=bounds.append)
        assert await store.add(CODE)
        with pytest.raises(Overloaded):
            await store.add(bind_store.code(2, device="d2"))
        assert bounds == ["max_devices"]


class TestSqliteBindStore(BindStoreContract):
    @pytest.fixture
    def store(self, sqlite: Rows, bounds: list[str]) -> BindStore:
        return SqlBindStore(sqlite, max_live=bind_store.MAX, reached=bounds.append)


class TestPostgresBindStore(BindStoreContract):
    @pytest.fixture
    def store(self, postgres_rows: Rows, bounds: list[str]) -> BindStore:
        return SqlBindStore(postgres_rows, max_live=bind_store.MAX, reached=bounds.append)
