"""What has missed its moment is tried again, and what never had one is never counted."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from tests.chaos import nemesis as module
from tests.chaos.fleet import Fleet, Tokens
from tests.chaos.history import HistoryFile, read_history
from tests.chaos.nemesis import ROUNDS, Nemesis
from tests.chaos.plan import Plan
from tests.chaos.profile import PROFILES, Fault
from tests.chaos.stage import Stage

FAULTS = tuple(Fault("storm", f"lane-{number}", 0.0) for number in range(2))


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with HistoryFile(tmp_path / "runner.jsonl", "runner") as history:
        nobody = cast("Any", None)
        no_pods = Fleet(nobody, Tokens(), nobody)
        yield Stage(Plan(1, PROFILES["smoke"], "sqlite", FAULTS), tmp_path, no_pods, nobody, history)


def strikes(monkeypatch: pytest.MonkeyPatch, *, lands_after: int) -> list[str]:
    """A fault that misses its moment so often on each lane; whom it has struck at."""
    struck: list[str] = []

    async def strike(_: Stage, fault: Fault) -> bool:
        struck.append(fault.lane)
        return struck.count(fault.lane) > lands_after

    monkeypatch.setattr(module, "FAULTS", {"storm": strike})
    return struck


@pytest.mark.parametrize("misses", [0, 1, ROUNDS])
async def test_a_fault_is_tried_again_until_it_lands(
    stage: Stage, misses: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    struck, nemesis = strikes(monkeypatch, lands_after=misses), Nemesis(stage, lambda _: None)
    await nemesis.run()
    assert nemesis.landed == nemesis.begun == stage.plan.required
    assert len(struck) == len(FAULTS) * (misses + 1)
    landed = [event.v["landed"] for event in read_history(stage.folder / "runner.jsonl") if event.f == "stop"]
    assert landed.count(True) == len(FAULTS)


async def test_a_fault_that_never_lands_is_missing(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    struck, nemesis = strikes(monkeypatch, lands_after=99), Nemesis(stage, lambda _: None)
    await nemesis.run()
    assert nemesis.begun - nemesis.landed == stage.plan.required
    assert len(struck) == len(FAULTS) * (ROUNDS + 1)


async def test_when_the_time_is_over_nothing_is_begun_and_nothing_is_missing(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    struck, nemesis = strikes(monkeypatch, lands_after=0), Nemesis(stage, lambda _: None, for_s=-1.0)
    await nemesis.run()
    assert not struck
    assert not nemesis.begun - nemesis.landed
