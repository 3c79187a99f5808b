"""From a plan that fails to the fewest steps that still do (Zeller and Hildebrandt's ddmin).

Pure but for the question that it asks. Read ``shrunk``.
"""

from collections.abc import Callable

from .plan import Plan

__all__ = ["shrunk"]


def shrunk(plan: Plan, fails: Callable[[Plan], bool], *, max_runs: int = 400) -> Plan:
    """A plan with a part of the steps that still fails; no single step of it can be left out, if runs sufficed."""
    runs, parts = 0, 2
    steps = list(plan.steps)
    while len(steps) > 1 and runs < max_runs:
        size = max(1, len(steps) // parts)
        for start in range(0, len(steps), size):
            fewer = [*steps[:start], *steps[start + size :]]
            runs += 1
            if fewer and fails(plan.with_steps(fewer)):
                steps, parts = fewer, max(2, parts - 1)
                break
        else:
            if size == 1:
                break
            parts = min(len(steps), parts * 2)
    return plan.with_steps(steps)
