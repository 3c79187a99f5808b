"""One server of the bus: two connections to it, made again for ever, and the breaker that says whether it is any good.

Both connections live and end together, so that there is one answer to whether this server carries anything. Knows
neither handlers nor which channels belong here. Read ``Shard.run`` first.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass

from signaling.tasks import race

from .address import Login, Node
from .breaker import Breaker, Happening, State, step, wait_s
from .commands_redis import Verbs
from .envelope import Sealer
from .limits import BusLimits, BusWatch
from .link_redis import Connect, LinkLost
from .listener_redis import Listener, Wanted
from .sender_redis import Sender
from .waiting import Waiting, nobody

__all__ = ["Shard", "ShardParts"]


@dataclass(frozen=True, slots=True)
class ShardParts:
    """What every shard of a bus is made with.

    ``sealer`` makes one for a new stream. ``heard`` is given every message with its channel, ``confirmed`` each
    that the server tells of, ``began`` each that is listened to after the others. ``changed`` is called when a shard is
    up, or down because of something, ``lost`` when it was lost: then another server may have its channels. ``full`` is
    called when messages were dropped for newer ones, ``failed`` is told of what should not happen. ``chance`` gives
    numbers between 0 and 1.
    """

    connect: Connect
    login: Login
    sealer: Callable[[], Sealer]
    heard: Callable[[bytes, bytes], None]
    confirmed: Callable[[bytes], None]
    began: Callable[[bytes], None]
    changed: Callable[[str], None]
    lost: Callable[[], None]
    full: Callable[[], None]
    failed: Callable[[BaseException], None]
    limits: BusLimits
    watch: BusWatch
    monotonic: Callable[[], float]
    chance: Callable[[], float]
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep


class Shard:
    """``by_slot``: see ``plan.Plan``. It is also the ``sender_redis.Gate`` of its sender.

    ``trial`` is a channel of this server on which it is found out whether it takes messages.
    """

    def __init__(self, node: Node, verbs: Verbs, parts: ShardParts, *, by_slot: bool) -> None:
        self._node = node
        self._verbs = verbs
        self._parts = parts
        self._by_slot = by_slot
        self._breaker = Breaker()
        self._waiting = Waiting(max_messages=parts.limits.max_messages, max_bytes=parts.limits.max_bytes)
        self.wanted = Wanted()
        self.trial: bytes | None = None
        self.is_up = False
        """Whether what is published arrives, and all that is wanted is heard."""

    @property
    def state(self) -> State:
        """That of its breaker."""
        return self._breaker.state

    @property
    def is_settled(self) -> bool:
        """Whether the server knows exactly what is wanted, and nothing waits to be published."""
        return self.wanted.is_confirmed and not self._waiting

    @property
    def waiting_bytes(self) -> int:
        """What waits to be published."""
        return self._waiting.size_bytes

    def publish(self, channel: bytes, payload: bytes) -> None:
        """Have it sent with all else of this turn of the loop; only while it is up."""
        dropped = self._waiting.put((channel, payload))
        if dropped is not None:
            self._parts.watch.reached(dropped.bound)
            self._parts.watch.dropped("full", dropped.messages)
            self._parts.full()

    async def run(self) -> None:
        """Connect, and again for ever; ends only by being cancelled."""
        while True:
            await self.pause()
            self.happened(Happening.TIME_UP)
            cause = "closed"
            try:
                await self._live()
            except LinkLost as lost:
                cause = lost.cause
            except Exception as error:  # noqa: BLE001  # a mistake of ours must not end the bus
                cause = type(error).__name__
                self._parts.failed(error)
            self._parts.watch.lost(cause)
            self._parts.lost()
            self._happened(Happening.LOST, cause)

    async def pause(self) -> None:
        """See ``Gate``."""
        await self._parts.sleep(wait_s(self._breaker, self._parts.monotonic()))

    def happened(self, happening: Happening) -> None:
        """See ``Gate``."""
        if happening is Happening.ANSWERED and self.is_up and not self._breaker.late:
            # As nearly always: it changes nothing.
            return
        self._happened(happening, "late")

    async def idle(self) -> None:
        """Return when nothing waits any more, or nothing will ever leave."""
        while self._waiting and self.is_up:  # noqa: ASYNC110  # at the very end, for a moment
            await asyncio.sleep(0.001)

    def _happened(self, happening: Happening, cause: str) -> None:
        was_up, parts = self.is_up, self._parts
        self._breaker = step(self._breaker, happening, now_s=parts.monotonic(), chance=parts.chance())
        self.is_up = self._breaker.state is State.CLOSED
        if was_up and not self.is_up:
            parts.watch.dropped("away", self._waiting.clear())
        if was_up != self.is_up or happening is Happening.LOST:
            parts.changed("" if self.is_up else cause)

    async def _live(self) -> None:
        """As long as both connections live. Raises LinkLost as soon as one does not."""
        parts = self._parts
        async with AsyncExitStack() as links:
            hearing = await links.enter_async_context(aclosing(await parts.connect(self._node, parts.login)))
            sending = await links.enter_async_context(aclosing(await parts.connect(self._node, parts.login)))
            listener = Listener(
                hearing,
                self.wanted,
                self._verbs,
                by_slot=self._by_slot,
                limits=parts.limits,
                heard=parts.heard,
                confirmed=parts.confirmed,
                began=parts.began,
                reached=parts.watch.reached,
            )
            sender = Sender(
                sending,
                self._waiting,
                parts.sealer(),
                self._verbs,
                gate=self,
                trial=self.trial,
                limits=parts.limits,
                watch=parts.watch,
                monotonic=parts.monotonic,
            )
            self._waiting.wake = sender.wake
            try:
                await race(
                    listener.listen(),
                    listener.talk(),
                    sender.read(),
                    sender.judge(),
                    sender.remind(),
                    sender.write(listener.in_step),
                )
            finally:
                self._waiting.wake = nobody
