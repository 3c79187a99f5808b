"""The whole demo as a user runs it, and the proof that it notices when something is wrong."""

import asyncio
import json
import os
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from clients.demo import keeping
from clients.demo.__main__ import play
from clients.demo.arguments import parse
from clients.demo.delivering import DemoFailed
from clients.demo.fitting_scene import attach, first_fit
from clients.demo.printer import JsonPrinter
from clients.demo.push_service import PushService
from clients.demo.server_process import ServerProcess
from clients.demo.stage import staged
from protocol.contract.calls import RELAY_PEER

# On a quiet machine it is under 30 s; a busy one must not fail this.
MOST_S = 330.0
pytestmark = pytest.mark.timeout(360)
SCRIPT = [
    "server_ready",
    "shortened",
    "connected",
    "lease",
    "prescribed",
    "scheduled",
    "waiting",
    "admitted",
    "written_to",
    "in_call",
    "accepted",
    "confirmed",
    "heard",
    "refused",
    "saved",
    "call_heard",
    "call_over",
    "through_server",
    "visit_over",
    "link_slow",
    "session_ended",
    "fell_back",
    "installed",
    "kept",
    "phone_asleep",
    "pushed",
    "not_wanted",
    "taken_back",
    "reverted",
    "not_kept",
    "cable_pulled",
    "reconnected",
    "written",
    "server_killed",
    "server_back",
    "phone_killed",
    "phone_back",
    "history",
    "table",
    "checks",
    "result",
]


async def run_demo(*argv: str) -> tuple[int, list[dict[str, Any]], str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "clients.demo",
        "--json",
        *argv,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(MOST_S):
        out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, [json.loads(line) for line in out.splitlines()], err.decode()


def named(events: list[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    return [event for event in events if event["event"] == name]


async def assert_gone(url: str) -> None:
    with pytest.raises(ConnectionError):
        await asyncio.open_connection(urlsplit(url).hostname, urlsplit(url).port)


async def test_the_demo_shows_everything_that_it_promises_and_ends_its_server() -> None:
    code, events, err = await run_demo()
    assert code == 0, (events[-1], err)
    assert [name for name in SCRIPT if not named(events, name)] == []
    (refused,) = named(events, "refused")
    assert (refused["rule"], refused["limitDdb"]) == ("K7", 30)
    assert [event["times"] for event in named(events, "written")] == [1, 1]
    (call,) = named(events, "call_heard")
    assert min(*call["packets"], *call["sounds"]) >= 25
    (through,) = named(events, "through_server")
    assert through["peers"] == [[RELAY_PEER], [RELAY_PEER]]
    assert min(through["sounds"]) >= 25
    (not_kept,) = named(events, "not_kept")
    assert not_kept["state"] == "rolled_back"
    assert not_kept["codes"] == {"right": "E_PARTIAL", "left": "E_NVM"}
    (ended,) = named(events, "session_ended")
    assert (ended["reason"], ended["mode"]) == ("link_slow", "standard")
    (pushed,) = named(events, "pushed")
    data = json.loads(pushed["body"])["message"]["android"]["data"]
    assert set(data) == {"a", "d", "k"}
    assert len(named(events, "installed")) == 2
    (history,) = named(events, "history")
    undone = [revision for revision in history["revisions"] if revision["author"] == "demo-patient"]
    assert [(one["origin"], one["reason"]) for one in undone] == [("rollback", "taken back by its wearer")]
    accepted = {event["name"] for event in named(events, "accepted")}
    assert {revision["reason"] for revision in history["revisions"]} >= accepted
    (table,) = named(events, "table")
    for row in table["rows"]:
        assert row["sentDdb"] == row["inAidDdb"]
        assert row["digestSent"] == row["digestInAid"]
        assert max(abs(db - ddb / 10) for db, ddb in zip(row["heardDb"], row["inAidDdb"], strict=True)) < 0.5
    assert events[-1]["ok"] is True
    assert "not a clinical claim" in named(events, "prescribed")[0]["text"]
    await assert_gone(events[0]["url"])


async def test_an_audiogram_of_one_ear_fits_one_aid_over_messagepack_and_socketio(tmp_path: Path) -> None:
    file = tmp_path / "left.json"
    file.write_text(json.dumps({"left": {"500": 60, "1000": 65, "2000": 70, "4000": 120}}))
    code, events, err = await run_demo(
        "--audiogram", str(file), "--protocol", "messagepack", "--phone-transport", "socketio"
    )
    assert code == 0, (events[-1], err)
    assert [row["ear"] for row in named(events, "table")[0]["rows"]] == ["left"]
    assert {event["ear"] for event in named(events, "read_back")} == {"left"}
    assert named(events, "trimmed"), "120 dB HL asks for more than the aid can give"


async def test_an_aid_that_does_not_keep_what_is_written_fails_the_demo(tmp_path: Path) -> None:
    options = parse(["--patient", "N2"])
    with (tmp_path / "out").open("w") as out:
        printer = JsonPrinter(time.monotonic, out)
        async with (
            PushService() as pushes,
            ServerProcess(tmp_path) as server,
            staged(options, printer, server, pushes) as stage,
        ):
            aid = stage.pair.aid("right")
            aid.faults = replace(aid.faults, corrupt_digest=1_000)
            with pytest.raises(DemoFailed, match="first fit ended as failed"):
                await play(stage)


async def test_a_save_that_is_kept_where_it_should_not_be_fails_the_demo(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeping, "_NEVER_KEPT", 0)
    options = parse(["--patient", "N2"])
    with (tmp_path / "out").open("w") as out:
        printer = JsonPrinter(time.monotonic, out)
        async with (
            PushService() as pushes,
            ServerProcess(tmp_path) as server,
            staged(options, printer, server, pushes) as stage,
        ):
            await attach(stage)
            await first_fit(stage)
            base = await keeping.saved(stage)
            with pytest.raises(TimeoutError):
                await keeping.not_kept(stage, base)
    assert "a save that one aid does not keep ends as rolled back" in stage.checks.failed
    assert "no aid keeps what one of them could not keep" in stage.checks.failed


async def test_ctrl_c_ends_the_demo_and_its_server() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "clients.demo",
        "--json",
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    async with asyncio.timeout(MOST_S):
        ready = json.loads(await process.stdout.readline())
        os.kill(process.pid, signal.SIGINT)
        _, err = await process.communicate()
    assert process.returncode == 130
    assert err.decode().strip().splitlines()[-1] == "auricle demo: interrupted"
    await assert_gone(ready["url"])
