"""The chain of a device's events: whatever is done to what was recorded shows, and where."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from fitting.log_chain import ChainCheck, verify
from fitting.log_values import LogEvent, first_hash

DEVICE = "d-1"


def recorded(count: int) -> list[LogEvent]:
    events, before = [], first_hash(DEVICE)
    for n in range(1, count + 1):
        event = LogEvent(0, "delivery", "offered", 1_700_000_000.0 + n, n, "right", "E_X", "sha256:0", "phone", "why")
        events.append(event.chained(n, before))
        before = events[-1].hash
    return events


def test_what_was_recorded_verifies_in_any_pieces() -> None:
    events = recorded(10)
    assert verify(DEVICE, events) is None
    check = ChainCheck(DEVICE)
    assert all(check.follow(piece) for piece in (events[:3], [], events[3:4], events[4:]))
    assert check.ends_at(10, events[-1].hash)
    assert verify(DEVICE, []) is None


def test_the_events_of_another_device_do_not_verify() -> None:
    assert verify("d-2", recorded(3)) == 1


@given(place=st.integers(min_value=0, max_value=8), other=st.integers(min_value=0, max_value=8))
def test_a_removal_a_repeat_and_a_swap_show_where_they_are(place: int, other: int) -> None:
    events = recorded(10)
    assert verify(DEVICE, events[:place] + events[place + 1 :]) == place + 1
    assert verify(DEVICE, [*events[: place + 1], *events[place:]]) == place + 2
    swapped = list(events)
    swapped[place], swapped[other] = swapped[other], swapped[place]
    assert verify(DEVICE, swapped) == (None if place == other else min(place, other) + 1)


OTHER: dict[str, Any] = {
    "n": 7,
    "kind": "alarm",
    "state": "writing",
    "at_s": 1_700_000_009.0,
    "seq": None,
    "ear": "left",
    "code": None,
    "digest": "sha256:1",
    "actor": "",
    "text": None,
    "hash": "0" * 64,
}


@pytest.mark.parametrize("field", LogEvent.__struct_fields__)
def test_a_change_of_any_field_shows(field: str) -> None:
    events = recorded(5)
    events[2] = replace(events[2], **{field: OTHER[field]})
    assert verify(DEVICE, events) == 3


def test_a_change_whose_hash_was_made_to_fit_shows_at_the_next_event() -> None:
    events = recorded(5)
    events[2] = replace(events[2], state="writing").chained(3, events[1].hash)
    assert verify(DEVICE, events) == 4


def test_a_tail_that_was_cut_off_shows_by_what_the_head_says() -> None:
    events = recorded(5)
    check = ChainCheck(DEVICE)
    check.follow(events[:3])
    assert not check.ends_at(5, events[-1].hash)
    assert check.broken_at == 4
