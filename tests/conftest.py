"""For all tests: servers that are started once, when the first test wants one, and children that can be interrupted."""

import signal
from collections.abc import Iterator

import pytest

from tests.postgres import PostgresServer, postgres_server

# A shell starts what runs in the background with Ctrl-C ignored, and children inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL server that all tests share; each takes a database of its own."""
    with postgres_server() as server:
        yield server
