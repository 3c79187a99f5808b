"""The submit benchmark as a command: short runs against real servers, and what it says to bad options."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import pytest

from loadtest import submit_bench
from loadtest.bench_websocket import BenchFailed
from loadtest.submit_bench import SubmitSettings, main, run

SHORT = SubmitSettings(sessions=2, rate=4.0, seconds=1.0, warm_up_s=0.5)


@pytest.mark.timeout(240)
def test_a_short_run_times_changes_on_every_database_that_keeps() -> None:
    command = [sys.executable, "-m", "loadtest.submit_bench", "--sessions", "2", "--seconds", "1", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=220, check=False)
    assert done.returncode == 0, done.stderr
    results = {result["database"]: result for result in json.loads(done.stdout)}
    assert results.keys() == {"sqlite", "postgresql"}
    for result in results.values():
        assert result["commits"]["count"] > 0
        for name in ("offer", "answer", "confirmed"):
            found = result[name]
            assert 0 < found["p50Ms"] <= found["p99Ms"] <= found["p999Ms"]
        assert min(result["serverMs"], result["serverBusy"], result["generatorMs"]) > 0


@pytest.mark.timeout(120)
def test_a_run_can_be_profiled(tmp_path: Path) -> None:
    file = tmp_path / "server.prof"
    settings = SubmitSettings(sessions=1, rate=4.0, seconds=0.5, warm_up_s=0.2, profile=file)
    result = asyncio.run(run(settings, "memory", "memory:"))
    assert result.commits is None
    assert file.stat().st_size > 0


@pytest.mark.timeout(120)
def test_a_refusal_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("loadtest.submit_session._STEP_DDB", 500)
    with pytest.raises(BenchFailed, match="unsafe"):
        asyncio.run(run(SHORT, "memory", "memory:"))


def test_without_programs_and_without_an_url_there_is_no_postgresql(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("loadtest.postgres_process.postgres_programs", lambda: None)
    monkeypatch.setattr(submit_bench, "postgres_programs", lambda: None)
    assert main(["--database", "postgresql"]) == 1
    assert "--database-url" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--sessions", "0"], "must be 1 to 5000"),
        (["--rate", "13"], "must be 0.1 to 12"),
        (["--seconds", "0"], "must be 0.5 to 600"),
        (["--database", "oracle"], "invalid choice"),
    ],
)
def test_options_outside_their_bounds_get_exit_code_2(
    words: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    assert expected in capsys.readouterr().err
