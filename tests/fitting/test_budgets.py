"""What the budgets are counted from: windows, new beginnings, new slots, and other aids."""

from types import MappingProxyType

import msgspec

from fitting.budgets import Budgets, Held, budgets, level_at, levels_of, lowest, lowest_since, was_active, was_worn
from fitting.limits import WEEK_S
from protocol.contract.fitting import Content, EarProgram, Program
from tests.fitting.contents import OTC6, content, flat, with_band


def at(gain_ddb: int) -> Content:
    """A right ear whose gain for soft sounds is this."""
    return content(right=flat(g50_ddb=gain_ddb))


def g50(levels: object) -> int:
    assert isinstance(levels, MappingProxyType)
    program = levels[1, "right"]
    assert isinstance(program, EarProgram)
    assert len(set(program.g50_ddb)) == 1
    return program.g50_ddb[0]


def test_of_an_empty_history_nothing_is_known() -> None:
    assert budgets(100.0) == Budgets(None, None, None, None)
    assert lowest_since([], 0.0) is None


def test_the_value_that_was_in_force_when_the_window_began_counts() -> None:
    history = [Held(0, at(100)), Held(10, at(300)), Held(20, at(200))]
    assert g50(lowest_since(history, 10.5)) == 200
    assert g50(lowest_since(history, 10)) == 200
    assert g50(lowest_since(history, 9.9)) == 100
    assert g50(lowest_since(history, 99)) == 200
    assert g50(lowest_since(history, -1)) == 100
    assert g50(lowest_since(history[:2], 15)) == 300


def test_the_windows_are_10_seconds_and_7_days_long() -> None:
    history = [Held(0, at(100)), Held(1, at(200))]
    assert g50(budgets(10.9, session=history).lowest_10s) == 100
    assert g50(budgets(11, session=history).lowest_10s) == 200
    assert g50(budgets(WEEK_S + 0.9, active=history).lowest_active_7d) == 100
    assert g50(budgets(WEEK_S + 1, active=history).lowest_active_7d) == 200


def test_a_session_is_counted_from_where_it_began_and_active_is_the_last() -> None:
    known = budgets(1_000, session=[Held(0, at(100)), Held(5, at(50)), Held(9, at(300))], active=[Held(0, at(60))])
    assert (g50(known.session_base), g50(known.lowest_10s)) == (100, 300)
    assert (g50(known.active), g50(known.lowest_active_7d)) == (60, 60)
    assert g50(budgets(0, active=[Held(0, at(60)), Held(1, at(90))]).active) == 90


def test_the_lowest_is_taken_for_each_level_by_itself() -> None:
    one = content(right=with_band(flat(), 3, g50_ddb=180, mpo_ddb=950))
    other = content(right=with_band(flat(), 4, g65_ddb=140, g80_ddb=90))
    least = lowest([one, other])[1, "right"]
    assert least == with_band(with_band(flat(), 3, g50_ddb=180, mpo_ddb=950), 4, g65_ddb=140, g80_ddb=90)
    assert least == lowest([other, one])[1, "right"]


def test_with_a_first_fit_counting_begins_anew() -> None:
    history = [Held(0, at(0)), Held(1, at(300), begins=True), Held(2, at(320))]
    known = budgets(3, session=history, active=history)
    assert (g50(known.session_base), g50(known.lowest_10s), g50(known.lowest_active_7d)) == (300, 300, 300)
    # What was read back later is lower again, and that counts.
    later = budgets(4, session=[*history, Held(3, at(0))], active=[*history, Held(3, at(0))])
    assert (g50(later.lowest_10s), g50(later.lowest_active_7d)) == (0, 0)


def test_contents_of_aids_with_other_bands_are_not_compared() -> None:
    small = content(OTC6, right=flat(OTC6, g50_ddb=0))
    assert lowest([small, at(200)])[1, "right"] == flat()
    assert lowest([at(0), small])[1, "right"] == flat(OTC6, g50_ddb=0)


def test_a_new_slot_is_counted_from_the_lowest_of_the_ears_other_programs() -> None:
    second = Program(slot=2, name="Music", right=flat(g50_ddb=150), left=flat(g80_ddb=10))
    third = Program(slot=3, name="Noise", right=flat(g65_ddb=120), left=flat())
    whole = content()
    whole = msgspec.structs.replace(whole, programs=(*whole.programs, second, third))
    levels = levels_of(whole)
    assert len(levels) == 6
    assert level_at(levels, (2, "right")) == flat(g50_ddb=150)
    assert level_at(levels, (4, "right")) == flat(g50_ddb=150, g65_ddb=120)
    assert level_at(levels, (4, "left")) == flat(g80_ddb=10)
    assert level_at(levels_of(content(right=flat())), (1, "left")) is None


def test_a_slot_that_came_later_counts_from_when_it_came() -> None:
    second = Program(slot=2, name="Music", right=flat(g50_ddb=150))
    grown = msgspec.structs.replace(at(200), programs=(*at(200).programs, second))
    least = lowest([at(100), grown])
    assert (least[1, "right"].g50_ddb[0], least[2, "right"].g50_ddb[0]) == (100, 150)


def test_a_pair_was_worn_when_both_ears_held_it_at_once() -> None:
    loud, soft = flat(g50_ddb=250), flat()
    history = [Held(0, content(right=loud, left=soft)), Held(1, content(right=soft, left=loud))]
    assert was_worn(history, content(right=loud, left=soft))
    assert was_worn(history, content(left=loud))
    assert not was_worn(history, content(right=loud, left=loud))
    assert not was_worn([], content(right=loud))


def test_an_image_was_active_when_each_ear_held_exactly_it() -> None:
    loud, soft = flat(g50_ddb=250), flat(g50_ddb=150)
    history = [Held(0, content(right=loud, left=soft)), Held(1, content(right=soft, left=soft))]
    assert was_active(history, content(right=loud, left=soft))
    assert was_active(history, content(right=soft, left=soft))
    assert was_active(history, content(right=loud))
    assert not was_active(history, content(right=soft, left=loud))
    assert not was_active(history, content(right=with_band(loud, 0, g50_ddb=251), left=soft))
    assert not was_active([], content())
    assert not was_active([Held(0, content(right=loud))], content(right=loud, left=soft))
