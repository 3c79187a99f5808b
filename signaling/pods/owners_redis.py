"""``Owners`` in Redis: a key for each connection, which ends by itself.

Redis keeps nothing: after it was away it may know of no connection at all. So nobody believes it before every pod has
had the time to write down again what it has. Read ``RedisOwners.claim`` first, then ``_look_after``.
"""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from typing import Final

from signaling.bus.tables_redis import AWAY, RedisTables
from signaling.tasks import TaskSet

from .owners import OWNERS_AWAY, OwnersAway

__all__ = ["RedisOwners", "RedisOwnersParts"]

# How long a pod that has just begun lets those wait who ask, rather than to know nothing, and how often it looks then.
_BEGIN_S: Final = 2.0
_BEGIN_LOOK_S: Final = 0.01
# How often it is looked whether Redis has come back, or entries have to be renewed.
_LOOK_S: Final = 0.2
# As long as others may take to notice, and to write.
_SETTLING_S: Final = 2.0
_TOGETHER: Final = 64


@dataclass(frozen=True, slots=True)
class RedisOwnersParts:
    """``ttl_s``: how long an entry lasts; those that are kept are renewed after a third of it.

    ``open_s``: how long a connection may be claimed. ``max_unwritten``: that are to be written down when that can be,
    the newest; ``reached`` is told of more. ``witness``: see ``RedisTables.claim``.
    """

    tables: RedisTables
    pod: str
    ttl_s: float
    open_s: float
    max_unwritten: int
    tasks: TaskSet
    monotonic: Callable[[], float]
    reached: Callable[[str], None]
    witness: str = ""


class RedisOwners:
    """``Owners`` over ``RedisTables``."""

    def __init__(self, parts: RedisOwnersParts) -> None:
        self._parts = parts
        self._value = parts.pod.encode()
        self._kept: set[str] = set()
        # Those that were taken and could not be written down, until nobody can claim them any more.
        self._unwritten: dict[str, float] = {}
        # Which life of Redis has been told of everything, and since when it may be believed.
        self._told_life = 0
        self._believed_from_s = float("inf")
        self._renewed_s = float("-inf")
        self._begun = asyncio.Event()

    async def claim(self, connection_id: str) -> str | OwnersAway:
        """See ``Owners``."""
        await self._has_begun()
        if not self.are_sure:
            return OWNERS_AWAY
        # In a storm of connections everything is late: to ask all pods instead would make it one of requests, too.
        return await self._claim(connection_id, witness=self._parts.witness)

    async def take(self, connection_id: str) -> str | OwnersAway:
        """See ``Owners``. Whoever is written down already has it, however much Redis has forgotten."""
        found = await self._claim(connection_id, patient=False)
        if found is OWNERS_AWAY:
            self._unwritten[connection_id] = self._parts.monotonic() + self._parts.open_s
            if len(self._unwritten) > self._parts.max_unwritten:
                del self._unwritten[next(iter(self._unwritten))]
                self._parts.reached("max_known_owners")
        return found

    async def find(self, connection_id: str) -> str | OwnersAway | None:
        """See ``Owners``."""
        await self._has_begun()
        if not self.are_sure:
            return OWNERS_AWAY
        found = await self._parts.tables.get(_key(connection_id), patient=True)
        if found is AWAY:
            return OWNERS_AWAY
        return None if found is None else found.decode()

    def keep(self, connection_id: str) -> None:
        """See ``Owners``; the entry is that of ``claim``."""
        self._kept.add(connection_id)

    def leave(self, connection_id: str) -> None:
        """See ``Owners``."""
        self._kept.discard(connection_id)

    async def open(self) -> None:
        """See ``Owners``."""
        self._parts.tasks.spawn(self._look_after())

    async def close(self) -> None:
        """See ``Owners``."""
        await self._parts.tasks.close()

    @property
    def are_sure(self) -> bool:
        """See ``Owners``: whether Redis is believed."""
        tables = self._parts.tables
        return tables.is_up and tables.life == self._told_life and self._parts.monotonic() >= self._believed_from_s

    async def _look_after(self) -> None:
        while True:
            parts, now_s = self._parts, self._parts.monotonic()
            life = parts.tables.life
            is_new = life != self._told_life
            if parts.tables.is_up and (is_new or now_s - self._renewed_s >= parts.ttl_s / 3) and await self._tell():
                self._renewed_s = now_s
                if is_new:
                    # What there is when a pod begins has been written by others long ago.
                    settling_s = _SETTLING_S if self._told_life else 0.0
                    self._told_life, self._believed_from_s = life, parts.monotonic() + settling_s
            if self._unwritten:
                await self._write_down()
            if self._told_life or (parts.tables.was_tried and not parts.tables.is_up):
                self._begun.set()
            await asyncio.sleep(_LOOK_S if self._begun.is_set() else _BEGIN_LOOK_S)

    async def _has_begun(self) -> None:
        """A pod that knows neither Redis nor the others yet would take every connection for one that nobody has."""
        if not self._begun.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_BEGIN_S):
                    await self._begun.wait()

    async def _tell(self) -> bool:
        """Write down everything that this pod has; whether that is done."""
        waiting = iter(tuple(self._kept))
        while together := list(islice(waiting, _TOGETHER)):
            async with asyncio.TaskGroup() as writing:
                written = [writing.create_task(self._put(one)) for one in together if one in self._kept]
            if not all(one.result() for one in written):
                return False
        return True

    async def _write_down(self) -> None:
        """What was taken while it could not be written, a few at a time, and nothing that can be claimed no more."""
        now_s = self._parts.monotonic()
        self._unwritten = {one: until_s for one, until_s in self._unwritten.items() if until_s > now_s}
        while self._parts.tables.is_up and (together := list(islice(self._unwritten, _TOGETHER))):
            async with asyncio.TaskGroup() as writing:
                claims = [writing.create_task(self._claim(one)) for one in together]
            written = [one for one, claim in zip(together, claims, strict=True) if claim.result() is not OWNERS_AWAY]
            for one in written:
                # Others that were taken meanwhile may have made it go.
                self._unwritten.pop(one, None)
            if len(written) < len(together):
                return

    async def _claim(self, connection_id: str, *, witness: str = "", patient: bool = True) -> str | OwnersAway:
        parts, key = self._parts, _key(connection_id)
        found = await parts.tables.claim(key, self._value, ttl_s=parts.ttl_s, witness=witness, patient=patient)
        return OWNERS_AWAY if found is AWAY else found.decode()

    async def _put(self, connection_id: str) -> bool:
        parts = self._parts
        done = await parts.tables.put(_key(connection_id), self._value, ttl_s=parts.ttl_s, patient=True)
        return done is not AWAY


def _key(connection_id: str) -> str:
    return f"owner:{connection_id}"
