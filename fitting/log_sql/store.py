"""``fitting.log_over_store.LogStore`` over a database: every step is taken on rows in memory, and stands once written.

Rows are kept between calls and may be old, so nothing that they say is final: what a step makes hard is written only
if nobody else has written since, and a refusal is given only on rows that were the newest during the call. Otherwise
the rows are read again and the step is taken again. What is only told is written with the next hard step, or soon.
This module must not know which database it is. Read ``SqlLogStore.run`` first.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import TypeVar

from fitting.log_commands import is_quiet
from fitting.log_over_store import Look, Step
from fitting.log_parts import Fresh
from fitting.log_rows import DeviceRows
from fitting.log_values import Delivery, LogEvent, LogLimits, Revision
from protocol.contract.base import Ear, Refusal
from protocol.contract.devices import RegisteredAid
from protocol.errors import AuricleError, Overloaded, Unavailable, UnknownOutcome

from .limits import StoreLimits
from .port import Due, LogDatabase, Unwatched, Watch
from .record import Place, Write, legible, rows_of, write_of
from .slot import Quiet, Slot, Told

__all__ = ["SqlLogStore"]

T = TypeVar("T")
# Whoever loses a race loses it to somebody who got on; this many in a row mean that something is wrong.
_TRIES = 64
_FLUSHED_AT_ONCE = 256
# One question must not keep all others from the database for long.
_ASKED_AT_ONCE = 1_000


class SqlLogStore:
    """``LogStore`` over a database that somebody else opens and closes. ``monotonic`` gives seconds that only rise.

    ``name`` tells the writes of this process from those of others.
    """

    def __init__(
        self,
        database: LogDatabase,
        *,
        name: str,
        monotonic: Callable[[], float],
        limits: LogLimits,
        bounds: StoreLimits | None = None,
        watch: Watch | None = None,
    ) -> None:
        self._database = database
        self._name = name
        self._writes = 0
        self._monotonic = monotonic
        self._limits = limits
        self._bounds = bounds or StoreLimits()
        self._watch = watch or Unwatched()
        self._slots: OrderedDict[str, Slot] = OrderedDict()
        self._noticed_s = float("-inf")
        # What was forgotten of devices whose phones this process carries, and on which nothing is to be done.
        self._quiet: OrderedDict[str, Quiet] = OrderedDict()
        self._looked: dict[Look, Due] = {}

    async def create(self, device: str, aids: Mapping[Ear, RegisteredAid]) -> bool:
        rows = DeviceRows(device, self._database.epoch(), dict(aids), self._limits)
        place = Place(1, 0, self._next_name(), "", rows.epoch, self._database.now_s())
        return await self._database.create(write_of(rows, rows.take(), place).head)

    async def run(self, device: str, step: Step[T], *, key: str | None = None) -> T | Refusal:
        while True:
            slot = self._slot(device)
            async with slot.lock:
                # While we waited it may have been forgotten.
                if self._slots.get(device) is not slot:
                    continue
                try:
                    outcome = await self._run(slot, step, key)
                finally:
                    if slot.rows is None and slot.is_written:
                        # There is no such device, or nothing is known of it.
                        del self._slots[device]
            if len(self._slots) > self._bounds.max_cached_devices:
                await self._make_room()
            return outcome

    def overheard(self, device: str) -> None:
        """Somebody else has written to the device: what is kept of it counts only after asking."""
        self._quiet.pop(device, None)
        slot = self._slots.get(device)
        if slot is not None:
            slot.checked_s = float("-inf")

    def is_quiet(self, device: str, generation: int) -> bool:
        """What was held to the database at the last look at what others have written counts, and nothing older."""
        if self._noticed_s == float("-inf"):
            return False
        slot = self._slots.get(device)
        if slot is None:
            quiet = self._quiet.get(device)
            return quiet is not None and quiet.generation == generation and quiet.checked_s >= self._noticed_s
        rows = slot.rows
        if rows is None or slot.carrier != self._name or slot.checked_s < self._noticed_s:
            return False
        return is_quiet(rows, generation)

    async def due(self, look: Look) -> tuple[str, ...]:
        """Also the time at which what was told is written down, and what others have written is noticed."""
        await self._flush(older_than_s=self._bounds.flush_s)
        await self._notice_others()
        limit = self._bounds.max_due_devices
        found = await self._database.due(limit, self._looked.pop(look, None))
        if len(found) >= limit:
            self._watch.reached("max_due_devices")
            # What cannot be ended now must not keep the look from those behind it.
            self._looked[look] = found[-1]
        return tuple(due.device for due in found)

    async def in_session(self) -> tuple[str, ...]:
        """A session is due when its lease ends, so every one is due within the life of a lease.

        The bound is not counted: those that are left out come first before their next renewal.
        """
        return await self._database.due_soon(self._limits.lease_ttl_s, self._bounds.max_due_devices)

    async def delivery(self, device: str, seq: int) -> Delivery | None:
        with legible():
            return await self._database.delivery(device, seq)

    async def deliveries(self, device: str, before: int, limit: int) -> tuple[Delivery, ...]:
        with legible():
            return await self._database.deliveries(device, before, limit)

    async def events(self, device: str, after: int, limit: int) -> tuple[LogEvent, ...]:
        return await self._database.events(device, after, limit)

    async def revision(self, device: str, revision_id: str) -> Revision | None:
        with legible():
            return await self._database.revision(device, revision_id)

    async def revisions(self, device: str, before: str | None, limit: int) -> tuple[Revision, ...]:
        with legible():
            return await self._database.revisions(device, before, limit)

    async def close(self) -> None:
        await self._flush(older_than_s=0.0)
        self._slots.clear()
        self._quiet.clear()

    async def _run(self, slot: Slot, step: Step[T], key: str | None) -> T | Refusal:
        # Whether the key is known to be new: the rows hold only those that were used lately.
        is_key_sure = key is None
        for _ in range(_TRIES):
            is_newest = await self._prepare(slot)
            rows = slot.rows
            if rows is None:
                return Refusal(code="not_found", message="there is no such device")
            now_s = self._database.now_s()
            slot.doubt(self._name, now_s)
            # Half a step must not be kept: until it is over, the rows are nobody's.
            slot.rows = None
            ears = dict(rows.truth.ears)
            try:
                outcome = step(rows, now_s)
            except AuricleError:
                if is_newest or await self._is_newest(slot):
                    raise
                continue
            fresh = rows.take()
            if fresh.is_hard or (fresh.is_soft and self._is_full(slot)):
                if await self._commit(slot, rows, fresh, now_s):
                    return outcome
                self._watch.conflicted()
                # Whoever was first may have had the same key.
                is_key_sure = key is None or await self._is_new(slot, key)
                continue
            slot.rows = rows
            asked = None if is_key_sure or key in rows.keys else key
            if not await self._is_final(slot, outcome, asked, is_newest):
                continue
            if fresh.is_soft:
                slot.told.append(Told(step, now_s, ears))
                slot.tell_later(self._monotonic())
            return outcome
        raise Unavailable("others write to this device all the time, try again")

    def _is_full(self, slot: Slot) -> bool:
        if len(slot.told) < self._bounds.max_unwritten_steps:
            return False
        self._watch.reached("max_unwritten_steps")
        return True

    async def _is_final(self, slot: Slot, outcome: object, key: str | None, is_newest: bool) -> bool:
        """Whether an answer may be given that nothing is written for; the step is taken again if not.

        A refusal must be true of the newest rows. An acceptance is held to its key by what is unique in the database;
        whatever else is said of a key must know all of them.
        """
        if key is not None:
            return await self._is_new(slot, key)
        return is_newest or not isinstance(outcome, Refusal) or await self._is_newest(slot)

    async def _prepare(self, slot: Slot) -> bool:
        """Have rows to work on; whether they are the newest."""
        if slot.log_epoch != self._database.epoch():
            # Another server may have taken over, which knows another past: versions say nothing then.
            slot.rows = None
        self._watch.cached(slot.rows is not None)
        if slot.rows is not None and self._monotonic() - slot.checked_s <= self._bounds.stale_s:
            return False
        if slot.rows is None or not await self._is_newest(slot):
            await self._read(slot)
        return True

    async def _is_new(self, slot: Slot, key: str) -> bool:
        """Whether nobody has used the key, on rows that are the newest or are still to be read."""
        with legible():
            version, known = await self._database.key_at(slot.device, key)
        if known is not None:
            if slot.rows is None or version != slot.version:
                await self._read(slot)
            if slot.rows is not None:
                slot.rows.remember(key, known)
            return False
        if slot.rows is not None and version != slot.version:
            slot.rows = None
            return False
        slot.checked_s = self._monotonic()
        return True

    async def _read(self, slot: Slot) -> None:
        slot.rows = None
        with legible():
            loaded = await self._database.load(slot.device, known=slot.known)
            if loaded is not None:
                revisions = {**slot.known, **loaded.revisions}
                epoch = self._database.epoch()
                rows = rows_of(loaded.head, revisions, epoch, self._limits)
                slot.read(rows, loaded.head, epoch, self._monotonic())

    async def _is_newest(self, slot: Slot) -> bool:
        """Whether nobody has written since the rows were; if somebody has, the next step reads them again."""
        versions = await self._database.versions((slot.device,))
        if versions.get(slot.device) != slot.version:
            slot.rows = None
            return False
        slot.checked_s = self._monotonic()
        return True

    async def _commit(self, slot: Slot, rows: DeviceRows, fresh: Fresh, now_s: float) -> bool:
        """Write what steps have made of the rows; False when they were old, and must be read again."""
        # Whoever attaches a phone carries it, until somebody else does.
        attached = rows.generation > slot.generation
        place = Place(
            version=slot.version + 1,
            revisions=slot.revisions + len(fresh.revisions),
            written=self._next_name(),
            carrier=self._name if attached else slot.carrier,
            log_epoch=self._database.epoch(),
            now_s=now_s,
        )
        write = write_of(rows, fresh, place)
        try:
            is_written = await self._database.commit(write)
        except UnknownOutcome:
            is_written = await self._was_written(write)
        if is_written:
            slot.written(rows, write.head, self._monotonic())
        return is_written

    async def _was_written(self, write: Write) -> bool:
        """Whether a write whose answer was lost has come about."""
        try:
            found = await self._database.load(write.head.device, known=write.head.refs.split())
        except Unavailable:
            raise UnknownOutcome("the answer of the database was lost, try again with the same key") from None
        return found is not None and found.head.written == write.head.written

    async def _flush(self, *, older_than_s: float) -> None:
        """Write down what was told longer ago than that."""
        before_s = self._monotonic() - older_than_s
        late = [s for s in self._slots.values() if s.unwritten_s is not None and s.unwritten_s <= before_s]
        for start in range(0, len(late), _FLUSHED_AT_ONCE):
            async with asyncio.TaskGroup() as group:
                for slot in late[start : start + _FLUSHED_AT_ONCE]:
                    group.create_task(self._write_down(slot))

    async def _write_down(self, slot: Slot) -> None:
        async with slot.lock:
            if slot.unwritten_s is None:
                return
            try:
                await self._run(slot, _harden, None)
            except (Unavailable, Overloaded):
                # It stays told, and is tried again with the next step or the next look.
                self._watch.failed("flush")

    async def _notice_others(self) -> None:
        """One question for all phones that this process carries: a sweep asks each for its offers, again and again."""
        before_s = self._monotonic()
        if before_s - self._noticed_s < self._bounds.flush_s:
            return
        self._noticed_s = before_s
        live = [slot.device for slot in self._slots.values() if self._is_live(slot)]
        live += self._quiet
        for start in range(0, len(live), _ASKED_AT_ONCE):
            some = live[start : start + _ASKED_AT_ONCE]
            versions = await self._database.versions(some)
            for device in some:
                self._notice(device, versions.get(device), before_s)

    def _notice(self, device: str, version: int | None, at_s: float) -> None:
        slot = self._slots.get(device)
        if slot is None:
            quiet = self._quiet.get(device)
            if quiet is not None and quiet.version == version:
                quiet.checked_s = at_s
            elif quiet is not None:
                del self._quiet[device]
        # A slot in use checks for itself, and may have written since we asked.
        elif slot.rows is not None and not slot.lock.locked() and slot.checked_s <= at_s:
            if version == slot.version:
                slot.checked_s = at_s
            else:
                slot.rows = None

    def _is_live(self, slot: Slot) -> bool:
        """Whether this process carries its phone."""
        return slot.rows is not None and slot.rows.attached and slot.carrier == self._name

    def _slot(self, device: str) -> Slot:
        slot = self._slots.get(device)
        if slot is None:
            slot = self._slots[device] = Slot(device)
            self._quiet.pop(device, None)
        else:
            self._slots.move_to_end(device)
        return slot

    async def _make_room(self) -> None:
        """Forget the devices that were used longest ago; what cannot be written down now is kept."""
        while len(self._slots) > self._bounds.max_cached_devices:
            self._watch.reached("max_cached_devices")
            oldest = next((slot for slot in self._slots.values() if not slot.lock.locked()), None)
            if oldest is not None and not oldest.is_written:
                await self._write_down(oldest)
            unused = (s for s in self._slots.values() if s.is_written and not s.lock.locked())
            forgotten = next(unused, None)
            if forgotten is None:
                return
            self._forget(forgotten)

    def _forget(self, slot: Slot) -> None:
        """That nothing is to be done for its phone is remembered: sweeps go over more phones than this keeps."""
        del self._slots[slot.device]
        rows = slot.rows
        if rows is None or not self._is_live(slot) or not is_quiet(rows, rows.generation):
            return
        self._quiet[slot.device] = Quiet(slot.version, rows.generation, slot.checked_s)
        if len(self._quiet) > self._bounds.max_cached_devices:
            self._quiet.popitem(last=False)

    def _next_name(self) -> str:
        self._writes += 1
        return f"{self._name}-{self._writes}"


def _harden(rows: DeviceRows, _: float) -> None:
    rows.harden()
    rows.touch()
