"""Presence over Redis: one hash per pod with what it counts, which ends when the pod does not keep it any more.

Joining and leaving costs a connection an addition in memory: a flusher writes what has changed, and a beat keeps the
whole. A pod that finds its hash gone writes all of it again, and until it has, nothing is known of its people: a hash
that holds all of them says so. Read ``RedisPresence._keep`` first.
"""

import asyncio
import hashlib
import hmac
from collections.abc import Callable, Collection, Sequence
from itertools import islice
from typing import Final

import msgspec

from signaling.backplane import Backplane
from signaling.bus.tables_redis import AWAY, RedisTables, TablesAway
from signaling.pods.directory import PodDirectory
from signaling.tasks import TaskSet

from .presence import Counts, Mark, PresenceTimes

__all__ = ["RedisPresence"]

_CHANNEL: Final = "presence"
_MARK_BYTES: Final = 16
# Of a hash that holds all that its pod counts: the name of that pod. No mark is so short.
_WHOLE: Final = b"whole"
# Of one command, and of one message.
_BATCH: Final = 1_000
# How long it is known of a pod that leaves that nobody is there: soon it is in no directory.
_GOODBYE_S: Final = 1.0
# How soon it is tried again while Redis is away.
_AGAIN_S: Final = 0.25


class RedisPresence:
    """``Presence`` over Redis. ``key`` makes marks of names: Redis never sees one."""

    def __init__(
        self,
        directory: PodDirectory,
        tables: RedisTables,
        backplane: Backplane,
        *,
        key: bytes,
        times: PresenceTimes,
        tasks: TaskSet,
        reached: Callable[[str], None],
    ) -> None:
        self._directory = directory
        self._tables = tables
        self._backplane = backplane
        self._key = key
        self._times = times
        self._tasks = tasks
        self._reached = reached
        self._counts = Counts()
        # Each with whether the first has come or the last has gone.
        self._changed: dict[Mark, bool] = {}
        self._is_all_due = True
        self._news = asyncio.Event()
        self._moved: list[Callable[[Sequence[Mark]], None]] = []

    def person(self, clinic: str, user: str) -> Mark:
        """See ``Presence``."""
        return self._mark(b"user", clinic, user)

    def device(self, device: str) -> Mark:
        """See ``Presence``."""
        return self._mark(b"device", device)

    def came(self, mark: Mark) -> None:
        """See ``Presence``."""
        self._change(mark, crossed=self._counts.came(mark))

    def left(self, mark: Mark) -> None:
        """See ``Presence``."""
        self._change(mark, crossed=self._counts.left(mark))

    def here(self, mark: Mark) -> int:
        """See ``Presence``."""
        return self._counts.of.get(mark, 0)

    async def count(self, marks: Sequence[Mark], *, patient: bool = False) -> tuple[int, ...] | None:
        """See ``Presence``."""
        if not self._directory.is_settled:
            # Behind a loss of Redis: a pod that has not written its people down again would seem to have none.
            return None
        others = [pod for pod in self._directory.pods() if pod != self._directory.pod]
        totals = [self.here(mark) for mark in marks]
        for first in range(0, len(marks) if others else 0, _BATCH):
            fields = (*marks[first : first + _BATCH], _WHOLE)
            said = await self._tables.field_of_each(list(map(_place, others)), *fields, patient=patient)
            if said is AWAY or not await self._are_all({found[-1] for found in said}, others, patient=patient):
                return None
            for *counts, _ in said:
                for place, value in enumerate(counts, first):
                    totals[place] += _number(value)
        return tuple(totals)

    def on_moved(self, moved: Callable[[Sequence[Mark]], None]) -> None:
        """See ``Presence``."""
        self._moved.append(moved)

    async def open(self) -> None:
        """See ``Presence``."""
        self._backplane.subscribe(_CHANNEL, self._heard)
        self._backplane.on_missed(self._news.set)
        self._tasks.spawn(self._keep())

    async def close(self) -> None:
        """See ``Presence``."""
        await self._tasks.close()
        place, ttl_s = _place(self._directory.pod), min(_GOODBYE_S, self._times.gone_s)
        await self._tables.delete(place, patient=True)
        # Unlike of one that is missing, of this hash it is known that it holds nobody.
        await self._tables.change(place, {_WHOLE: self._directory.pod.encode()}, ttl_s=ttl_s, patient=True)
        self._backplane.unsubscribe(_CHANNEL)
        self._tell(list(self._counts.of))

    def _mark(self, kind: bytes, *names: str) -> Mark:
        parts = (kind, *(name.encode("utf-8", "surrogatepass") for name in names))
        said = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
        return Mark(hmac.digest(self._key, said, hashlib.sha256)[:_MARK_BYTES])

    async def _are_all(self, whole: set[bytes | None], others: Sequence[str], *, patient: bool) -> bool:
        """Whether all that others count is known: those of whom nothing is there have gone."""
        missing = [pod for pod in others if pod.encode() not in whole]
        return not missing or await self._directory.have_gone(missing, patient=patient)

    def _change(self, mark: Mark, *, crossed: bool) -> None:
        if len(self._changed) >= self._times.max_changes and mark not in self._changed:
            self._reached("max_presence_changes")
            self._changed.clear()
            self._is_all_due = True
        self._changed[mark] = crossed or self._changed.get(mark, False)
        self._news.set()
        if crossed:
            self._move((mark,))

    # What is told

    async def _keep(self) -> None:
        """Write what has changed, and keep the whole, for ever."""
        while True:
            self._news.clear()
            is_away = await self._flush()
            try:
                async with asyncio.timeout(min(_AGAIN_S, self._times.beat_s) if is_away else self._times.beat_s):
                    await self._news.wait()
            except TimeoutError:
                continue
            await asyncio.sleep(self._times.flush_s)

    async def _flush(self) -> bool:
        """Whether Redis was away."""
        changed, self._changed = self._changed, {}
        # Too much may come while this is being written: then all of it is due once more.
        is_all_due, self._is_all_due = self._is_all_due, False
        written = False if is_all_due else await self._write(changed)
        if written is False:
            written = await self._write_all()
        if written is AWAY:
            self._is_all_due = True
            # Others are told of them once they can look.
            for mark, crossed in islice(changed.items(), self._times.max_changes):
                self._changed[mark] = crossed or self._changed.get(mark, False)
        else:
            self._tell([mark for mark, crossed in changed.items() if crossed])
        return written is AWAY

    async def _write_all(self) -> bool | TablesAway:
        """In place of whatever is there."""
        found = await self._tables.fields(_place(self._directory.pod), patient=True)
        if found is AWAY:
            return AWAY
        return await self._write({*map(Mark, found.keys() - {_WHOLE}), *self._counts.of}, are_all=True)

    async def _write(self, marks: Collection[Mark], *, are_all: bool = False) -> bool | TablesAway:
        """Some of the counts as they are now; False: the hash was gone, and all of them are to be written."""
        place, ttl_s = _place(self._directory.pod), self._times.gone_s
        waiting, was_there = list(marks), True
        for first in range(0, len(waiting) or 1, _BATCH):
            batch = waiting[first : first + _BATCH]
            put = {bytes(mark): b"%d" % count for mark in batch if (count := self.here(mark))}
            drop = [mark for mark in batch if mark not in put]
            if are_all and first + _BATCH >= len(waiting):
                put[_WHOLE] = self._directory.pod.encode()
            found = await self._tables.change(place, put, drop, ttl_s=ttl_s, patient=True)
            if found is AWAY:
                return AWAY
            was_there = found if first == 0 else was_there
        return was_there or are_all

    def _tell(self, marks: list[Mark]) -> None:
        for first in range(0, len(marks), _BATCH):
            batch = marks[first : first + _BATCH]
            self._backplane.publish(_CHANNEL, lambda batch=batch: msgspec.msgpack.encode(batch))  # type: ignore[misc]  # mypy cannot infer a lambda with a default

    def _heard(self, payload: bytes) -> None:
        self._move(msgspec.msgpack.decode(payload, type=list[Mark]))

    def _move(self, marks: Sequence[Mark]) -> None:
        for moved in self._moved:
            moved(marks)


def _place(pod: str) -> str:
    return f"presence:{{{pod}}}"


def _number(value: bytes | None) -> int:
    # Somebody else may have written there: it is advice, and never an error.
    return int(value) if value is not None and value.isdigit() and len(value) < 10 else 0
