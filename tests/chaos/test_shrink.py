"""A long list of faults is cut down to those that matter, within a number of runs that is known before."""

from collections.abc import Sequence

import pytest

from tests.chaos.shrink import shrink


@pytest.mark.parametrize("cause", [{3}, {0, 19}, {4, 11, 12}])
async def test_what_does_not_matter_is_left_out(cause: set[int]) -> None:
    async def fails(places: Sequence[int]) -> bool:
        return cause <= set(places)

    assert set(await shrink(range(20), fails, max_runs=1_000)) == cause


async def test_no_more_runs_are_made_than_were_allowed() -> None:
    runs = 0

    async def fails(places: Sequence[int]) -> bool:
        nonlocal runs
        runs += 1
        return {0, 19} <= set(places)

    found = await shrink(range(20), fails, max_runs=5)
    assert runs == 5
    assert {0, 19} <= set(found)
