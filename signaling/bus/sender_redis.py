"""One connection that publishes: what waits goes out together, and what takes too long opens the breaker.

A message is sent at most once. While the breaker is open nothing waits here; the connection is kept if it still is one,
for a server that is slow is not a server that is gone. Read ``Sender.write`` first, then ``judge``.
"""

import asyncio
import math
from collections.abc import Callable
from typing import Final, Protocol

from .breaker import Happening, State
from .commands_redis import Verbs
from .envelope import Sealer
from .limits import BusLimits, BusWatch
from .link_redis import Link, LinkLost, Refusal
from .waiting import Waiting

__all__ = ["Gate", "Sender"]

BATCH_MESSAGES: Final = 512
BATCH_BYTES: Final = 262_144
_PING: Final = ((b"PING",),)


class Gate(Protocol):
    """What stands before the sender: its shard, which owns the breaker."""

    @property
    def state(self) -> State:
        """That of the breaker."""
        ...

    def happened(self, happening: Happening) -> None:
        """Move the breaker."""
        ...

    async def pause(self) -> None:
        """Return when the breaker may be tried."""
        ...


class Sender:
    """Empties ``waiting`` into one connection. ``news`` is set by whoever puts something there."""

    def __init__(
        self,
        link: Link,
        waiting: Waiting,
        news: asyncio.Event,
        sealer: Sealer,
        verbs: Verbs,
        *,
        gate: Gate,
        limits: BusLimits,
        watch: BusWatch,
        monotonic: Callable[[], float],
    ) -> None:
        self._link = link
        self._waiting = waiting
        self._news = news
        self._sealer = sealer
        self._verbs = verbs
        self._gate = gate
        self._limits = limits
        self._watch = watch
        self._monotonic = monotonic
        # So many times late is too late.
        self._patience = math.ceil(limits.timeout_s / limits.flush_s)
        self._owed = 0
        self._began = asyncio.Event()
        self._settled = asyncio.Event()
        self._judged = asyncio.Event()

    async def write(self, may_begin: asyncio.Event) -> None:
        """Once it may begin, ask whether the server answers in time; then publish what waits as long as it does."""
        await may_begin.wait()
        await self._flush(_PING, messages=0)
        while True:
            if self._gate.state is not State.CLOSED:
                await self._gate.pause()
                self._gate.happened(Happening.TIME_UP)
                await self._flush(_PING, messages=0)
                continue
            if not self._waiting:
                self._news.clear()
                try:
                    async with asyncio.timeout(self._limits.ping_s):
                        await self._news.wait()
                except TimeoutError:
                    await self._flush(_PING, messages=0)
                continue
            verb, seal = self._verbs.publish, self._sealer.seal
            batch = self._waiting.take(BATCH_MESSAGES, BATCH_BYTES)
            commands = tuple((verb, one.channel, seal(one.channel, one.kind, one.payload)) for one in batch)
            await self._flush(commands, messages=len(commands))

    async def read(self) -> None:
        """Count the answers. Raises LinkLost."""
        while True:
            said = await self._link.read()
            self._owed -= 1
            if isinstance(said, Refusal):
                self._watch.dropped("refused", 1)
                # Wherever it belongs, or whatever we may not do here: it has to be found out anew.
                raise LinkLost(said.code)
            if self._owed <= 0:
                self._settled.set()

    async def judge(self) -> None:
        """Hold every flush to its time. Raises LinkLost for what is so late that nobody waits for it."""
        while True:
            await self._began.wait()
            self._began.clear()
            for _ in range(self._patience):
                if await self._settles():
                    break
                self._watch.late()
                self._gate.happened(Happening.LATE)
            else:
                self._watch.reached("bus_timeout_s")
                raise LinkLost("timeout")
            self._gate.happened(Happening.ANSWERED)
            self._judged.set()

    async def _settles(self) -> bool:
        try:
            async with asyncio.timeout(self._limits.flush_s):
                await self._settled.wait()
        except TimeoutError:
            return False
        return True

    async def _flush(self, commands: tuple[tuple[bytes, ...], ...], *, messages: int) -> None:
        """Write commands and wait for their answers, in time or not: ``judge`` gives up."""
        began_s = self._monotonic()
        self._owed = len(commands)
        self._settled.clear()
        self._judged.clear()
        self._began.set()
        try:
            await self._link.send(commands)
            await self._judged.wait()
        except BaseException:
            self._watch.dropped("lost", messages)
            raise
        self._watch.published(messages)
        self._watch.flushed(messages, self._monotonic() - began_s)
