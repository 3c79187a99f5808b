"""Which connections of this pod are in which visit: in it, in its waiting room, or reading along.

What a visit is and who was let in is in the store; this is held to it whenever something has changed, here or on
another pod, and while pods do not hear each other by looking. So nobody hears what is written in a visit longer than he
takes part in it. Read ``VisitRooms.seat`` and ``reconcile`` first.
"""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field

from media.visit import Participant, Visit
from media.visit_steps import MAX_CONNECTIONS
from protocol.contract.pushes import Push
from protocol.contract.visits import ParticipantChanged, ParticipantView
from protocol.errors import Overloaded, Unavailable
from signaling.backplane import Backplane, BusState
from signaling.hub import Caller
from signaling.hub_clients import Audience, HubClients
from signaling.pushes import push
from signaling.tasks import TaskSet
from signaling.visit_tokens import guest_user

__all__ = ["Seat", "VisitRooms", "participant_view", "text_group", "visit_group", "waiting_group"]


def visit_group(visit: str) -> str:
    """The group of the connections of those who were let in; named by the server, never by a client."""
    return f"visit:{visit}"


def waiting_group(visit: str) -> str:
    """The group of the connections in the waiting room."""
    return f"visit-waiting:{visit}"


def text_group(visit: str) -> str:
    """The group of those who were let in and read what is being typed."""
    return f"visit-text:{visit}"


@dataclass(slots=True)
class Seat:
    """One connection in one visit. ``person`` is as he was stored when he was let in, or changed since.

    ``is_stored``: the store knows that he has come; until then it has nothing to say of this seat. ``sequence``: how
    often the visit had been moved then.
    ``signals``: what it has sent since ``window_s``, monotonic.
    """

    caller: Caller
    participant: str
    live_text: bool
    is_stored: bool = False
    sequence: int = 0
    admitted: bool = False
    person: Participant | None = None
    window_s: float = 0.0
    signals: int = 0


@dataclass(slots=True)
class _Room:
    """The seats of one visit, and the newest that is known of it."""

    seats: dict[str, Seat] = field(default_factory=dict)
    newest: Visit | None = None


class VisitRooms:
    """The seats of this pod. ``look`` reads a visit from the store, None when there is none."""

    def __init__(
        self,
        *,
        clients: HubClients,
        backplane: Backplane,
        tasks: TaskSet,
        look: Callable[[str], Awaitable[Visit | None]],
    ) -> None:
        self._clients = clients
        self._backplane = backplane
        self._tasks = tasks
        self._look = look
        self._rooms: dict[str, _Room] = {}
        # Of a seat that others have taken for gone although it is here.
        self.on_forgotten: Callable[[Visit, Seat], None] = lambda _, __: None
        # What was told on another pod may not have been heard here; whoever looks for it takes that back.
        self.has_missed = False
        backplane.on_missed(self._missed)

    def seat(self, caller: Caller, visit: str, participant: str, *, live_text: bool) -> Seat:
        """A connection comes, into the waiting room; ``stored`` is called when the store knows it.

        Raises:
            Overloaded: it is in as many groups as it may be.
        """
        known = self.of(caller.connection_id, visit)
        if known is not None:
            known.live_text = live_text
            return known
        caller.groups.add(waiting_group(visit))
        if visit not in self._rooms:
            self._backplane.subscribe(_channel(visit), lambda _: self._heard(visit), on_late=lambda: self._heard(visit))
        seat = Seat(caller, participant, live_text)
        self._rooms.setdefault(visit, _Room()).seats[caller.connection_id] = seat
        _visits_of(caller).add(visit)
        return seat

    def stored(self, seat: Seat, visit: Visit) -> None:
        """The store knows that he has come; ``visit`` is as it was then, and may have changed since."""
        seat.is_stored, seat.sequence = True, visit.sequence
        self.reconcile(visit)

    def unseat(self, connection_id: str, visit: str) -> Seat | None:
        """A connection goes."""
        room = self._rooms.get(visit)
        if room is None:
            return None
        seat = room.seats.pop(connection_id, None)
        if seat is not None:
            for group in (visit_group(visit), waiting_group(visit), text_group(visit)):
                seat.caller.groups.remove(group)
            _visits_of(seat.caller).discard(visit)
        if not room.seats:
            del self._rooms[visit]
            self._backplane.unsubscribe(_channel(visit))
        return seat

    def of(self, connection_id: str, visit: str) -> Seat | None:
        """The seat of a connection in a visit."""
        room = self._rooms.get(visit)
        return None if room is None else room.seats.get(connection_id)

    def visits_of(self, caller: Caller) -> tuple[str, ...]:
        """The visits that a connection is in."""
        return tuple(_visits_of(caller))

    def changed(self, visit: Visit) -> None:
        """Who may be in it is another: here at once, elsewhere as soon as they hear of it."""
        self.reconcile(visit)
        self._backplane.publish(_channel(visit.visit), lambda: b"")

    def reconcile(self, visit: Visit) -> None:
        """Hold the seats to what is stored; whoever was let in is told so. Older news is ignored."""
        room = self._rooms.get(visit.visit)
        if room is None:
            return
        if room.newest is None or room.newest.version < visit.version:
            room.newest = visit
        visit = room.newest
        for connection_id, seat in tuple(room.seats.items()):
            if not seat.is_stored:
                continue
            person = visit.find(seat.participant)
            if person is not None and _is_forgotten(visit, seat, person):
                self.on_forgotten(visit, seat)
                continue
            if person is None or visit.is_over or person.admission == "invited":
                self.unseat(connection_id, visit.visit)
            elif person.admission == "admitted":
                self.let_in(visit, seat, person)

    def let_in(self, visit: Visit, seat: Seat, person: Participant) -> None:
        """A connection of somebody who was let in; done twice it is done once."""
        groups = seat.caller.groups
        seat.person = person
        if not seat.admitted:
            # Out first, so that nobody needs room for more groups than he has.
            groups.remove(waiting_group(visit.visit))
            groups.add(visit_group(visit.visit))
            seat.admitted = True
            told = ParticipantChanged(visit=visit.visit, participant=participant_view(person), version=visit.version)
            push(seat.caller, told)
        if not seat.live_text:
            groups.remove(text_group(visit.visit))
            return
        # Who has no room for one more group does not read along, which is counted; he is in the visit all the same.
        with suppress(Overloaded):
            groups.add(text_group(visit.visit))

    def inside(self, visit: str) -> Audience:
        """Everybody who was let in, anywhere."""
        return self._clients.group(visit_group(visit))

    def reading_along(self, visit: str) -> Audience:
        """Everybody who was let in and reads what is being typed."""
        return self._clients.group(text_group(visit))

    def tell(self, visit: str, payload: Push) -> None:
        """Tell everybody who was let in."""
        push(self.inside(visit), payload)

    def tell_people(self, visit: Visit, payload: Push) -> None:
        """Tell everybody who takes part, over all connections that they have, in the visit or not."""
        for one in visit.present_list():
            push(self._clients.user(one.user or guest_user(one.participant), visit.clinic), payload)

    async def look(self, limit: int) -> bool:
        """While pods do not hear each other: what has become of the visits that somebody here is in, ``limit`` of them.

        Whether there are more, which come next. Raises Unavailable.
        """
        if self.is_heard:
            return False
        rooms = tuple(self._rooms)
        for visit in rooms[:limit]:
            found = await self._look(visit)
            if found is not None:
                self.reconcile(found)
            # To the end, so that all have their turn.
            if visit in self._rooms:
                self._rooms[visit] = self._rooms.pop(visit)
        return len(rooms) > limit

    @property
    def is_heard(self) -> bool:
        """Whether what is told here is heard on other pods, and the other way round, as far as anybody knows."""
        return self._backplane.state is BusState.CONNECTED

    def visits_here(self) -> tuple[str, ...]:
        """The visits that connections of this pod are in, those that were looked at longest ago first."""
        return tuple(self._rooms)

    def inside_here(self, visit: str) -> Audience:
        """Those of this pod who were let in."""
        return self._clients.group_here(visit_group(visit))

    def _heard(self, visit: str) -> None:
        self._tasks.spawn(self._reconcile_with_store(visit))

    def _missed(self) -> None:
        self.has_missed = True
        for visit in self._rooms:
            self._heard(visit)

    async def _reconcile_with_store(self, visit: str) -> None:
        try:
            found = await self._look(visit)
        except Unavailable:
            return
        if found is not None:
            self.reconcile(found)


def participant_view(person: Participant) -> ParticipantView:
    """A participant as the others see him."""
    shown: dict[str, str] = {}
    if person.user:
        shown["user"] = person.user
    if person.name:
        shown["name"] = person.name
    return ParticipantView(
        participant=person.participant,
        role=person.role,
        admission=person.admission,
        present=bool(person.connections),
        **shown,
    )


def _is_forgotten(visit: Visit, seat: Seat, person: Participant) -> bool:
    """Whether others believe that his connection has gone. Who waited when a visit was moved is let go instead."""
    is_there = seat.caller.connection_id in person.connections or len(person.connections) >= MAX_CONNECTIONS
    return not (is_there or visit.is_over or visit.sequence != seat.sequence)


def _visits_of(caller: Caller) -> set[str]:
    found: set[str] = caller.items.setdefault("visits", set())
    return found


def _channel(visit: str) -> str:
    return f"visit:{visit}"
