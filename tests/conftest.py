"""For all tests: servers that are started once, when the first test wants one, and children that start quickly."""

import os
import signal
import sys
from collections.abc import Iterator

import pytest

from tests.postgres import PostgresServer, postgres_server

# A shell starts what runs in the background with Ctrl-C ignored, and children inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Hundreds of servers and phones are started, each a process of its own: with nothing compiled kept, each would compile
# the whole house again, which takes it longer than all else that it does to be ready.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL server that all tests share; each takes a database of its own."""
    with postgres_server() as server:
        yield server
