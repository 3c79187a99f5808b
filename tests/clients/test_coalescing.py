"""Slider moves joined into patches: the same sound, far fewer writes."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clients.coalescing import Moves, Pace
from fitting.model import apply_patch
from protocol.contract.base import EARS
from protocol.contract.fitting import Content, Patch, PatchOp
from protocol.errors import BadArgument, Overloaded
from tests.fitting.contents import content

ONE = content()
TWO_SLOTS = Content(bands_hz=ONE.bands_hz, programs=(*ONE.programs, *content(slot=2).programs))
BANDS = len(TWO_SLOTS.bands_hz)


def op(band: int = 0, value: int = 10, kind: str = "set", path: str = "g65Ddb", side: str = "right") -> PatchOp:
    return PatchOp(op=kind, ear=side, path=path, band=band, value=value)  # type: ignore[arg-type]  # drawn from the literals


OPS = st.one_of(
    st.builds(
        op,
        st.integers(0, BANDS - 1),
        st.integers(-60, 60),
        st.sampled_from(["set", "add"]),
        st.sampled_from(["g50Ddb", "g65Ddb", "g80Ddb", "mpoDdb"]),
        st.sampled_from(EARS),
    ),
    st.builds(
        lambda side, kind, value: PatchOp(op=kind, ear=side, path="nrDdb", value=value),
        st.sampled_from(EARS),
        st.sampled_from(["set", "add"]),
        st.integers(-20, 20),
    ),
    st.builds(
        lambda side, mic: PatchOp(op="set", ear=side, path="mic", value=mic),
        st.sampled_from(EARS),
        st.sampled_from(["omni", "pinna", "fixed_dir"]),
    ),
)
PATCHES = st.builds(
    lambda slot, ops: Patch(slot=slot, ops=tuple(ops)), st.integers(1, 2), st.lists(OPS, min_size=1, max_size=12)
)


def applied(start: Content, patches: list[Patch]) -> Content:
    for patch in patches:
        start = apply_patch(start, patch)
    return start


def drained(moves: Moves, now_s: float) -> list[Patch]:
    """Everything that waits, each patch as soon as it may be sent."""
    sent = []
    while (due_s := moves.due_s) is not None:
        patch, moves = moves.taken(max(now_s, due_s))
        if patch is not None:
            sent.append(patch)
            moves = moves.settled()
    return sent


@given(st.lists(PATCHES, max_size=20), st.integers(1, 40))
def test_the_joined_patches_do_what_the_moves_do_one_by_one(patches: list[Patch], max_ops: int) -> None:
    moves = Moves(Pace(max_ops=max_ops))
    for patch in patches:
        moves = moves.moved(patch, 0.0)
    sent = drained(moves, 0.0)
    assert applied(TWO_SLOTS, sent) == applied(TWO_SLOTS, patches)
    assert all(len(patch.ops) <= max(max_ops, 4) for patch in sent)


@given(
    st.lists(st.tuples(PATCHES, st.floats(0.0, 0.6)), min_size=1, max_size=40),
    st.lists(st.floats(0.0, 0.7), min_size=1),
)
def test_whenever_moves_come_and_ends_come_what_was_sent_is_what_was_moved_and_never_too_often(
    moved: list[tuple[Patch, float]], ends: list[float]
) -> None:
    moves, now_s, sent, ends_at_s = Moves(), 0.0, list[tuple[float, Patch]](), None

    def pass_time(until_s: float) -> None:
        nonlocal moves, ends_at_s
        while True:
            due_s = moves.due_s if ends_at_s is None else ends_at_s
            if due_s is None or due_s > until_s:
                return
            if ends_at_s is not None:
                moves, ends_at_s = moves.settled(), None
                continue
            at_s = max(due_s, now_s)
            patch, moves = moves.taken(at_s)
            if patch is not None:
                assert moves.in_flight
                assert moves.due_s is None
                sent.append((at_s, patch))
                ends_at_s = at_s + ends[len(sent) % len(ends)]

    for patch, after_s in moved:
        pass_time(now_s + after_s)
        now_s += after_s
        moves = moves.moved(patch, now_s)
    pass_time(float("inf"))
    assert applied(TWO_SLOTS, [patch for _, patch in sent]) == applied(TWO_SLOTS, [patch for patch, _ in moved])
    for at_s, _ in sent:
        assert sum(at_s <= other < at_s + 1.0 - 1e-9 for other, _ in sent) <= 4


def test_moves_are_joined_from_the_first_one_on() -> None:
    moves = Moves().moved(Patch(slot=1, ops=(op(value=1),)), 10.0).moved(Patch(slot=1, ops=(op(value=2),)), 10.2)
    assert moves.due_s == 10.25
    assert moves.taken(10.24) == (None, moves)
    patch, after = moves.taken(10.25)
    assert patch == Patch(slot=1, ops=(op(value=2),))
    assert after.due_s is None


def test_while_one_is_in_flight_the_newest_waits_as_one() -> None:
    _, moves = Moves().moved(Patch(slot=1, ops=(op(value=1),)), 0.0).taken(0.25)
    for value in (2, 3, 4):
        moves = moves.moved(Patch(slot=1, ops=(op(value=value),)), 0.3)
    assert moves.due_s is None
    assert moves.taken(99.0)[0] is None
    patch, _ = moves.settled().taken(99.0)
    assert patch == Patch(slot=1, ops=(op(value=4),))


def test_a_patch_is_sent_a_quarter_of_a_second_after_the_one_before_at_the_earliest() -> None:
    _, moves = Moves(Pace(join_s=0.0)).moved(Patch(slot=1, ops=(op(),)), 0.0).taken(0.0)
    assert moves.settled().moved(Patch(slot=1, ops=(op(),)), 0.01).due_s == 0.25


def test_what_adds_up_to_nothing_is_not_sent() -> None:
    up, down = (Patch(slot=1, ops=(op(value=value, kind="add"),)) for value in (10, -10))
    patch, moves = Moves().moved(up, 0.0).moved(down, 0.1).taken(1.0)
    assert patch is None
    assert moves == Moves()


def test_values_of_one_band_are_never_torn_apart() -> None:
    paths = ("g50Ddb", "g65Ddb", "g80Ddb")
    ops = tuple(op(band, 5, "add", path) for path in paths for band in range(4))
    moves = Moves(Pace(max_ops=7)).moved(Patch(slot=1, ops=ops), 0.0)
    assert [{one.band for one in patch.ops} for patch in drained(moves, 0.0)] == [{0, 1}, {2, 3}]


def test_something_is_added_only_to_numbers() -> None:
    mic = Patch(slot=1, ops=(PatchOp(op="set", ear="left", path="mic", value="omni"),))
    for wrong in (PatchOp(op="add", ear="left", path="mic", value=1), op(value=True, kind="add")):
        with pytest.raises(BadArgument, match="added"):
            Moves().moved(mic, 0.0).moved(Patch(slot=1, ops=(wrong,)), 0.0)


def test_what_waits_is_bounded_by_leaves_not_by_moves() -> None:
    moves = Moves(Pace(max_leaves=2))
    for value in range(100):
        moves = moves.moved(Patch(slot=1, ops=(op(0, value), op(1, value))), 0.0)
    with pytest.raises(Overloaded, match="2 values"):
        moves.moved(Patch(slot=1, ops=(op(2),)), 0.0)


def test_a_move_that_is_refused_leaves_what_waits_as_it_was() -> None:
    moves = Moves().moved(Patch(slot=1, ops=(op(),)), 0.0)
    before = replace(moves)
    with pytest.raises(BadArgument):
        moves.moved(Patch(slot=1, ops=(op(1), op(value=True, kind="add"))), 0.0)
    assert moves == before
