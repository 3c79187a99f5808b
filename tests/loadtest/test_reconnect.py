"""The reconnect storm: short ones over real servers, clients that are sent away, and what is shown."""

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from aiohttp import web

from loadtest.reconnect import main
from loadtest.reconnect_client import Refused, open_client
from loadtest.reconnect_generator import Outcome
from loadtest.reconnect_report import Live, PodUse, ReconnectResult, joined, table
from loadtest.submit_report import Quantiles
from tests.clients.fronts import stranger
from tests.running import server


def reconnect(*words: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "loadtest.reconnect", "--json", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)


@pytest.mark.timeout(240)
@pytest.mark.parametrize("pods", ["1", "2"])
def test_everybody_who_was_cut_comes_back_and_live_sessions_go_on(pods: str) -> None:
    words = ("--pods", pods, "--clients", "60", "--sessions", "2", "--calm", "1", "--jitter", "2", "--generators", "2")
    done = reconnect(*words)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert (result["lost"], result["cutAgain"], result["back"]["count"]) == (0, 0, 60)
    # From the cut on they wait first, each for itself.
    assert 0 < result["back"]["p50Ms"] < result["back"]["p99Ms"] <= result["allBackS"] * 1_000
    assert result["connect"]["p50Ms"] > 0
    assert result["storm"]["offer"]["count"] > 0
    assert result["broken"] == {}
    assert len(result["pods"]) == int(pods)
    assert all(0 < pod["rssBefore"] <= pod["rssMost"] for pod in result["pods"])
    assert all(pod["cpuS"] > 0 for pod in result["pods"])


async def test_a_client_is_back_when_the_hub_has_said_who_it_is(tmp_path: Path) -> None:
    async with server(tmp_path) as running:
        token = await running.token("ann")
        client = await open_client(running.url, token, "ann", patience_s=10)
        client.cut()
        with pytest.raises(Refused, match="somebody else"):
            await open_client(running.url, token, "bob", patience_s=10)
        with pytest.raises(Refused, match="401"):
            await open_client(running.url, "not.a.token", "ann", patience_s=10)


async def test_who_is_sent_away_knows_how_long_to_wait() -> None:
    async with stranger(lambda _: web.Response(status=503, headers={"Retry-After": "7"})) as port:
        with pytest.raises(Refused, match="503") as refused:
            await open_client(f"http://127.0.0.1:{port}", "t", "ann", patience_s=10)
    assert refused.value.wait_s == 7


async def test_silence_and_a_closed_port_are_told_apart() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(4)  # the kernel takes the connection, and nobody ever reads
        port = silent.getsockname()[1]
        with pytest.raises(Refused, match=r"not back within 0.2 s"):
            await open_client(f"http://127.0.0.1:{port}", "t", "ann", patience_s=0.2)
    with pytest.raises(Refused, match="no connection"):
        await open_client(f"http://127.0.0.1:{port}", "t", "ann", patience_s=5)


def test_too_few_open_files_are_said_before_anything_starts(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("loadtest.idle.resource.getrlimit", lambda _: (1_024, 1_024))
    assert main([]) == 1
    assert capsys.readouterr().err == (
        "reconnect: 10200 connections need 10400 open files in a process, and 1024 are allowed\n"
    )


@pytest.mark.parametrize("option", ["--clients=0", "--clients=18001", "--pods=9", "--jitter=-1", "--rate=0"])
def test_options_outside_their_bounds_get_exit_code_2(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([option])
    assert ended.value.code == 2
    assert "must be" in capsys.readouterr().err


def result(
    *, lost: int = 0, all_back_s: float = 24.0, p99_s: float = 0.1, broken: dict[str, str] | None = None
) -> ReconnectResult:
    offer = Quantiles.of([p99_s])
    live = Live(offer, None, 3)
    pod = PodUse(1_048_576, 3_145_728, 4_194_304, 2_097_152, 1.5)
    back = Quantiles.of([all_back_s])
    refused = {"503": 2, "401": 1}
    return ReconnectResult(
        *(10, 5.0, 1.0, all_back_s, back, back, lost, refused, 0, 2, 1.0),
        *(broken or {}, live, live, [pod], 0.5, (1.0, 2.0)),
    )


def test_what_is_aimed_at_is_said_and_judged_by_nobody() -> None:
    good, slow, lossy = result(), result(all_back_s=26.0, p99_s=0.2), result(lost=1)
    assert "(under 25 s: yes)" in table(good)
    assert "(p99 below 150 ms: yes)" in table(good)
    assert "refused: 1 x 401, 2 x 503" in table(good)
    assert "1 MiB before, 3 with everybody, 4 at most, 2 after; 1.5 s of CPU" in table(good)
    assert "(under 25 s: no)" in table(slow)
    assert "(p99 below 150 ms: no)" in table(slow)
    assert (good.is_whole, slow.is_whole, lossy.is_whole) == (True, True, False)
    assert "(under 25 s: no), 1 never" in table(lossy)


def test_a_session_that_broke_is_told_and_makes_the_run_fail() -> None:
    broken = result(broken={"d1": "refused: not_live", "d2": "refused: not_live"})
    assert not broken.is_whole
    assert "broken: 2\nrefused: not_live\n\n" in table(broken)


def test_processes_of_clients_add_up() -> None:
    one = Outcome([1.0], [0.5], 1, {"503": 2}, 1, 1.0)
    both = joined([one, Outcome([2.0], [0.25], 0, {"503": 1, "401": 1}, 0, 2.0)])
    assert both == Outcome([1.0, 2.0], [0.5, 0.25], 1, {"503": 3, "401": 1}, 1, 3.0)
