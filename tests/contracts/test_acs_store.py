"""Every store of what is open in ACS keeps its contract: in memory, in SQLite, in PostgreSQL."""

from dataclasses import replace

import pytest
from msgspec import structs

from protocol.errors import Overloaded
from signaling.stores.acs import AcsStore, MemoryAcsStore
from signaling.stores.acs_sql import SqlAcsStore
from signaling.stores.sql import Rows
from tests.contracts.acs_store import OPEN, PAT, AcsStoreContract


class TestMemoryAcsStore(AcsStoreContract):
    @pytest.fixture
    def store(self, bounds: list[str]) -> AcsStore:
        return MemoryAcsStore(max_people=9, max_visits=9, reached=bounds.append)

    async def test_only_so_many_are_held(self, bounds: list[str]) -> None:
        store = MemoryAcsStore(max_people=1, max_visits=1, reached=bounds.append)
        await store.add_identity(PAT)
        await store.add(OPEN)
        with pytest.raises(Overloaded):
            await store.add_identity(replace(PAT, person="user:ann"))
        with pytest.raises(Overloaded):
            await store.add(structs.replace(OPEN, visit="v2"))
        assert bounds == ["max_patients", "max_visits"]


class TestSqliteAcsStore(AcsStoreContract):
    @pytest.fixture
    def store(self, sqlite: Rows) -> AcsStore:
        return SqlAcsStore(sqlite)


class TestPostgresAcsStore(AcsStoreContract):
    @pytest.fixture
    def store(self, postgres_rows: Rows) -> AcsStore:
        return SqlAcsStore(postgres_rows)
