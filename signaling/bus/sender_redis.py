"""One connection that publishes: what waits goes out together, and what takes too long opens the breaker.

A message is sent at most once. While the breaker is open nothing waits here; the connection is kept if it still is one,
for a server that is slow is not a server that is gone. Read ``Sender.write`` first, then ``_late``.
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
        self._loop = asyncio.get_running_loop()
        self._owed = 0
        self._late_times = 0
        self._settled: asyncio.Future[None] = self._loop.create_future()
        self._given_up: asyncio.Future[None] = self._loop.create_future()

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
                bell = self._loop.call_later(self._limits.ping_s, self._news.set)
                try:
                    await self._news.wait()
                finally:
                    bell.cancel()
                if not self._waiting:
                    await self._flush(_PING, messages=0)
                continue
            verb, seal = self._verbs.publish, self._sealer.seal
            batch = self._waiting.take(BATCH_MESSAGES, BATCH_BYTES)
            commands = tuple((verb, one.channel, seal(one.channel, one.kind, one.payload)) for one in batch)
            await self._flush(commands, messages=len(commands))

    async def read(self) -> None:
        """Count the answers. Raises LinkLost."""
        await self._link.each(self._answered)

    def _answered(self, said: object) -> None:
        self._owed -= 1
        if isinstance(said, Refusal):
            self._watch.dropped("refused", 1)
            # Wherever it belongs, or whatever we may not do here: it has to be found out anew.
            raise LinkLost(said.code)
        if self._owed <= 0 and not self._settled.done():
            self._settled.set_result(None)

    async def judge(self) -> None:
        """Raises LinkLost for an answer that is so late that nobody waits for it."""
        await self._given_up
        raise LinkLost("timeout")

    def _late(self) -> None:
        """The answers to what was sent together are late, once more."""
        if self._settled.done():
            return
        self._late_times += 1
        self._watch.late()
        self._gate.happened(Happening.LATE)
        if self._late_times < self._patience:
            self._timer = self._loop.call_later(self._limits.flush_s, self._late)
        else:
            self._watch.reached("bus_timeout_s")
            self._given_up.set_result(None)

    async def _flush(self, commands: tuple[tuple[bytes, ...], ...], *, messages: int) -> None:
        """Write commands and wait for their answers, in time or not: ``_late`` gives up."""
        began_s = self._monotonic()
        self._owed, self._late_times = len(commands), 0
        self._settled = self._loop.create_future()
        self._timer = self._loop.call_later(self._limits.flush_s, self._late)
        try:
            await self._link.send(commands)
            await self._settled
        except BaseException:
            self._watch.dropped("lost", messages)
            raise
        finally:
            self._timer.cancel()
        self._gate.happened(Happening.ANSWERED)
        self._watch.published(messages)
        self._watch.flushed(messages, self._monotonic() - began_s)
