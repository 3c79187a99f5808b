"""Every store of visits keeps its contract: in memory, in SQLite, in PostgreSQL."""

import pytest

from protocol.errors import Overloaded
from signaling.stores.sql import Rows
from signaling.stores.visits import MemoryVisitStore, VisitStore
from signaling.stores.visits_sql import SqlVisitStore
from tests.contracts.visit_store import MAX_OPEN, VisitStoreContract
from tests.media.visits import visit_of


class TestMemoryVisitStore(VisitStoreContract):
    @pytest.fixture
    def store(self, bounds: list[str]) -> VisitStore:
        return MemoryVisitStore(max_visits=9, max_open=MAX_OPEN, reached=bounds.append)

    async def test_only_so_many_visits_are_held(self, bounds: list[str]) -> None:
        store = MemoryVisitStore(max_visits=1, max_open=9, reached=bounds.append)
        await store.create(visit_of())
        with pytest.raises(Overloaded):
            await store.create(visit_of(visit="v2"))
        assert bounds == ["max_visits"]


class TestSqliteVisitStore(VisitStoreContract):
    @pytest.fixture
    def store(self, sqlite: Rows, bounds: list[str]) -> VisitStore:
        return SqlVisitStore(sqlite, max_open=MAX_OPEN, reached=bounds.append)


class TestPostgresVisitStore(VisitStoreContract):
    @pytest.fixture
    def store(self, postgres_rows: Rows, bounds: list[str]) -> VisitStore:
        return SqlVisitStore(postgres_rows, max_open=MAX_OPEN, reached=bounds.append)
