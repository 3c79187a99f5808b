"""Live sessions under Locust as a command against a server process: what is timed, and that no failure passes."""

import asyncio
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.loadtest.locust_runs import locust_run
from tests.running import Server, server

# Locust itself takes a while to begin.
pytestmark = pytest.mark.timeout(180)
CHANGE = ("change", "submit to confirmed")
KEY_FILE = "dev-signing-key"
MOVE = ("change", "move to confirmed")
METHODS = {"connect": 6, "Hello": 6, "AcquireLease": 3, "AttachDevice": 3, "SetMode": 3}


@pytest.fixture(scope="module")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    async with server(tmp_path_factory.mktemp("data"), "--conformance") as started:
        # Makes the server's key file.
        await started.token("ann", "clinician")
        yield started
        assert '"level": "error"' not in started.log_text


def key(running: Server) -> tuple[str, str]:
    return "--signing-key-file", str(running.data / KEY_FILE)


async def confirmed_changes(running: Server) -> float:
    async with aiohttp.ClientSession() as session, session.get(f"{running.url}/metrics") as answer:
        text = await answer.text()
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return sum(
        sample.value
        for sample in samples
        if sample.name == "auricle_delivery_state_total" and sample.labels["state"] == "confirmed"
    )


@pytest.mark.parametrize(
    ("kind", "options", "negotiations"),
    [
        ("SignalR", ("--hub-protocol", "json"), 6),
        ("SignalR", ("--hub-protocol", "messagepack", "--skip-negotiation"), 0),
        ("Socket.IO", ("--hub-transport", "socketio"), 0),
    ],
    ids=["json", "messagepack without negotiation", "socketio"],
)
async def test_every_change_is_timed_from_submit_to_the_phones_proof(
    running: Server, tmp_path: Path, kind: str, options: tuple[str, ...], negotiations: int
) -> None:
    run = await locust_run(tmp_path, running.url, *key(running), *options, "--patches-per-second", "10", seconds=6)
    assert run.failures == {}, run.output
    assert run.exit_code == 0, run.output
    assert {name: run.count(kind, name) for name in METHODS} == METHODS
    assert run.count("POST", "/hub/negotiate") == negotiations
    assert run.count("POST", "/api/v1/devices") == 3
    changes = run.count(*CHANGE)
    # 3 sessions at 10 moves a second for up to 7 s; a busy machine joins moves, it does not lose them all.
    assert 15 <= changes <= 210
    assert changes <= run.count(kind, "Submit") <= changes + 3
    # Received, writing and confirmed; at the end of the run some of them are on their way.
    assert 3 * changes - 9 <= run.count(kind, "Report") <= 3 * changes + 9
    # By the same changes: a move is never later than its submit.
    assert 0 < run.rows[CHANGE]["total_response_time"] < run.rows[MOVE]["total_response_time"]
    # An id in a name would make a row of its own. What is said now and then may have been said already.
    now_and_then = {(kind, "Heartbeat"), (kind, "RenewLease")}
    assert len(run.rows.keys() - now_and_then) == (11 if negotiations else 10)


async def test_a_key_that_is_not_the_servers_fails_every_request_and_the_run(running: Server, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong-key"
    wrong.write_text("k" * 40)
    run = await locust_run(tmp_path, running.url, "--signing-key-file", str(wrong))
    assert run.exit_code == 1
    assert run.failures == {("POST", "/api/v1/devices"): ["HubRefused('answered with 401')"]}
    assert run.failure_count == run.count("POST", "/api/v1/devices") >= 3
    assert "not one change was confirmed" in run.output


async def test_a_server_that_is_away_fails_the_run(running: Server, tmp_path: Path) -> None:
    run = await locust_run(tmp_path, "http://127.0.0.1:9", *key(running))
    assert run.exit_code == 1
    assert run.failures == {("POST", "/api/v1/devices"): ["HubRefused('no answer: ConnectionError')"]}


async def test_changes_that_are_refused_or_not_proved_or_not_answered_are_failures(
    running: Server, tmp_path: Path
) -> None:
    odd = "tests/loadtest/locustfiles/odd_sessions.py"
    run = await locust_run(tmp_path, running.url, *key(running), "--answer-timeout", "3", file=odd, seconds=7)
    refused, wrong, silent = "ChangeRefused('unsafe K7')", "NotConfirmed('ended as failed E_READBACK')", "no end within"
    assert run.failures[("SignalR", "Submit")] == [refused]
    for row in (CHANGE, MOVE):
        assert sorted(run.failures[row]) == [refused, wrong, f"TimeoutError('{silent} 3 s')"]
    assert set(run.failures) == {("SignalR", "Submit"), CHANGE, MOVE}
    assert run.exit_code == 1
    assert "not one change was confirmed" in run.output


async def one_is_refused(port: int) -> None:
    """Until somebody has asked for the server that is gone: one that is back at once would refuse nobody."""
    with socket.create_server(("127.0.0.1", port)) as listener:
        listener.setblocking(False)
        async with asyncio.timeout(30):
            connection, _ = await asyncio.get_running_loop().sock_accept(listener)
        connection.close()


async def test_sessions_come_back_when_the_server_was_killed_and_has_forgotten_them(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    async with asyncio.TaskGroup() as tasks:
        async with server(first) as killed:
            await killed.token("ann", "clinician")
            port = str(urlsplit(killed.url).port)
            run = tasks.create_task(locust_run(tmp_path, killed.url, *key(killed), seconds=24))
            async with asyncio.timeout(24):
                while await confirmed_changes(killed) < 7:  # noqa: ASYNC110  # polling: the server tells nobody
                    await asyncio.sleep(0.1)
            same_key = (first / KEY_FILE).read_text().strip()
        await one_is_refused(int(port))
        async with server(second, "--port", port, AURICLE_DEV_SIGNING_KEY=same_key) as restarted:
            done = await run
            confirmed = await confirmed_changes(restarted)
    assert done.exit_code == 1
    assert done.count("POST", "/api/v1/devices") == 6
    causes = {error.partition("(")[0] for errors in done.failures.values() for error in errors}
    assert {"LinkLost", "HubRefused", "HubCallError"} <= causes, done.failures
    # A change may be asked for before the phone has told what its aids hold again.
    assert causes <= {"LinkLost", "HubRefused", "HubCallError", "NotConnected", "ChangeRefused"}, done.failures
    assert "HubCallError('[not_found] no such device')" in done.failures[("SignalR", "AttachDevice")]
    assert confirmed > 3
    # What was tried before is restored, and the phones say so.
    assert done.count("SignalR", "ReportDevice") >= 1


async def test_a_run_that_has_no_time_to_confirm_anything_fails(running: Server, tmp_path: Path) -> None:
    slow, late = ("--patches-per-second", "0.01"), "tests/loadtest/locustfiles/late_hands.py"
    run = await locust_run(tmp_path, running.url, *key(running), *slow, file=late, users=1, seconds=3)
    assert run.failures == {}
    assert run.exit_code == 1
    assert "not one change was confirmed" in run.output


async def test_anybodys_hub_can_be_loaded_by_a_user_class_of_its_own(running: Server, tmp_path: Path) -> None:
    token = await running.token("ann", "clinician")
    echo = "tests/loadtest/locustfiles/echo.py"
    run = await locust_run(tmp_path, running.url, "--token", token, file=echo, seconds=5)
    assert run.failures == {("SignalR", "Fail"): ["HubCallError('[hub_error] on purpose')"]}
    for row in (("SignalR", "Echo"), ("push", "there and back"), ("SignalR", "Fail")):
        assert run.count(*row) > 3
    assert run.exit_code == 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--patches-per-second", "100"), "must be 0.01 to 12"),
        (("--patches-per-second", "often"), "invalid number value"),
        (("--hub-protocol", "xml"), "invalid choice"),
        (("--signing-key-file", "/nowhere/key"), "cannot read a signing key from /nowhere/key"),
    ],
)
async def test_unusable_options_are_told_before_anything_starts(
    tmp_path: Path, options: tuple[str, ...], words: str
) -> None:
    run = await locust_run(tmp_path, "http://127.0.0.1:9", *options)
    assert run.exit_code == 2
    assert words in run.output
    assert run.rows == {}


def test_the_scenario_tells_of_its_own_options_and_hands_the_others_on_to_locust() -> None:
    module = [sys.executable, "-m", "loadtest.locustfile"]
    shown = subprocess.run([*module, "--help"], capture_output=True, text=True, check=True).stdout
    assert "moves of each session's slider" in shown
    listed = subprocess.run([*module, "--list"], capture_output=True, text=True, check=True).stdout
    assert "SessionUser" in listed


def test_the_locustfile_is_import_clean() -> None:
    code = (
        "import locust, sys\n"
        "import loadtest.locustfile\n"
        "print(','.join({name.partition('.')[0] for name in sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.strip().split(","))
    assert {"loadtest", "protocol", "fitting", "websocket"} <= loaded
    assert not loaded & {"signaling", "aiohttp", "jwt", "asyncio", "numpy"}


def test_no_file_beside_the_locustfile_hides_a_package() -> None:
    """Locust puts the folder of its file in front of all others while it loads it."""
    from importlib.metadata import packages_distributions

    beside = {path.stem for path in Path(__file__).parents[2].joinpath("loadtest").glob("*.py")}
    assert {"locustfile", "signalr_user"} <= beside
    assert not beside & (set(packages_distributions()) | sys.stdlib_module_names)
