"""The phone's record and what it tells of it: on the disk first, then to the server.

A report that the server did not take stays in the journal, and those after it wait with it: the server must not see
the end of a delivery that it never saw begin. They are told when the server offers again, or when the phone catches up
by itself. Must not know aids.
Read ``PhoneBook.tell`` first.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any, Final, Protocol

from msgspec import UNSET

from clients.file_journal import JournalUnavailable
from clients.journal import Ended, Journal, JournalEntry, JournalRecord, Notice
from clients.phone_core import report_on
from protocol.contract.base import Ear
from protocol.contract.devices import Images, Report, ReportedState
from protocol.contract.sessions import DeviceCause
from protocol.errors import AuricleError, LocalProtocolError

__all__ = ["PhoneBook", "SendReport", "Watch", "watch_nothing"]

SendReport = Callable[[Report], Awaitable[object]]
_LOG: Final = logging.getLogger("auricle.clients")


class Watch(Protocol):
    """Hears of every step as it has happened; for tests and harnesses, which measure from outside."""

    def __call__(self, what: str, /, **facts: Any) -> None:
        """``what`` is the name of the step."""
        ...


def watch_nothing(what: str, /, **facts: Any) -> None:
    """Nobody looks."""


class PhoneBook:
    """One record, kept in a journal; ``send`` is the way to the server while there is one."""

    def __init__(self, journal: Journal, *, max_ended: int, watch: Watch) -> None:
        self._journal, self._max_ended, self._watch = journal, max_ended, watch
        self._record = journal.load()
        self._is_stale = False
        self._send: SendReport | None = None
        self._behind: dict[tuple[str, int], None] = {}

    @property
    def record(self) -> JournalRecord:
        """What the journal holds now."""
        return self._record

    @property
    def entry(self) -> JournalEntry:
        """The delivery in work. Raises LocalProtocolError when there is none."""
        entry = self._record.in_flight
        if entry is None:
            raise LocalProtocolError("no delivery is under way")
        return entry

    def save(self, record: JournalRecord) -> None:
        """Put the record on the disk. Raises JournalUnavailable; the old one holds then."""
        if record == self._record and not self._is_stale:
            return
        self._journal.save(record)
        self._record, self._is_stale = record, False

    def save_if_possible(self, record: JournalRecord) -> None:
        """For what must go on with a full disk too: making an aid quiet. What the disk lacks is saved with the next."""
        if record == self._record and not self._is_stale:
            return
        self._record = record
        try:
            self._journal.save(record)
        except JournalUnavailable:
            if not self._is_stale:
                _LOG.error("the journal cannot be written; the aids are seen to all the same")
            self._is_stale = True
        else:
            self._is_stale = False

    def save_again(self) -> None:
        """The disk may have room again for what it could not take."""
        self.save_if_possible(self._record)

    def reach_server(self, send: SendReport | None) -> None:
        """From now on reports go that way; None for nowhere."""
        self._send = send

    @property
    def is_behind(self) -> bool:
        """Whether the server did not take something that it was told."""
        return bool(self._behind)

    async def catch_up(self) -> None:
        """Tell what the server did not take, without waiting to be asked: over a link that lives it never asks."""
        if self._is_stale:
            return
        for key in tuple(self._behind):
            entry = self._record.under_way(*key)
            await self.tell_again(key, (self._record.reports_of(*key) or ()) if entry is None else entry.reports)

    async def tell_again(self, key: tuple[str, int], reports: tuple[Report, ...]) -> None:
        """Everything about a delivery once more, in order.

        What it tells of an aid may be long past, so a read-back follows that shows what is there now.
        """
        self._behind.pop(key, None)
        await self._out(key, *reports)
        if any(report.digest is not UNSET for report in reports):
            self.note("read_back")

    async def tell(
        self,
        entry: JournalEntry,
        state: ReportedState,
        ear: Ear | None = None,
        *,
        code: str | None = None,
        held: Images | None = None,
        loudness: int | None = None,
    ) -> JournalEntry:
        """Journal a report, then send it. The same in a row is told once, and doubt only once whatever its cause.

        That it waits meanwhile leaves it in doubt.
        """
        if ear is not None and state == "indeterminate" == entry.last_state(ear):
            return entry
        told = report_on(entry.offer, entry.reports, state, ear, code=code, held=held, loudness=loudness)
        last = next((old for old in reversed(entry.reports) if ear is None or old.ear == ear), None)
        is_same = last is not None and (last.state, last.ear) == (told.state, told.ear)
        if last is not None and is_same and last.code == told.code:
            return entry
        entry = self.change(entry.reported(told))
        await self._out(entry.key, told)
        return entry

    async def tell_all(
        self, entry: JournalEntry, state: ReportedState, held: Mapping[Ear, Images], *, loudness: int | None = None
    ) -> None:
        """The same of several ears, in the journal at once: no crash comes between them."""
        new: list[Report] = []
        for ear, images in held.items():
            if entry.last_state(ear) != state:
                told = report_on(entry.offer, entry.reports, state, ear, held=images, loudness=loudness)
                entry, new = entry.reported(told), [*new, told]
        if new:
            self.change(entry)
            await self._out(entry.key, *new)

    def begin(self, entry: JournalEntry) -> None:
        """A delivery is received."""
        self.save(self._record.begun(entry))
        self._saved(entry)

    def change(self, entry: JournalEntry) -> JournalEntry:
        """A delivery under way has moved with nothing to tell. On its way back it goes on with a full disk too."""
        self._keep(entry, self._record.with_entry(entry))
        self._saved(entry)
        return entry

    def finish(self, entry: JournalEntry) -> None:
        """A delivery has ended."""
        self._keep(entry, self._record.finished(entry, max_ended=self._max_ended))
        self._watch("journal", epoch=entry.offer.epoch, seq=entry.offer.seq, phase="ended")

    async def answer_for(self, key: tuple[str, int], reports: tuple[Report, ...]) -> None:
        """The end of a delivery that was never under way here, to be given again whenever it is asked for."""
        self.save(self._record.remembering(Ended(*key, reports), max_ended=self._max_ended))
        await self._out(key, *reports)

    async def answer_once(self, report: Report) -> None:
        """Nothing is remembered of it: should the server not hear it, it offers again."""
        if self._send is not None:
            with suppress(ConnectionError, TimeoutError, AuricleError):
                await self._send(report)

    def note(self, cause: DeviceCause) -> None:
        """Something that the server is to be told of the aids; it comes up while they are made quiet, too."""
        self.save_if_possible(self._record.noticed(Notice(cause, self._record.session.fence)))

    async def end(self, entry: JournalEntry, *reports: Report) -> None:
        """End a delivery with these reports: remembered first, then told."""
        for report in reports:
            entry = entry.reported(report)
        self.finish(entry)
        await self._out(entry.key, *reports)

    async def _out(self, key: tuple[str, int], *reports: Report) -> None:
        for report in reports:
            # What is not on the disk is not told: a crash would make it untrue.
            if self._send is None or self._is_stale or key in self._behind:
                self._fall_behind(key)
                return
            self._watch("result_out", report=report)
            try:
                await self._send(report)
            except asyncio.CancelledError:
                # Whoever goes on must not tell what comes after it before this.
                self._fall_behind(key)
                raise
            except (ConnectionError, TimeoutError, AuricleError):
                self._fall_behind(key)

    def _keep(self, entry: JournalEntry, record: JournalRecord) -> None:
        if entry.back is None:
            self.save(record)
        else:
            self.save_if_possible(record)

    def _fall_behind(self, key: tuple[str, int]) -> None:
        self._behind[key] = None
        while len(self._behind) > self._max_ended:
            del self._behind[next(iter(self._behind))]

    def _saved(self, entry: JournalEntry) -> None:
        self._watch("journal", epoch=entry.offer.epoch, seq=entry.offer.seq, phase=entry.phase)
