"""One delivery on a pair of aids: try it on both, ask how it sounds, keep it in both or in neither.

Both aids hold the target in RAM, read back, before either is confirmed or copies it to NVM; the right one first. When
one comes to an unhappy end the other goes back, and nothing turns round then. ``confirmed`` and ``active`` are told of
both at once: an end that was told cannot be taken back. The tables are ``ear_work``; here they are run. Must not know
sessions, nor how an offer came. Read ``DeliveryWork.advance`` first.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from msgspec import UNSET

from clients.brake import Brake
from clients.ear_hands import EarDone, EarHands, EarJob, for_each_ear
from clients.ear_work import WAITS, EarPhase, EarWork, outcome, resumed
from clients.journal import Back, EarPlan, JournalEntry, Phase
from clients.phone_book import PhoneBook
from clients.phone_core import COMMIT_NEEDS_PERCENT, raises_mpo, report_on, serial_of, slots_to_write, vendor_of
from clients.phone_limits import PhoneLimits
from protocol.contract.base import Ear
from protocol.contract.devices import Images, Report, ReportedState

__all__ = ["AskLoudness", "DeliveryWork"]

AskLoudness = Callable[[], Awaitable[int | None]]
"""The wearer's answer, None for silence."""
_VERIFIED: Final[Mapping[Ear, Phase]] = {"right": "verified:right", "left": "verified:left"}
_KEPT: Final[Mapping[Ear, Phase]] = {"right": "active:right", "left": "active:left"}
_LOUDNESSES: Final = range(1, 8)
_GONE: Final = frozenset({EarPhase.UNDONE, EarPhase.BROKEN, EarPhase.REFUSED, EarPhase.UNREACHED, EarPhase.UNKEPT})


@dataclass(frozen=True, slots=True)
class _Heard:
    """What the wearer said of these ears in one delivery."""

    key: tuple[str, int]
    ears: frozenset[Ear]
    loudness: int


class DeliveryWork:
    """Moves the delivery in work. ``began_here`` is the one that this very process has begun.

    ``is_refused``: the wearer has taken it back meanwhile, so no more of it is kept; whoever heard the wearer takes
    over. ``is_late``: the time of a delivery is over. ``on_kept`` is called when NVM of all its aids was read to hold
    it, before anybody is told.
    """

    def __init__(
        self,
        book: PhoneBook,
        hands: EarHands,
        brake: Brake,
        *,
        limits: PhoneLimits,
        clock: Callable[[], float],
        ask_loudness: AskLoudness,
        is_refused: Callable[[], bool],
        is_late: Callable[[tuple[str, int]], bool],
        on_kept: Callable[[], None],
    ) -> None:
        self._book, self._hands, self._brake = book, hands, brake
        self._limits, self._clock, self._ask_loudness = limits, clock, ask_loudness
        self._is_refused, self._is_late, self._on_kept = is_refused, is_late, on_kept
        self._heard: _Heard | None = None
        self._telling = asyncio.Lock()
        self.began_here: tuple[str, int] | None = None

    @property
    def gives_up_at_s(self) -> float | None:
        """When the pair goes back because one aid does not keep what the other has, None while nothing is stuck."""
        entry = self._book.record.in_flight
        if entry is None or entry.back is not None or entry.stuck_at_s is None:
            return None
        return entry.stuck_at_s + self._limits.commit_retry_s

    async def advance(self, *, only_begun: bool = False) -> None:
        """Bring the delivery in work as far as it goes now; what waits for an aid or the brake stays in work.

        ``only_begun``: nothing new is begun, only what a byte has gone to is brought to a known content.
        """
        entry = self._book.entry
        if not entry.open_plans():
            # The process was gone between the last end and this: nothing of it is new, and nothing was kept now.
            self._book.finish(entry)
            return
        may_commit = entry.is_committing or (entry.back is None and await self._try(only_begun))
        entry = self._book.entry
        if may_commit and entry.back is None and entry.offer.kind == "persist":
            await self._commit()
        entry = self._book.entry
        if entry.back is not None:
            await self._go_back()
        entry = self._book.entry
        if not entry.open_plans():
            self._book.finish(entry)

    async def end_unbegun(self, entry: JournalEntry, state: ReportedState, code: str | None = None) -> None:
        """End a delivery that no byte of has gone to an aid, in work or put aside.

        Of both ears in one save: one that ended alone would leave the other to be carried out by itself.
        """
        reports = list[Report]()
        for plan in entry.open_plans():
            told = (*entry.reports, *reports)
            reports.append(report_on(entry.offer, told, state, plan.ear, code=code))
        await self._book.end(entry, *reports)

    async def end_restored(self, code: str, held: dict[Ear, Images]) -> None:
        """The session has its base back in these ears: whatever was under way there has ended so.

        Unless NVM may hold what was to be saved, and was not read to be as it was.
        """
        for plan in self._book.entry.open_plans():
            entry = self._book.entry
            if not entry.has_begun_on(plan.ear):
                await self._tell(plan.ear, "rejected", code=code)
            elif plan.ear in held and (not entry.is_committing or plan.nvm_digest in (None, held[plan.ear].nvm)):
                await self._tell(plan.ear, "rolled_back", code=code, held=held[plan.ear])
        if not self._book.entry.open_plans():
            self._book.finish(self._book.entry)

    async def _try(self, only_begun: bool) -> bool:
        """The trial of every ear that is open; whether all of them hold the target now, nobody objects, and it is told.

        Neither ear is confirmed alone: the change was checked as one of a pair. While one is in doubt the other is not
        begun.
        """
        entry, confirmed = self._book.entry, dict[Ear, Images]()
        for plan in entry.open_plans():
            if self._brake.is_on:
                return False
            begun = entry.has_begun_on(plan.ear)
            if only_begun and not begun:
                continue
            done = await self._run(plan, resumed(entry.last_state(plan.ear) if begun else None))
            if done.work.phase is EarPhase.CONFIRMED and done.held is not None:
                confirmed[plan.ear] = done.held
                if plan is not entry.open_plans()[-1]:
                    self._book.change(replace(self._book.entry, phase=_VERIFIED[plan.ear]))
            elif done.work.phase in WAITS:
                only_begun = True
            elif done.work.phase in _GONE:
                await self._give_up(plan, done)
                return False
        if self._brake.is_on or (raises_mpo(entry.offer, entry.plans) and not await self._bears(frozenset(confirmed))):
            return False
        if only_begun or len(confirmed) < len(entry.open_plans()):
            return False
        return await self._confirm(confirmed)

    async def _confirm(self, confirmed: dict[Ear, Images]) -> bool:
        """Tell of all ears that they hold it, as long as they do."""
        entry = self._book.entry
        if raises_mpo(entry.offer, entry.plans) and not await self._still_hold(confirmed):
            return False
        heard = self._heard
        loudness = heard.loudness if heard is not None and heard.key == entry.key else None
        await self._book.tell_all(self._book.entry, "confirmed", confirmed, loudness=loudness)
        return True

    async def _still_hold(self, confirmed: dict[Ear, Images]) -> bool:
        """The wearer took their time: an aid that has restarted meanwhile has lost it, and the pair gives it up."""
        for plan in self._book.entry.open_plans():
            done = await self._run(plan, EarWork(EarPhase.UNDOING, "E_REBOOT"))
            if done.work.phase in _GONE:
                await self._give_up(plan, done)
            if done.work.phase is not EarPhase.CONFIRMED or done.held is None:
                return False
            confirmed[plan.ear] = done.held
        return True

    async def _give_up(self, plan: EarPlan, done: EarDone) -> None:
        """One ear has come to an unhappy end: the other goes back, or is not begun."""
        state, code = outcome(done.work) or ("failed", None)
        # Before the end is told: whoever reads the journal after a crash must not take the other ear on.
        self._book.change(self._book.entry.going_back(Back(code or "E_PARTIAL", plan.ear)))
        await self._tell(plan.ear, state, code=code, held=done.held)

    async def _bears(self, ears: frozenset[Ear]) -> bool:
        """Whether the wearer can bear the higher maximum output of these ears; each is asked about once.

        After a restart nobody can have answered in time.
        """
        key = self._book.entry.key
        known = frozenset[Ear]() if self._heard is None or self._heard.key != key else self._heard.ears
        if ears <= known:
            return True
        answer = await self._ask_loudness() if self.began_here == key else None
        # Off the scale is no answer: a screen that gives 0 for silence must not count as quiet.
        loudness = answer if answer in _LOUDNESSES else None
        if self._brake.is_on:
            return False
        if loudness is None or loudness > self._limits.max_loudness:
            self._book.change(self._book.entry.going_back(Back("E_LOUD", loudness=loudness)))
            return False
        self._heard = _Heard(key, ears, loudness)
        return True

    async def _commit(self) -> None:
        """Copy to NVM, ear after ear; all are confirmed, or it had begun."""
        entry, kept = self._book.entry, dict[Ear, Images]()
        if not entry.is_committing and await self._is_low(entry):
            return
        for plan in entry.open_plans():
            if self._is_taken_back():
                return
            had_begun = entry.has_told(plan.ear, "committing")
            if not had_begun:
                await self._tell(plan.ear, "committing")
            done = await self._commit_ear(plan, had_begun)
            if done.work.phase is not EarPhase.ACTIVE or done.held is None:
                self._give_up_or_wait(plan.ear, done.work)
                return
            kept[plan.ear] = done.held
            if plan is not entry.open_plans()[-1]:
                self._book.change(replace(self._book.entry, phase=_KEPT[plan.ear]))
        if self._is_taken_back():
            return
        self._on_kept()
        await self._book.tell_all(self._book.entry, "active", kept)

    def _is_taken_back(self) -> bool:
        return self._book.entry.back is not None or self._is_refused()

    async def _is_low(self, entry: JournalEntry) -> bool:
        """Whether an aid has too little charge to begin; said once, and looked at again when it has changed."""
        for plan in entry.open_plans():
            held = self._hands.held.get(plan.ear)
            percent = UNSET if held is None else held.battery
            if percent is not UNSET and percent < COMMIT_NEEDS_PERCENT:
                await self._tell(plan.ear, "received", code="E_BATTERY")
                return True
        return False

    async def _commit_ear(self, plan: EarPlan, had_begun: bool) -> EarDone:
        # What is in RAM and NVM, and of which aid, may have changed since it was read: the other ear took its time.
        work = resumed(None, committing=True) if had_begun else EarWork(EarPhase.CHECKING_BOTH)
        done = await self._run(plan, work, heeds_brake=False)
        if done.work.phase is EarPhase.CONFIRMED:
            # RAM had been lost and was written again: now it can be copied.
            done = await self._run(plan, replace(done.work, phase=EarPhase.CHECKING_BOTH), heeds_brake=False)
        return done

    def _give_up_or_wait(self, ear: Ear, work: EarWork) -> None:
        """An aid that is away or busy has some time to come back; one that cannot keep what it is given has none.

        The time runs over a restart of the phone; a clock that was started anew counts as too late.
        """
        entry, now_s = self._book.entry, self._clock()
        if work.phase in WAITS:
            stuck_at_s = now_s if entry.stuck_at_s is None else entry.stuck_at_s
            if entry.stuck_at_s is None:
                entry = self._book.change(replace(entry, stuck_at_s=stuck_at_s))
                # The ears may differ now: the server gets to see what can be seen of it.
                self._book.note("read_back")
            if 0 <= now_s - stuck_at_s < self._limits.commit_retry_s:
                return
        if work.cause == "E_BASE":
            # Somebody else has saved something in that aid: the server gets to see it as a whole.
            self._book.note("read_back")
        self._book.change(entry.going_back(Back(work.cause or "E_NVM", ear)))

    async def _go_back(self) -> None:
        """Bring RAM and NVM of every ear that is open to what they held before all this."""
        entry = self._book.entry
        back, plans = entry.back or Back("E_PARTIAL"), entry.open_plans()
        begun = [plan for plan in plans if entry.has_begun_on(plan.ear)]
        works = {plan.ear: self._run(plan, EarWork(EarPhase.BACK_CHECKING), heeds_brake=False) for plan in begun}
        ends = await for_each_ear(works)
        for plan in plans:
            code = back.code_of(plan.ear)
            if plan.ear not in ends:
                await self._tell(plan.ear, "rejected", code=code)
                continue
            done = ends[plan.ear]
            if done.work.phase is EarPhase.UNDONE:
                await self._tell(plan.ear, "rolled_back", code=code, held=done.held, loudness=back.loudness)
            elif done.work.phase is EarPhase.BROKEN:
                await self._tell(plan.ear, "failed", code=done.work.cause, held=done.held, loudness=back.loudness)

    async def _run(self, plan: EarPlan, work: EarWork, *, heeds_brake: bool = True) -> EarDone:
        entry = self._book.entry
        offer, back = entry.offer, entry.back
        # Once the other ear has it in time this one follows; and what was confirmed is kept.
        goes_on = not heeds_brake or any(entry.has_begun_on(one.ear) for one in entry.plans if one.ear != plan.ear)
        # An aid that did not keep what it was given may hold anything.
        owns_nvm = back is not None and (back.code, back.ear) == ("E_NVM", plan.ear)
        job = EarJob(
            *(plan, serial_of(offer, plan.ear), slots_to_write(offer, plan), vendor_of(offer), owns_nvm),
            may_begin=lambda: goes_on or not self._is_late(entry.key),
            is_gentle=offer.mode == "standard",
        )
        return await self._hands.run(job, work, self._tell_step, heeds_brake=heeds_brake)

    async def _tell_step(self, ear: Ear, state: ReportedState, code: str | None) -> None:
        async with self._telling:
            # Both ears may go back at once, and the server must hear of them one after the other.
            await self._tell(ear, state, code=code)

    async def _tell(
        self,
        ear: Ear,
        state: ReportedState,
        *,
        code: str | None = None,
        held: Images | None = None,
        loudness: int | None = None,
    ) -> None:
        entry = self._book.entry
        if state == entry.last_state(ear) == "confirmed":
            return
        await self._book.tell(entry, state, ear, code=code, held=held, loudness=loudness)
