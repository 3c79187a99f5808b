"""Fixtures for all tests: servers that are started once, when the first test wants one."""

from collections.abc import Iterator

import pytest

from tests.postgres import PostgresServer, postgres_server


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL server that all tests share; each takes a database of its own."""
    with postgres_server() as server:
        yield server
