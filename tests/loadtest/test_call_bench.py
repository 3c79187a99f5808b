"""The benchmark of calls as a command: a short run against a real server, and what fails it."""

import asyncio
import json
import subprocess
import sys

import pytest

from loadtest import call_sides
from loadtest.bench_websocket import BenchFailed
from loadtest.call_bench import CallSettings, main, run


@pytest.mark.timeout(240)
def test_a_short_run_times_sound_and_signalling() -> None:
    options = ["--calls", "2", "--rate", "5", "--pairs", "2", "--seconds", "1", "--json"]
    command = [sys.executable, "-m", "loadtest.call_bench", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=220, check=False)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    for found in (*result["sound"].values(), result["signals"]["setUp"]):
        assert 0 < found["p50Ms"] <= found["p99Ms"]
    assert result["sound"]["both"]["count"] == 2
    assert result["sound"]["answered"]["p50Ms"] < result["sound"]["first"]["p50Ms"] <= result["sound"]["both"]["p50Ms"]
    assert min(result["signals"][name] for name in ("serverMs", "serverBusy", "generatorMs", "donePerS")) > 0


@pytest.mark.timeout(120)
def test_a_description_that_the_server_does_not_take_fails_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(call_sides, "DESCRIPTION", "v=0")
    with pytest.raises(BenchFailed, match="sdp_refused"):
        asyncio.run(run(CallSettings(calls=0, rate=5.0, pairs=1, seconds=1.0, warm_up_s=0.1)))


def test_options_have_bounds(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--pairs", "0"])
    assert "must be 1 to 2000" in capsys.readouterr().err
