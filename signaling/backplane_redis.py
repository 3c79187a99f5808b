"""A backplane over Redis or Valkey: one server, a cluster, or whatever sentinels lead to.

It spreads channels over servers and keeps who hears what; the life of one server is in ``bus.shard_redis``. Nothing
here waits for Redis but the tasks of the bus themselves. Read ``RedisBackplane.publish`` first, then ``_supervise``.
"""

import asyncio
import contextlib
import os
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from .backplane import BusState, Handler, Payload
from .bus.address import BusAddress, Node
from .bus.breaker import pause_s
from .bus.commands_redis import PLAIN, SHARDED
from .bus.confirming import Confirming
from .bus.envelope import NAME_BYTES, Opener, Sealer
from .bus.learn_redis import learn, slot_of, until_moved
from .bus.limits import BusLimits, BusWatch
from .bus.link_redis import LinkLost, connector
from .bus.metrics import BusMetrics
from .bus.plan import Plan
from .bus.shard_redis import Shard, ShardParts
from .bus.telling import Telling
from .config import Config
from .config_error import ConfigError
from .log import LogBook
from .metrics import Metrics
from .tasks import TaskSet, race

__all__ = ["RedisBackplane", "RedisBackplaneParts", "redis_backplane"]

# After a loss, so that what several servers have lost together is looked into once.
_AFTER_LOSS: Final = 1
# How often, at most, what pods of another version or time say is taken for something that was missed.
_FOREIGN_S: Final = 2.0
# How often it is told that clocks differ as long as they do.
_CLOCKS_S: Final = 300.0
# So much later others are told to look for what was dropped: by then there may be room for that.
_FULL_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class RedisBackplaneParts:
    """What a backplane is made of.

    ``key`` signs what travels: pods that share it hear each other. ``prefix`` begins the name of every channel.
    ``clock`` gives Unix seconds, ``monotonic`` seconds that only rise, ``chance`` numbers between 0 and 1.
    """

    address: BusAddress
    ca_file: str
    prefix: str
    key: bytes
    limits: BusLimits
    watch: BusWatch
    log: LogBook
    clock: Callable[[], float]
    monotonic: Callable[[], float]
    chance: Callable[[], float] = random.random
    new_name: Callable[[], bytes] = lambda: os.urandom(NAME_BYTES)


@dataclass(slots=True)
class _Heard:
    """Who hears a channel."""

    handler: Handler
    on_late: Callable[[], None] | None


class RedisBackplane:
    """``Backplane`` over Redis."""

    def __init__(self, parts: RedisBackplaneParts) -> None:
        self._parts = parts
        self._tasks = TaskSet("backplane", parts.log)
        self._connect = connector(parts.address, ca_file=parts.ca_file, timeout_s=parts.limits.timeout_s)
        self._name = parts.new_name()
        self._opener = Opener(parts.key, own=self._name, skew_s=parts.limits.skew_s, clock=parts.clock)
        self._prefix = f"{parts.prefix}:c:"
        # Where pods say that they may not have been heard for a while.
        self._pods = f"{parts.prefix}:pods".encode()
        self._heard_by: dict[bytes, _Heard] = {self._pods: _Heard(lambda _: self._tell_missed(), None)}
        self._plan: Plan | None = None
        self._shards: dict[Node, tuple[Shard, asyncio.Task[None]]] = {}
        # That of all channels, when there is one server.
        self._only: Shard | None = None
        self._stale = asyncio.Event()
        self._missed: list[Callable[[], None]] = []
        limits, watch = parts.limits, parts.watch
        self._confirming = Confirming(
            later=lambda call: asyncio.get_running_loop().call_later(limits.confirm_s, call),
            on_late=lambda: watch.reached("bus_confirm_s"),
        )
        server = str(parts.address)
        self._telling = Telling(
            went=lambda cause: parts.log.backplane_away(server=server, cause=cause),
            came=lambda: parts.log.backplane_connected(server=server),
        )
        self._foreign_timer: asyncio.TimerHandle | None = None
        self._is_foreign_due = False
        self._clocks_told_s = float("-inf")
        self._full_timer: asyncio.TimerHandle | None = None
        self.state = BusState.DEGRADED

    @property
    def channels(self) -> int:
        """How many channels are listened to."""
        return len(self._heard_by)

    @property
    def waiting_bytes(self) -> int:
        """What waits to be published."""
        return sum(shard.waiting_bytes for shard, _ in self._shards.values())

    @property
    def is_settled(self) -> bool:
        """Whether the servers know exactly what is to be heard here, and nothing waits to be published."""
        shards = [shard for shard, _ in self._shards.values()]
        return self.state is BusState.CONNECTED and all(shard.is_settled for shard in shards)

    async def open(self) -> None:
        """See ``Backplane``."""
        self._tasks.spawn(self._supervise())

    def publish(self, channel: str, payload: Payload) -> None:
        """See ``Backplane``."""
        name = self._name_of(channel)
        shard = self._only or self._shard_of(name)
        if shard is None or not shard.is_up:
            self._parts.watch.dropped("away", 1)
            return
        shard.publish(name, payload())

    def subscribe(self, channel: str, handler: Handler, on_late: Callable[[], None] | None = None) -> None:
        """See ``Backplane``."""
        name = self._name_of(channel)
        is_new = name not in self._heard_by
        self._heard_by[name] = _Heard(handler, on_late)
        shard = self._shard_of(name)
        if is_new and shard is not None:
            shard.wanted.add(name)

    def unsubscribe(self, channel: str) -> None:
        """See ``Backplane``."""
        name = self._name_of(channel)
        shard = self._shard_of(name)
        if self._heard_by.pop(name, None) is not None and shard is not None:
            shard.wanted.discard(name)
        self._confirming.confirmed(name)

    def until_heard(self, channels: Sequence[str], begin: Callable[[], Callable[[], None]]) -> None:
        """See ``Backplane``."""
        unheard = [name for name in map(self._name_of, channels) if self._is_awaited(name)]
        if unheard:
            self._confirming.wait(unheard, begin())

    def on_missed(self, missed: Callable[[], None]) -> None:
        """See ``Backplane``."""
        self._missed.append(missed)

    async def close(self) -> None:
        """See ``Backplane``; what waits has as long to leave as anything that is published."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._parts.limits.flush_s):
                for shard, _ in tuple(self._shards.values()):
                    await shard.idle()
        await self._tasks.close()
        for timer in (self._foreign_timer, self._full_timer):
            if timer is not None:
                timer.cancel()
        self._telling.close()
        self._shards.clear()
        self._heard_by.clear()
        self._confirming.give_up()
        self._plan, self._only, self.state = None, None, BusState.DEGRADED

    def _name_of(self, channel: str) -> bytes:
        # A name that came with a token may hold anything.
        return (self._prefix + channel).encode("utf-8", "surrogatepass")

    def _shard_of(self, name: bytes) -> Shard | None:
        if self._plan is None or self._only is not None:
            return self._only
        return self._shards[self._plan.node_of(name, slot_of)][0]

    def _is_awaited(self, name: bytes) -> bool:
        """Whether its server is there and will say soon that it tells of it."""
        shard = self._shard_of(name)
        return shard is not None and shard.is_up and not shard.wanted.is_heard(name)

    # What the servers say

    def _heard(self, name: bytes, wire: bytes) -> None:
        heard = self._heard_by.get(name)
        if heard is None:
            return
        said = self._opener.open(name, wire)
        watch = self._parts.watch
        if isinstance(said, str):
            if said != "own":
                watch.refused(said)
            if said == "stale":
                self._tell_clocks()
            if said in ("version", "stale"):
                self._foreign()
            return
        watch.received.value += 1
        try:
            heard.handler(said)
        except Exception as error:  # noqa: BLE001  # as in ``_call``, without another call for each message
            self._parts.log.task_failed(owner="backplane", error=error)

    def _foreign(self) -> None:
        """A pod of another version or time has said something: what is stored can be found where it is stored."""
        if self._foreign_timer is not None:
            self._is_foreign_due = True
            return
        self._foreign_timer = asyncio.get_running_loop().call_later(_FOREIGN_S, self._foreign_again)
        self._tell_missed()

    def _tell_clocks(self) -> None:
        now_s = self._parts.monotonic()
        if now_s >= self._clocks_told_s + _CLOCKS_S:
            self._clocks_told_s = now_s
            self._parts.log.clocks_differ()

    def _foreign_again(self) -> None:
        self._foreign_timer = None
        if self._is_foreign_due:
            self._is_foreign_due = False
            self._foreign()

    def _full(self) -> None:
        """What was to be said is dropped: the others are told that they have not heard everything."""
        if self._full_timer is None:
            self._full_timer = asyncio.get_running_loop().call_later(_FULL_S, self._full_is_over)

    def _full_is_over(self) -> None:
        self._full_timer = None
        self._have_others_look()

    def _have_others_look(self) -> None:
        shard = self._shard_of(self._pods)
        # One that comes back says so anyway.
        if shard is not None and shard.is_up:
            shard.publish(self._pods, b"")

    def _began(self, name: bytes) -> None:
        heard = self._heard_by.get(name)
        if heard is not None and heard.on_late is not None:
            self._call(heard.on_late)

    def _tell_missed(self) -> None:
        for missed in self._missed:
            self._call(missed)

    def _call(self, call: Callable[[], None]) -> None:
        try:
            call()
        except Exception as error:  # noqa: BLE001  # what one message brings about must not end the bus
            self._parts.log.task_failed(owner="backplane", error=error)

    # The servers

    async def _supervise(self) -> None:
        """Know which servers carry what, and have each served."""
        parts, failures = self._parts, 0
        while True:
            self._stale.clear()
            try:
                timeout_s = parts.limits.timeout_s
                plan = await learn(parts.address, self._connect, timeout_s=timeout_s, before=self._plan)
            except LinkLost as lost:
                failures += 1
                parts.watch.lost(lost.cause)
                self._changed(lost.cause)
                await asyncio.sleep(pause_s(failures, parts.chance()))
                continue
            failures = 0
            self._adopt(plan)
            await race(
                self._until_stale(), until_moved(parts.address, self._connect, plan, timeout_s=parts.limits.timeout_s)
            )
            await asyncio.sleep(pause_s(_AFTER_LOSS, parts.chance()))

    async def _until_stale(self) -> None:
        await self._stale.wait()

    def _adopt(self, plan: Plan) -> None:
        parts = self._parts
        if plan == self._plan:
            return
        keep = plan.nodes if self._plan is not None and plan.is_sharded == self._plan.is_sharded else ()
        for node in tuple(self._shards):
            if node not in keep:
                self._shards.pop(node)[1].cancel()
        self._plan = plan
        wanted: dict[Node, set[bytes]] = {node: set() for node in plan.nodes}
        for name in self._heard_by:
            wanted[plan.node_of(name, slot_of)].add(name)
        for node, names in wanted.items():
            if node not in self._shards:
                shard = Shard(node, SHARDED if plan.is_sharded else PLAIN, self._shard_parts(), by_slot=plan.by_slot)
                self._shards[node] = shard, self._tasks.spawn(shard.run())
            shard = self._shards[node][0]
            shard.trial = plan.trial_of(node, parts.prefix, slot_of)
            shard.wanted.become(names)
        self._only = self._shards[plan.nodes[0]][0] if len(plan.nodes) == 1 else None
        self._changed()

    def _shard_parts(self) -> ShardParts:
        parts = self._parts
        return ShardParts(
            connect=self._connect,
            login=parts.address.login,
            sealer=lambda: Sealer(parts.key, sender=self._name, stream=parts.new_name(), clock=parts.clock),
            heard=self._heard,
            confirmed=self._confirming.confirmed,
            began=self._began,
            changed=self._changed,
            lost=self._lost,
            full=self._full,
            failed=lambda error: parts.log.task_failed(owner="backplane", error=error),
            limits=parts.limits,
            watch=parts.watch,
            monotonic=parts.monotonic,
            chance=parts.chance,
        )

    def _lost(self) -> None:
        self._stale.set()

    def _changed(self, cause: str = "") -> None:
        """A server is up, or down because of ``cause``, or there are others."""
        was = self.state
        is_connected = self._plan is not None and all(shard.is_up for shard, _ in self._shards.values())
        self.state = BusState.CONNECTED if is_connected else BusState.DEGRADED
        if not is_connected:
            self._confirming.give_up()
        if is_connected and was is BusState.DEGRADED:
            self._telling.is_there()
            self._have_others_look()
            self._tell_missed()
        elif not is_connected and cause:
            self._telling.is_away(cause)


def redis_backplane(
    config: Config,
    address: BusAddress,
    *,
    key: bytes,
    metrics: Metrics,
    log: LogBook,
    clock: Callable[[], float],
    monotonic: Callable[[], float],
) -> RedisBackplane:
    """The backplane of one process, as it is configured.

    Raises ConfigError when the certificates cannot be read: a server that cannot be trusted is never talked to.
    """
    if config.redis_ca_file and not Path(config.redis_ca_file).is_file():
        raise ConfigError("redis_ca_file: there is no such file")
    watch = BusMetrics(metrics)
    backplane = RedisBackplane(
        RedisBackplaneParts(
            address=address,
            ca_file=config.redis_ca_file,
            prefix=config.redis_prefix,
            key=key,
            limits=config.bus_limits,
            watch=watch,
            log=log,
            clock=clock,
            monotonic=monotonic,
        )
    )
    watch.follow(
        connected=lambda: backplane.state is BusState.CONNECTED,
        channels=lambda: backplane.channels,
        waiting_bytes=lambda: backplane.waiting_bytes,
    )
    return backplane
