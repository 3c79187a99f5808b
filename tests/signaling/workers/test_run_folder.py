"""The folder of a running server: its owner's alone, one server's at a time, and free of what another has left."""

import socket
import stat
from contextlib import closing
from pathlib import Path

import pytest

from signaling.config import ConfigError
from signaling.workers.run_folder import RunFolder


def test_it_is_made_for_its_owner_alone_and_taken_once(tmp_path: Path) -> None:
    (tmp_path / "data" / "run").mkdir(parents=True, mode=0o755)
    with closing(RunFolder.take(tmp_path / "data")) as folder:
        assert folder.path == tmp_path / "data" / "run"
        assert stat.S_IMODE(folder.path.stat().st_mode) == 0o700
        with pytest.raises(ConfigError, match="another server runs in"):
            RunFolder.take(tmp_path / "data")
    RunFolder.take(tmp_path / "data").close()


def test_sockets_of_a_server_that_was_killed_are_removed(tmp_path: Path) -> None:
    RunFolder.take(tmp_path).close()
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(tmp_path / "run" / "worker-0.sock"))
    with closing(RunFolder.take(tmp_path)) as folder:
        assert [path.name for path in folder.path.iterdir()] == []


def test_a_path_that_is_too_long_for_a_socket_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    long = tmp_path / ("x" * 100)
    with pytest.raises(ConfigError, match="too long for the sockets"):
        RunFolder.take(long)
    assert not long.exists()


def test_a_folder_that_cannot_be_made_is_named() -> None:
    with pytest.raises(ConfigError, match="cannot use the data folder /dev/null/x"):
        RunFolder.take(Path("/dev/null/x"))
