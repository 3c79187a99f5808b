"""What changes a visit: each function takes one and gives the next version, or says why not.

Whoever calls stores the result only over the version that it was made of. Read ``schedule``, ``arrive`` and ``admit``
first.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

from protocol.contract.base import Refusal
from protocol.contract.visits import Admission, VisitMissedBy, VisitRole, VisitState

from .visit import Event, JoinLink, Participant, Visit, VisitTimes, join_window, step

__all__ = [
    "MAX_CONNECTIONS",
    "MAX_PARTICIPANTS",
    "When",
    "add_participant",
    "admit",
    "arrive",
    "cancel",
    "depart",
    "deserted",
    "end",
    "give_link",
    "remove_participant",
    "reschedule",
    "schedule",
    "time_passes",
    "use_link",
]

MAX_PARTICIPANTS: Final = 8
MAX_CONNECTIONS: Final = 8
_NO_SUCH: Final = Refusal(code="not_found", message="no such participant")

# ``(starts_at_s, ends_at_s, starts_local, zone)``
When = tuple[float, float, str, str]


def schedule(
    visit: str,
    *,
    clinic: str,
    device: str,
    patient: str,
    professional: str,
    when: When,
    at_s: float,
    times: VisitTimes,
    ids: tuple[str, str],
) -> Visit | Refusal:
    """A new visit of two people; ``ids`` name the professional and the patient in it."""
    starts_at_s, ends_at_s, starts_local, zone = when
    if starts_at_s + times.no_show_after_s <= at_s:
        return _PAST
    made = Visit(
        visit=visit,
        clinic=clinic,
        device=device,
        patient=patient,
        professional=professional,
        starts_at_s=starts_at_s,
        ends_at_s=ends_at_s,
        starts_local=starts_local,
        zone=zone,
        created_at_s=at_s,
        due_at_s=None,
        participants=(
            # Whose visit it is needs nobody who lets him in.
            Participant(ids[0], "professional", user=professional, admission="admitted"),
            Participant(ids[1], "patient", user=patient),
        ),
        by=professional,
    )
    return _due(made, times)


_PAST: Final = Refusal(code="visit_in_past", message="the time of the visit has passed")


def reschedule(visit: Visit, when: When, *, by: str, at_s: float, times: VisitTimes) -> Visit | Refusal:
    """Another time for a visit that has not begun; whoever waits goes on waiting outside of it."""
    state = step(visit.state, Event.RESCHEDULE)
    if state is None:
        return _cannot(visit.state)
    starts_at_s, ends_at_s, starts_local, zone = when
    if starts_at_s + times.no_show_after_s <= at_s:
        return _PAST
    moved = replace(
        visit,
        state=state,
        starts_at_s=starts_at_s,
        ends_at_s=ends_at_s,
        starts_local=starts_local,
        zone=zone,
        by=by,
        sequence=visit.sequence + 1,
        participants=tuple(
            replace(one, admission="invited", connections=(), pods={}) if one.admission == "waiting" else one
            for one in visit.participants
        ),
    )
    return _next(_due(moved, times))


def cancel(visit: Visit, *, by: str, reason: str, at_s: float) -> Visit | Refusal:
    """A visit that has not begun does not take place. Done twice it is done once."""
    if visit.state == "cancelled":
        return visit
    state = step(visit.state, Event.CANCEL)
    if state is None:
        return _cannot(visit.state)
    return _over(replace(visit, state=state, by=by, reason=reason, sequence=visit.sequence + 1), at_s)


def end(visit: Visit, *, by: str, reason: str, at_s: float, kept_revision: str = "") -> Visit | Refusal:
    """A live visit is over. Done twice it is done once."""
    if visit.state == "ended":
        return visit
    state = step(visit.state, Event.END)
    if state is None:
        return _cannot(visit.state)
    return _over(replace(visit, state=state, by=by, reason=reason, kept_revision=kept_revision), at_s)


def arrive(
    visit: Visit, participant: str, connection: str, *, at_s: float, times: VisitTimes, pod: str = ""
) -> Visit | Refusal:
    """Somebody has come over a connection: into the visit when he was let in before, else into the waiting room.

    The same visit when he is there already over it. ``pod`` has the connection, "" when that is not known.
    """
    found = visit.find(participant)
    if found is None:
        return _NO_SUCH
    if visit.is_over:
        return _cannot(visit.state)
    opens_at_s, closes_at_s = join_window(visit, times)
    if at_s < opens_at_s:
        wait_ms = int((opens_at_s - at_s) * 1_000)
        return Refusal(code="too_early", message="the waiting room is not open yet", retry_after_ms=wait_ms)
    if at_s >= closes_at_s:
        return Refusal(code="too_late", message="the time of the visit has passed")
    if connection in found.connections:
        return visit
    waits = found.admission != "admitted"
    state = step(visit.state, Event.ARRIVE) if waits else visit.state
    connections = (*found.connections, connection)[-MAX_CONNECTIONS:]
    came = replace(
        found,
        admission="waiting" if waits else "admitted",
        connections=connections,
        pods=_of_these({**found.pods, connection: pod} if pod else found.pods, connections),
        arrived_at_s=at_s if found.arrived_at_s is None else found.arrived_at_s,
    )
    return _next(_due(_with(replace(visit, state=state or visit.state), came), times))


def depart(visit: Visit, participant: str, connection: str, *, times: VisitTimes) -> Visit:
    """A connection is gone. Whoever was let in may come back; who only waited has to come again."""
    found = visit.find(participant)
    if found is None or connection not in found.connections:
        return visit
    return _without(visit, frozenset((connection,)), times)


def deserted(visit: Visit, is_alive: Callable[[str], bool], *, times: VisitTimes) -> Visit:
    """Pods have died: whoever was there over one of their connections has gone, as if each had. The same visit if none.

    A connection of which the pod is not known may still be there.
    """
    gone = frozenset(
        one
        for person in visit.participants
        for one in person.connections
        if one in person.pods and not is_alive(person.pods[one])
    )
    return visit if visit.is_over or not gone else _without(visit, gone, times)


def _without(visit: Visit, gone: frozenset[str], times: VisitTimes) -> Visit:
    changed = visit
    for found in visit.participants:
        if gone.isdisjoint(found.connections):
            continue
        left = tuple(one for one in found.connections if one not in gone)
        admission = "invited" if found.admission == "waiting" and not left else found.admission
        person = replace(found, connections=left, pods=_of_these(found.pods, left), admission=admission)
        changed = _with(changed, person)
    if visit.state == "waiting" and not any(one.admission == "waiting" for one in changed.participants):
        changed = replace(changed, state=step(visit.state, Event.DESERT) or visit.state)
    return _next(_due(changed, times))


def admit(
    visit: Visit, participant: str, *, by: str, at_s: float, base_revision: str, times: VisitTimes
) -> Visit | Refusal:
    """Somebody is let in from the waiting room, and the visit begins if it had not. The same visit when he is in."""
    found = visit.find(participant)
    if found is None:
        return _NO_SUCH
    if found.admission == "admitted" and visit.state == "live":
        return visit
    if visit.is_over:
        return _cannot(visit.state)
    state = step(visit.state, Event.ADMIT)
    if state is None or found.admission != "waiting":
        return Refusal(code="not_waiting", message="that participant is not in the waiting room", retryable=True)
    begun = visit
    if visit.state != "live":
        begun = replace(visit, state=state, by=by, live_at_s=at_s, base_revision=base_revision)
    return _next(_due(_with(begun, replace(found, admission="admitted")), times))


def add_participant(visit: Visit, participant: str, role: VisitRole, *, user: str, name: str) -> Visit | Refusal:
    """Somebody else takes part. The same visit when he does already, in the same role."""
    if visit.is_over:
        return _cannot(visit.state)
    known = visit.find(participant) or visit.of_user(user)
    if known is not None:
        if (known.role, known.user, known.name) == (role, user, name):
            return visit
        return Refusal(code="already_exists", message="that person takes part already")
    if role == "patient":
        return Refusal(code="one_patient", message="a visit has one patient, who wears the device")
    present = visit.present_list()
    if len(present) >= MAX_PARTICIPANTS:
        return Refusal(code="visit_full", message="no more people can take part", limit=MAX_PARTICIPANTS)
    # Of those who were sent away only the last are kept, so that what is written of a visit has a bound.
    gone = [one for one in visit.participants if one.admission == "removed"][-MAX_PARTICIPANTS:]
    kept = tuple(one for one in visit.participants if one.admission != "removed" or one in gone)
    admission: Admission = "admitted" if role == "professional" else "invited"
    new = Participant(participant, role, user=user, name=name, admission=admission)
    return _next(replace(visit, participants=(*kept, new)))


def remove_participant(visit: Visit, participant: str, *, times: VisitTimes) -> Visit | Refusal:
    """Somebody does not take part any more. Neither the patient nor whose visit it is can be sent away."""
    if visit.is_over:
        return _cannot(visit.state)
    found = visit.find(participant)
    if found is None:
        return _NO_SUCH
    if found.role == "patient" or found.user == visit.professional:
        return Refusal(code="must_stay", message="without that person there is no visit: cancel or end it")
    changed = _with(visit, replace(found, admission="removed", connections=(), pods={}, link=None))
    if visit.state == "waiting" and not any(one.admission == "waiting" for one in changed.participants):
        changed = replace(changed, state=step(visit.state, Event.DESERT) or visit.state)
    return _next(_due(changed, times))


def give_link(visit: Visit, participant: str, link: JoinLink) -> Visit | Refusal:
    """A way in for somebody without an account; an earlier one cannot be used any more."""
    if visit.is_over:
        return _cannot(visit.state)
    found = visit.find(participant)
    if found is None:
        return _NO_SUCH
    if found.user:
        return Refusal(code="has_account", message="that person has an account, and joins with it")
    return _next(_with(visit, replace(found, link=link)))


def use_link(visit: Visit, participant: str, link_id: str, *, at_s: float) -> Visit | Refusal:
    """A link is redeemed, which works once."""
    found = visit.find(participant)
    link = None if found is None else found.link
    is_good = link is not None and link.id == link_id and link.used_at_s is None and at_s < link.expires_at_s
    if found is None or link is None or not is_good or visit.is_over:
        return Refusal(code="bad_link", message="the link is used, too old or not the newest: ask for another")
    return _next(_with(visit, replace(found, link=replace(link, used_at_s=at_s))))


def time_passes(visit: Visit, *, at_s: float, kept_revision: str = "") -> Visit | None:
    """What becomes of it when nobody does anything; None when nothing does yet."""
    if visit.due_at_s is None or at_s < visit.due_at_s:
        return None
    event = Event.LAPSE if visit.state == "live" else Event.MISS
    state = step(visit.state, event)
    if state is None:
        return None
    missed_by = _missed_by(visit) if event is Event.MISS else None
    by_time = replace(visit, state=state, by="server", reason=event.value, missed_by=missed_by)
    return _over(replace(by_time, kept_revision=kept_revision), at_s)


def _missed_by(visit: Visit) -> VisitMissedBy:
    came = {one.role for one in visit.participants if one.arrived_at_s is not None}
    if "patient" in came:
        return "professional"
    return "patient" if "professional" in came else "both"


def _with(visit: Visit, changed: Participant) -> Visit:
    """The visit with one participant as he is now."""
    everybody = tuple(changed if one.participant == changed.participant else one for one in visit.participants)
    return replace(visit, participants=everybody)


def _of_these(pods: Mapping[str, str], connections: tuple[str, ...]) -> dict[str, str]:
    return {one: pods[one] for one in connections if one in pods}


def _next(visit: Visit) -> Visit:
    return replace(visit, version=visit.version + 1)


def _over(visit: Visit, at_s: float) -> Visit:
    """Nobody is in it any more, and no link leads there."""
    left = tuple(
        replace(
            one,
            connections=(),
            pods={},
            link=None,
            admission="invited" if one.admission == "waiting" else one.admission,
        )
        for one in visit.participants
    )
    return _next(replace(visit, participants=left, over_at_s=at_s, due_at_s=None))


def _due(visit: Visit, times: VisitTimes) -> Visit:
    late_s: dict[VisitState, float] = {
        "scheduled": visit.starts_at_s + times.no_show_after_s,
        "waiting": visit.ends_at_s + times.no_show_after_s,
        "live": visit.ends_at_s + times.live_s,
    }
    return replace(visit, due_at_s=late_s.get(visit.state))


def _cannot(state: VisitState) -> Refusal:
    if state == "live":
        return Refusal(code="visit_live", message="the visit has begun: end it")
    if state in ("scheduled", "waiting"):
        return Refusal(code="visit_not_live", message="the visit has not begun")
    return Refusal(code="visit_over", message="the visit is over")
