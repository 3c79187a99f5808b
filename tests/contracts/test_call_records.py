"""Every store of calls that are over keeps its contract: in memory, in SQLite, in PostgreSQL."""

import pytest

from signaling.stores.call_records import CallRecords, MemoryCallRecords
from signaling.stores.call_records_sql import SqlCallRecords
from signaling.stores.sql import Rows
from tests.contracts.call_records import CallRecordsContract, part


class TestMemoryCallRecords(CallRecordsContract):
    @pytest.fixture
    def store(self, bounds: list[str]) -> CallRecords:
        return MemoryCallRecords(max_records=99, reached=bounds.append)

    async def test_only_so_many_are_held_and_the_oldest_makes_room(self, bounds: list[str]) -> None:
        store = MemoryCallRecords(max_records=1, reached=bounds.append)
        await store.add(part())
        assert await store.add(part("c2"))
        assert await store.of_visit("v1", None, 9) == (part("c2"),)
        assert bounds == ["max_call_records"]


class TestSqliteCallRecords(CallRecordsContract):
    @pytest.fixture
    def store(self, sqlite: Rows) -> CallRecords:
        return SqlCallRecords(sqlite)


class TestPostgresCallRecords(CallRecordsContract):
    @pytest.fixture
    def store(self, postgres_rows: Rows) -> CallRecords:
        return SqlCallRecords(postgres_rows)
