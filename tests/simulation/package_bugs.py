"""Bugs of packages that the checks must find, put in by replacing one part, as in ``bugs``.

Read ``PACKAGE_BUGS``.
"""

from collections.abc import Mapping
from dataclasses import replace as dataclass_replace
from typing import Any, Final

from msgspec.structs import replace

from clients.ear_hands import EarDone, EarJob
from clients.phone_driver import OfferRunner, SendReport
from fitting.limits import WEEK_S
from fitting.log_memory import MemoryOutbox
from fitting.log_moments import was_held
from fitting.log_parts import Entry
from fitting.log_rows import DeviceRows
from fitting.log_settling import packages
from fitting.log_values import Delivery, Revision
from fitting.outbox import DueItem
from protocol.contract.base import Ear, Refusal
from protocol.contract.devices import Offer, Report

from .disk import SlowMemoryStore
from .handset import DEVICE, PhoneParts
from .watched_log import WatchedLog
from .world import Options

__all__ = ["PACKAGE_BUGS"]


class _OffersAgain(WatchedLog):
    """A package that has given way to a newer one waits again as soon as the phone has given it back."""

    async def report(self, report: Report, *, generation: int) -> Any:
        outcome = await super().report(report, generation=generation)
        delivery = getattr(outcome, "delivery", None)
        if delivery is not None and outcome.ended and (delivery.mode, delivery.state) == ("standard", "superseded"):

            def revive(rows: DeviceRows, _: float) -> None:
                ears: dict[Ear, Any] = dict.fromkeys(delivery.ears, "accepted")
                rows.entries[delivery.seq] = Entry(replace(delivery, state="accepted", ears=ears, withdrawn=None))
                rows.pending.appendleft(delivery.seq)
                rows.touch()

            await self._store.run(report.device, revive)
        return outcome


class _ForgetsToExpire(WatchedLog):
    """The time of packages never comes."""

    async def expire(self) -> Any:
        waiting = await self._store.run(DEVICE, lambda rows, _: bool(packages(rows)))
        return () if waiting is True else await super().expire()


class _WritesOverTheTrial(WatchedLog):
    """A package is written over the newest revision, whether the aids keep that or have only tried it."""

    async def append(self, proposal: Any) -> Any:
        head = await self.head(proposal.device)
        outcome = await super().append(proposal)
        newest = None if isinstance(head, Refusal) else head.revision
        if proposal.mode == "standard" and newest is not None and not isinstance(outcome, Refusal):

            def rebase(rows: DeviceRows, _: float, base: Revision = newest) -> None:
                entry = rows.entries.get(outcome.seq)
                if entry is not None:
                    entry.delivery = replace(entry.delivery, base=base)

            await self._store.run(proposal.device, rebase)
        return outcome


class _TakesBackTooMuch(WatchedLog):
    """What a package is taken back for is the oldest that there is, not what it was installed over."""

    async def delivery(self, device: str, seq: int) -> Delivery | None:
        found = await super().delivery(device, seq)
        if found is None or (found.mode, found.state) != ("standard", "active"):
            return found
        return replace(found, base=(await self.revisions(device, limit=1_000))[-1])


class _CountsFromToday(WatchedLog):
    """What was active before counts no more: each package may rise over the last one."""

    async def head(self, device: str, **more: Any) -> Any:
        head = await super().head(device, **more)
        return head if isinstance(head, Refusal) else replace(head, active=head.active[-1:])


class _ForgetsWhatOneEarKeeps(WatchedLog):
    """What one ear may keep counts for a week from when it was found, however long that lasts."""

    async def head(self, device: str, **more: Any) -> Any:
        head = await super().head(device, **more)
        if isinstance(head, Refusal):
            return head
        kept = (m for m in head.active if was_held(m) or m.at_s > head.at_s - WEEK_S)
        return replace(head, active=tuple(kept))


class _ForgetsWhatItRefuses(WatchedLog):
    """What was said in a report that was refused was never said."""

    async def report(self, report: Report, *, generation: int) -> Any:
        outcome = await super().report(report, generation=generation)
        if isinstance(outcome, Refusal):

            def forget(rows: DeviceRows, _: float) -> None:
                for entry in rows.entries.values():
                    entry.copied.clear()

            await self._store.run(report.device, forget)
        return outcome


class _AsksAboutAnything(WatchedLog):
    """The wearer is asked about what was installed, whatever they wear now."""

    async def ask_question(self, device: str, seq: int) -> Any:
        asked = await self._store.delivery(device, seq)
        if asked is None or asked.state != "active":
            return await super().ask_question(device, seq)
        self._packages.asked(seq)
        return asked


class _ForgetsTheOutbox(SlowMemoryStore):
    """What is to be done later is known to the process alone."""

    def __init__(self, disk: Any, process: Any, limits: Any) -> None:
        super().__init__(disk, process, limits)
        self.outbox = disk.outbox = MemoryOutbox(disk.clock)


class _Gone(MemoryOutbox):
    """What is taken is there no more."""

    async def take(self, limit: int, *, hold_s: float) -> tuple[DueItem, ...]:
        taken = await super().take(limit, hold_s=hold_s)
        for item in taken:
            await self.done(item)
        return taken

    async def later(self, item: DueItem, due_at_s: float, *, tried: bool) -> None:
        self._items[item.id] = item
        await super().later(item, due_at_s, tried=tried)


class _TakesForGood(SlowMemoryStore):
    """A process that ends with something in hand that was due takes it along."""

    def __init__(self, disk: Any, process: Any, limits: Any) -> None:
        super().__init__(disk, process, limits)
        if not isinstance(disk.outbox, _Gone):
            disk.outbox = _Gone(disk.clock)
        self.outbox = disk.outbox


class _Hasty(MemoryOutbox):
    """Whatever is put off is due again in a moment."""

    async def later(self, item: DueItem, due_at_s: float, *, tried: bool) -> None:
        await super().later(item, min(due_at_s, self.now_s() + 5.0), tried=tried)


class _HasNoPatience(SlowMemoryStore):
    """A phone is woken again and again."""

    def __init__(self, disk: Any, process: Any, limits: Any) -> None:
        super().__init__(disk, process, limits)
        if not isinstance(disk.outbox, _Hasty):
            disk.outbox = _Hasty(disk.clock)
        self.outbox = disk.outbox


class _TakesNoForAYes(OfferRunner):
    """Whatever the wearer has said, the package is installed."""

    async def answer_install(self, offer: Offer, *, accepted: bool, report: SendReport | None) -> None:
        await super().answer_install(offer, accepted=True, report=report)


class _Startles(OfferRunner):
    """What is brought back is there at once, however much louder."""

    def __init__(self, *parts: Any, **more: Any) -> None:
        super().__init__(*parts, **more)
        hands = self._desk.hands
        run = hands.run

        async def at_once(job: EarJob, *given: Any, **told: Any) -> EarDone:
            return await run(dataclass_replace(job, is_gentle=False), *given, **told)

        hands.run = at_once  # type: ignore[method-assign]  # the bug


PACKAGE_BUGS: Final[Mapping[str, Options]] = {
    "offers a superseded package again": Options(log=_OffersAgain),
    "forgets to expire packages": Options(log=_ForgetsToExpire),
    "writes over the trial": Options(log=_WritesOverTheTrial),
    "takes back too much": Options(log=_TakesBackTooMuch),
    "counts from today": Options(log=_CountsFromToday),
    "forgets what one ear keeps": Options(log=_ForgetsWhatOneEarKeeps),
    "forgets what it refuses": Options(log=_ForgetsWhatItRefuses),
    "asks about anything": Options(log=_AsksAboutAnything),
    "forgets the outbox": Options(store=_ForgetsTheOutbox),
    "takes for good": Options(store=_TakesForGood),
    "has no patience": Options(store=_HasNoPatience),
    "takes no for a yes": Options(phone=PhoneParts(runner=_TakesNoForAYes)),
    "startles": Options(phone=PhoneParts(runner=_Startles)),
}
