"""The pieces of the demo by themselves: candidates, checks, printers, table, cable, server process."""

import asyncio
import io
import json
import os
from contextlib import suppress
from pathlib import Path

import pytest

from clients.demo.cable import Cable
from clients.demo.changes import gains_65, program_of, some_change, unsafe_raise
from clients.demo.checks import Checks
from clients.demo.past import line, summary
from clients.demo.phone_process import PhoneProcess
from clients.demo.printer import JsonPrinter, TextPrinter
from clients.demo.server_process import ServerFailed, ServerProcess, ServerWaits
from clients.demo.table import EarRow, render
from fitting.audiogram import STANDARD_AUDIOGRAMS
from fitting.capability import SHEETS
from fitting.model import apply_patch
from fitting.prescription import prescribe
from protocol.contract.base import EARS, Ear
from protocol.contract.fitting import Content, Digests, SafetySummary
from protocol.contract.history import Difference, RevisionView
from tests.eventually import eventually

SHEET = SHEETS["ref10"]


def fitted(name: str) -> Content:
    return prescribe(STANDARD_AUDIOGRAMS[name], {"right": SHEET, "left": SHEET}).content


@pytest.mark.parametrize("name", STANDARD_AUDIOGRAMS)
@pytest.mark.parametrize("by_ddb", [20, -20])
def test_a_candidate_moves_its_bands_in_all_ears_and_no_other(name: str, by_ddb: int) -> None:
    content = fitted(name)
    for bands, patch in some_change(content, EARS, by_ddb):
        changed = apply_patch(content, patch)
        for ear in EARS:
            moved = [b - a for a, b in zip(gains_65(content, ear), gains_65(changed, ear), strict=True)]
            assert moved == [by_ddb if band in bands else 0 for band in range(len(moved))]


@pytest.mark.parametrize("name", STANDARD_AUDIOGRAMS)
def test_every_standard_audiogram_has_something_to_raise_and_something_to_lower_after_it(name: str) -> None:
    content = fitted(name)
    _, up = next(some_change(content, EARS, 20))
    assert next(some_change(apply_patch(content, up), EARS, -20), None) is not None


def test_lowering_never_goes_below_no_gain() -> None:
    content = fitted("N1")
    for _, patch in some_change(content, EARS, -30):
        lowered = apply_patch(content, patch)
        assert all(min(program_of(lowered, ear).g80_ddb) >= 0 for ear in EARS)


def test_the_unsafe_raise_is_inside_what_the_aid_could_do() -> None:
    """Otherwise the demo would show the aid's own limit and not the rule about steps."""
    for name in STANDARD_AUDIOGRAMS:
        content = fitted(name)
        band, patch = unsafe_raise(content, "right", 80)
        raised = program_of(apply_patch(content, patch), "right")
        assert raised.g50_ddb[band] <= SHEET.gain_max_ddb


def test_checks_hold_only_if_some_ran_and_none_failed() -> None:
    out = io.StringIO()
    checks = Checks(TextPrinter(lambda: 0.0, out))
    verdicts = [checks.ok]
    for name, held in (("one", True), ("two", False)):
        checks.expect(name, held, "three")
        verdicts.append(checks.ok)
    assert verdicts == [False, True, False]
    assert checks.failed == ["two"]
    assert "CHECK FAILED: two: three" in out.getvalue()


def test_a_json_line_has_event_time_fields_and_text() -> None:
    out, now = io.StringIO(), iter([10.0, 11.25])
    JsonPrinter(lambda: next(now), out).tell("heard", "a\nb", ear="left", bandsHz=[500])
    assert json.loads(out.getvalue()) == {
        "event": "heard",
        "atS": 1.25,
        "ear": "left",
        "bandsHz": [500],
        "text": "a\nb",
    }


def test_text_is_stamped_once_and_indented_below() -> None:
    out, now = io.StringIO(), iter([0.0, 2.0])
    TextPrinter(lambda: next(now), out).tell("table", "first\nsecond")
    assert out.getvalue() == "[  2.0 s] first\n          second\n"


def test_the_table_shows_four_rows_and_both_digests_of_an_ear() -> None:
    row = EarRow("right", (500, 1_000), (100, 205), (100, 200), (100, 200), (10.02, 19.98), "sha256:a", "sha256:b")
    text = render([row])
    for cells in ("wanted           10.0   20.5", "in the aid       10.0   20.0", "heard            10.0   20.0"):
        assert cells in text
    assert "sha256:a" in text
    assert "sha256:b" in text
    assert row.fields()["wantedDdb"] == (100, 205)


def moved(ddb: int, band_hz: int, ear: Ear = "left") -> Difference:
    return Difference(slot=1, path="g65Ddb", ear=ear, band_hz=band_hz, before=0, after=ddb, ddb=ddb)


def test_a_revision_is_told_by_how_many_decibels_where_and_on_which_ears() -> None:
    both = (moved(20, 3_000), moved(20, 2_000), moved(20, 2_000, "right"))
    assert summary(both) == "+2 dB at 2000, 3000 Hz, both ears"
    assert summary([moved(-15, 500), moved(10, 4_000)]) == "-1.5 dB at 500 Hz; +1 dB at 4000 Hz, the left ear"
    assert summary([moved(ddb, 500) for ddb in (1, 2, 3, 40)]) == "4 values of the left ear, +0.1 to +4 dB"
    assert summary([]) == "nothing"
    assert summary([Difference(slot=1, path="name", before="a", after="b")]) == "1 values of the program"


def test_a_line_of_the_history_names_author_origin_and_reason() -> None:
    digests = Digests(pair="sha256:" + "0" * 64)
    view = RevisionView(
        revision="r2",
        parent="r1",
        origin="fitting",
        author="ann",
        reason="too dull",
        at="2026-01-01T00:00:00.000Z",
        digests=digests,
        safety=SafetySummary(rules=()),
        changes=(moved(20, 2_000),),
    )
    for word in ("ann", "fitting", "+2 dB at 2000 Hz, the left ear", "too dull"):
        assert word in line(view)


async def test_a_phone_process_that_has_ended_by_itself_is_not_said_to_have_been_killed(tmp_path: Path) -> None:
    log = tmp_path / "phone.log"
    async with PhoneProcess(["--no-such-option"], log) as phone:
        await eventually(lambda: "unrecognized arguments" in log.read_text() or "required" in log.read_text())
        await eventually(lambda: phone.has_ended)
        assert not await phone.kill()


async def test_a_phone_process_is_gone_after_its_block(tmp_path: Path) -> None:
    words = ["--token", "t", "--device", "d", "--left", "S", "--url", "http://127.0.0.1:9"]
    async with PhoneProcess([*words, "--aids", str(tmp_path)], tmp_path / "phone.log") as phone:
        pid = phone.pid
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_on_a_bad_cable_everything_takes_its_time_and_keeps_its_order() -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(100):
            writer.write(data)
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    loop = asyncio.get_running_loop()
    async with server, Cable(server.sockets[0].getsockname()[1]) as cable:
        reader, writer = await asyncio.open_connection("127.0.0.1", cable.port)
        cable.delay_s = 0.1
        began_s = loop.time()
        writer.write(b"slow")
        assert await reader.readexactly(4) == b"slow"
        assert loop.time() - began_s >= 0.2
        writer.write(b"first ")
        await writer.drain()
        await asyncio.sleep(0.02)  # sleep: it is on its way
        cable.delay_s = 0.0
        writer.write(b"second")
        assert await reader.readexactly(12) == b"first second"
        cable.delay_s = 0.05
        writer.write_eof()
        assert await reader.read() == b""
        writer.close()


async def test_a_cable_carries_both_ways_until_it_is_pulled_and_again_when_it_is_plugged_in() -> None:
    async def shout(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionResetError):
            while data := await reader.read(100):
                writer.write(data.upper())
        writer.close()

    server = await asyncio.start_server(shout, "127.0.0.1", 0)
    async with server, Cable(server.sockets[0].getsockname()[1]) as cable:
        reader, writer = await asyncio.open_connection("127.0.0.1", cable.port)
        writer.write(b"hello")
        assert await reader.readexactly(5) == b"HELLO"
        cable.pull()
        with pytest.raises(ConnectionResetError):
            await reader.readexactly(1)
        refused, gone = await asyncio.open_connection("127.0.0.1", cable.port)
        with pytest.raises(ConnectionResetError):
            await refused.readexactly(1)
        cable.plug_in()
        reader, other = await asyncio.open_connection("127.0.0.1", cable.port)
        other.write(b"again")
        assert await reader.readexactly(5) == b"AGAIN"
        for end in (writer, gone, other):
            end.close()
    assert cable.pulls == 1


async def test_a_server_that_ends_without_a_ready_line_is_a_clear_failure_with_its_log(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path, module="no_such_module")
    with pytest.raises(ServerFailed, match="without a ready line"):
        await server.__aenter__()
    assert "no_such_module" in server.log_tail()


async def test_a_server_that_never_gets_ready_is_ended_in_its_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sleepy.py").write_text("import signal\nsignal.pause()\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    server = ServerProcess(tmp_path, module="sleepy", waits=ServerWaits(ready_s=0.3, end_s=1.0))
    with pytest.raises(ServerFailed, match=r"not ready within 0\.3 s"):
        await server.__aenter__()
    with pytest.raises(ProcessLookupError):
        os.kill(server.pid, 0)


async def test_a_server_that_ignores_sigterm_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "stubborn.py").write_text(
        "import json, signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        'print(json.dumps({"event": "ready", "url": "http://127.0.0.1:1"}), flush=True)\n'
        "while True:\n    signal.pause()\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    async with ServerProcess(tmp_path, module="stubborn", waits=ServerWaits(end_s=0.2)) as server:
        assert server.url == "http://127.0.0.1:1"
        os.kill(server.pid, 0)
    with pytest.raises(ProcessLookupError):
        os.kill(server.pid, 0)


async def test_a_token_command_that_fails_is_told_by_its_last_line(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path)
    with pytest.raises(ServerFailed, match="token command ended with 2: "):
        await server.token("ann", "c1", ["no-such-role"])
