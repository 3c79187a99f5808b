"""A few hundred runs on every push; ``python -m tests.simulation --seeds 10000`` is the same with more of them."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.simulation.__main__ import PACKAGE_ENDS, PUSHES, Tally, main
from tests.simulation.bugs import BUGS
from tests.simulation.checks import Violation
from tests.simulation.disk import SlowMemoryStore
from tests.simulation.handset import PhoneParts
from tests.simulation.package_bugs import PACKAGE_BUGS
from tests.simulation.plan import FAULTS, drawn
from tests.simulation.plans import PLANS
from tests.simulation.run import Verdict, simulate
from tests.simulation.watched_log import WatchedLog
from tests.simulation.world import Options

# A machine that does much else at the same time needs longer for all of them.
pytestmark = pytest.mark.timeout(400)
MEMORY, SQLITE, AT_MOST = 150, 20, 60
# Found by many more runs, and mended.
FOUND = (934, 7_267, 9_535, 40_051)


def check(verdicts: Iterator[Verdict]) -> Tally:
    failed: dict[int, tuple[Violation, ...]] = {}
    tally = Tally()
    for verdict in verdicts:
        tally.take(verdict)
        failed |= {verdict.plan.seed: verdict.violations} if verdict.violations else {}
    assert failed == {}
    return tally


def test_nothing_is_found_in_many_runs_with_the_log_in_memory() -> None:
    tally = check(simulate(drawn(seed)) for seed in range(MEMORY))
    # What is never done is never found wrong.
    assert tally.packages.keys() >= PACKAGE_ENDS
    assert tally.pushes.keys() >= PUSHES


def test_nothing_is_found_in_some_runs_with_the_log_in_sqlite() -> None:
    check(simulate(drawn(seed), Options(disk="sqlite")) for seed in range(10_000, 10_000 + SQLITE))


@pytest.mark.parametrize("seed", FOUND)
def test_what_was_found_once_is_not_found_again(seed: int) -> None:
    check(simulate(drawn(one), Options(disk=disk)) for one in (seed,) for disk in ("memory", "sqlite"))


@pytest.mark.parametrize("bug", BUGS)
def test_a_bug_that_is_put_in_is_found(bug: str) -> None:
    plans = PLANS.get(bug) or [drawn(seed) for seed in range(AT_MOST)]
    assert any(simulate(plan, BUGS[bug]).violations for plan in plans)


@pytest.mark.parametrize("bug", PLANS)
def test_without_the_bug_nothing_is_found_on_the_same_way(bug: str) -> None:
    # A disk that is busy is no bug.
    store = SlowMemoryStore if bug in PACKAGE_BUGS else BUGS[bug].store
    same = replace(BUGS[bug], log=WatchedLog, phone=PhoneParts(), store=store)
    check(simulate(plan, same) for plan in PLANS[bug])


def test_a_seed_is_the_same_run_in_every_process() -> None:
    code = (
        "import hashlib, json; from tests.simulation.plan import drawn; from tests.simulation.run import simulate\n"
        "runs = [simulate(drawn(seed)) for seed in (3, 4)]\n"
        "print(json.dumps([hashlib.sha256('\\n'.join(map(str, run.trace)).encode()).hexdigest() for run in runs]))"
    )
    command = [sys.executable, "-c", code]
    told = [
        json.loads(subprocess.check_output(command, env={**os.environ, "PYTHONHASHSEED": hash_seed}))
        for hash_seed in ("1", "2")
    ]
    assert told[0] == told[1]
    assert told[0][0] != told[0][1]


def test_a_plan_without_one_of_its_steps_draws_the_same_for_the_others() -> None:
    plan = drawn(5)
    fewer = plan.with_steps([step for step in plan.steps if step.who != "fault"])
    whole, part = (simulate(one).trace for one in (plan, fewer))
    assert [str(one) for one in whole[:5]] == [str(one) for one in part[:5]]


def test_every_kind_of_fault_is_drawn() -> None:
    kinds = {step.what for seed in range(300) for step in drawn(seed).of("fault")}
    assert kinds == FAULTS.keys()


def test_the_command_tells_a_failing_seed_shrinks_it_and_says_so_by_its_exit_code(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["--seeds", "2", "--jobs", "1"]) == 0
    assert "2 runs" in capsys.readouterr().out
    assert main(["--seeds", "1", "--jobs", "1", "--bug", "breaks the chain"]) == 1
    assert "seed 0: chain at" in capsys.readouterr().out
    assert main(["--seed", "0", "--bug", "breaks the chain", "--shrink", "--trace"]) == 1
    told = capsys.readouterr().out
    assert "FAILED chain" in told
    assert told.count("\nstep ") <= 2
    with pytest.raises(SystemExit, match="2"):
        main(["--log", "paper"])
