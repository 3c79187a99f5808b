"""Every store of messages keeps its contract: in memory, in SQLite, in PostgreSQL."""

from dataclasses import replace

import pytest

from protocol.errors import Overloaded
from signaling.stores.chat import ChatStore, MemoryChatStore
from signaling.stores.chat_sql import SqlChatStore
from signaling.stores.sql import Rows
from tests.contracts.chat_store import HELLO, MAX_MESSAGES, ChatStoreContract


class TestMemoryChatStore(ChatStoreContract):
    @pytest.fixture
    def store(self, bounds: list[str]) -> ChatStore:
        return MemoryChatStore(max_visits=3, max_messages=MAX_MESSAGES, reached=bounds.append)

    async def test_messages_of_only_so_many_visits_are_held(self, bounds: list[str]) -> None:
        store = MemoryChatStore(max_visits=1, max_messages=9, reached=bounds.append)
        await store.append(HELLO)
        with pytest.raises(Overloaded):
            await store.append(replace(HELLO, visit="v2"))
        assert bounds == ["max_visits"]


class TestSqliteChatStore(ChatStoreContract):
    @pytest.fixture
    def store(self, sqlite: Rows, bounds: list[str]) -> ChatStore:
        return SqlChatStore(sqlite, max_messages=MAX_MESSAGES, reached=bounds.append)


class TestPostgresChatStore(ChatStoreContract):
    @pytest.fixture
    def store(self, postgres_rows: Rows, bounds: list[str]) -> ChatStore:
        return SqlChatStore(postgres_rows, max_messages=MAX_MESSAGES, reached=bounds.append)
