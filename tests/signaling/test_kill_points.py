"""A fault test can have the server killed where it wants, nobody else can, and nothing is in the way otherwise."""

from pathlib import Path

import pytest

from fitting.log import DeviceLog
from fitting.log_memory import MemoryDeviceLog
from signaling.config import Config, ConfigError
from signaling.kill_points import POINTS, killable


def log() -> MemoryDeviceLog:
    return MemoryDeviceLog(clock=lambda: 0.0, monotonic=lambda: 0.0, new_id=lambda: "id")


def config(data: Path, where: str, *, dev: bool = True) -> Config:
    return Config(data=data, dev=dev, test_kill=where)


@pytest.mark.parametrize("where", ["after_parse", "after_parse:0", "after_parse:-1", "after_parse:x", "nowhere:1"])
def test_a_point_that_is_not_there_is_refused(where: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="must be point:n"):
        killable(log(), config(tmp_path, where))


@pytest.mark.parametrize("point", sorted(POINTS))
def test_the_wrapped_log_answers_every_call_of_the_interface(point: str, tmp_path: Path) -> None:
    inner = log()
    wrapped = killable(inner, config(tmp_path, f"{point}:1"))
    assert wrapped is not inner
    for name in (name for name in vars(DeviceLog) if not name.startswith("_")):
        assert callable(getattr(wrapped, name))


def test_without_the_switch_nothing_is_in_the_way(tmp_path: Path) -> None:
    inner = log()
    assert killable(inner, config(tmp_path, "")) is inner


def test_a_server_that_is_no_development_server_has_no_such_switch(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="only with dev"):
        killable(log(), config(tmp_path, "after_parse:1", dev=False))
