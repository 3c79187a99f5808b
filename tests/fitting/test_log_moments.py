"""What NVM held, within a bound: however much of it is put together, nothing may rise higher for it."""

from collections.abc import Collection
from itertools import count
from operator import le
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fitting.budgets import Held, budgets, level_at, levels_of, lowest
from fitting.limits import WEEK_S
from fitting.log_moments import bounded, counted, kept_meanwhile, was_held
from fitting.log_parts import read_revision
from fitting.log_values import Moment
from fitting.model import band_values
from protocol.contract.base import EARS, Ear
from protocol.contract.fitting import BAND_PATHS, Content, Program
from protocol.contract.history import RevisionOrigin
from tests.fitting.contents import OTC6, content, flat, with_band

# A machine that does much else at the same time needs longer for all examples.
pytestmark = pytest.mark.timeout(180)
IDS = count(1)
DAY_S = 24 * 3_600.0


def moment(held: Content, at_s: float = 0.0, origin: RevisionOrigin = "save") -> Moment:
    made = read_revision(held, f"r-{next(IDS)}", "", "a test", at_s)
    return Moment(at_s, msgspec.structs.replace(made, origin=origin))


def new_id() -> str:
    return f"made-{next(IDS)}"


def at(gain_ddb: int, band: int = 3) -> Content:
    return content(right=with_band(flat(), band, g50_ddb=gain_ddb), left=flat())


@st.composite
def contents(draw: st.DrawFn) -> Content:
    """A pair, one aid or other aids, in one slot or two, with one band of its own."""
    sheet = draw(st.sampled_from([*[content().bands_hz] * 5, OTC6.bands_hz]))
    base = content() if sheet == content().bands_hz else content(OTC6)
    ears = draw(st.sampled_from([EARS, EARS, EARS, ("right",)]))
    part = flat() if sheet == content().bands_hz else flat(OTC6)
    made = []
    for slot in draw(st.sampled_from([(1,), (1,), (2,), (1, 2)])):
        parts: dict[str, Any] = {
            ear: with_band(part, draw(st.integers(0, 2)), g50_ddb=draw(st.integers(0, 6)) * 10) for ear in ears
        }
        made.append(Program(slot=slot, name="one", **parts))
    return msgspec.structs.replace(base, programs=tuple(made))


def weeks_lowest(active: tuple[Moment, ...], now_s: float) -> dict[object, int]:
    """Every level that the week's budget is counted from, as the ledger has it."""
    held = [Held(m.at_s, m.revision.content, m.revision.origin == "first_fit") for m in counted(active, now_s)]
    lowest = budgets(now_s, active=held).lowest_active_7d or {}
    return {
        (place, path, band): value
        for place, part in lowest.items()
        for path in BAND_PATHS
        for band, value in enumerate(band_values(part, path))
    }


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(contents(), st.sampled_from(["save"] * 8 + ["first_fit"])), min_size=1, max_size=12),
    st.integers(4, 6),
)
def test_whatever_is_put_together_no_budget_is_counted_from_more(
    given_contents: list[tuple[Content, RevisionOrigin]], limit: int
) -> None:
    everything: tuple[Moment, ...] = ()
    kept: tuple[Moment, ...] = ()
    for number, (held, origin) in enumerate(given_contents):
        now_s = number * DAY_S / 2
        newest = moment(held, now_s, origin)
        everything = (*everything, newest)
        kept, made = bounded((*counted(kept, now_s), newest), limit, new_id, now_s)
        assert len(kept) <= limit
        assert {one.revision_id for one in made} <= {one.revision.revision_id for one in kept}
        assert kept[-1] is newest
    last = [m for m in everything if m.revision.origin != "first_fit"][-1:]
    assert [m for m in kept if m.revision.origin != "first_fit"][-1:] == last
    for later_s in (now_s, now_s + 2 * DAY_S, now_s + 5 * DAY_S, now_s + WEEK_S + DAY_S):
        all_of_it, within = weeks_lowest(everything, later_s), weeks_lowest(kept, later_s)
        assert all_of_it.keys() <= within.keys()
        assert all(within[leaf] <= value for leaf, value in all_of_it.items())


def test_below_the_bound_nothing_is_changed() -> None:
    active = tuple(moment(at(value), float(value)) for value in (10, 20, 10))
    assert bounded(active, 3, new_id, 30.0) == (active, ())


def test_what_is_as_low_later_says_nothing() -> None:
    active = tuple(moment(at(value), float(at_s)) for at_s, value in enumerate((20, 10, 20, 10, 30)))
    kept, made = bounded(active, 4, new_id, 5.0)
    assert (kept, made) == (active[3:], ())


def test_only_when_all_say_something_two_are_put_together_at_their_lowest() -> None:
    active = tuple(moment(at(0, band), float(band)) for band in range(5))
    kept, [made] = bounded(active, 4, new_id, 5.0)
    assert [m.at_s for m in kept] == [1, 2, 3, 4]
    both = content(right=with_band(with_band(flat(), 0, g50_ddb=0), 1, g50_ddb=0), left=flat())
    assert made.content == both
    assert (made.origin, made.author) == ("readback", "server")
    assert [was_held(m) for m in kept] == [False, True, True, True]


def test_what_is_older_than_the_week_goes_but_for_what_was_in_force() -> None:
    active = (
        *(moment(at(value), float(value)) for value in (1, 2)),
        *(moment(at(value), float(value), "first_fit") for value in (3, 4)),
        moment(at(5), 5.0 + WEEK_S),
    )
    assert counted(active, WEEK_S) == active
    assert counted(active, WEEK_S + 4) == (active[1], active[3], active[4])
    assert counted(active[:4], 9 * WEEK_S) == (active[1], active[3])


@settings(max_examples=60, deadline=None)
@given(st.lists(contents(), min_size=1, max_size=4), contents(), contents(), st.sets(st.sampled_from(EARS)))
def test_what_was_taken_back_lets_nothing_be_counted_from_more(
    given_contents: list[Content], brought: Content, later: Content, ears: set[Ear]
) -> None:
    active = tuple(moment(held, float(at_s)) for at_s, held in enumerate(given_contents))
    last = active[-1].revision
    found = kept_meanwhile(moment(brought).revision, ears, active, before=last, new_id=new_id, now_s=9.0)
    counted_too = [] if found is None else [found.content]
    before = lowest([m.revision.content for m in active])
    after = lowest([*(m.revision.content for m in active), *counted_too, last.content])
    copied = levels_of(brought)
    for place in levels_of(later):
        was, now = level_at(before, place), level_at(after, place)
        assert (was is None) == (now is None)
        if was is not None and now is not None:
            held = copied.get(place) if found and place[1] in ears else None
            for path in BAND_PATHS:
                bands = zip(band_values(was, path), band_values(now, path), strict=True)
                assert all(new <= old for old, new in bands)
                assert held is None or all(map(le, band_values(now, path), band_values(held, path)))


def made_of(brought: Content, ears: Collection[Ear], *active: Moment, before: int = -1) -> Content | None:
    """What is counted from beside one of the moments, the last if not said."""
    revision, base = moment(brought).revision, active[before].revision
    made = kept_meanwhile(revision, ears, active, before=base, new_id=new_id, now_s=2.0)
    assert made is None or (made.at_s, made.origin, was_held(Moment(2.0, made))) == (2.0, "readback", False)
    return None if made is None else made.content


def test_what_was_taken_back_counts_on_the_ears_that_may_have_kept_it() -> None:
    active = (moment(content(right=flat(), left=flat())), moment(at(300), 1.0, "first_fit"))
    quieter = content(right=with_band(flat(), 3, g50_ddb=10), left=with_band(flat(), 3, g50_ddb=20))
    assert made_of(quieter, {"right"}, *active, before=0) == at(10)
    assert made_of(quieter, {"right"}, *active, before=1) == at(10)


def test_a_new_slot_that_was_taken_back_is_no_higher_than_the_others() -> None:
    both = at(60)
    second = Program(slot=2, name="two", right=with_band(flat(), 3, g50_ddb=90), left=flat())
    brought = msgspec.structs.replace(both, programs=(*both.programs, second))
    made = made_of(brought, EARS, moment(at(10)), moment(at(60)))
    assert made is not None
    assert levels_of(made)[2, "right"].g50_ddb[3] == 10


def test_where_nothing_is_known_or_nothing_was_lower_nothing_is_counted() -> None:
    louder, same = at(90), at(50)
    assert made_of(louder, EARS, moment(at(60))) is None
    assert made_of(same, (), moment(at(60))) is None
    assert made_of(same, EARS, moment(content(OTC6))) is None
    assert made_of(same, EARS, moment(content(right=flat()))) is None


def made_up(held: Content, at_s: float) -> Moment:
    """What was put together, or kept by an ear for a while."""
    one = moment(held, at_s)
    made = Moment(at_s, msgspec.structs.replace(one.revision, origin="readback", author="server"))
    assert not was_held(made)
    return made


def test_what_is_in_force_though_it_was_made_up_leaves_what_was_kept() -> None:
    active = (moment(at(40)), moment(at(50), 1.0), made_up(at(10), 2.0))
    assert counted(active, 9 * WEEK_S) == active[1:]
    later = (*active, moment(at(60), WEEK_S))
    assert counted(later, 2 * WEEK_S - 1) == later[1:]
    assert counted(later, 2 * WEEK_S) == later[3:]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(contents(), st.sampled_from(["held", "held", "made_up", "first_fit"])), min_size=1, max_size=14)
)
def test_what_both_keep_and_what_is_in_force_stay_whatever_is_put_together(
    given_contents: list[tuple[Content, str]],
) -> None:
    everything: tuple[Moment, ...] = ()
    kept: tuple[Moment, ...] = ()
    for number, (held, kind) in enumerate(given_contents):
        now_s = number * DAY_S / 2
        kinds = {"held": moment, "made_up": made_up}
        newest = kinds[kind](held, now_s) if kind in kinds else moment(held, now_s, "first_fit")
        everything = (*everything, newest)
        kept, _ = bounded((*counted(kept, now_s), newest), 5, new_id, now_s)
        assert kept[-1] is newest
        chosen = [m for m in everything if was_held(m) and m.revision.origin != "first_fit"]
        assert not chosen or any(m is chosen[-1] for m in kept)
    for later_s in (now_s, now_s + 3 * DAY_S, now_s + WEEK_S + DAY_S):
        all_of_it, within = weeks_lowest(everything, later_s), weeks_lowest(kept, later_s)
        assert all_of_it.keys() <= within.keys()
        assert all(within[leaf] <= value for leaf, value in all_of_it.items())
