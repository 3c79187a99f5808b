"""Whose a connection is that Redis knows nothing of: what follows from every combination of what may be known."""

from itertools import product
from typing import get_args

import pytest

from signaling.pods.whose import RULES, Known, Maker, Whose, whose

BOTH = (False, True)
EVERY = [Known(*case) for case in product(BOTH, BOTH, BOTH, BOTH, get_args(Maker))]


@pytest.mark.parametrize("known", EVERY)
def test_every_combination_has_one_row(known: Known) -> None:
    fitting = [then for row, then in RULES if all(a is None or a == b for a, b in zip(row, known, strict=True))]
    assert fitting == [whose(known)]


@pytest.mark.parametrize("known", EVERY)
def test_what_must_hold_of_each(known: Known) -> None:
    found = whose(known)
    # Nobody opens what is open, and nothing opens that was only asked for.
    assert (found is Whose.THEIRS) == known.is_had
    assert (found is Whose.NOBODYS) == (not known.is_had and not known.may_open)
    if known.is_had or not known.may_open:
        return
    # What was carried here is carried no further.
    assert not known.is_last or found is Whose.OURS
    # Where nobody finds it, it is opened only when it has been carried here: by who knew of this.
    assert not known.is_hidden or known.is_last or found is Whose.FOUND_BY_ALL
    # Two pods that are asked at once agree: the maker of the token says who, unless it says nothing.
    if not known.is_last and not known.is_hidden:
        by_maker = {"this": Whose.DECIDED_HERE, "has decided": Whose.DECIDED_THERE, "silent": Whose.OURS}
        assert found is by_maker[known.maker]
