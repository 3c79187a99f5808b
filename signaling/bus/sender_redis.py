"""One connection that publishes: what waits goes out together, and what takes too long opens the breaker.

A message is sent at most once. While the breaker is open nothing waits here; the connection is kept if it still is one,
for a server that is slow is not a server that is gone. As long as all is well no task has a hand in it: what a turn of
the loop has published leaves at its end, and the answers bring about the next. Read ``Sender.write`` first, then
``_publish``.
"""

import asyncio
import math
from collections.abc import Callable
from typing import Final, Protocol

from .breaker import Happening, State
from .commands_redis import Verbs
from .envelope import HEAD_BYTES, Sealer
from .limits import BusLimits, BusWatch
from .link_redis import Link, LinkLost, Refusal, packed
from .waiting import Waiting

__all__ = ["Gate", "Sender"]

BATCH_MESSAGES: Final = 512
BATCH_BYTES: Final = 262_144
_PING: Final = packed(((b"PING",),))
# A timer may come a little early.
_LEAST_S: Final = 0.001


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
    """Empties ``waiting`` into one connection, and is to be woken by it."""

    def __init__(
        self,
        link: Link,
        waiting: Waiting,
        sealer: Sealer,
        verbs: Verbs,
        *,
        gate: Gate,
        trial: bytes | None,
        limits: BusLimits,
        watch: BusWatch,
        monotonic: Callable[[], float],
    ) -> None:
        self._link = link
        self._waiting = waiting
        self._seal = sealer.seal
        # A server that answers and takes no message is of no use.
        self._trial = ((b"PING",), *(() if trial is None else ((verbs.publish, trial, b""),)))
        self._gate = gate
        self._limits = limits
        self._watch = watch
        self._monotonic = monotonic
        self._loop = asyncio.get_running_loop()
        self._command = b"*3\r\n$%d\r\n%b\r\n$" % (len(verbs.publish), verbs.publish)
        # So many times late is too late.
        self._patience = math.ceil(limits.timeout_s / limits.flush_s)
        # What was sent last: its messages, the answers to come, when it was sent, when it is late, and how often it
        # may be late once more.
        self._messages = self._owed = self._left = 0
        self._began_s = self._late_at_s = 0.0
        self._flushes = 0
        self._timer: asyncio.TimerHandle | None = None
        self._is_doubted = False
        self._settled = asyncio.Event()
        # Whether what waits may go, whether it goes at the end of this turn, and what ends that it may.
        self._may_publish = self._is_due = False
        self._troubled = asyncio.Event()
        self._failed: asyncio.Future[None] = self._loop.create_future()

    def wake(self) -> None:
        """Something waits: it goes with all else of this turn of the loop, or with what comes before the answers."""
        if self._may_publish and not self._is_due and not self._owed:
            self._is_due = True
            self._loop.call_soon(self._publish)

    async def write(self, may_begin: asyncio.Event) -> None:
        """Once it may begin, find out whether the server takes messages in time; as long as it does, publish."""
        await may_begin.wait()
        while True:
            self._settled.clear()
            self._send(packed(self._trial), answers=len(self._trial), messages=0)
            await self._settled.wait()
            if self._gate.state is State.CLOSED:
                self._troubled.clear()
                self._may_publish = True
                self.wake()
                await self._troubled.wait()
                self._may_publish = False
            await self._gate.pause()
            self._gate.happened(Happening.TIME_UP)

    async def read(self) -> None:
        """Count the answers. Raises LinkLost."""
        try:
            await self._link.follow(self._take, self._taken)
        finally:
            self._may_publish = False
            if self._timer is not None:
                self._timer.cancel()
            if self._owed:
                self._watch.dropped("lost", self._messages)

    async def remind(self) -> None:
        """Ask for a sign of life when nothing was said for a while."""
        while True:
            flushes = self._flushes
            await asyncio.sleep(self._limits.ping_s / 2)
            if flushes == self._flushes and self._may_publish and not self._owed:
                self._send(_PING, answers=1, messages=0)

    async def judge(self) -> None:
        """Raises LinkLost for what is so late that nobody waits for it, and what has gone wrong outside of tasks."""
        await self._failed

    def _publish(self) -> None:
        self._is_due = False
        if self._owed or not self._may_publish or not self._waiting:
            return
        try:
            batch = self._waiting.take(BATCH_MESSAGES, BATCH_BYTES)
            command, seal = self._command, self._seal
            parts: list[bytes] = []
            for channel, payload in batch:
                head = seal(channel, payload)
                size = HEAD_BYTES + len(payload)
                parts += b"%b%d\r\n%b\r\n$%d\r\n%b" % (command, len(channel), channel, size, head), payload, b"\r\n"
            self._send(b"".join(parts), answers=len(batch), messages=len(batch))
        except Exception as error:  # noqa: BLE001  # there is no task that it would end: ``judge`` tells of it
            self._fail(error)

    def _send(self, data: bytes, *, answers: int, messages: int) -> None:
        """Write commands; until all have their answers nothing else is written."""
        self._flushes += 1
        self._owed, self._messages = answers, messages
        self._began_s = self._monotonic()
        self._late_at_s = self._began_s + self._limits.flush_s
        self._left = self._patience
        self._is_doubted = False
        if self._timer is None:
            # One that looks now and then: there are thousands of flushes a second.
            self._timer = self._loop.call_later(self._limits.flush_s, self._look)
        self._link.write(data)

    def _take(self, said: object) -> None:
        if isinstance(said, Refusal):
            if self._messages:
                self._watch.dropped("refused", 1)
            # Wherever it belongs, or whatever we may not do here: it has to be found out anew.
            raise LinkLost(said.code)
        self._taken(1)

    def _taken(self, answers: int) -> None:
        if answers > self._owed:
            raise LinkLost("unasked")
        self._owed -= answers
        if not self._owed:
            self._answered()

    def _answered(self) -> None:
        self._gate.happened(Happening.ANSWERED)
        messages, self._messages = self._messages, 0
        self._watch.published(messages)
        self._watch.flushed(messages, self._monotonic() - self._began_s)
        self._settled.set()
        if self._may_publish and self._gate.state is not State.CLOSED:
            self._troubled.set()
        elif self._waiting:
            self.wake()

    def _look(self) -> None:
        """Hold the answers to their time."""
        self._timer = None
        if not self._owed:
            return
        left_s = self._late_at_s - self._monotonic()
        if left_s > 0:
            self._is_doubted = False
        elif not self._is_doubted:
            # What has come has not been read if it is the loop that was late: it has read by the next look.
            self._is_doubted = True
        else:
            self._is_doubted = False
            if not self._is_late():
                return
            left_s = self._limits.flush_s
            self._late_at_s += left_s
        self._timer = self._loop.call_later(max(left_s, _LEAST_S), self._look)

    def _is_late(self) -> bool:
        """The answers have not come in time; whether they are still waited for."""
        self._watch.late()
        self._gate.happened(Happening.LATE)
        self._left -= 1
        if not self._left:
            self._watch.reached("bus_timeout_s")
            self._fail(LinkLost("timeout"))
        return self._left > 0

    def _fail(self, error: Exception) -> None:
        if not self._failed.done():
            self._failed.set_exception(error)
