"""Idle connections on both real servers, with intervals of a fraction of a second, and what makes a run fail."""

from pathlib import Path

import pytest

from loadtest.bench_websocket import BenchFailed
from loadtest.idle import BARE, HUB, HUB_MESSAGEPACK, Habits, Idle, Idler, measure_idle, require_files
from loadtest.servers import auricle_server, auricle_token, bare_server

# The window is long for the interval, so that a machine may stand still meanwhile.
BRISK = Idle(connections=40, window_s=3.0, keep_alive_s=0.2, settle_s=0.1)
# aiohttp wants its answers within half of its interval.
BARE_BRISK = Idle(connections=40, window_s=5.0, keep_alive_s=2.0, settle_s=0.1)


@pytest.fixture
def brisk(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("AURICLE_KEEP_ALIVE_S", "0.2"), ("AURICLE_SWEEP_S", "0.05"), ("BARE_HEARTBEAT_S", "2")):
        monkeypatch.setenv(name, value)


@pytest.mark.usefixtures("brisk")
@pytest.mark.parametrize("habits", [HUB, HUB_MESSAGEPACK], ids=["json", "messagepack"])
async def test_idle_hub_connections_are_held_and_hear_the_servers_pings(tmp_path: Path, habits: Habits) -> None:
    async with auricle_server(tmp_path) as server:
        headers = {"Authorization": f"Bearer {await auricle_token(tmp_path)}"}
        sample = await measure_idle(Idler("auricle", server, habits, headers), BRISK, 3)
    assert (sample.round, sample.server, sample.connections) == (3, "auricle", 40)
    assert sample.wall_s >= BRISK.window_s
    assert 0 <= sample.busy < 1
    assert -1_000 < sample.kib_per_connection < 1_000


@pytest.mark.usefixtures("brisk")
async def test_idle_plain_websockets_answer_aiohttps_pings(tmp_path: Path) -> None:
    async with bare_server(tmp_path) as server:
        sample = await measure_idle(Idler("aiohttp", server, BARE), BARE_BRISK, 0)
    assert sample.connections == 40


async def test_connections_that_hear_no_keep_alive_fail_the_run(tmp_path: Path) -> None:
    async with bare_server(tmp_path) as server:
        with pytest.raises(BenchFailed, match="aiohttp: 90 idle connections heard no keep-alive"):
            await measure_idle(Idler("aiohttp", server, BARE), Idle(40, window_s=0.2, settle_s=0.1), 0)


@pytest.mark.parametrize(
    ("habits", "words"),
    [
        (Habits("/nowhere"), "no WebSocket upgrade: b'HTTP/1.1 404"),
        # The echo comes back, and nothing that is not a keep-alive may.
        (Habits("/echo", sign_of_life=HUB.hello), "an idle connection got b'.*protocol"),
        (
            Habits("/echo", hello=HUB.hello, welcome=b"!"),
            "was answered with",
        ),
    ],
    ids=["refused", "talkative", "another welcome"],
)
async def test_what_is_not_idle_fails_the_run(tmp_path: Path, habits: Habits, words: str) -> None:
    async with bare_server(tmp_path) as server:
        with pytest.raises(BenchFailed, match=words):
            await measure_idle(Idler("aiohttp", server, habits), Idle(4, window_s=0.3, settle_s=0.2), 0)


def test_more_connections_than_open_files_are_refused_clearly() -> None:
    require_files(10)
    with pytest.raises(BenchFailed, match="1000000000 connections need 1000000200 open files"):
        require_files(10**9)
