"""A fault test can have the server killed where it wants, nobody else can, and nothing is in the way otherwise."""

from pathlib import Path

import pytest

from fitting.log_memory import MemoryDeviceLog
from signaling.config import Config, ConfigError
from signaling.kill_points import POINTS, BadKillPoint, dying_log


def log() -> MemoryDeviceLog:
    return MemoryDeviceLog(clock=lambda: 0.0, new_id=lambda: "id")


@pytest.mark.parametrize("where", ["after_parse", "after_parse:0", "after_parse:-1", "after_parse:x", "nowhere:1", ""])
def test_a_point_that_is_not_there_is_refused(where: str) -> None:
    with pytest.raises(BadKillPoint, match="must be point:n"):
        dying_log(log(), where)


@pytest.mark.parametrize("point", sorted(POINTS))
def test_the_wrapped_log_answers_every_call_of_the_interface(point: str) -> None:
    inner = log()
    wrapped = dying_log(inner, f"{point}:1")
    for name in (name for name in vars(type(inner)) if not name.startswith("_")):
        assert callable(getattr(wrapped, name))


def test_a_server_that_is_no_development_server_has_no_such_switch(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="only with dev"):
        Config(data=tmp_path, test_kill="after_parse:1")
    assert Config(data=tmp_path, dev=True, test_kill="after_parse:1").test_kill
