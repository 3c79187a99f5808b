"""Visits over REST: arranged, read, as a calendar file and as FHIR; whom one brings along; and how one ends."""

from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any, ClassVar, Final

import msgspec
from msgspec import UNSET, Raw

from media.fhir_visit import appointment, encounter
from media.icalendar import calendar
from media.visit import Visit
from protocol.contract.base import Failure, Id, Refusal
from protocol.contract.bookings import (
    AddParticipant,
    Because,
    LinkMade,
    MoveVisit,
    ParticipantAnswer,
    Redeemed,
    ScheduleVisit,
    VisitAnswer,
    VisitSummary,
    VisitView,
)
from protocol.contract.rest import Page, PageQuery
from protocol.contract.times import iso_ms
from protocol.errors import NotAllowed, NotFound
from signaling.auth import Principal
from signaling.flows.bookings import BookingFlow
from signaling.flows.rooms import participant_view
from signaling.flows.visits import VisitFlow, refused
from signaling.policy import DEVICE_READERS, Relation, Rule
from signaling.stores.visit_grants import participant_of
from signaling.stores.visits import Place, place_of

from .pages import page, text_after
from .resource import Call, Reply, Resource, route

__all__ = ["VISIT_PROBLEMS", "Joins", "Visits"]

_ALL: Final = "/api/v1/visits"
_ONE: Final = "/api/v1/visits/{visit}"
_PEOPLE: Final = f"{_ONE}/participants"
_PERSON: Final = f"{_PEOPLE}/{{participant}}"
_OF_DEVICE: Final = "/api/v1/devices/{device}/visits"
_FHIR: Final = "application/fhir+json"
_ICS: Final = "text/calendar"
_READERS: Final = Rule(
    {
        "clinician": Relation.PARTICIPANT,
        "assistant": Relation.PARTICIPANT,
        "patient": Relation.PARTICIPANT,
        "representative": Relation.PARTICIPANT,
        "guest": Relation.PARTICIPANT,
    },
    "visit",
)
_MANAGERS: Final = Rule({"clinician": Relation.PARTICIPANT, "assistant": Relation.PARTICIPANT}, "visit")
# What is in the aids is for those who may see that of the device, whatever somebody is in the visit.
_OF_AIDS: Final = Rule(
    {"clinician": Relation.ASSIGNED, "assistant": Relation.ASSIGNED, "patient": Relation.OWN}, "visit"
)
_SCHEDULERS: Final = Rule({"clinician": Relation.ASSIGNED, "assistant": Relation.ASSIGNED}, "device")
_EXAMPLE: Final = {"startsLocal": "2027-03-29T09:30", "zone": "Europe/Berlin", "durationMin": 45}
_WHY: Final = {"reason": "the professional is ill"}
_TIME_PROBLEMS: Final = ("unknown_zone", "no_such_time", "visit_in_past", "visit_too_far")
VISIT_PROBLEMS: Final = ("visit_live", "visit_not_live", "visit_over")
_LINKS: Final = {"readVisit": {"visit": "$response.body#/visit"}}


class Visits(Resource):
    """Visits of professionals and patients. ``text`` is what calendars show; ``clock`` gives Unix seconds."""

    tag: ClassVar[str] = "visits"
    policy: ClassVar[Mapping[str, Rule]] = {
        f"POST {_OF_DEVICE}": _SCHEDULERS,
        f"GET {_OF_DEVICE}": DEVICE_READERS,
        f"GET {_ALL}": Rule({"clinician": Relation.ANY, "assistant": Relation.ANY, "patient": Relation.ANY}),
        f"GET {_ONE}": _READERS,
        f"PUT {_ONE}": _MANAGERS,
        f"PUT {_ONE}/cancellation": _MANAGERS,
        f"PUT {_ONE}/end": _MANAGERS,
        f"GET {_ONE}/summary": _OF_AIDS,
        f"GET {_ONE}/encounter": _MANAGERS,
        f"POST {_PEOPLE}": _MANAGERS,
        f"DELETE {_PERSON}": _MANAGERS,
        f"POST {_PERSON}/links": _MANAGERS,
    }

    def __init__(self, flow: VisitFlow, bookings: BookingFlow, clock: Callable[[], float], text: str) -> None:
        self._flow = flow
        self._bookings = bookings
        self._clock = clock
        self._text = text

    @route(
        f"POST {_OF_DEVICE}",
        status=HTTPStatus.CREATED,
        creates=True,
        problems=(*_TIME_PROBLEMS, "already_exists", "visit_full", "one_patient"),
        body_example=_EXAMPLE,
        links=_LINKS,
    )
    async def schedule_visit(self, call: Call, device: Id, body: ScheduleVisit) -> Reply[VisitAnswer] | Failure:
        """A visit of the caller with whoever wears the device, who hears of it."""
        made = await self._bookings.schedule(call.principal, device, call.new_id, body)
        if isinstance(made, Refusal):
            return refused(made)
        return _reply(call.principal, made, location=f"{_ALL}/{made.visit}")

    @route(f"GET {_OF_DEVICE}", links={"readVisit": {"visit": "$response.body#/items/0/visit"}})
    async def list_visits_of_device(self, call: Call, device: Id, query: PageQuery) -> Page[VisitView]:
        """The visits about a device, the latest first."""
        return _page(call, await self._flow.visits.of_device(device, _place(query), query.limit + 1), query)

    @route(f"GET {_ALL}", links={"readVisit": {"visit": "$response.body#/items/0/visit"}})
    async def list_visits(self, call: Call, query: PageQuery) -> Page[VisitView]:
        """The visits of which the caller is the professional or the patient, the latest first."""
        who = call.principal
        found = await self._flow.visits.of_user(who.clinic, who.user, _place(query), query.limit + 1)
        return _page(call, found, query)

    @route(
        f"GET {_ONE}",
        links={
            "summarizeVisit": {"visit": "$response.body#/visit"},
            "readEncounter": {"visit": "$response.body#/visit"},
        },
    )
    async def read_visit(self, call: Call, visit: Id) -> Reply[VisitAnswer]:
        """One visit."""
        return _reply(call.principal, await self._found(visit))

    @route(f"GET {_ONE}", gives=_ICS)
    async def read_calendar(self, call: Call, visit: Id) -> Reply[Raw]:
        """The visit as an iCalendar file (RFC 5545), which says nothing of what it is about."""
        found = await self._found(visit)
        version = f"{found.version}-ics"
        return Reply(Raw(calendar(found, at_s=self._clock(), text=self._text)), version=version)

    @route(f"GET {_ONE}", gives=_FHIR)
    async def read_appointment(self, call: Call, visit: Id) -> Reply[Raw]:
        """The visit as a FHIR R4 Appointment. It names everybody, so it is not for guests."""
        if call.principal.visit:
            raise NotAllowed("not allowed")
        found = await self._found(visit)
        return Reply(Raw(msgspec.json.encode(appointment(found))), version=f"{found.version}-fhir")

    @route(f"GET {_ONE}/encounter", gives=_FHIR)
    async def read_encounter(self, call: Call, visit: Id) -> Reply[Raw]:
        """What came of the visit, as a FHIR R4 Encounter."""
        found = await self._found(visit)
        return Reply(Raw(msgspec.json.encode(encounter(found))), version=str(found.version))

    @route(f"PUT {_ONE}", needs_match=True, problems=(*_TIME_PROBLEMS, *VISIT_PROBLEMS), body_example=_EXAMPLE)
    async def move_visit(self, call: Call, visit: Id, body: MoveVisit) -> Reply[VisitAnswer] | Failure:
        """Another time for a visit that has not begun; everybody hears of it."""

        def expects(before: Visit) -> None:
            call.expects(str(before.version))

        return _outcome(call, await self._bookings.move(call.principal, visit, body, expects))

    @route(f"PUT {_ONE}/cancellation", problems=VISIT_PROBLEMS, body_example=_WHY)
    async def cancel_visit(self, call: Call, visit: Id, body: Because) -> Reply[VisitAnswer] | Failure:
        """A visit that has not begun does not take place; everybody hears of it. Done twice it is done once."""
        return _outcome(call, await self._bookings.cancel(call.principal, visit, body.reason))

    @route(f"PUT {_ONE}/end", problems=VISIT_PROBLEMS, body_example=_WHY)
    async def end_visit(self, call: Call, visit: Id, body: Because) -> Reply[VisitAnswer] | Failure:
        """A live visit is over. Live work on the aids ends first, then its call, then its chat."""
        return _outcome(call, await self._bookings.end(call.principal, visit, body.reason))

    @route(f"GET {_ONE}/summary")
    async def summarize_visit(self, call: Call, visit: Id) -> VisitSummary:
        """What the visit has changed in the aids."""
        return await self._flow.summaries.of(await self._found(visit))

    @route(
        f"POST {_PEOPLE}",
        status=HTTPStatus.CREATED,
        creates=True,
        problems=("already_exists", "one_patient", "visit_full", *VISIT_PROBLEMS),
        body_example={"role": "interpreter", "name": "Kim"},
        links={"makeLink": {"visit": "$request.path.visit", "participant": "$response.body#/participant"}},
    )
    async def add_participant(self, call: Call, visit: Id, body: AddParticipant) -> Reply[ParticipantAnswer] | Failure:
        """Somebody comes along."""
        made = await self._bookings.add(call.principal, visit, call.new_id, body)
        if isinstance(made, Refusal):
            return refused(made)
        person = made.find(call.new_id) or made.of_user("" if body.user is UNSET else body.user)
        if person is None:
            raise NotFound("no such participant")
        answer = ParticipantAnswer(**msgspec.structs.asdict(participant_view(person)))
        return Reply(answer, location=f"{_ALL}/{visit}/participants/{person.participant}")

    @route(f"DELETE {_PERSON}", problems=("must_stay", *VISIT_PROBLEMS))
    async def remove_participant(self, call: Call, visit: Id, participant: Id) -> Reply[VisitAnswer] | Failure:
        """Somebody does not take part any more, and hears nothing more of the visit."""
        return _outcome(call, await self._bookings.remove(call.principal, visit, participant))

    @route(f"POST {_PERSON}/links", status=HTTPStatus.CREATED, problems=("has_account", *VISIT_PROBLEMS))
    async def make_link(self, call: Call, visit: Id, participant: Id) -> LinkMade | Failure:
        """A way in for somebody without an account, which works once; one that was made before does not any more."""
        made = await self._bookings.link(call.principal, visit, participant)
        return refused(made) if isinstance(made, Refusal) else made

    async def _found(self, visit: str) -> Visit:
        found = await self._flow.visits.get(visit)
        if found is None:
            raise NotFound("no such visit")
        return found


class Joins(Resource):
    """Links are redeemed here: the bearer token of this one route is a link's secret, and nothing else takes that."""

    tag: ClassVar[str] = "visits"
    bearer: ClassVar[str] = "link"
    policy: ClassVar[Mapping[str, Rule]] = {"POST /api/v1/joins": Rule({"guest": Relation.ANY})}

    def __init__(self, bookings: BookingFlow) -> None:
        self._bookings = bookings

    @route("POST /api/v1/joins", status=HTTPStatus.CREATED, problems=("bad_link", "not_found"))
    async def redeem_link(self, call: Call) -> Redeemed | Failure:
        """Use a link up for a token, for the hub and for reading the visit. The bearer token is the link's secret."""
        made = await self._bookings.redeem(call.principal)
        return refused(made) if isinstance(made, Refusal) else made


def _outcome(call: Call, outcome: Visit | Refusal) -> Reply[VisitAnswer] | Failure:
    return refused(outcome) if isinstance(outcome, Refusal) else _reply(call.principal, outcome)


def _reply(who: Principal, visit: Visit, location: str | None = None) -> Reply[VisitAnswer]:
    return Reply(VisitAnswer(**_fields(who, visit)), version=str(visit.version), location=location)


def _page(call: Call, found: tuple[Visit, ...], query: PageQuery) -> Page[VisitView]:
    visits = page(found, query, _cursor)
    return Page(items=tuple(VisitView(**_fields(call.principal, one)) for one in visits.items), next=visits.next)


def _cursor(visit: Visit) -> str:
    place = place_of(visit)
    return f"{round(place.starts_at_s)}.{place.visit}"


def _place(query: PageQuery) -> Place | None:
    text = text_after(query.after)
    if text is None:
        return None
    starts_at, _, visit = text.partition(".")
    if not (starts_at.isascii() and starts_at.isdigit() and len(starts_at) <= 12):
        raise NotFound("no such page")
    return Place(float(starts_at), visit)


def _fields(who: Principal, visit: Visit) -> dict[str, Any]:
    is_guest = bool(who.visit)
    person = participant_of(visit, who) if is_guest else None
    # A guest who was not let in knows only of himself.
    is_in = person is None or person.admission == "admitted"
    people = visit.present_list() if is_in else (person,)
    shown: dict[str, Any] = {
        "visit": visit.visit,
        "device": visit.device,
        "state": visit.state,
        "starts_at": iso_ms(visit.starts_at_s),
        "ends_at": iso_ms(visit.ends_at_s),
        "starts_local": visit.starts_local,
        "zone": visit.zone,
        "created_at": iso_ms(visit.created_at_s),
        "version": visit.version,
        "participants": tuple(participant_view(one) for one in people if one is not None),
    }
    if not is_guest:
        shown |= {"patient": visit.patient, "professional": visit.professional}
    if visit.live_at_s is not None:
        shown["live_at"] = iso_ms(visit.live_at_s)
    if visit.over_at_s is not None:
        shown["over_at"] = iso_ms(visit.over_at_s)
    if visit.missed_by is not None:
        shown["missed_by"] = visit.missed_by
    if visit.reason:
        shown["reason"] = visit.reason
    return shown
