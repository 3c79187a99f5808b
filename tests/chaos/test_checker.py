"""The judge is judged: it sees every seeded bug, and finds nothing where there is none."""

import pytest

from tests.chaos.check_record import nothing_leaks
from tests.chaos.checker import check, report
from tests.chaos.fake.mutations import BUGS, Mutation
from tests.chaos.fake.world import FakeSize, run_fake

CLEAN_SEEDS = range(50)
RUNS = 3
LARGE = FakeSize(devices=6, fitters=6, steps=8_000)


@pytest.mark.parametrize("seed", CLEAN_SEEDS)
def test_a_system_without_a_bug_is_found_without_fault(seed: int) -> None:
    run = run_fake(seed)
    violations = [*check(run.history), *nothing_leaks({"log": run.log_text}, run.canaries)]
    assert not violations, report(run.history, violations)


@pytest.mark.parametrize("mutation", Mutation, ids=lambda mutation: mutation.name.lower())
def test_every_seeded_bug_is_caught_within_three_runs(mutation: Mutation) -> None:
    caught: set[str] = set()
    for seed in range(RUNS):
        run = run_fake(seed, mutation, LARGE)
        found = [*check(run.history), *nothing_leaks({"log": run.log_text}, run.canaries)]
        caught |= {violation.invariant for violation in found}
        if caught & BUGS[mutation].broken:
            return
    pytest.fail(f"{mutation.name} broke {caught or 'nothing that was seen'} in {RUNS} runs")
