"""Differences of contents: every leaf, its ear and its decibels; and three contents that disagree."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET

from fitting.diff import differences, three_way
from protocol.contract.fitting import Content, Program
from protocol.contract.history import Difference
from tests.contracts.device_log_bench import FRESH, louder
from tests.fitting.contents import content, flat


def test_equal_contents_do_not_differ() -> None:
    assert differences(FRESH, FRESH) == ()
    assert three_way(FRESH, FRESH, FRESH) == ()


def test_a_louder_band_is_one_leaf_with_its_decibels() -> None:
    before = FRESH.programs[0].right
    assert before is not UNSET
    was = before.g50_ddb[3]
    [change] = differences(FRESH, louder(FRESH, "right", by=15))
    wanted = Difference(slot=1, path="g50Ddb", ear="right", band_hz=1000, before=was, after=was + 15, ddb=15)
    assert change == wanted


def test_names_scalars_and_microphones_are_told_as_they_are() -> None:
    program = FRESH.programs[0]
    assert program.right is not UNSET
    right = msgspec.structs.replace(program.right, mic="pinna", nr_ddb=program.right.nr_ddb + 20)
    changed = msgspec.structs.replace(program, name="Music", category="music", right=right)
    found = differences(FRESH, msgspec.structs.replace(FRESH, programs=(changed,)))
    assert [(one.path, one.ear, one.ddb) for one in found] == [
        ("name", UNSET, UNSET),
        ("category", UNSET, UNSET),
        ("nrDdb", "right", 20),
        ("mic", "right", UNSET),
    ]


def test_a_slot_or_an_ear_that_comes_or_goes_is_one_difference() -> None:
    second = Program(slot=2, name="Noise", right=flat(), left=flat())
    more = msgspec.structs.replace(FRESH, programs=(*FRESH.programs, second))
    assert differences(FRESH, more) == (Difference(slot=2, path="program", after="Noise"),)
    assert differences(more, FRESH) == (Difference(slot=2, path="program", before="Noise"),)
    one_ear = content(right=flat())
    assert differences(FRESH, one_ear) == (Difference(slot=1, path="program", ear="left"),)


def test_three_that_disagree_are_a_conflict_only_when_both_moved_apart() -> None:
    aid, wanted = louder(FRESH, "right", by=30, band=2), louder(FRESH, "right", by=10, band=3)
    found = {(leaf.band_hz): leaf for leaf in three_way(FRESH, aid, wanted)}
    assert sorted(found, key=str) == [750, 1000] or sorted(found, key=str) == [1000, 750]
    assert not any(leaf.conflict for leaf in found.values())
    [clash] = three_way(FRESH, louder(FRESH, by=30), louder(FRESH, by=10))
    assert clash.conflict
    [agreed] = three_way(FRESH, louder(FRESH, by=10), louder(FRESH, by=10))
    assert not agreed.conflict


@given(st.lists(st.tuples(st.sampled_from(["left", "right"]), st.integers(-50, 50), st.integers(0, 9)), max_size=6))
def test_the_decibels_of_all_leaves_add_up(steps: list[tuple[str, int, int]]) -> None:
    after: Content = FRESH
    for ear, by, band in steps:
        after = louder(after, ear, by, band)  # type: ignore[arg-type]  # drawn from the two ears
    total = sum(one.ddb for one in differences(FRESH, after) if isinstance(one.ddb, int))
    assert total == sum(by for _, by, _ in steps)


@pytest.mark.parametrize("ear", ["right", "left"])
def test_each_ear_is_told_apart(ear: str) -> None:
    [change] = differences(FRESH, louder(FRESH, ear))  # type: ignore[arg-type]  # one of the two ears
    assert change.ear == ear
