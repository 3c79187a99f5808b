"""The benchmark of requests that come to another pod measures what it says, and only right answers."""

import re

import pytest

from loadtest.forward_bench import main
from tests.redis_server import redis_server

pytestmark = pytest.mark.timeout(120)


def test_each_kind_of_connection_is_measured_over_both_pods(capsys: pytest.CaptureFixture[str]) -> None:
    with redis_server() as bus:
        assert main(["--redis", bus.url, "--calls", "3", "--rounds", "1"]) == 0
    rows = capsys.readouterr().out.splitlines()[2:]
    assert len(rows) == 2
    assert all(re.fullmatch(r"\| .* \| \d+ \| \d+ \| [+-]\d+ \(\d+\.\d x\) \|", row) for row in rows), rows


def test_a_run_that_cannot_be_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        main(["--redis", "unix:///nowhere", "--calls", "0"])
    assert refused.value.code == 2
