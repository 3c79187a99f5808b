"""One server at a time in a data folder, unless what they share is elsewhere and they hear each other."""

import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from signaling.config import Config, ConfigError
from signaling.data_lock import DataLock
from signaling.server import serve
from tests.redis_server import redis_server
from tests.running import server


def test_a_folder_is_made_and_taken_once(tmp_path: Path) -> None:
    data = tmp_path / "new" / "data"
    with closing(DataLock.take(data)):
        with pytest.raises(ConfigError, match=f"^data: another server runs in {data}$"):
            DataLock.take(data)
        # What is no server goes on.
        assert (data / "auricle.lock").stat().st_size == 0
    DataLock.take(data).close()


def test_whoever_died_holds_nothing(tmp_path: Path) -> None:
    holds = (
        "import os, sys, pathlib; from signaling.data_lock import DataLock;"
        "held = DataLock.take(pathlib.Path(sys.argv[1])); os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", holds, str(tmp_path)], check=False, timeout=60).returncode == -9
    DataLock.take(tmp_path).close()


def test_a_folder_that_cannot_be_made_is_named() -> None:
    with pytest.raises(ConfigError, match="cannot use the data folder /dev/null/x"):
        DataLock.take(Path("/dev/null/x"))


async def test_a_second_server_over_the_same_file_is_refused(tmp_path: Path) -> None:
    async with server(tmp_path):
        with pytest.raises(ConfigError, match="another server runs in"):
            serve(Config(dev=True, port=0, data=tmp_path))


@pytest.mark.parametrize("shared", ["bus", "database"])
async def test_those_that_share_a_bus_or_another_database_are_not(tmp_path: Path, shared: str) -> None:
    with redis_server() as bus:
        apart = {"AURICLE_REDIS_URL": bus.url} if shared == "bus" else {"AURICLE_DATABASE_URL": "memory:"}
        async with server(tmp_path, **apart), server(tmp_path, **apart) as second:
            assert await second.terminate() == 0
