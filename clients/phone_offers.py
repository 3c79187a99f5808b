"""What becomes of an offer: looked at, held back, asked about, carried out, put aside, withdrawn, or stopped.

Whatever no byte has gone out for is looked at anew each time its turn comes: an aid, the wearer and the time go their
ways meanwhile. Callers see to it that one thing happens at a time. How the aids are written is ``phone_delivery``, what
a session keeps is ``phone_guard``. Read ``OfferDesk.start`` first.
"""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Final, TypeVar

from msgspec.structs import replace as struct_replace

from clients.aid_watch import AidWatch
from clients.brake import Brake
from clients.device_driver import AidPair
from clients.ear_hands import EarHands, Reading
from clients.file_journal import JournalUnavailable
from clients.journal import Back, JournalEntry
from clients.phone_book import PhoneBook, Watch
from clients.phone_core import (
    AidFacts,
    Examined,
    Refused,
    ears_of,
    examine,
    hold_code,
    raises_mpo,
    refusal_report,
    report_on,
    serial_of,
)
from clients.phone_delivery import DeliveryWork
from clients.phone_guard import SessionGuard
from clients.phone_limits import PhoneLimits
from clients.phone_session import CODES, TAKES_A_COPY_BACK, refuses
from clients.wearer import Wearer, answer_within
from protocol.contract.base import Ear
from protocol.contract.devices import Offer, ReportedState
from protocol.contract.sessions import RestoreCause

__all__ = ["OfferDesk"]

T = TypeVar("T")
_LIVE: Final = "advanced"
_TAKES_BACK: Final = TAKES_A_COPY_BACK | {"revert"}


class OfferDesk:
    """Takes deliveries through; keeps in memory only what a restart may forget."""

    def __init__(
        self,
        pair: AidPair,
        book: PhoneBook,
        brake: Brake,
        *,
        limits: PhoneLimits,
        wearer: Wearer,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[object]],
        watch: Watch,
        boot: str = "",
    ) -> None:
        self._pair, self._book, self._brake, self._limits = pair, book, brake, limits
        self._wearer, self._clock, self._sleep = wearer, clock, sleep
        self.hands = EarHands(pair, limits, brake, watch, sleep=sleep)
        self.guard = SessionGuard(book, self.hands, limits=limits, clock=clock, boot=boot)
        self.watch = AidWatch(book, self.hands)
        self._work = DeliveryWork(
            book,
            self.hands,
            brake,
            limits=limits,
            clock=clock,
            ask_loudness=lambda: self._ask(wearer.loudness, limits.loudness_s),
            is_refused=self.guard.is_refused,
            is_late=self._is_late,
            on_kept=self.guard.saved,
        )
        self._boot = boot
        self._deadlines: dict[tuple[str, int], float] = {}
        self._holds: dict[tuple[str, int], int] = {}
        self._installs: set[tuple[str, int]] = set()

    def is_committing(self) -> bool:
        """Whether a pair is in the middle of keeping something."""
        entry = self._book.record.in_flight
        return entry is not None and entry.is_committing and entry.back is None

    def is_loud(self) -> bool:
        """Whether an aid in reach may hold what nobody has saved."""
        entry = self._book.record.in_flight
        plans = () if entry is None else entry.open_plans()
        begun = {plan.ear: serial_of(entry.offer, plan.ear) for plan in plans if entry and entry.has_begun_on(plan.ear)}
        return self.guard.is_loud() or any(self.hands.may_hold(ear, serial) for ear, serial in begun.items())

    def next_due_s(self) -> float | None:
        """When something is to be done by itself, None while nothing is."""
        if self.is_committing():
            return self._work.gives_up_at_s
        entry = self._book.record.in_flight
        deadline = None if entry is None or entry.has_begun else self._deadlines.get(entry.key)
        return min((when for when in (deadline, self.guard.next_due_s()) if when is not None), default=None)

    def take(self, offer: Offer, received_at_s: float) -> None:
        """Its time runs from when it was received."""
        under_way = (*self._book.record.awaiting, *filter(None, (self._book.record.in_flight,)))
        keys = {entry.key for entry in under_way}
        self._deadlines = {key: when for key, when in self._deadlines.items() if key in keys}
        self._holds = {key: count for key, count in self._holds.items() if key in keys}
        self._installs &= keys
        self._deadlines[offer.epoch, offer.seq] = received_at_s + offer.expires_in_s

    async def start(self, offer: Offer) -> None:
        """A delivery that is new here."""
        examined, facts = await self._examine(offer)
        if self._retires(offer, facts):
            if self.guard.is_restoring:
                await self.restore()
            examined, facts = await self._examine(offer)
        if not examined.refusals and offer.mode == _LIVE and self.guard.is_over(offer.fence):
            # The base of the session before goes back first; what is offered now was thought of on that.
            self.guard.meet(offer.fence)
            await self.restore()
            examined, facts = await self._examine(offer)
        if self._brake.is_on:
            # Interrupted before anything was known of it: it will be offered again.
            return
        until_s = self._deadlines.get((offer.epoch, offer.seq))
        entry = JournalEntry(offer, examined.plans, until_s=until_s, boot=self._boot)
        if examined.refusals:
            await self._refuse(entry, examined.refusals)
            return
        entry = entry.reported(report_on(offer, (), "received"))
        self._book.begin(entry)
        await self._book.tell_again(entry.key, entry.reports)
        await self._clear(facts)

    def _retires(self, offer: Offer, facts: Mapping[Ear, AidFacts | None]) -> bool:
        """Whether a genuine offer is for an aid that is worn where the base is of another."""
        if examine(offer, self._book.record, facts).refusals:
            return False
        return self.guard.retire({ear: aid.serial for ear, aid in facts.items() if aid is not None})

    async def resume(self, offer: Offer) -> None:
        """A delivery that is under way here: everything is told again, and it goes on."""
        entry = self._book.record.under_way(offer.epoch, offer.seq)
        if entry is None:
            return
        # Of the new offer only the attempt is believed: the old one was looked at.
        entry = self._book.change(replace(entry, offer=struct_replace(entry.offer, attempt=offer.attempt)))
        await self._book.tell_again(entry.key, entry.reports)
        await self.go_on()

    async def go_on(self) -> None:
        """The delivery in work, from where it stands; if there is none, a package that may be installed."""
        entry = self._book.record.in_flight
        if entry is None:
            entry = next((old for old in self._book.record.awaiting if old.key in self._installs), None)
            if entry is None:
                return
            self._book.save(self._book.record.taken_up(entry))
        if entry.has_begun or entry.back is not None or not entry.open_plans():
            await self._advance()
        elif entry.key in self._deadlines:
            examined, facts = await self._examine(entry.offer)
            if self._brake.is_on:
                return
            if examined.refusals:
                await self._refuse(entry, examined.refusals)
                return
            self._book.change(replace(entry, plans=examined.plans))
            await self._clear(facts)

    async def recover(self) -> None:
        """After a restart: bring what was being written to a known content, and begin nothing."""
        if self.guard.is_restoring:
            await self.restore()
        entry = self._book.record.in_flight
        if entry is None:
            return
        if entry.has_begun or entry.back is not None or not entry.open_plans():
            await self._advance(only_begun=True)
        elif entry.offer.epoch != self._book.record.epoch:
            self._book.finish(entry)

    def want(self, cause: RestoreCause) -> None:
        """The base is wanted back. What has begun with no session has its own, and no more of that is kept either."""
        self.guard.want(cause)
        entry = self._book.record.in_flight
        if entry is None or not entry.has_begun or self.guard.is_restoring:
            return
        if refuses(cause, is_committing=entry.is_committing):
            self._book.change(entry.going_back(Back(CODES[cause])))

    async def restore(self, cause: RestoreCause = "revert") -> bool:
        """Give every aid its base back, and end what is under way; whether every aid was read to have it.

        A commit that has begun finishes first, unless the wearer wants the old sound (``TAKES_A_COPY_BACK``): what an
        aid keeps must not be what its wearer has refused. One that cannot finish is taken back for the fitter's sake
        too; for any other it has its own time. The session is over only when nothing is under way: a way back that
        waits for an aid would otherwise change what was restored.
        """
        cause = self._book.record.session.cause or cause
        if self.is_committing() and not self.guard.is_refused():
            with suppress(JournalUnavailable):  # then it cannot finish, and is taken back
                await self._work.advance()
                if self.is_committing() and cause not in _TAKES_BACK:
                    return False
        entry = self._book.record.in_flight
        if entry is not None:
            entry = self._book.change(self._back_to_base(entry, CODES[cause]))
            if entry.is_committing and self.guard.is_restoring:
                # RAM first, in both ears at once: it is heard, and NVM takes seconds.
                await self.guard.restore()
            if entry.is_committing or not self.guard.is_restoring:
                await self._work.advance()
        held = await self.guard.restore() if self.guard.is_restoring else {}
        if self._book.record.in_flight is not None:
            await self._work.end_restored(CODES[cause], held)
        if self._book.record.in_flight is None and self.guard.is_restoring:
            self.guard.restored(held)
        self.watch.settle()
        return not self.guard.is_restoring and self._book.record.in_flight is None

    def _back_to_base(self, entry: JournalEntry, code: str) -> JournalEntry:
        """It goes back, and not to what was tried before it: nobody is to hear that again."""
        plans = (self.guard.back_to_base(plan, serial_of(entry.offer, plan.ear)) for plan in entry.plans)
        return replace(entry.going_back(Back(code)), plans=tuple(plans))

    async def withdraw(self, key: tuple[str, int], cause: ReportedState) -> bool:
        """End what has not begun as ``cause``, tell of the rest what was done; whether it was known here."""
        reports, entry = self._book.record.reports_of(*key), self._book.record.under_way(*key)
        if reports is not None:
            await self._book.tell_again(key, reports)
        elif entry is None:
            return False
        elif entry.has_begun:
            await self._book.tell_again(key, entry.reports)
        else:
            await self._work.end_unbegun(entry, cause)
        return True

    async def answer_install(self, key: tuple[str, int], *, accepted: bool) -> None:
        """The wearer has tapped Install, or Decline; a package that is gone is gone."""
        entry = next((old for old in self._book.record.awaiting if old.key == key), None)
        if entry is None:
            return
        if not accepted:
            await self._work.end_unbegun(entry, "declined", "E_DECLINED")
            return
        self._installs.add(key)
        await self.go_on()

    async def _advance(self, *, only_begun: bool = False) -> None:
        settled = [plan.ear for plan in self._book.entry.plans]
        await self._work.advance(only_begun=only_begun)
        self.guard.compare()
        if self._book.record.in_flight is None and self.guard.heed_restarts(settled) and not self._brake.is_on:
            await self.restore()
        self.watch.settle()

    async def _clear(self, facts: dict[Ear, AidFacts | None]) -> None:
        """What may still stand between a good offer and the first byte; then the work on the aids."""
        entry = self._book.entry
        if entry.offer.mode == "standard" and entry.key not in self._installs:
            await self._put_aside(entry)
            return
        if await self._has_to_wait(entry, facts):
            return
        looked = await self._look_again(entry, facts)
        if looked is None or self._brake.is_on:
            return
        examined, facts = looked
        # The question takes its time, and so does telling that it was received: another session may have begun.
        if examined.refusals:
            await self._refuse(entry, examined.refusals)
            return
        if examined.plans != entry.plans:
            entry = self._book.change(replace(entry, plans=examined.plans))
        if await self._has_to_wait(entry, facts):
            return
        if entry.offer.mode == _LIVE:
            self.guard.before_live_write(entry.offer.fence)
        self._work.began_here = entry.key
        await self._advance()

    async def _look_again(
        self, entry: JournalEntry, facts: dict[Ear, AidFacts | None]
    ) -> tuple[Examined, dict[Ear, AidFacts | None]] | None:
        """What is to be made of it once the wearer is ready, where they are asked; None when they are not."""
        if not raises_mpo(entry.offer, entry.plans):
            return self._judge(entry.offer, facts), facts
        if await self._ask(self._wearer.ready, self._limits.ready_s):
            return await self._examine(entry.offer)
        if not self._brake.is_on:
            await self._work.end_unbegun(entry, "declined", "E_DECLINED")
        return None

    async def _has_to_wait(self, entry: JournalEntry, facts: dict[Ear, AidFacts | None]) -> bool:
        """Whether it is not its time; that is said."""
        is_frozen = entry.offer.kind == "volatile" and self.guard.is_frozen
        code = hold_code(facts) or ("E_BUSY" if is_frozen else None)
        if code is not None:
            await self._hold(entry, code)
        return code is not None

    async def _hold(self, entry: JournalEntry, code: str) -> None:
        """Wait for the aid; said once, and not for ever."""
        self._holds[entry.key] = self._holds.get(entry.key, 0) + 1
        if self._holds[entry.key] > self._limits.max_holds:
            await self._work.end_unbegun(entry, "rejected", code)
            return
        await self._book.tell(entry, "received", code=code)

    async def _put_aside(self, entry: JournalEntry) -> None:
        if len(self._book.record.awaiting) >= self._limits.max_awaiting:
            await self._work.end_unbegun(entry, "rejected", "E_BUSY")
            return
        for plan in entry.open_plans():
            entry = await self._book.tell(entry, "awaiting_install", plan.ear)
        self._book.save(self._book.record.put_aside())

    async def _refuse(self, entry: JournalEntry, refusals: tuple[Refused, ...]) -> None:
        if any(refused.code == "E_BASE" for refused in refusals):
            self.watch.differs()
        reports = entry.reports
        for refused in refusals:
            reports = (*reports, refusal_report(entry.offer, reports, refused))
        await self._book.end(entry, *reports[len(entry.reports) :])

    async def _examine(self, offer: Offer) -> tuple[Examined, dict[Ear, AidFacts | None]]:
        """Read every aid that the offer is for, and every other that is connected: a session's base is of both."""
        worn, changed = self._pair.ears, ears_of(offer)
        facts: dict[Ear, AidFacts | None] = {}
        for ear in worn:
            aid = self._pair.aid(ear)
            if ear in changed or aid.connected:
                reading = await self.hands.read(aid, heeds_brake=True)
                if ear in changed:
                    facts[ear] = self._facts(ear, reading)
        self.watch.look()
        return self._judge(offer, facts), facts

    def _judge(self, offer: Offer, facts: dict[Ear, AidFacts | None]) -> Examined:
        """What is to be made of it now; no aid is read for that."""
        return examine(
            offer,
            self._book.record,
            facts,
            is_late=self._is_late((offer.epoch, offer.seq)),
            live_code="E_BUSY" if self.guard.is_restoring else self.guard.live_code(offer.fence),
            over_trial=self._may_go_over_a_trial(offer),
        )

    def _is_late(self, key: tuple[str, int]) -> bool:
        until_s, entry = self._deadlines.get(key), self._book.record.in_flight
        if until_s is None and entry is not None and (entry.key, entry.boot) == (key, self._boot):
            # Of an earlier life of this process. On another clock nobody can tell.
            until_s = entry.until_s
        return until_s is not None and self._clock() >= until_s

    def _may_go_over_a_trial(self, offer: Offer) -> bool:
        """Whether a package may stand beside what RAM plays and nobody has saved.

        While it waits for its wearer it may. To be installed it is their wish that counts: what they have asked for by
        taking another back must not wait for a restart of the aids.
        """
        key = (offer.epoch, offer.seq)
        return not self.guard.is_open and (key not in self._installs or key in self._book.record.agreed)

    def _facts(self, ear: Ear, reading: Reading | None) -> AidFacts | None:
        if reading is None:
            return None
        identity = reading.identity
        return AidFacts(
            serial=identity.serial,
            firmware=identity.firmware,
            sheet=reading.sheet,
            ram=reading.images.image,
            nvm=reading.nvm,
            busy=identity.busy,
            battery_percent=identity.battery_percent,
            has_moved=ear in self.watch.moved,
            vendor_formats=self._pair.aid(ear).vendor_formats,
        )

    async def _ask(self, question: Callable[[], Awaitable[T]], seconds: float) -> T | None:
        """An answer in time, None for silence, also when the brake is pulled meanwhile."""
        try:
            async with self._brake.within(None, at_once=True):
                return await answer_within(question, seconds, self._sleep)
        except TimeoutError:
            return None
