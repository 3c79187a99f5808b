"""One connection that publishes: what waits goes out together, and what takes too long opens the breaker.

A message is sent at most once. While the breaker is open nothing waits here; the connection is kept if it still is one,
for a server that is slow is not a server that is gone. Read ``Sender.write`` first, then ``_flush``.
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
        self._flushes = 0
        self._ping_is_due = False
        # How often the answers may be late once more, and when they are next.
        self._left = 0
        self._timer: asyncio.TimerHandle | None = None
        self._settled = asyncio.Event()
        self._given_up = asyncio.Event()

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
                if self._ping_is_due:
                    await self._flush(_PING, messages=0)
                    continue
                self._news.clear()
                await self._news.wait()
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

    async def remind(self) -> None:
        """Have it ask for a sign of life when nothing was said for a while."""
        while True:
            flushes = self._flushes
            await asyncio.sleep(self._limits.ping_s / 2)
            if flushes == self._flushes:
                self._ping_is_due = True
                self._news.set()

    async def judge(self) -> None:
        """Raises LinkLost for what is so late that nobody waits for it."""
        await self._given_up.wait()
        self._watch.reached("bus_timeout_s")
        raise LinkLost("timeout")

    async def _flush(self, commands: tuple[tuple[bytes, ...], ...], *, messages: int) -> None:
        """Write commands and wait for their answers, in time or not: ``judge`` gives up."""
        began_s = self._monotonic()
        self._flushes += 1
        self._ping_is_due = False
        self._owed = len(commands)
        self._settled.clear()
        self._left = self._patience
        self._hold_to_time()
        try:
            await self._link.send(commands)
            await self._settled.wait()
        except BaseException:
            self._watch.dropped("lost", messages)
            raise
        finally:
            if self._timer is not None:
                self._timer.cancel()
        self._gate.happened(Happening.ANSWERED)
        self._watch.published(messages)
        self._watch.flushed(messages, self._monotonic() - began_s)

    def _hold_to_time(self) -> None:
        # A timer, and no task that waits: there are thousands of flushes a second.
        self._timer = asyncio.get_running_loop().call_later(self._limits.flush_s, self._late)

    def _late(self) -> None:
        self._watch.late()
        self._gate.happened(Happening.LATE)
        self._left -= 1
        if self._left:
            self._hold_to_time()
        else:
            self._given_up.set()
