"""The table, walked pair by pair."""

from itertools import product

import pytest

from protocol.errors import LocalProtocolError
from protocol.signalr.states import TRANSITIONS, Kind, State, next_state


@pytest.mark.parametrize(("state", "kind"), list(product(State, Kind)))
def test_every_pair_of_state_and_event_has_one_outcome(state: State, kind: Kind) -> None:
    if kind in TRANSITIONS[state]:
        assert next_state(state, kind) is TRANSITIONS[state][kind]
    else:
        with pytest.raises(LocalProtocolError) as failure:
            next_state(state, kind)
        assert failure.value.public_message == f"{kind.name} cannot happen in state {state.name}"


def test_the_table_has_a_row_for_every_state() -> None:
    assert set(TRANSITIONS) == set(State)


def test_only_an_accepted_handshake_opens() -> None:
    opening = [(state, kind) for state, row in TRANSITIONS.items() for kind, to in row.items() if to is State.OPEN]
    assert opening == [(State.AWAITING_HANDSHAKE, Kind.HANDSHAKE_ACCEPTED)]


def test_everything_else_closes_and_closed_is_the_end() -> None:
    for state in (State.AWAITING_HANDSHAKE, State.OPEN):
        assert {State.CLOSED} == {to for kind, to in TRANSITIONS[state].items() if kind is not Kind.HANDSHAKE_ACCEPTED}
    assert not TRANSITIONS[State.CLOSED]
