"""A killed process leaves a history that can be read, and a violation shows what it rests on."""

from pathlib import Path

import pytest

from tests.chaos.history import Event, HistoryFile, TornHistory, merged, read_history
from tests.chaos.story import stories
from tests.chaos.violation import Violation


def test_events_of_several_processes_come_out_in_the_order_of_the_clock(tmp_path: Path) -> None:
    with HistoryFile(tmp_path / "a", "f1") as one, HistoryFile(tmp_path / "b", "f2") as two:
        one.write("invoke", "acquire", "d1", session="s")
        two.write("ok", "boot", "d1")
        one.write("ok", "acquire", "d1", fence=1)
    events = merged(read_history(tmp_path / name) for name in ("b", "a"))
    assert [(event.p, event.f) for event in events] == [("f1", "acquire"), ("f2", "boot"), ("f1", "acquire")]


def test_a_torn_last_line_is_passed_over_and_a_torn_line_in_between_is_not(tmp_path: Path) -> None:
    path = tmp_path / "a"
    with HistoryFile(path, "f1") as file:
        file.write("ok", "boot", "d1")
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:20])
    assert [event.f for event in read_history(path)] == ["boot"]
    path.write_bytes(whole[:20] + b"\n" + whole)
    with pytest.raises(TornHistory, match="a:1"):
        list(read_history(path))


def test_an_operation_that_never_came_back_has_an_unknown_outcome() -> None:
    events = [
        Event(1, "f1", "invoke", "submit", "d1", {"reason": "r1"}),
        Event(2, "f1", "invoke", "submit", "d1", {"reason": "r2"}),
        Event(3, "f1", "info", "submit", "d1"),
        Event(4, "f2", "invoke", "submit", "d1", {"reason": "r3"}),
    ]
    assert [op.outcome for op in stories(events)["d1"].changes] == ["info", "info", "info"]


def test_a_witness_is_the_proof_and_what_happened_around_it() -> None:
    events = [
        Event(n * 1_000_000, "phone", "ok", f"step-{n}", "d1", {"digest": "sha256:abcdef0123"}) for n in range(20)
    ]
    violation = Violation("I2", "d1", "twice", (events[4], events[15]))
    lines = violation.witness(stories(events)["d1"]).splitlines()
    assert lines[0] == "I2  d1: twice"
    assert [line.strip() for line in lines if line.startswith("  >")] == [
        "> " + events[4].line(),
        "> " + events[15].line(),
    ]
    assert len(lines) == 1 + 5 + 1 + 5
    assert "digest=abcdef01" in lines[1]
