"""How many workers there are to be."""

import pytest

from signaling.config import Config, ConfigError, config_from
from signaling.config_environ import charge_of_worker, environ_of_worker, is_worker


def test_auto_is_one_per_core_that_may_be_used() -> None:
    assert 1 <= config_from({"AURICLE_WORKERS": "auto"}).worker_count <= 256
    assert config_from({}).worker_count == 1
    assert config_from({"AURICLE_WORKERS": "256"}, workers="3").worker_count == 3


@pytest.mark.parametrize("workers", ["", "0", "-1", "257", "10000", "2.5", "two", "²", " 2", "Auto"])
def test_what_is_no_number_of_workers_is_refused(workers: str) -> None:
    with pytest.raises(ConfigError, match="workers: must be 1 to 256, or auto"):
        Config(workers=workers)


def test_a_worker_speaks_more_often_than_it_is_waited_for() -> None:
    assert Config(worker_hang_s=3).child_limits(1).hang_s == 3
    with pytest.raises(ConfigError, match="worker_hang_s: must be at least 3"):
        Config(worker_hang_s=2.9)


def test_what_has_somebody_to_say_goodbye_to_has_the_time_for_it() -> None:
    config = Config(worker_end_s=5)
    assert [config.child_limits(drain_s).end_s for drain_s in (10, 0)] == [15, 5]


def test_a_worker_is_told_once_what_it_is_so_that_no_child_of_it_believes_it() -> None:
    environ = environ_of_worker("{}", {"HOME": "/"})
    assert is_worker(environ)
    assert charge_of_worker(environ) == "{}"
    assert environ == {"HOME": "/"}
    assert not is_worker(environ)
    assert charge_of_worker(environ) is None
