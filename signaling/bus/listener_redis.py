"""One connection that listens: it is subscribed to what is wanted, and notices when it has gone deaf.

What is wanted is a set that anybody changes at any time; this catches up, a bounded number of channels at a time. Knows
neither envelopes nor handlers. Read ``Listener.talk`` first.
"""

import asyncio
from collections.abc import Callable, Collection, Iterator
from typing import Final

from .commands_redis import Verbs
from .limits import BusLimits
from .link_redis import Link, LinkLost, Refusal, packed

__all__ = ["Listener", "Wanted"]

BATCH: Final = 256


class Wanted:
    """The channels that one server is to tell of, and which of them have changed since somebody looked.

    ``is_followed``: there is somebody who looks; who begins to looks at all of them. ``is_confirmed``: the server has
    said that it tells of exactly these. ``pending``: it was asked for these and has not answered.
    """

    def __init__(self) -> None:
        self.is_followed = False
        self.is_confirmed = False
        self.channels: set[bytes] = set()
        self.changed: dict[bytes, None] = {}
        self.pending: set[bytes] = set()
        self.news = asyncio.Event()

    def add(self, channel: bytes) -> None:
        """From now on it is wanted."""
        self.channels.add(channel)
        self._touch(channel)

    def discard(self, channel: bytes) -> None:
        """It is not any more."""
        self.channels.discard(channel)
        self._touch(channel)

    def is_heard(self, channel: bytes) -> bool:
        """Whether the server has said that it tells of a channel that is wanted."""
        return self.is_followed and channel not in self.changed and channel not in self.pending

    def become(self, channels: set[bytes]) -> None:
        """These are wanted and no others."""
        for channel in channels ^ self.channels:
            self._touch(channel)
        self.channels = channels

    def _touch(self, channel: bytes) -> None:
        if not self.is_followed:
            return
        self.changed[channel] = None
        self.is_confirmed = False
        self.news.set()


class Listener:
    """``heard`` is given every message, ``confirmed`` each channel that the server tells of, ``began`` those
    of them that are listened to from now on only.

    ``in_step`` is set when all that is wanted is subscribed for the first time.
    """

    def __init__(
        self,
        link: Link,
        wanted: Wanted,
        verbs: Verbs,
        *,
        by_slot: bool,
        limits: BusLimits,
        heard: Callable[[bytes, bytes], None],
        confirmed: Callable[[bytes], None],
        began: Callable[[bytes], None],
        reached: Callable[[str], None],
    ) -> None:
        self._link = link
        self._wanted = wanted
        self._verbs = verbs
        self._message = verbs.message
        self._by_slot = by_slot
        self._limits = limits
        self._heard = heard
        self._confirmed = confirmed
        self._began = began
        self._reached = reached
        self._asked: set[bytes] = set()
        self._owed = 0
        self._settled = asyncio.Event()
        self.in_step = asyncio.Event()

    async def talk(self) -> None:
        """Subscribe to what is wanted, then follow it, and ask for a sign of life when there is nothing to say."""
        wanted = self._wanted
        wanted.changed, wanted.is_followed = dict.fromkeys(wanted.channels), True
        try:
            while True:
                wanted.news.clear()
                while wanted.changed:
                    await self._catch_up()
                wanted.is_confirmed = True
                self.in_step.set()
                try:
                    async with asyncio.timeout(self._limits.ping_s):
                        await wanted.news.wait()
                except TimeoutError:
                    await self._say([(b"PING",)], answers=1)
        finally:
            wanted.is_followed = wanted.is_confirmed = False
            wanted.changed.clear()
            wanted.pending.clear()

    async def listen(self) -> None:
        """Take what the server says until it says nothing more. Raises LinkLost."""
        await self._link.follow(self._take)

    def _take(self, said: object) -> None:
        if type(said) is list:
            if said[0] == self._message:  # nearly always
                self._heard(said[1], said[2])
            else:
                self._told(said[0], said[1])
        elif isinstance(said, Refusal):
            raise LinkLost(said.code)
        else:
            self._answered()

    def _told(self, what: bytes, channel: bytes) -> None:
        verbs = self._verbs
        if what == verbs.unsubscribe.lower() and channel in self._asked:
            # Nobody asked for that: the slot of the channel has moved to another server.
            raise LinkLost("MOVED")
        self._answered()
        if what == verbs.subscribe.lower():
            self._wanted.pending.discard(channel)
            self._confirmed(channel)
            if self.in_step.is_set():
                self._began(channel)

    def _answered(self) -> None:
        self._owed -= 1
        if self._owed <= 0:
            self._settled.set()

    async def _catch_up(self) -> None:
        wanted = self._wanted
        batch = [channel for channel, _ in zip(wanted.changed, range(BATCH), strict=False)]
        for channel in batch:
            del wanted.changed[channel]
        begin = [channel for channel in batch if channel in wanted.channels and channel not in self._asked]
        end = [channel for channel in batch if channel not in wanted.channels and channel in self._asked]
        for channel in batch:
            if channel in self._asked and channel in wanted.channels and channel not in wanted.pending:
                # It was given up and wanted again before anybody looked.
                self._confirmed(channel)
        self._asked.update(begin)
        wanted.pending.update(begin)
        self._asked.difference_update(end)
        commands = [*self._commands(self._verbs.unsubscribe, end), *self._commands(self._verbs.subscribe, begin)]
        if commands:
            await self._say(commands, answers=len(begin) + len(end))

    def _commands(self, verb: bytes, channels: Collection[bytes]) -> Iterator[tuple[bytes, ...]]:
        if self._by_slot:
            yield from ((verb, channel) for channel in channels)
        elif channels:
            yield (verb, *channels)

    async def _say(self, commands: list[tuple[bytes, ...]], *, answers: int) -> None:
        """Send commands and wait until each has its answer. Raises LinkLost."""
        self._owed = answers
        self._settled.clear()
        try:
            async with asyncio.timeout(self._limits.timeout_s):
                self._link.write(packed(commands))
                await self._settled.wait()
        except TimeoutError:
            self._reached("bus_timeout_s")
            raise LinkLost("timeout") from None
