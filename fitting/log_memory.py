"""The device log in memory: for tests, and as the meaning that other logs are held to.

No method awaits anything, so in one event loop each is one atomic step. Nothing here decides anything; the steps are
``log_commands``. Read ``MemoryLogStore.run`` first.
"""

from collections import OrderedDict, deque
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from itertools import count, islice
from typing import TypeVar

from protocol.contract.base import Ear, Refusal
from protocol.contract.devices import RegisteredAid

from .log_clock import LogClock
from .log_commands import is_quiet
from .log_over_store import Look, Step, StoredDeviceLog
from .log_parts import OutboxItem
from .log_rows import DeviceRows
from .log_values import Delivery, LogEvent, LogLimits, Revision
from .outbox import DueItem

__all__ = ["MemoryDeviceLog", "MemoryLogStore", "MemoryOutbox"]

T = TypeVar("T")
_DEFAULT_LIMITS = LogLimits()


@dataclass(slots=True)
class _History:
    """What of a device is written down for good; the oldest beyond the bound is forgotten."""

    ended: OrderedDict[int, Delivery] = field(default_factory=OrderedDict)
    events: deque[LogEvent] = field(default_factory=deque)
    revisions: OrderedDict[str, Revision] = field(default_factory=OrderedDict)


class MemoryLogStore:
    """``LogStore`` in this process. ``clock`` is the log's own: Unix seconds that only rise.

    Ended deliveries and revisions beyond ``limits.max_history`` are forgotten with the events before them: reports for
    them are then ``unknown_delivery``.
    """

    def __init__(self, *, clock: Callable[[], float], epoch: str, limits: LogLimits) -> None:
        self._clock = clock
        self._limits = limits
        self._epoch = epoch
        self._devices: dict[str, DeviceRows] = {}
        self._histories: dict[str, _History] = {}
        self.outbox = MemoryOutbox(clock)

    async def create(self, device: str, aids: Mapping[Ear, RegisteredAid]) -> bool:
        if device in self._devices:
            return False
        self._devices[device] = DeviceRows(device, self._epoch, dict(aids), self._limits)
        self._histories[device] = _History()
        return True

    async def run(self, device: str, step: Step[T], *, key: str | None = None) -> T | Refusal:
        rows = self._devices.get(device)
        if rows is None:
            return Refusal(code="not_found", message="there is no such device")
        outcome = step(rows, self._clock())
        self._keep(rows)
        return outcome

    def overheard(self, device: str) -> None:
        """There is no other process."""

    async def newest(self, devices: Collection[str]) -> Mapping[str, int]:
        events = {device: self._histories[device].events for device in devices if device in self._histories}
        return {device: written[-1].n if written else 0 for device, written in events.items()}

    def is_quiet(self, device: str, generation: int) -> bool:
        rows = self._devices.get(device)
        return rows is not None and is_quiet(rows, generation)

    async def due(self, look: Look) -> tuple[str, ...]:
        return tuple(device for device, rows in self._devices.items() if rows.pending or rows.live is not None)

    async def in_session(self) -> tuple[str, ...]:
        return tuple(device for device, rows in self._devices.items() if rows.live is not None)

    async def delivery(self, device: str, seq: int) -> Delivery | None:
        history = self._histories.get(device)
        return None if history is None else history.ended.get(seq)

    async def deliveries(self, device: str, before: int, limit: int) -> tuple[Delivery, ...]:
        history = self._histories.get(device)
        if history is None:
            return ()
        # They are kept in the order of their ends.
        seqs = sorted((seq for seq in history.ended if seq < before), reverse=True)
        return tuple(history.ended[seq] for seq in seqs[:limit])

    async def events(self, device: str, after: int, limit: int) -> tuple[LogEvent, ...]:
        history = self._histories.get(device)
        if history is None or not history.events:
            return ()
        # Numbers are consecutive, so the first one wanted is found by counting.
        start = max(0, after + 1 - history.events[0].n)
        return tuple(islice(history.events, start, start + limit))

    async def revision(self, device: str, revision_id: str) -> Revision | None:
        history = self._histories.get(device)
        return None if history is None else history.revisions.get(revision_id)

    async def revisions(self, device: str, before: str | None, limit: int) -> tuple[Revision, ...]:
        history = self._histories.get(device)
        if history is None or (before is not None and before not in history.revisions):
            return ()
        newest = iter(reversed(history.revisions.values()))
        if before is not None:
            for revision in newest:
                if revision.revision_id == before:
                    break
        return tuple(islice(newest, limit))

    async def close(self) -> None:
        """Nothing is kept anyway."""

    def _keep(self, rows: DeviceRows) -> None:
        fresh, history = rows.take(), self._histories[rows.device]
        history.revisions.update((revision.revision_id, revision) for revision in fresh.revisions)
        history.events.extend(fresh.events)
        for item in fresh.outbox:
            self.outbox.put(rows.device, item)
        for delivery in fresh.deliveries:
            if delivery.seq not in rows.entries:
                history.ended[delivery.seq] = delivery
        while len(history.revisions) > self._limits.max_history:
            history.revisions.popitem(last=False)
        while len(history.ended) > self._limits.max_history:
            forgotten, _ = history.ended.popitem(last=False)
            while history.events and (history.events[0].seq or 0) <= forgotten:
                history.events.popleft()


class MemoryOutbox:
    """``fitting.outbox.Outbox`` in this process."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.now_s = clock
        self._ids = count(1)
        self._items: dict[int, DueItem] = {}
        self._held_until_s: dict[int, float] = {}

    def put(self, device: str, item: OutboxItem) -> None:
        """Keep what a step has added."""
        number = next(self._ids)
        self._items[number] = DueItem(number, device, item.kind, item.seq, item.due_at_s, 0)

    async def take(self, limit: int, *, hold_s: float) -> tuple[DueItem, ...]:
        """See ``Outbox``."""
        now_s = self.now_s()
        free = [one for one in self._items.values() if one.due_at_s <= now_s >= self._held_until_s.get(one.id, 0.0)]
        taken = sorted(free, key=lambda item: (item.due_at_s, item.id))[:limit]
        self._held_until_s.update((item.id, now_s + hold_s) for item in taken)
        return tuple(taken)

    async def later(self, item: DueItem, due_at_s: float, *, tried: bool) -> None:
        """See ``Outbox``."""
        kept = self._items.get(item.id)
        if kept is not None:
            self._items[item.id] = kept._replace(due_at_s=due_at_s, tries=kept.tries + tried)
            self._held_until_s.pop(item.id, None)

    async def done(self, item: DueItem) -> None:
        """See ``Outbox``."""
        self._items.pop(item.id, None)
        self._held_until_s.pop(item.id, None)


class MemoryDeviceLog(StoredDeviceLog):
    """``fitting.log.DeviceLog`` with everything in this process, by a ``LogClock``."""

    def __init__(
        self,
        *,
        clock: Callable[[], float],
        monotonic: Callable[[], float],
        new_id: Callable[[], str],
        limits: LogLimits = _DEFAULT_LIMITS,
    ) -> None:
        store = MemoryLogStore(clock=LogClock(clock, monotonic).now_s, epoch=new_id(), limits=limits)
        super().__init__(store, new_id)
        self.outbox = store.outbox
