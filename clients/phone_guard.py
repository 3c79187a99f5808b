"""Keeps the way back of a live session: the base, the dead-man, and whether live work is allowed at all.

The base is in the journal before the first live byte goes out. What wants it back is in the journal before anything is
done for it, so a phone that dies in between goes on with it; and nothing live is begun from then on until every aid
was read to hold the base. The table is ``phone_session``. Must not know deliveries. Read ``SessionGuard.want`` first.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace

from msgspec import UNSET

from clients.ear_hands import EarDone, EarHands, EarJob, Reading, for_each_ear
from clients.ear_work import EarPhase, EarWork
from clients.journal import EarPlan, Notice
from clients.phone_book import PhoneBook
from clients.phone_limits import PhoneLimits
from clients.phone_session import (
    CODES,
    ENDING,
    Consent,
    Effect,
    KeptImage,
    SessionEvent,
    SessionState,
    due,
    live_refusal,
    next_due_s,
    refuses,
    step,
)
from protocol.contract.base import Ear
from protocol.contract.devices import Images, ReportedState
from protocol.contract.sessions import ConsentAnswer, ConsentAsked, RestoreCause

__all__ = ["SessionGuard"]


class SessionGuard:
    """The session of the record. ``clock`` must go on while the phone's process does not."""

    def __init__(
        self, book: PhoneBook, hands: EarHands, *, limits: PhoneLimits, clock: Callable[[], float], boot: str = ""
    ) -> None:
        self._book, self._hands, self._limits, self._clock, self._boot = book, hands, limits, clock, boot
        self._background_since_s: float | None = None

    @property
    def is_restoring(self) -> bool:
        """Whether an aid still has to get its base back."""
        return self._book.record.session.state is SessionState.RESTORING

    def is_refused(self) -> bool:
        """Whether it is the wearer who wants the base back, in a way that lets nothing more of this be kept."""
        entry, cause = self._book.record.in_flight, self._book.record.session.cause
        return self.is_restoring and refuses(cause, is_committing=entry is not None and entry.is_committing)

    def back_to_base(self, plan: EarPlan, serial: str) -> EarPlan:
        """The plan with a way back that ends where the session began, for that very aid."""
        kept = self._book.record.session.image_of(plan.ear)
        if kept is None or kept.serial != serial:
            return plan
        return replace(plan, before=kept.image, before_digest=kept.digest)

    @property
    def is_open(self) -> bool:
        """Whether an aid may hold what nobody has saved."""
        return self._book.record.session.is_open

    def is_loud(self) -> bool:
        """Whether an aid in reach was not read to hold its base."""
        session, held = self._book.record.session, self._hands.held
        loud = (kept for kept in session.base if kept.ear not in held or held[kept.ear].ram != kept.digest)
        return session.is_open and any(self._hands.may_hold(kept.ear, kept.serial) for kept in loud)

    @property
    def is_frozen(self) -> bool:
        """Whether the app has been out of sight for so long that nothing live is begun."""
        since_s = self._background_since_s
        return since_s is not None and self._clock() - since_s >= self._limits.session.background_freeze_s

    def live_code(self, fence: int) -> str | None:
        """Why live work of that fence is refused, None when it is not."""
        return live_refusal(self._book.record.consent, fence, required=self._limits.require_consent)

    def see(self, *, foreground: bool) -> None:
        """The app came to the foreground, or left it."""
        if foreground:
            self._background_since_s = None
        elif self._background_since_s is None:
            self._background_since_s = self._clock()

    def due(self, *, is_read: bool = True) -> RestoreCause | None:
        """What must restore the base now; of what was read of an aid long ago nothing is believed (``is_read``)."""
        limits = self._limits.session
        session = self._book.record.session
        if session.state is SessionState.TRIAL and session.boot != self._boot:
            # Kept before the machine was started anew: how long ago, nobody can tell.
            return "dead_man"
        cause = due(session, self._clock(), limits, self._background_since_s)
        if is_read and cause is None and session.state in (SessionState.STEADY, SessionState.TRIAL) and self._is_low():
            return "battery"
        return cause

    def next_due_s(self) -> float | None:
        """When to ask ``due`` again."""
        return next_due_s(self._book.record.session, self._limits.session, self._background_since_s)

    def is_over(self, fence: int) -> bool:
        """Whether that fence is of a later session than the one whose base is kept."""
        session = self._book.record.session
        return session.state is not SessionState.NONE and session.fence < fence

    def alive(self, fence: int, ttl_ms: int) -> None:
        """The server says that the lease of that fence is live: only this feeds the dead-man."""
        record = self._book.record
        if ttl_ms <= 0 or fence < record.fence_max:
            return
        self.meet(fence)
        record = self._book.record
        session = record.session
        if session.is_open and session.fence == fence:
            self._book.save(replace(record, session=replace(session, fed_at_s=self._clock(), boot=self._boot)))

    def meet(self, fence: int) -> None:
        """A fence was seen at work; with a higher one an earlier session is over, and its base goes back first."""
        self._book.save_if_possible(self._book.record.seen_fence(fence))
        if self.is_over(fence):
            self._step(SessionEvent.NEW_FENCE, cause="lease_lost")

    def before_live_write(self, fence: int) -> None:
        """Keep what every aid holds, before the first live write of a fence. Raises JournalUnavailable.

        An aid that was away then has its base taken when it is first read: it was not written in this session.
        """
        record = self._book.record
        session, effect = step(record.session, SessionEvent.LIVE_WRITE)
        if effect is Effect.TAKE_BASE:
            session = replace(session, fence=fence, cause=None)
        if record.session.state is not SessionState.TRIAL:
            session = replace(session, fed_at_s=self._clock(), boot=self._boot)
        old = session.base if record.session.state is SessionState.TRIAL else self._seen(session.base)
        new = tuple(_image(ear, read) for ear, read in self._hands.readings.items() if session.image_of(ear) is None)
        base = (*old, *new)
        self._book.save(replace(record, session=replace(session, base=base)))

    def retire(self, serials: Mapping[Ear, str]) -> bool:
        """These are worn now, for good; whether the base was also of others, which nobody waits for any more."""
        record = self._book.record
        base = tuple(kept for kept in record.session.base if serials.get(kept.ear, kept.serial) == kept.serial)
        if base == record.session.base:
            return False
        self._book.save_if_possible(replace(record, session=replace(record.session, base=base)))
        return True

    def compare(self) -> None:
        """After aids were read: do all of them hold the base?"""
        session = self._book.record.session
        if session.state in (SessionState.NONE, SessionState.RESTORING):
            return
        carried = replace(session, base=self._carried())
        serials = {kept.ear: kept.serial for kept in carried.base}
        held = {ear: held for ear, held in self._hands.held.items() if serials.get(ear) == held.serial}
        is_base = carried.is_base({ear: images.ram for ear, images in held.items()})
        moved, _ = step(session, SessionEvent.RAM_IS_BASE if is_base else SessionEvent.RAM_DIFFERS)
        if session.state is SessionState.STEADY and moved.state is SessionState.TRIAL:
            moved = replace(moved, fed_at_s=self._clock(), boot=self._boot)
        self._book.save_if_possible(replace(self._book.record, session=moved))

    def heed_restarts(self, settled: Collection[Ear] = ()) -> bool:
        """After aids were read, with nothing under way: has one of them restarted in a trial?

        It has lost what was tried, so the other gives it up too. ``settled``: a delivery has just seen to these ears.
        """
        session = self._book.record.session
        seen = self._seen(session.base)
        restarts = (
            now.boots != was.boots is not None and now.ear not in settled
            for now, was in zip(seen, session.base, strict=True)
        )
        if session.state is SessionState.TRIAL and any(restarts):
            self.want("revert")
            return True
        if session.state in (SessionState.STEADY, SessionState.TRIAL) and seen != session.base:
            self._book.save_if_possible(replace(self._book.record, session=replace(session, base=seen)))
        return False

    def saved(self) -> None:
        """A delivery of this session is in NVM of its aids, read to be what was wanted: that is the base now.

        Not what RAM was read to hold, which nobody has compared with anything since.
        """
        record = self._book.record
        moved, effect = step(record.session, SessionEvent.SAVED)
        if effect is Effect.MOVE_BASE:
            ears = {plan.ear for plan in self._book.entry.plans}
            base = tuple(
                _kept(kept, self._hands.readings.get(kept.ear), from_nvm=kept.ear in ears)
                for kept in record.session.base
            )
            moved = replace(moved, base=base)
        self._book.save(replace(record, session=moved))

    def want(self, cause: RestoreCause) -> None:
        """The base is wanted back; what ends the session also ends the consent to it."""
        record = self._book.record
        session, _ = step(record.session, SessionEvent.REVERT, cause=cause)
        fence = max(record.fence_max, session.fence)
        consent = record.consent
        if cause in ENDING and (consent is not None or fence):
            consent = replace(consent or Consent(), fence=fence, code=CODES[cause])
        notice = Notice(cause, fence)
        self._book.save_if_possible(replace(record, session=session, consent=consent).noticed(notice))

    async def restore(self) -> dict[Ear, Images]:
        """Bring RAM of every aid to its base, both at once; the ears that were read to hold it.

        The session stays RESTORING: it is ``restored`` when nothing is under way that could change them again.
        """
        done = await for_each_ear({kept.ear: self._restore(kept) for kept in self._carried()})
        return {ear: one.held for ear, one in done.items() if one.work.phase is EarPhase.UNDONE and one.held}

    def asked(self, asked: ConsentAsked, answer: ConsentAnswer) -> None:
        """Keep what the wearer said."""
        fence = 0 if asked.fence is UNSET else asked.fence
        is_live = answer.accepted and (answer.scopes is UNSET or "live_tuning" in answer.scopes)
        code = "" if is_live else "E_CONSENT"
        self._book.save(replace(self._book.record, consent=Consent(asked.session, fence, code)))

    async def _restore(self, kept: KeptImage) -> EarDone:
        plan = EarPlan(kept.ear, kept.image, kept.digest, kept.digest)
        job = EarJob(plan, kept.serial)
        return await self._hands.run(job, EarWork(EarPhase.BACK_CHECKING), _tell_nobody, heeds_brake=False)

    def restored(self, ears: Collection[Ear]) -> None:
        """These were read to hold their base, and nothing else is under way; ends RESTORING if they are all."""
        record = self._book.record
        carried = self._carried()
        if any(kept.ear not in ears for kept in carried):
            return
        cause = record.session.cause
        session, _ = step(record.session, SessionEvent.RESTORED)
        if (cause in ENDING or self._is_ended_meanwhile()) and len(carried) == len(session.base):
            session, _ = step(session, SessionEvent.ENDED)
        record = replace(record, session=session)
        if cause is not None:
            # It may have been told already, when one of the aids was still away.
            record = record.noticed(Notice(cause, record.fence_max))
        self._book.save_if_possible(record)

    def _is_ended_meanwhile(self) -> bool:
        """Whether the session was ended, or a later one has begun, while it was the wearer who wanted the base."""
        record = self._book.record
        consent, fence = record.consent, record.session.fence
        is_refused = consent is not None and bool(consent.code) and consent.fence >= fence
        return is_refused or record.fence_max > fence

    def _carried(self) -> tuple[KeptImage, ...]:
        """The base of the ears that there is a driver of. What is kept of another ear waits until there is one."""
        return tuple(kept for kept in self._book.record.session.base if kept.ear in self._hands.ears)

    def _step(self, event: SessionEvent, *, cause: RestoreCause | None = None) -> None:
        record = self._book.record
        session, effect = step(record.session, event, cause=cause)
        record = replace(record, session=session)
        if effect is Effect.RESTORE and cause is not None:
            record = record.noticed(Notice(cause, session.fence))
        self._book.save_if_possible(record)

    def _seen(self, base: tuple[KeptImage, ...]) -> tuple[KeptImage, ...]:
        """With the restarts that these aids were last read to have had."""
        return tuple(_with_boots(kept, self._hands.readings.get(kept.ear)) for kept in base)

    def _is_low(self) -> bool:
        percents = [held.battery for held in self._hands.held.values()]
        limit = self._limits.session.min_battery_percent
        return any(percent is not UNSET and percent < limit for percent in percents)


def _image(ear: Ear, read: Reading) -> KeptImage:
    return KeptImage(ear, read.images.image, read.images.ram, read.images.serial, read.identity.boots)


def _kept(kept: KeptImage, read: Reading | None, *, from_nvm: bool) -> KeptImage:
    if read is None:
        return kept
    held = _image(kept.ear, read)
    return replace(held, image=read.nvm, digest=read.images.nvm) if from_nvm else held


def _with_boots(kept: KeptImage, read: Reading | None) -> KeptImage:
    is_it = read is not None and read.images.serial == kept.serial
    return replace(kept, boots=read.identity.boots) if read is not None and is_it else kept


async def _tell_nobody(ear: Ear, state: ReportedState, code: str | None) -> None:
    """Restoring the base is no delivery: it is told of as a whole."""
