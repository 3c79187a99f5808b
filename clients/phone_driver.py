"""The phone without its network: offers carried out on a pair of aids, and the way back from them at any time.

One thing happens at a time, the right ear first; only what makes an aid quiet again does not wait its turn, it ends
the turn of others. Reports go through a callback, and when that fails the work on the aids goes on, because a
half-written aid is worse than a silent phone. Read ``OfferRunner.run_offer``, then ``OfferRunner.revert``.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, nullcontext
from functools import partial

from msgspec import UNSET, UnsetType

from clients.brake import Brake
from clients.device_driver import AidPair
from clients.ear_hands import Reading, for_each_ear
from clients.journal import Journal, JournalRecord, Notice
from clients.phone_book import PhoneBook, SendReport, Watch, watch_nothing
from clients.phone_clock import awake_or_not_s, boot_id
from clients.phone_core import Place, Refused, place, refusal_report
from clients.phone_limits import PhoneLimits
from clients.phone_offers import OfferDesk
from clients.wearer import NobodyThere, Wearer
from protocol.contract.base import Ear
from protocol.contract.devices import AttachAnswer, AttachDevice, Images, InFlight, Offer, Report, Settled
from protocol.contract.sessions import (
    ConsentAnswer,
    ConsentAsked,
    DeviceCause,
    ReportDevice,
    RestoreCause,
    RevertNow,
    SessionAlive,
    Withdraw,
)
from protocol.errors import AuricleError

__all__ = ["AttachNeeded", "OfferRunner", "PhoneLimits", "SendReport"]

_DEFAULT_LIMITS = PhoneLimits()


class AttachNeeded(AuricleError):
    """The offer does not follow on what the phone knows: attach again. Nothing was written."""

    code = "attach_needed"


class OfferRunner:
    """The phone of one device. ``clock`` gives seconds and goes on while the process does not, and the machine sleeps.

    ``boot`` names the start of the machine that it counts from; by itself the system's own name.

    ``report`` arguments are the way to the server: they may raise ConnectionError, TimeoutError or any AuricleError,
    then the server is out of reach for this delivery until it offers again. None: there is no server now.
    """

    def __init__(
        self,
        pair: AidPair,
        journal: Journal,
        *,
        device: str,
        limits: PhoneLimits = _DEFAULT_LIMITS,
        wearer: Wearer | None = None,
        clock: Callable[[], float] = awake_or_not_s,
        boot: str | None = None,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        watch: Watch = watch_nothing,
    ) -> None:
        self.device, self.pair, self.limits, self.wearer = device, pair, limits, wearer or NobodyThere()
        self._clock, self.watch = clock, watch
        self._book = PhoneBook(journal, max_ended=limits.max_ended, watch=watch)
        self._brake = Brake(limits.finish_write_s)
        self._desk = OfferDesk(
            pair,
            self._book,
            self._brake,
            limits=limits,
            wearer=self.wearer,
            clock=clock,
            sleep=sleep,
            watch=watch,
            boot=boot_id() if boot is None else boot,
        )
        self._turn = asyncio.Lock()
        self._claimed: dict[Ear, str] = {}

    @property
    def record(self) -> JournalRecord:
        """What the journal holds now."""
        return self._book.record

    @property
    def is_in_session(self) -> bool:
        """Whether a base is kept."""
        return bool(self.record.session.base)

    @property
    def is_open(self) -> bool:
        """Whether an aid may hold what nobody has saved."""
        return self._desk.guard.is_open

    @property
    def is_loud(self) -> bool:
        """Whether an aid in reach was not read to hold its base, or a delivery that has begun on it has no end."""
        return self._desk.is_loud()

    @property
    def is_waiting(self) -> bool:
        """Whether something is unfinished that nobody works on, or an aid is away in a session."""
        is_unfinished = self.record.in_flight is not None or self._desk.guard.is_restoring
        is_away = self.is_in_session and self.ears_away
        return bool(is_unfinished or is_away) and not self._turn.locked()

    @property
    def ears_away(self) -> tuple[Ear, ...]:
        """The ears whose aid has no link now."""
        return tuple(ear for ear in self.pair.ears if not self.pair.aid(ear).connected)

    @property
    def offers_to_install(self) -> tuple[Offer, ...]:
        """The packages that the wearer has to be asked about."""
        return tuple(entry.offer for entry in self.record.awaiting)

    def now_s(self) -> float:
        """The clock."""
        return self._clock()

    @property
    def is_due(self) -> bool:
        """Whether ``work`` has to give the base back now."""
        return self._desk.guard.due() is not None

    def next_due_s(self) -> float | None:
        """When ``work`` has something to do by itself, by the clock; None while it has not."""
        return self._desk.next_due_s()

    async def attach_claim(self) -> AttachDevice:
        """What to say hello with: where the phone stands, and a read-back of every aid that is connected."""
        async with self._turn:
            readings = await self._read_connected()
            self._desk.watch.shown()
        self._claimed = {ear: reading.images.serial for ear, reading in readings.items()}
        record = self.record
        entry = record.in_flight
        return AttachDevice(
            device=self.device,
            epoch=record.epoch,
            last_terminal=record.last_settled,
            fence_max=record.fence_max,
            left=_images(readings, "left"),
            right=_images(readings, "right"),
            in_flight=UNSET if entry is None else InFlight(seq=entry.offer.seq, phase=entry.phase),
            trial=self.is_open,
        )

    def attached(self, answer: AttachAnswer) -> None:
        """The server answered the hello: it is the log's, and the aids that were shown are those of the device."""
        self._book.save(self.record.attached(answer))
        self._desk.guard.retire(self._claimed)

    def settled(self, message: Settled) -> None:
        """The server holds the end of a delivery."""
        if message.device == self.device:
            self._book.save(self.record.settled(message))

    async def recover(self) -> None:
        """Bring aids that were being written when the phone stopped to a known content, without reporting.

        Good before a hello, so that its read-back shows no mixture. The reports come with the next offer.
        """
        async with self._turns(None):
            self._want_what_is_due()
            await self._desk.recover()

    async def run_offer(self, offer: Offer, report: SendReport, *, received_at_s: float | None = None) -> None:
        """Carry one offer out as far as it goes now, and report every step. Raises AttachNeeded.

        What has to wait, for an aid, for its charge or for the wearer, is taken up again by ``work``.
        """
        async with self._turns(report):
            if place(offer, self.record) is Place.ATTACH or self._desk.guard.is_restoring:
                await self._desk.recover()
            where = place(offer, self.record)
            if where is Place.ATTACH or offer.device != self.device:
                raise AttachNeeded("this offer does not follow on what the phone knows")
            self._desk.take(offer, self._clock() if received_at_s is None else received_at_s)
            if where is Place.REPLAY:
                key = (offer.epoch, offer.seq)
                await self._book.tell_again(key, self.record.reports_of(*key) or ())
            elif where is Place.OTHER:
                await self._book.answer_once(refusal_report(offer, (), Refused("E_SIG")))
            elif where is Place.RESUME:
                await self._desk.resume(offer)
            else:
                await self._desk.start(offer)

    async def work(self, report: SendReport | None) -> None:
        """Go on with whatever waits: an aid has come back, has changed, or something is due.

        Nothing waits for a new link to the server: an aid that is back is seen to at once.
        """
        async with self._turns(report, at_once=self.is_due):
            if self._want_what_is_due(is_read=False) and not await self._desk.restore():
                # Before looking: an aid that hangs when it is read must not keep the other loud.
                return
            await self._look()
            self._want_what_is_due()
            if not self._desk.guard.is_restoring or await self._desk.restore():
                await self._desk.go_on()

    async def revert(self, cause: RestoreCause, report: SendReport | None = None) -> bool:
        """Give every aid back what its session began with, now, whatever else is under way.

        True when every aid was read to hold it; False when one is away: it is seen to as soon as it is back. Needs
        neither the server nor a journal that can be written.
        """
        self._desk.want(cause)
        async with self._turns(report, at_once=True):
            return await self._desk.restore(cause)

    async def revert_now(self, message: RevertNow, report: SendReport | None) -> None:
        """The server wants the base back; obeyed at any fence from the phone's own on.

        It raises no fence: a server that knows of no session says it with the highest there is.
        """
        if message.device == self.device and message.fence >= self.record.fence_max:
            await self.revert(message.cause, report)

    async def withdraw(self, message: Withdraw, report: SendReport) -> None:
        """Do not begin this one. What has not begun ends as the cause says; of the rest it is told what was done."""
        if message.device != self.device:
            return
        key, entry = (message.epoch, message.seq), self.record.in_flight
        at_once = entry is not None and entry.key == key and not entry.has_begun
        async with self._turns(report, at_once=at_once):
            if not await self._desk.withdraw(key, message.cause):
                await self._book.answer_for(key, self._never_came(message))
            await self._desk.go_on()

    def save_again(self) -> None:
        """Save what the disk could not take when the aids were made quiet."""
        self._book.save_again()

    async def catch_up(self, report: SendReport) -> None:
        """Tell what the server did not take when it was told."""
        if self._book.is_behind:
            async with self._turns(report):
                await self._book.catch_up()

    async def answer_install(self, offer: Offer, *, accepted: bool, report: SendReport | None) -> None:
        """The wearer has tapped Install, or Decline."""
        async with self._turns(report):
            await self._desk.answer_install((offer.epoch, offer.seq), accepted=accepted)

    def agree(self, epoch: str, seq: int) -> None:
        """The wearer has asked for that package, by taking another back: no second word is needed then."""
        self._book.save_if_possible(self.record.agreeing((epoch, seq)))

    def alive(self, message: SessionAlive) -> None:
        """The lease is live: feeds the dead-man, and nothing else does."""
        if message.device == self.device:
            self._desk.guard.alive(message.fence, message.ttl_ms)

    def asked(self, asked: ConsentAsked, answer: ConsentAnswer) -> None:
        """Keep the wearer's answer to a question for consent."""
        self._desk.guard.asked(asked, answer)

    def see(self, *, foreground: bool) -> None:
        """The app came to the foreground, or left it."""
        self._desk.guard.see(foreground=foreground)

    async def look(self) -> None:
        """Read both aids, and note what has happened to them since they were last read."""
        async with self._turn:
            await self._look()

    async def device_report(self, cause: DeviceCause, fence: int = 0) -> ReportDevice:
        """What is in the aids now, with why it is told; ``fence`` of the session that it is about, 0 for none."""
        async with self._turn:
            readings = await self._read_connected()
            self._desk.watch.reported(self.pair.ears, readings)
        # One word for both ears: whoever hears less than expected must show.
        worn = [reading.identity for reading in readings.values()]
        return ReportDevice(
            device=self.device,
            cause=cause,
            left=_images(readings, "left"),
            right=_images(readings, "right"),
            battery=UNSET if self.battery_percent is None else self.battery_percent,
            slot=worn[0].slot if worn else UNSET,
            volume_ddb=min(identity.volume_ddb for identity in worn) if worn else UNSET,
            muted=any(identity.muted for identity in worn) if worn else UNSET,
            fence=fence or UNSET,
        )

    def told(self, notice: Notice) -> None:
        """The server has taken a notice."""
        self._desk.watch.told(notice)
        self._book.save_if_possible(self.record.told(notice))

    @property
    def battery_percent(self) -> int | None:
        """The weaker aid's charge when they were last read, None while none was."""
        readings = self._desk.hands.readings.values()
        return min((reading.identity.battery_percent for reading in readings), default=None)

    def _never_came(self, message: Withdraw) -> tuple[Report, ...]:
        """Which ears it was for is not known here: the server takes what it can use."""
        return tuple(
            Report(
                device=self.device,
                epoch=message.epoch,
                seq=message.seq,
                attempt=0,
                n=number,
                state=message.cause,
                ear=ear,
            )
            for number, ear in enumerate(self.pair.ears, 1)
        )

    def _want_what_is_due(self, *, is_read: bool = True) -> bool:
        cause = self._desk.guard.due(is_read=is_read)
        # A commit that has begun finishes, or is given up in its own time.
        if cause is None or self._desk.is_committing():
            return False
        self._desk.guard.want(cause)
        return True

    async def _look(self) -> None:
        await self._read(self.pair.ears)
        if self.record.in_flight is None:
            self._desk.watch.look()
            self._desk.guard.compare()
            self._desk.guard.heed_restarts()

    async def _read_connected(self) -> dict[Ear, Reading]:
        return await self._read([ear for ear in self.pair.ears if self.pair.aid(ear).connected])

    async def _read(self, ears: Sequence[Ear]) -> dict[Ear, Reading]:
        """Not for long when somebody wants the aids quiet."""
        hands = self._desk.hands
        read = await for_each_ear({ear: hands.read(self.pair.aid(ear), heeds_brake=True) for ear in ears})
        return {ear: reading for ear, reading in read.items() if reading is not None}

    @asynccontextmanager
    async def _turns(self, report: SendReport | None, *, at_once: bool = False) -> AsyncIterator[None]:
        """One thing at a time; ``at_once``: whatever waits for something meanwhile lets go."""
        with self._brake.pulled() if at_once else nullcontext():
            await self._turn.acquire()
        try:
            self._book.save_again()
            self._book.reach_server(None if report is None else partial(self._send, report))
            yield
        finally:
            self._turn.release()

    async def _send(self, report: SendReport, told: Report) -> None:
        """A server that does not answer must not hold up the aids, nor whoever wants them quiet."""
        async with self._brake.within(self.limits.report_s):
            await report(told)


def _images(readings: dict[Ear, Reading], ear: Ear) -> Images | UnsetType:
    reading = readings.get(ear)
    return UNSET if reading is None else reading.images
