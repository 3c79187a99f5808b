"""Two people of a call talk to each other, or one of them is away for a while, or it is over."""

import pytest

from media.call import Call, Leg
from media.call_talk import is_over, talk
from protocol.contract.calls import CallEndReason, LegState

STATES: tuple[LegState, ...] = ("ringing", "joined", "lost", "left")


def between(one: LegState, other: LegState, *, ended: CallEndReason | None = None) -> Call:
    legs = (Leg("ann", one), Leg("kim", "joined"), Leg("pat", other))
    return Call("c", "v", "c1", "audio", 0, legs, ended=ended)


@pytest.mark.parametrize("one", STATES)
@pytest.mark.parametrize("other", STATES)
def test_each_pair_of_states(one: LegState, other: LegState) -> None:
    take_part = {"joined", "lost"}
    expected = "none" if not {one, other} <= take_part else ("on" if {one, other} == {"joined"} else "away")
    assert talk(between(one, other), "ann", "pat") == expected
    assert talk(between(one, other), "pat", "ann") == expected
    assert talk(between(one, other, ended="gone"), "ann", "pat") == "none"
    was_talking = expected != "none"
    assert is_over(between("joined", "joined"), between(one, other), "ann", "pat") is not was_talking
    assert is_over(between(one, other), None, "ann", "pat") is was_talking


def test_whoever_is_no_part_of_it_does_not_talk() -> None:
    assert talk(None, "ann", "pat") == "none"
    assert talk(between("joined", "joined"), "ann", "eve") == "none"
    assert talk(between("joined", "joined"), "ann", "ann") == "none"
