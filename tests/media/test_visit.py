"""The visit's table, walked through every cell, and what each role may do."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, get_args

import pytest

from media.visit import OVER, RIGHTS, TABLE, Event, JoinLink, Participant, Right, Visit, VisitTimes, step
from media.visit_steps import (
    MAX_CONNECTIONS,
    MAX_PARTICIPANTS,
    add_participant,
    admit,
    arrive,
    cancel,
    depart,
    deserted,
    end,
    give_link,
    remove_participant,
    reschedule,
    schedule,
    time_passes,
    use_link,
)
from protocol.contract.base import Refusal
from protocol.contract.visits import VisitRole, VisitState
from tests.media.visits import NOON_S, TIMES, visit_of

STATES: tuple[VisitState, ...] = get_args(VisitState)
WHEN = (NOON_S + 3_600, NOON_S + 5_400, "2027-01-15T10:00", "Europe/Berlin")

# Every cell, written out once more: what is missing here must be refused, and change nothing.
EXPECTED: dict[tuple[VisitState, Event], VisitState] = {
    ("scheduled", Event.RESCHEDULE): "scheduled",
    ("scheduled", Event.CANCEL): "cancelled",
    ("scheduled", Event.ARRIVE): "waiting",
    ("scheduled", Event.DESERT): "scheduled",
    ("scheduled", Event.MISS): "no_show",
    ("waiting", Event.RESCHEDULE): "scheduled",
    ("waiting", Event.CANCEL): "cancelled",
    ("waiting", Event.ARRIVE): "waiting",
    ("waiting", Event.DESERT): "scheduled",
    ("waiting", Event.ADMIT): "live",
    ("waiting", Event.MISS): "no_show",
    ("live", Event.ARRIVE): "live",
    ("live", Event.DESERT): "live",
    ("live", Event.ADMIT): "live",
    ("live", Event.END): "ended",
    ("live", Event.LAPSE): "ended",
}


def in_state(state: VisitState) -> Visit:
    """A visit that came into the state as visits do."""
    visit = visit_of()
    if state == "scheduled":
        return visit
    if state == "cancelled":
        return done(cancel(visit, by="ann", reason="ill", at_s=NOON_S))
    if state == "no_show":
        return time_passes(visit, at_s=NOON_S + 10_000) or visit
    waiting = done(arrive(visit, "p2", "c2", at_s=NOON_S, times=TIMES))
    if state == "waiting":
        return waiting
    live = done(admit(waiting, "p2", by="ann", at_s=NOON_S, base_revision="r1", times=TIMES))
    return live if state == "live" else done(end(live, by="ann", reason="done", at_s=NOON_S + 60))


def done(outcome: Visit | Refusal) -> Visit:
    assert isinstance(outcome, Visit), outcome
    return outcome


def refused(outcome: Visit | Refusal) -> str:
    assert isinstance(outcome, Refusal), outcome
    return outcome.code


def someone_else(visit: Visit) -> Visit:
    """An interpreter, who has come and waits, whatever the state."""
    there = Participant("p9", "interpreter", name="Kim", admission="waiting", connections=("c9",))
    return replace(visit, participants=(*visit.participants, there))


# What brings each event about. Those of ``VERBS`` answer the same when they are said again.
VERBS: dict[Event, Callable[[Visit], Visit | Refusal | None]] = {
    Event.RESCHEDULE: lambda v: reschedule(v, WHEN, by="ann", at_s=NOON_S, times=TIMES),
    Event.CANCEL: lambda v: cancel(v, by="ann", reason="ill", at_s=NOON_S),
    Event.ARRIVE: lambda v: arrive(
        replace(v, participants=(*v.participants, Participant("p8", "trainee"))), "p8", "c8", at_s=NOON_S, times=TIMES
    ),
    Event.DESERT: lambda v: depart(depart(v, "p2", "c2", times=TIMES), "p9", "c9", times=TIMES),
    Event.ADMIT: lambda v: admit(someone_else(v), "p9", by="ann", at_s=NOON_S, base_revision="r1", times=TIMES),
    Event.END: lambda v: end(v, by="ann", reason="done", at_s=NOON_S),
    Event.MISS: lambda v: time_passes(v, at_s=NOON_S + 10_000) if v.state != "live" else None,
    Event.LAPSE: lambda v: time_passes(v, at_s=NOON_S + 1e6) if v.state == "live" else None,
}


@pytest.mark.parametrize("event", Event)
@pytest.mark.parametrize("state", STATES)
def test_every_cell_of_the_table(state: VisitState, event: Event) -> None:
    assert step(state, event) == EXPECTED.get((state, event))


@pytest.mark.parametrize("event", Event)
@pytest.mark.parametrize("state", STATES)
def test_every_verb_does_what_its_cell_says(state: VisitState, event: Event) -> None:
    visit = in_state(state)
    outcome = VERBS[event](visit)
    expected = EXPECTED.get((state, event))
    if (state, event) == ("scheduled", Event.ADMIT):
        expected = None
    said_again = (state, event) in {("cancelled", Event.CANCEL), ("ended", Event.END)}
    if isinstance(outcome, Visit):
        assert outcome.state == (expected or state)
        unchanged = said_again or (event is Event.DESERT and state != "waiting" and not visit_had(visit, "c2"))
        assert outcome.version == (visit.version if unchanged or expected is None else visit.version + 1)
        assert (outcome.due_at_s is None) is (outcome.state in OVER)
    else:
        assert expected is None


def visit_had(visit: Visit, connection: str) -> bool:
    return any(connection in one.connections for one in visit.participants)


def test_the_table_has_a_row_for_every_state_and_none_leads_out_of_an_end() -> None:
    assert set(TABLE) == set(STATES)
    assert all(not TABLE[state] for state in OVER)


RIGHTS_OF: dict[VisitRole, set[Right]] = {
    "professional": set(Right),
    "patient": {Right.WRITE, Right.START_CALL, Right.TALK, Right.STOP, Right.UNDO},
    "caregiver": {Right.WRITE, Right.START_CALL, Right.TALK, Right.STOP, Right.UNDO},
    "interpreter": {Right.WRITE, Right.TALK},
    "trainee": set(),
}


@pytest.mark.parametrize("right", Right)
@pytest.mark.parametrize("role", get_args(VisitRole))
def test_every_role_and_right(role: VisitRole, right: Right) -> None:
    person = Participant("p", role, admission="admitted")
    assert person.may(right) is (right in RIGHTS_OF[role])
    assert not replace(person, admission="waiting").may(right)
    assert set(RIGHTS) == set(get_args(VisitRole))


def test_whoever_waits_is_not_in_until_he_is_let_in() -> None:
    waiting = in_state("waiting")
    assert waiting.find("p2") == replace(waiting.participants[1], admission="waiting", connections=("c2",))
    live = in_state("live")
    assert (live.live_at_s, live.base_revision, live.live_device) == (NOON_S, "r1", "d1")
    back = done(arrive(depart(live, "p2", "c2", times=TIMES), "p2", "c3", at_s=NOON_S + 5, times=TIMES))
    assert back.participants[1].admission == "admitted", "once let in, a lost connection costs nothing"
    assert back.participants[1].connections == ("c3",)


def test_the_professional_needs_nobody_to_let_her_in_and_does_not_begin_the_visit() -> None:
    visit = done(arrive(visit_of(), "p1", "c1", at_s=NOON_S, times=TIMES))
    assert (visit.state, visit.participants[0].admission) == ("scheduled", "admitted")
    assert done(arrive(visit, "p1", "c1", at_s=NOON_S, times=TIMES)) is visit


def test_the_waiting_room_opens_and_closes() -> None:
    visit = visit_of()
    early = arrive(visit, "p2", "c2", at_s=NOON_S - 901, times=TIMES)
    assert isinstance(early, Refusal)
    assert (early.code, early.retry_after_ms) == ("too_early", 1_000)
    assert done(arrive(visit, "p2", "c2", at_s=NOON_S - 900, times=TIMES)).state == "waiting"
    assert refused(arrive(visit, "p2", "c2", at_s=NOON_S + 1_800 + 14_400, times=TIMES)) == "too_late"
    assert refused(arrive(visit, "p7", "c2", at_s=NOON_S, times=TIMES)) == "not_found"


def test_over_several_connections_he_is_there_until_the_last_is_gone() -> None:
    visit = in_state("waiting")
    for number in range(3, 3 + MAX_CONNECTIONS):
        visit = done(arrive(visit, "p2", f"c{number}", at_s=NOON_S, times=TIMES))
    assert len(visit.participants[1].connections) == MAX_CONNECTIONS
    for number in range(3, 2 + MAX_CONNECTIONS):
        visit = depart(visit, "p2", f"c{number}", times=TIMES)
        assert visit.state == "waiting"
    visit = depart(visit, "p2", f"c{2 + MAX_CONNECTIONS}", times=TIMES)
    assert (visit.state, visit.participants[1].admission) == ("scheduled", "invited")


@pytest.mark.parametrize(
    ("came", "missed_by"),
    [((), "both"), (("p1",), "patient"), (("p2",), "professional"), (("p1", "p2"), "professional")],
)
def test_who_has_missed_it_is_written_down(came: tuple[str, ...], missed_by: str) -> None:
    visit = visit_of()
    for one in came:
        visit = done(arrive(visit, one, f"c-{one}", at_s=NOON_S, times=TIMES))
    waits = "p2" in came
    due_at_s = NOON_S + (1_800 if waits else 0) + 1_800
    assert visit.due_at_s == due_at_s
    assert time_passes(visit, at_s=due_at_s - 0.001) is None
    missed = time_passes(visit, at_s=due_at_s)
    assert missed is not None
    assert (missed.state, missed.missed_by, missed.over_at_s) == ("no_show", missed_by, due_at_s)


def test_a_live_visit_that_nobody_ends_lapses() -> None:
    live = in_state("live")
    assert time_passes(live, at_s=NOON_S + 1_800 + 14_399) is None
    lapsed = time_passes(live, at_s=NOON_S + 1_800 + 14_400)
    assert lapsed is not None
    assert (lapsed.state, lapsed.by, lapsed.reason) == ("ended", "server", "lapse")
    assert all(not one.connections for one in lapsed.participants)


def test_a_moved_visit_has_nobody_waiting_and_counts_its_moves() -> None:
    moved = done(reschedule(in_state("waiting"), WHEN, by="ann", at_s=NOON_S, times=TIMES))
    assert (moved.state, moved.starts_at_s, moved.sequence) == ("scheduled", NOON_S + 3_600, 1)
    assert (moved.participants[1].admission, moved.participants[1].connections) == ("invited", ())
    past = (NOON_S - 9_000, NOON_S - 8_000, "x", "UTC")
    assert refused(reschedule(moved, past, by="ann", at_s=NOON_S, times=TIMES)) == "visit_in_past"
    same: dict[str, Any] = {"clinic": "c1", "device": "d1", "patient": "pat", "professional": "ann", "ids": ("a", "b")}
    assert refused(schedule("v", when=past, at_s=NOON_S, times=VisitTimes(), **same)) == "visit_in_past"


def test_people_are_brought_along_and_sent_away() -> None:
    visit = visit_of()
    more = done(add_participant(visit, "p3", "caregiver", user="", name="Mia"))
    assert done(add_participant(more, "p3", "caregiver", user="", name="Mia")) is more
    assert refused(add_participant(more, "p4", "trainee", user="pat", name="")) == "already_exists"
    assert refused(add_participant(more, "p4", "patient", user="pia", name="")) == "one_patient"
    for number in range(4, 1 + MAX_PARTICIPANTS):
        more = done(add_participant(more, f"p{number}", "trainee", user="", name=""))
    full = add_participant(more, "p99", "trainee", user="", name="")
    assert refused(full) == "visit_full"
    for one in ("p1", "p2"):
        assert refused(remove_participant(more, one, times=TIMES)) == "must_stay"
    assert refused(remove_participant(more, "p77", times=TIMES)) == "not_found"
    less = done(remove_participant(more, "p3", times=TIMES))
    assert less.find("p3") is None
    assert refused(arrive(less, "p3", "c3", at_s=NOON_S, times=TIMES)) == "not_found"


def test_however_often_people_come_and_go_little_is_kept_of_them() -> None:
    visit = visit_of()
    for number in range(60):
        visit = done(add_participant(visit, f"x{number}", "trainee", user="", name=""))
        visit = done(remove_participant(visit, f"x{number}", times=TIMES))
    assert len(visit.participants) <= 2 * MAX_PARTICIPANTS + 1


def test_who_waits_alone_and_is_sent_away_leaves_an_empty_waiting_room() -> None:
    visit = done(add_participant(visit_of(), "p3", "trainee", user="", name=""))
    visit = done(arrive(visit, "p3", "c3", at_s=NOON_S, times=TIMES))
    assert done(remove_participant(visit, "p3", times=TIMES)).state == "scheduled"


def test_whoever_was_there_over_a_dead_pod_has_gone() -> None:
    visit = done(arrive(visit_of(), "p2", "c1", at_s=NOON_S, times=TIMES, pod="east"))
    visit = done(arrive(visit, "p2", "c2", at_s=NOON_S, times=TIMES, pod="west"))
    visit = done(arrive(visit, "p1", "c3", at_s=NOON_S, times=TIMES, pod="west"))
    assert deserted(visit, lambda _: True, times=TIMES) is visit
    one = deserted(visit, lambda pod: pod != "west", times=TIMES)
    assert [person.connections for person in one.participants] == [(), ("c1",)]
    assert (one.participants[1].pods, one.version, one.state) == ({"c1": "east"}, visit.version + 1, "waiting")
    none = deserted(one, lambda _: False, times=TIMES)
    assert (none.state, none.participants[1].admission, none.participants[1].pods) == ("scheduled", "invited", {})
    assert deserted(none, lambda _: False, times=TIMES) is none
    unknown = done(arrive(visit_of(), "p2", "c1", at_s=NOON_S, times=TIMES))
    assert deserted(unknown, lambda _: False, times=TIMES) is unknown
    over = done(cancel(visit, by="ann", reason="ill", at_s=NOON_S))
    assert deserted(over, lambda _: False, times=TIMES) is over
    assert all(not person.pods for person in over.participants)


def test_a_link_works_once_for_a_while_and_only_the_newest() -> None:
    visit = done(add_participant(visit_of(), "p3", "interpreter", user="", name="Kim"))
    assert refused(give_link(visit, "p2", JoinLink("1", NOON_S + 60))) == "has_account"
    visit = done(give_link(visit, "p3", JoinLink("1", NOON_S + 60)))
    newer = done(give_link(visit, "p3", JoinLink("2", NOON_S + 60)))
    assert refused(use_link(newer, "p3", "1", at_s=NOON_S)) == "bad_link"
    assert refused(use_link(newer, "p3", "2", at_s=NOON_S + 60)) == "bad_link"
    used = done(use_link(newer, "p3", "2", at_s=NOON_S + 59))
    assert refused(use_link(used, "p3", "2", at_s=NOON_S + 59)) == "bad_link"
    over = done(cancel(newer, by="ann", reason="ill", at_s=NOON_S))
    assert refused(use_link(over, "p3", "2", at_s=NOON_S)) == "bad_link"
    assert refused(give_link(over, "p3", JoinLink("3", NOON_S + 60))) == "visit_over"
