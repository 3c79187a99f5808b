"""The directory of pods over Redis: a set of their names, and for each a key that ends when nobody keeps it.

What is written is signed, so that whoever can write to Redis cannot send pods elsewhere. Redis keeps nothing: after it
was away it may know of no pod at all, and who is missing then is not gone. Read ``RedisDirectory._live`` first.
"""

import asyncio
import hashlib
import hmac
from collections.abc import Callable, Sequence
from typing import Final

from protocol.errors import Unavailable
from signaling.backplane import Backplane
from signaling.bus.tables_redis import AWAY, RedisTables, TablesAway
from signaling.tasks import TaskSet

from .directory import DirectoryTimes

__all__ = ["RedisDirectory", "place_of"]

# One tag: in a cluster they are all on one server.
_NAMES: Final = "{pods}"
_CHANNEL: Final = "pods"
_TAG_BYTES: Final = hashlib.sha256().digest_size
# How soon it is tried again while Redis is away: when it is back, the others wait to hear of us.
_AGAIN_S: Final = 0.25


class RedisDirectory:
    """``PodDirectory`` over Redis. What it says of the bus only hastens: who hears nothing looks by himself."""

    def __init__(
        self,
        pod: str,
        tables: RedisTables,
        backplane: Backplane,
        *,
        key: bytes,
        times: DirectoryTimes,
        tasks: TaskSet,
        monotonic: Callable[[], float],
    ) -> None:
        self.pod = pod
        self._tables = tables
        self._backplane = backplane
        self._key = key
        self._times = times
        self._tasks = tasks
        self._monotonic = monotonic
        self._address = ""
        self._has_looked = asyncio.Event()
        # Which life of Redis was looked at last, and from when on it knows all again.
        self._life = 0
        self._settled_from_s = float("-inf")
        self._known: dict[str, str] = {}
        self._changed: list[Callable[[], None]] = []
        self._news = asyncio.Event()

    def reached_at(self, address: str) -> None:
        """See ``PodDirectory``."""
        self._address = address
        self._news.set()

    def on_change(self, changed: Callable[[], None]) -> None:
        """See ``PodDirectory``."""
        self._changed.append(changed)

    async def open(self) -> None:
        """See ``PodDirectory``."""
        self._backplane.subscribe(_CHANNEL, lambda _: self._news.set())
        self._backplane.on_missed(self._news.set)
        self._tables.on_forgot = self._forgot
        self._tasks.spawn(self._live())

    def pods(self) -> tuple[str, ...]:
        """See ``PodDirectory``."""
        return tuple(sorted({*self._known, self.pod}))

    @property
    def has_looked(self) -> bool:
        """See ``PodDirectory``."""
        return self._has_looked.is_set()

    @property
    def is_settled(self) -> bool:
        """See ``PodDirectory``."""
        return self._tables.life == self._life and self._monotonic() >= self._settled_from_s

    async def have_gone(self, pods: Sequence[str], *, patient: bool) -> bool:
        """See ``PodDirectory``."""
        said = await self._said_by(*pods, patient=patient)
        return said is not AWAY and not any(one is not None for one in said)

    def address_of(self, pod: str) -> str | None:
        """See ``PodDirectory``."""
        return (self._address if pod == self.pod else self._known.get(pod)) or None

    async def look(self, pod: str) -> str | None:
        """See ``PodDirectory``."""
        known = self.address_of(pod)
        if known is not None or pod == self.pod:
            return known
        said = await self._said_by(pod)
        if said is not AWAY and said[0] is not None and (address := self._opened(pod, said[0])) is not None:
            self._become({**self._known, pod: address})
        elif said is AWAY or not self.is_settled:
            raise Unavailable("which pods there are cannot be known now")
        return self.address_of(pod)

    async def looked(self) -> None:
        """See ``PodDirectory``."""
        await self._has_looked.wait()

    async def close(self) -> None:
        """See ``PodDirectory``."""
        await self._tasks.close()
        await self._tables.delete(place_of(self.pod), patient=True)
        await self._tables.leave(_NAMES, self.pod.encode(), patient=True)
        self._backplane.unsubscribe(_CHANNEL)
        self._backplane.publish(_CHANNEL, bytes)

    async def _live(self) -> None:
        """Say so, and look who else does, for ever."""
        is_first = True
        while True:
            self._news.clear()
            found = await self._beat()
            if found is not None:
                self._has_looked.set()
                self._look_at_life(self._tables.life)
                self._become(found if self.is_settled else {**self._known, **found})
            if is_first:
                self._backplane.publish(_CHANNEL, bytes)
            is_first = False
            await self._pause(self._times.beat_s if found is not None else min(_AGAIN_S, self._times.beat_s))

    def _forgot(self) -> None:
        """Redis was emptied: all are to say at once that they live."""
        self._news.set()
        self._backplane.publish(_CHANNEL, bytes)

    @property
    def _is_told(self) -> bool:
        """Whether Redis, as it is now, was told of this pod."""
        return self._life > 0 and self._tables.life == self._life

    def _look_at_life(self, life: int) -> None:
        """Behind a loss all have as long to say that they live as passes between two times that they say it."""
        if life != self._life:
            # What there is when a pod begins has been written by others long ago.
            self._settled_from_s = self._monotonic() + self._times.beat_s if self._life else float("-inf")
            self._life = life

    async def _pause(self, most_s: float) -> None:
        left_s = self._settled_from_s - self._monotonic()
        try:
            # Whoever is missing once it is settled is gone then, and not a beat later.
            async with asyncio.timeout(min(most_s, left_s) if left_s > 0 else most_s):
                await self._news.wait()
        except TimeoutError:
            return

    async def _beat(self) -> dict[str, str] | None:
        """Say that this pod lives; the others with their addresses, None when that cannot be known."""
        tables, own = self._tables, self.pod.encode()
        if self._is_told:
            # Before this pod is there again, as if nothing had been forgotten.
            await self._said_by()
        kept = await tables.put(place_of(self.pod), self._sealed(), ttl_s=self._times.gone_s, patient=True)
        found = await tables.members(_NAMES, add=own, ttl_s=self._times.gone_s, patient=True)
        if kept is AWAY or found is AWAY:
            return None
        names, was_there = found
        if not was_there and self._is_told:
            tables.forgot()
        others = sorted(name.decode("ascii", "replace") for name in names - {own})
        said = await self._said_by(*others)
        if said is AWAY:
            return None
        gone = [pod.encode() for pod, one in zip(others, said, strict=True) if one is None]
        if gone:
            await tables.leave(_NAMES, *gone, patient=True)
        opened = ((pod, self._opened(pod, one)) for pod, one in zip(others, said, strict=True) if one is not None)
        return {pod: address for pod, address in opened if address is not None}

    async def _said_by(self, *pods: str, patient: bool = True) -> tuple[bytes | None, ...] | TablesAway:
        """What these have written, None for those who have not; AWAY as well when what this one has is not there.

        Then Redis was emptied, or this pod was silent for so long that others take it for gone.
        """
        found = await self._tables.values(place_of(self.pod), *map(place_of, pods), patient=patient)
        if found is AWAY:
            return AWAY
        if found[0] is None:
            if self._is_told:
                self._tables.forgot()
            return AWAY
        return found[1:]

    def _become(self, known: dict[str, str]) -> None:
        if known == self._known:
            return
        self._known = known
        for changed in self._changed:
            changed()

    def _sealed(self) -> bytes:
        return _tag(self._key, self.pod, self._address.encode()) + self._address.encode()

    def _opened(self, pod: str, said: bytes) -> str | None:
        """The address that a pod has told, empty for one that is nowhere reached; None: no pod of ours has said so."""
        tag, address = said[:_TAG_BYTES], said[_TAG_BYTES:]
        is_ours = hmac.compare_digest(tag, _tag(self._key, pod, address))
        return address.decode("utf-8", "replace") if is_ours else None


def place_of(pod: str) -> str:
    """The key that is there while a pod says that it lives."""
    return f"{_NAMES}:{pod}"


def _tag(key: bytes, pod: str, address: bytes) -> bytes:
    return hmac.digest(key, b"\0".join((b"pod", pod.encode("utf-8", "replace"), address)), hashlib.sha256)
