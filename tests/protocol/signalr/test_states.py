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


def test_only_an_accepted_handshake_or_a_new_socket_opens() -> None:
    opening = [(state, kind) for state, row in TRANSITIONS.items() for kind, to in row.items() if to is State.OPEN]
    assert opening == [
        (State.AWAITING_HANDSHAKE, Kind.HANDSHAKE_ACCEPTED),
        (State.OPEN, Kind.ATTACHED),
        (State.DETACHED, Kind.ATTACHED),
    ]


def test_only_an_open_connection_can_lose_its_socket_and_live() -> None:
    losing = [(state, kind) for state, row in TRANSITIONS.items() for kind, to in row.items() if to is State.DETACHED]
    assert losing == [(State.OPEN, Kind.DETACHED)]


def test_everything_else_closes_and_closed_is_the_end() -> None:
    living = {Kind.HANDSHAKE_ACCEPTED, Kind.DETACHED, Kind.ATTACHED}
    for state in set(State) - {State.CLOSED}:
        assert {State.CLOSED} == {to for kind, to in TRANSITIONS[state].items() if kind not in living}
    assert not TRANSITIONS[State.CLOSED]
