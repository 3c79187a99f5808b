"""One short run with faults on each database: every promise is kept, and every fault that was planned has landed."""

import asyncio
import shutil
import tempfile
from pathlib import Path

import pytest

from tests.chaos.__main__ import replay
from tests.chaos.plan import Plan, plan_of
from tests.chaos.profile import PROFILES
from tests.chaos.runner import run
from tests.chaos.waiting import PATIENCE

PATIENCE_S = 900 * PATIENCE
"""A run takes a minute or a minute and a half on two idle cores; on a busy one faults wait longer for their moment."""


@pytest.mark.timeout(PATIENCE_S + 60)
@pytest.mark.parametrize(("database", "seed", "pods"), [("sqlite", 1, 1), ("postgres", 2, 1), ("postgres", 2, 2)])
async def test_no_promise_is_broken_while_everything_else_is(database: str, seed: int, pods: int) -> None:
    plan = plan_of(seed, PROFILES["smoke"], database, pods)
    # Kept after a failure, wherever pytest's own folders are.
    folder = Path(tempfile.mkdtemp(prefix=f"auricle-chaos-{database}-"))
    told: list[str] = []
    try:
        async with asyncio.timeout(PATIENCE_S):  # ends all processes of the run, too
            result = await run(plan, folder, told.append)
    except TimeoutError:
        pytest.fail(f"no verdict within {PATIENCE_S:g} s\n{_where(plan, folder, told)}")
    assert not result.broken, f"{result.witness}\n{_where(plan, folder, told)}"
    assert not result.missing, f"not met: {result.missing}\n{_where(plan, folder, told)}"
    shutil.rmtree(folder)


def _where(plan: Plan, folder: Path, told: list[str]) -> str:
    return "\n".join((f"replay: {replay(plan)}", f"kept in {folder}", *told))
