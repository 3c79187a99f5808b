"""The fewest steps that still fail."""

from tests.simulation.plan import Plan, Step
from tests.simulation.shrink import shrunk

PLAN = Plan(1, tuple(Step("fault", str(number)) for number in range(20)))


def whats(plan: Plan) -> list[str]:
    return [step.what for step in plan.steps]


def test_one_guilty_step_is_found() -> None:
    assert whats(shrunk(PLAN, lambda plan: "13" in whats(plan))) == ["13"]


def test_two_that_are_guilty_together_are_found_in_their_order() -> None:
    assert whats(shrunk(PLAN, lambda plan: {"3", "17"} <= set(whats(plan)))) == ["3", "17"]


def test_a_bound_on_runs_is_kept() -> None:
    runs = 0

    def fails(_: Plan) -> bool:
        nonlocal runs
        runs += 1
        return False

    assert shrunk(PLAN, fails, max_runs=5) == PLAN
    # The round that was begun is finished.
    assert runs <= 5 + len(PLAN.steps)
