"""A few ordinary tables in Redis, for what pods know of each other; where it is, is where the bus is.

A call has its time and then it is over: ``AWAY`` is an outcome like any other, and whoever asks can do without. Nothing
that must be kept is kept here. Read ``RedisTables`` from the top.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

from signaling.log import LogBook
from signaling.metrics import Metrics, Tallies
from signaling.tasks import TaskSet, race

from .address import BusAddress, Node
from .breaker import pause_s
from .learn_redis import learn, slot_of, until_moved
from .limits import LineLimits
from .line_redis import AWAY, Command, Line, TablesAway
from .link_redis import LinkLost, Refusal, connector
from .plan import Plan
from .telling import Telling

if TYPE_CHECKING:
    from signaling.config import Config

__all__ = ["AWAY", "RedisTables", "TablesAway", "TablesParts", "TablesWatch", "redis_tables"]


# Refused by this server, and not by the one that it belongs to.
_MOVED: Final = frozenset({"ASK", "MOVED", "TRYAGAIN"})
# Of a command that nobody has asked for again: then it is no longer known to be refused.
_REFUSED_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class TablesWatch:
    """``reached`` is told of bounds, ``counted`` how each call ended, ``went`` and ``came`` of Redis itself."""

    reached: Callable[[str], None]
    counted: Callable[[str], None]
    went: Callable[[str], None]
    came: Callable[[], None]


@dataclass(frozen=True, slots=True)
class TablesParts:
    """``prefix`` begins the name of every key; ``chance`` gives numbers between 0 and 1."""

    address: BusAddress
    ca_file: str
    prefix: str
    limits: LineLimits
    watch: TablesWatch
    monotonic: Callable[[], float]
    chance: Callable[[], float] = random.random
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep


class RedisTables:
    """Keys are named without the prefix. Those that share a ``{tag}`` are on one server of a cluster."""

    def __init__(self, parts: TablesParts, tasks: TaskSet) -> None:
        self._parts = parts
        self._tasks = tasks
        self._connect = connector(parts.address, ca_file=parts.ca_file, timeout_s=parts.limits.timeout_s)
        self._plan: Plan | None = None
        self._last_plan: Plan | None = None
        self._lines: dict[Node, Line] = {}
        self._tried, self._stale = asyncio.Event(), asyncio.Event()
        self._refused = ""
        # Commands that are refused, and until when that is believed: meanwhile Redis is of no use, whatever it answers.
        self._undone: dict[bytes, float] = {}
        watch = parts.watch
        # That it is there from the start is no news.
        self._telling = Telling(went=watch.went, came=watch.came, said="there")
        # How often it has been connected, or was emptied: behind each it may have forgotten everything.
        self.life = 0
        self.on_forgot: Callable[[], None] = lambda: None

    @property
    def is_up(self) -> bool:
        """Whether it answers in time, as far as anybody knows."""
        return self._plan is not None and not self._is_refused and all(line.is_up for line in self._lines.values())

    @property
    def was_tried(self) -> bool:
        """Whether it is known by now if there is a Redis."""
        return self._tried.is_set()

    async def open(self) -> None:
        """Be connected, now or whenever it is there; does not wait for it."""
        self._tasks.spawn(self._supervise())

    def forgot(self) -> None:
        """It no longer knows what it was told, though it was there all the time."""
        self.life += 1
        self.on_forgot()

    async def close(self) -> None:
        """Ask nothing any more."""
        await self._tasks.close()
        self._telling.close()
        self._plan = None

    async def get(self, key: str, *, patient: bool = False) -> bytes | TablesAway | None:
        """The value of a key, None when there is none. As every verb: a call that is ``patient`` may take seconds."""
        found = await self._ask(key, (b"GET", self._name(key)), patient=patient)
        return AWAY if found is AWAY else found[0]

    async def values(self, *keys: str, patient: bool = False) -> tuple[bytes | None, ...] | TablesAway:
        """The values of several keys, which share a tag; None for those that there are not."""
        found = await self._ask(keys[0], (b"MGET", *map(self._name, keys)), patient=patient)
        return AWAY if found is AWAY else tuple(found[0])

    async def put(self, key: str, value: bytes, *, ttl_s: float, patient: bool = False) -> TablesAway | None:
        """Set a key, for so long."""
        return _done(await self._ask(key, (b"SET", self._name(key), value, b"PX", _ms(ttl_s)), patient=patient))

    async def claim(
        self, key: str, value: bytes, *, ttl_s: float, witness: str = "", patient: bool = False
    ) -> bytes | TablesAway:
        """Set a key for so long unless there is one: the value that it has now. The first claim is the one that holds.

        What answers AWAY may have been carried out. ``witness``: a key that is always there, without which Redis has
        forgotten who was the first; it is looked for where it is on the same server.
        """
        name = self._name(key)
        commands: list[Command] = [(b"SET", name, value, b"NX", b"PX", _ms(ttl_s)), (b"GET", name)]
        if witness and self._are_together(key, witness):
            commands.append((b"GET", self._name(witness)))
        found = await self._ask(key, *commands, patient=patient)
        # One that has just ended leaves nothing to tell of, and is as good as no answer.
        if found is AWAY or found[1] is None:
            return AWAY
        if found[-1] is None:
            self.forgot()
            if found[0] is not None:
                await self.delete(key, patient=patient)
            return AWAY
        return bytes(found[1])

    async def delete(self, *keys: str, patient: bool = False) -> TablesAway | None:
        """Take keys away; they share a tag."""
        return _done(await self._ask(keys[0], (b"DEL", *map(self._name, keys)), patient=patient))

    async def field(self, key: str, *fields: bytes, patient: bool = False) -> tuple[bytes | None, ...] | TablesAway:
        """The values of some fields of a hash, None for those that it has not."""
        found = await self._ask(key, (b"HMGET", self._name(key), *fields), patient=patient)
        return AWAY if found is AWAY else tuple(found[0])

    async def field_of_each(
        self, keys: Sequence[str], *fields: bytes, patient: bool = False
    ) -> tuple[tuple[bytes | None, ...], ...] | TablesAway:
        """The same of several hashes, wherever they are, in no order."""
        if self._plan is None:
            return AWAY
        by_node: dict[Node, list[str]] = {}
        for key in keys:
            by_node.setdefault(self._plan.node_of(self._name(key), slot_of), []).append(key)
        found: list[tuple[bytes | None, ...]] = []
        for together in by_node.values():
            commands = (cast("Command", (b"HMGET", self._name(key), *fields)) for key in together)
            said = await self._ask(together[0], *commands, patient=patient)
            if said is AWAY:
                return AWAY
            found += map(tuple, said)
        return tuple(found)

    async def fields(self, key: str, *, patient: bool = False) -> dict[bytes, bytes] | TablesAway:
        """A whole hash, empty when there is none."""
        found = await self._ask(key, (b"HGETALL", self._name(key)), patient=patient)
        if found is AWAY:
            return AWAY
        flat = iter(found[0])
        return dict(zip(flat, flat, strict=True))

    async def change(
        self, key: str, put: Mapping[bytes, bytes], drop: Iterable[bytes] = (), *, ttl_s: float, patient: bool = False
    ) -> bool | TablesAway:
        """Put and drop fields of a hash and have all of it for so long; whether there was one before.

        With nothing to change it is only kept: for a hash that is not there that is False.
        """
        name, gone = self._name(key), tuple(drop)
        # First of all, because it tells whether there is one.
        commands: list[Command] = [(b"PEXPIRE", name, _ms(ttl_s))]
        if put:
            commands.append((b"HSET", name, *(part for item in put.items() for part in item)))
        if gone:
            commands.append((b"HDEL", name, *gone))
        if put:
            commands.append((b"PEXPIRE", name, _ms(ttl_s)))
        found = await self._ask(key, *commands, patient=patient)
        return AWAY if found is AWAY else bool(found[0])

    async def members(
        self, key: str, *, add: bytes, ttl_s: float, patient: bool = False
    ) -> tuple[frozenset[bytes], bool] | TablesAway:
        """A set, after one more has been added to it, and whether that was in it before; it is there for so long."""
        name = self._name(key)
        before: tuple[Command, ...] = ((b"SADD", name, add), (b"PEXPIRE", name, _ms(ttl_s)))
        found = await self._ask(key, *before, (b"SMEMBERS", name), patient=patient)
        return AWAY if found is AWAY else (frozenset(found[-1]), not found[0])

    async def leave(self, key: str, *members: bytes, patient: bool = False) -> TablesAway | None:
        """Take some out of a set."""
        return _done(await self._ask(key, (b"SREM", self._name(key), *members), patient=patient))

    # What is under it

    def _name(self, key: str) -> bytes:
        return f"{self._parts.prefix}:t:{key}".encode("utf-8", "surrogatepass")

    def _are_together(self, *keys: str) -> bool:
        plan = self._plan
        return plan is not None and len({plan.node_of(self._name(key), slot_of) for key in keys}) == 1

    async def _ask(self, key: str, *commands: Command, patient: bool = False) -> tuple[Any, ...] | TablesAway:
        if not self._tried.is_set():
            # Only at the very start: whether there is a Redis is just being found out.
            try:
                async with asyncio.timeout(self._parts.limits.timeout_s):
                    await self._tried.wait()
            except TimeoutError:
                return AWAY
        if self._plan is None:
            self._parts.watch.counted("away")
            return AWAY
        line = self._lines[self._plan.node_of(self._name(key), slot_of)]
        found = await line.ask(commands, patient=patient)
        if found is AWAY:
            return AWAY
        refused = next((one for one in found if isinstance(one, Refusal)), None)
        if refused is None:
            if self._undone:
                self._done(commands)
            return found
        if refused.code not in _MOVED:
            until_s = self._parts.monotonic() + _REFUSED_S
            for command, one in zip(commands, found, strict=True):
                if isinstance(one, Refusal):
                    self._undone[command[0]] = until_s
        # Its slot has moved, or we may not: it has to be found out anew, or to be told.
        self._parts.watch.counted("refused")
        self._lose(refused.code)
        return AWAY

    def _lose(self, cause: str) -> None:
        self._plan = None
        self._refused = cause
        self._stale.set()

    @property
    def _is_refused(self) -> bool:
        return bool(self._undone) and max(self._undone.values()) > self._parts.monotonic()

    def _done(self, commands: Iterable[Command]) -> None:
        """These are refused no more; when nothing is, Redis is there again."""
        for command in commands:
            self._undone.pop(command[0], None)
        self._back()

    def _back(self) -> None:
        if not self._is_refused:
            self._undone.clear()
            self._telling.is_there()

    async def _supervise(self) -> None:
        """Know which servers there are and be connected to all of them, again for ever."""
        parts, failures = self._parts, 0
        while True:
            began_s = parts.monotonic()
            try:
                await self._live()
            except LinkLost as lost:
                cause = lost.cause
            self._plan = None
            self._tried.set()
            self._telling.is_away(cause)
            # Whoever is refused again and again is not asked again and again.
            failures = 0 if parts.monotonic() - began_s > parts.limits.timeout_s else failures + 1
            await parts.sleep(pause_s(max(1, failures), parts.chance()))

    async def _live(self) -> None:
        """As long as all servers are there. Raises LinkLost."""
        parts = self._parts
        self._stale = asyncio.Event()
        timeout_s, before = parts.limits.timeout_s, self._last_plan
        plan = await learn(parts.address, self._connect, timeout_s=timeout_s, before=before, for_keys=True)
        self._last_plan = plan
        async with AsyncExitStack() as links:
            lines = {}
            for node in plan.nodes:
                link = await links.enter_async_context(aclosing(await self._connect(node, parts.address.login)))
                lines[node] = Line(
                    link,
                    limits=parts.limits,
                    reached=parts.watch.reached,
                    counted=parts.watch.counted,
                    monotonic=parts.monotonic,
                    chance=parts.chance,
                )
            self._lines, self._plan = lines, plan
            self.life += 1
            self._tried.set()
            self._back()
            ends = (self._watch(), self._until_stale(), self._until_moved(plan))
            await race(*ends, *(line.read() for line in lines.values()))

    async def _until_stale(self) -> None:
        await self._stale.wait()
        raise LinkLost(self._refused)

    async def _until_moved(self, plan: Plan) -> None:
        parts = self._parts
        await until_moved(parts.address, self._connect, plan, timeout_s=parts.limits.timeout_s)
        raise LinkLost("moved")

    async def _watch(self) -> None:
        """Notice a server that says nothing at all any more."""
        while True:
            await self._parts.sleep(self._parts.limits.timeout_s / 2)
            if any(line.is_overdue() for line in self._lines.values()):
                self._parts.watch.reached("bus_timeout_s")
                raise LinkLost("timeout")


def redis_tables(
    config: "Config",
    address: BusAddress,
    *,
    tasks: TaskSet,
    metrics: Metrics,
    log: LogBook,
    monotonic: Callable[[], float],
) -> RedisTables:
    """The tables of one process, as it is configured."""
    calls = Tallies(metrics.registry, "auricle_tables_calls", "Calls of the tables in Redis.", ["outcome"])
    server = str(address)

    def counted(outcome: str) -> None:
        calls.of(outcome).value += 1

    watch = TablesWatch(
        reached=metrics.reached,
        counted=counted,
        went=lambda cause: log.tables_away(server=server, cause=cause),
        came=lambda: log.tables_connected(server=server),
    )
    limits, prefix = config.table_limits, config.redis_prefix
    return RedisTables(TablesParts(address, config.redis_ca_file, prefix, limits, watch, monotonic), tasks)


def _done(found: tuple[Any, ...] | TablesAway) -> TablesAway | None:
    return AWAY if found is AWAY else None


def _ms(seconds: float) -> bytes:
    return b"%d" % max(1, round(seconds * 1_000))
