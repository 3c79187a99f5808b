"""Visits as they are arranged: scheduled, moved, called off; who is brought along, and the links of who has no account.

What a visit may become is decided in ``media.visit_steps``, and carried out by ``VisitFlow.change``. Read
``BookingFlow.schedule`` and ``redeem`` first.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from msgspec import UNSET

from media.visit import JoinLink, Right, Visit, VisitTimes
from media.visit_steps import (
    When,
    add_participant,
    cancel,
    give_link,
    remove_participant,
    reschedule,
    schedule,
    use_link,
)
from protocol.contract.base import Refusal
from protocol.contract.bookings import AddParticipant, LinkMade, MoveVisit, Redeemed, ScheduleVisit
from protocol.contract.times import iso_ms
from protocol.errors import NotFound
from signaling.auth import Principal
from signaling.flows.visits import VisitFlow
from signaling.grants import RememberedGrants
from signaling.local_time import unix_seconds
from signaling.stores.devices import DeviceStore
from signaling.visit_tokens import LinkTokens, VisitTokens, guest_user

__all__ = ["BookingFlow", "LinkTimes"]

# Nobody arranges a visit for years ahead; a calendar that says so is mistaken.
_AHEAD_S = 2 * 366 * 86_400


@dataclass(frozen=True, slots=True)
class LinkTimes:
    """Seconds. ``link_s``: how long a link may be redeemed. ``guest_s``: how long its token lasts."""

    link_s: float
    guest_s: float


class BookingFlow:
    """Arranges visits for those who may; ``remembered`` are the grants that a device's Stop is judged by."""

    def __init__(
        self,
        flow: VisitFlow,
        *,
        devices: DeviceStore,
        times: VisitTimes,
        link_times: LinkTimes,
        links: LinkTokens,
        guests: VisitTokens,
        remembered: RememberedGrants,
        clock: Callable[[], float],
        new_id: Callable[[], str],
    ) -> None:
        self._flow = flow
        self._devices = devices
        self._times = times
        self._link_times = link_times
        self._links = links
        self._guests = guests
        self._remembered = remembered
        self._clock = clock
        self._new_id = new_id

    async def schedule(self, by: Principal, device: str, name: str, wanted: ScheduleVisit) -> Visit | Refusal:
        """A new visit called ``name``; the same again when there is one that was made of the same wish."""
        record = await self._devices.get(device)
        if record is None:
            raise NotFound("no such device")
        when = self._when(wanted)
        if isinstance(when, Refusal):
            return when
        # Named after the visit, so that the same request makes the same visit.
        made = schedule(
            name,
            clinic=record.clinic,
            device=device,
            patient=record.patient,
            professional=by.user,
            when=when,
            at_s=self._clock(),
            times=self._times,
            ids=(f"{name}-1", f"{name}-2"),
        )
        for number, one in enumerate(wanted.participants, 3):
            if not isinstance(made, Refusal):
                made = _added(made, f"{name}-{number}", one)
        if isinstance(made, Refusal):
            return made
        # A version counts what is stored.
        made = _first(made)
        if not await self._flow.visits.create(made):
            found = await self._flow.visits.get(name)
            if found is None:
                raise NotFound("no such visit")
            return found
        self._flow.announce(made)
        return made

    async def move(
        self, by: Principal, visit: str, wanted: MoveVisit, expects: Callable[[Visit], None]
    ) -> Visit | Refusal:
        """Another time; ``expects`` raises when the visit is not the one that was thought of."""
        await self._flow.require(by, visit, Right.MANAGE)
        when = self._when(wanted)
        if isinstance(when, Refusal):
            return when

        def moved(before: Visit) -> Visit | Refusal:
            expects(before)
            return reschedule(before, when, by=by.user, at_s=self._clock(), times=self._times)

        return await self._done(visit, moved)

    async def cancel(self, by: Principal, visit: str, reason: str) -> Visit | Refusal:
        """It does not take place."""
        await self._flow.require(by, visit, Right.MANAGE)
        return await self._done(visit, lambda v: cancel(v, by=by.user, reason=reason, at_s=self._clock()))

    async def end(self, by: Principal, visit: str, reason: str) -> Visit | Refusal:
        """It is over."""
        await self._flow.require(by, visit, Right.MANAGE)
        return await self._flow.end(visit, by=by.user, reason=reason)

    async def add(self, by: Principal, visit: str, name: str, wanted: AddParticipant) -> Visit | Refusal:
        """Somebody called ``name`` takes part as well."""
        await self._flow.require(by, visit, Right.MANAGE)
        outcome = await self._flow.change(visit, lambda v: _added(v, name, wanted))
        if isinstance(outcome, Refusal):
            return outcome
        if outcome[0] is not outcome[1]:
            self._flow.told_of(outcome[1], name)
        return outcome[1]

    async def remove(self, by: Principal, visit: str, participant: str) -> Visit | Refusal:
        """Somebody does not take part any more: he hears nothing more of it, and cannot make the aids quiet."""
        await self._flow.require(by, visit, Right.MANAGE)
        outcome = await self._flow.change(visit, lambda v: remove_participant(v, participant, times=self._times))
        if isinstance(outcome, Refusal):
            return outcome
        before, after = outcome
        person = before.find(participant)
        if person is not None:
            user = person.user or guest_user(participant)
            self._remembered.forget(after.clinic, user, after.device)
            for left in self._flow.on_removed:
                await left(visit, user)
        self._flow.told_of(after, participant)
        return self._flow.over(before, after)

    async def link(self, by: Principal, visit: str, participant: str) -> LinkMade | Refusal:
        """A new way in for somebody without an account; the one before does not work any more."""
        await self._flow.require(by, visit, Right.MANAGE)
        link = JoinLink(self._new_id(), self._clock() + self._link_times.link_s)
        outcome = await self._flow.change(visit, lambda v: give_link(v, participant, link))
        if isinstance(outcome, Refusal):
            return outcome
        secret = self._links.mint(
            clinic=outcome[1].clinic,
            visit=visit,
            participant=participant,
            name=link.id,
            expires_at_s=link.expires_at_s,
        )
        return LinkMade(participant=participant, link=secret, expires_at=iso_ms(link.expires_at_s))

    async def redeem(self, link: Principal) -> Redeemed | Refusal:
        """A link is used up for a token; ``link`` is what its secret has said."""
        participant, _, name = link.user.partition(" ")
        now_s = self._clock()
        outcome = await self._flow.change(link.visit, lambda v: use_link(v, participant, name, at_s=now_s))
        if isinstance(outcome, Refusal):
            return outcome
        visit = outcome[1]
        person = visit.find(participant)
        if person is None:
            raise NotFound("no such visit")
        expires_at_s = max(visit.ends_at_s, now_s) + self._link_times.guest_s
        token = self._guests.mint(
            clinic=visit.clinic,
            visit=visit.visit,
            participant=participant,
            name=self._new_id(),
            expires_at_s=expires_at_s,
        )
        return Redeemed(
            token=token,
            expires_at=iso_ms(int(expires_at_s)),
            visit=visit.visit,
            participant=participant,
            role=person.role,
        )

    async def _done(self, visit: str, make: Callable[[Visit], Visit | Refusal]) -> Visit | Refusal:
        outcome = await self._flow.change(visit, make)
        return outcome if isinstance(outcome, Refusal) else self._flow.over(*outcome)

    def _when(self, wanted: ScheduleVisit | MoveVisit) -> When | Refusal:
        starts_at_s = unix_seconds(wanted.starts_local, wanted.zone, wanted.fold)
        if isinstance(starts_at_s, Refusal):
            return starts_at_s
        if starts_at_s > self._clock() + _AHEAD_S:
            return Refusal(code="visit_too_far", message="startsLocal: at most two years from now")
        return starts_at_s, starts_at_s + wanted.duration_min * 60.0, wanted.starts_local, wanted.zone


def _added(visit: Visit, name: str, wanted: AddParticipant) -> Visit | Refusal:
    user = "" if wanted.user is UNSET else wanted.user
    shown = "" if wanted.name is UNSET else wanted.name
    return add_participant(visit, name, wanted.role, user=user, name=shown)


def _first(visit: Visit) -> Visit:
    return replace(visit, version=1)
