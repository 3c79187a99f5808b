"""The benchmark as a command: a very short run against both real servers, and what it says to bad options."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import psutil  # type: ignore[import-untyped]  # the library ships no types
import pytest

from loadtest.bare import loop_factory
from loadtest.bench import main
from loadtest.bench_websocket import BenchFailed
from loadtest.servers import ServerProcess, bare_server

SHORT = ("--rounds", "1", "--connections", "2", "--seconds", "0.1", "--fanout", "3", "--idle", "0", "--json")
SERVERS = {"auricle-json", "auricle-messagepack", "aiohttp", "socketio-node", "auricle-socketio", "python-socketio"}
WORKLOADS = [("echo", 1), ("echo", 8), ("relay", 1), ("relay", 8), ("fanout", 1)]


def bench(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "loadtest.bench", *arguments], capture_output=True, text=True, timeout=300, check=False
    )


@pytest.mark.timeout(300)  # npm installs the peer on the first time
def test_a_short_run_counts_checked_messages_on_every_server() -> None:
    done = bench(*SHORT, "--node", "--socketio")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    measured = {(s["workload"], s["inFlight"], s["server"]): s for s in report["samples"]}
    assert measured.keys() == {(*load, server) for load in WORKLOADS for server in SERVERS}
    for one in measured.values():
        assert one["sent"] == one["delivered"] >= one["messages"] > 0
        assert min(one["serverUs"], one["generatorUs"], one["wallS"], one["serverBusy"]) > 0
    for row in report["rows"]:
        assert row["serverUs"]["min"] <= row["serverUs"]["median"] <= row["serverUs"]["max"]
        assert row["ratio"]["median"] == 1 if row["server"] == "aiohttp" else row["ratio"]["median"] > 0
    assert report["machine"]["cores"] >= 1
    assert (report["machine"]["uvloop"] is not None) == (loop_factory() is not None)


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--connections", "3", "must be even"),
        ("--connections", "2002", "must be 2 to 2000"),
        ("--rounds", "0", "must be 1 to 50"),
        ("--seconds", "21", "must be 0.05 to 20"),
        ("--chars", "16385", "must be 24 to 16384"),
        ("--fanout", "-1", "must be 0 to 2000"),
        ("--rounds", "many", "invalid number value"),
    ],
)
def test_options_outside_their_bounds_get_one_line_and_exit_code_2(
    option: str, value: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main([f"{option}={value}"])
    assert ended.value.code == 2
    assert words in capsys.readouterr().err.splitlines()[-1]


def test_a_run_over_its_time_limit_fails_instead_of_going_on() -> None:
    done = bench("--time-limit", "1", "--rounds", "50")
    assert (done.returncode, done.stdout) == (1, "")
    assert "time limit of 1 s" in done.stderr


def test_a_run_ended_by_a_signal_ends_its_servers_and_says_so() -> None:
    command = [sys.executable, "-m", "loadtest.bench", "--rounds", "50"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        assert running.stderr is not None
        assert "round 1" in running.stderr.readline()
        servers = psutil.Process(running.pid).children()
        running.terminate()
        output, errors = running.communicate(timeout=30)
    assert (running.returncode, output, errors) == (1, "", "bench: ended by a signal\n")
    assert len(servers) == 2
    assert not any(one.is_running() for one in servers)


async def test_a_server_is_gone_after_its_block_even_when_the_block_fails(tmp_path: Path) -> None:
    server = bare_server(tmp_path)
    children: list[psutil.Process] = []

    async def fail_beside_it() -> None:
        async with server:
            children.extend(one for one in psutil.Process().children() if "loadtest.bare" in one.cmdline())
            assert server.cpu_s > 0
            raise RuntimeError("on purpose")

    with pytest.raises(RuntimeError, match="on purpose"):
        await fail_beside_it()
    (child,) = children
    assert not child.is_running()
    with pytest.raises(BenchFailed, match="aiohttp ended"):
        assert server.cpu_s


@pytest.mark.parametrize("code", ["raise SystemExit('no port')", "print('hello')"], ids=["ended", "chatty"])
async def test_a_server_that_does_not_get_ready_fails_the_run_with_its_last_words(tmp_path: Path, code: str) -> None:
    with pytest.raises(BenchFailed, match="printed no ready line"):
        async with asyncio.timeout(30), ServerProcess("broken", ("-c", code), tmp_path):
            raise AssertionError("it is not ready")


def test_the_generator_does_not_load_the_server() -> None:
    code = "import sys, loadtest.bench; print([name for name in sys.modules if name.split('.')[0] == 'signaling'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


SUPERVISOR = """
import subprocess, sys, time
worker = "n = 0\\nwhile n < 20_000_000: n += 1\\nprint(flush=True)\\nimport sys; sys.stdin.read()"
child = subprocess.Popen([sys.executable, "-c", worker], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
child.stdout.readline()
print('{"event": "ready", "url": "http://nowhere"}', flush=True)
while True: time.sleep(1)
"""


async def test_what_a_server_has_started_is_measured_with_it(tmp_path: Path) -> None:
    async with ServerProcess("supervisor", ("-c", SUPERVISOR), tmp_path) as server:
        started = psutil.Process().children(recursive=True)
        [worker] = [one for one in started if one.cmdline()[1:2] == ["-c"] and one.cmdline()[2].startswith("n = 0")]
        times = worker.cpu_times()
        assert server.cpu_s > times.user + times.system > 0.1
