"""For all tests: servers that are started once, when the first test wants one, children that start quickly, and how
many processes share the work.

One, unless ``-n auto`` asks for two: much of the time each waits, for faults to land, for demos, for servers to start.
"""

import gc
import os
import signal
import sys
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from aiohttp import web_app
from hypothesis import HealthCheck, settings

from tests.postgres import PostgresServer, postgres_server

# A shell starts what runs in the background with Ctrl-C ignored, and children inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Hundreds of servers and phones are started, each a process of its own: with nothing compiled kept, each would compile
# the whole house again, which takes it longer than all else that it does to be ready.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False


# Files that take more than a minute.
_LONG = ("test_smoke.py", "test_demo.py", "test_simulation.py")

# How long an example takes, or to think of one, says what else the machine has to do, and nothing of what is tested.
settings.register_profile("auricle", settings.default, deadline=None, suppress_health_check=(HealthCheck.too_slow,))
settings.load_profile("auricle")


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Files that are named one by one are tested where they can be looked at: in this process."""
    folders = [name for name in config.args if Path(name.partition("::")[0]).is_dir()]
    return 2 if folders else 0


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What takes longest comes first where others share the work, or they would wait for it in the end."""
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: item.path.name not in _LONG)


def pytest_collection_finish() -> None:
    """The tests themselves, and all that they have imported, are never garbage: nobody need look at them again."""
    _look_no_more()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> Generator[None, object, object]:
    """Nor is what is left behind a file. A server that ran in this process has had all of it looked at again.

    That took seconds, in the middle of a test that has servers and clients in this process.
    """
    outcome = yield
    if nextitem is not None and nextitem.path != item.path:
        _look_no_more()
    return outcome


def _look_no_more() -> None:
    # Of every server that there ever was, aiohttp remembers the handlers of the last thousand addresses, in a place of
    # its own: where another version of it has none, there is nothing to forget.
    remembered = getattr(web_app, "_cached_build_middleware", None)
    if remembered is not None:
        remembered.cache_clear()
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL server that all tests share; each takes a database of its own."""
    with postgres_server() as server:
        yield server
