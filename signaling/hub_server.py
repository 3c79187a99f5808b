"""One hub and everything that its connections share: tables, clocks, counters, and one sweep for all timers."""

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Final

from protocol.signalr.connection import HubConnection

from .auth import Principal
from .client_results import ClientResults
from .config import Config
from .connection import HubSession
from .dispatcher import Dispatcher
from .hub import Caller, Hub
from .hub_clients import HubClients
from .life import Life
from .lifetime import LifetimeManager
from .log import LogBook
from .metrics import Metrics
from .outbox import Flusher
from .paced import Paced, Way
from .tasks import TaskSet

__all__ = ["HubServer"]


_CLOCK_SLACK_S: Final = 0.5


def _user(principal: Principal) -> tuple[str, str]:
    return principal.clinic, principal.user


class HubServer:
    """What a ``HubSession`` finds around it. ``closing`` owns what outlives a connection for a moment."""

    def __init__(
        self,
        hub: Hub,
        *,
        config: Config,
        dispatcher: Dispatcher,
        lifetime: LifetimeManager,
        log: LogBook,
        metrics: Metrics,
        clock: Callable[[], float],
        monotonic: Callable[[], float],
        closing: TaskSet,
        paced: Paced,
    ) -> None:
        self.hub = hub
        self.config = config
        self.dispatcher = dispatcher
        self.invoke = dispatcher.invoke
        self.lifetime = lifetime
        self.log = log
        self.metrics = metrics
        self.clock = clock
        self.monotonic = monotonic
        self.closing = closing
        self.flusher = Flusher()
        self.paced = paced
        self.sessions: dict[str, HubSession] = {}
        self._of_user: Counter[tuple[str, str]] = Counter()
        self._limits = config.hub_limits
        self._ahead_s = clock() - monotonic()
        self._left = asyncio.Event()

    def leave(self, thing: Callable[[], None]) -> None:
        """Do what is to be done when a connection has ended: many may end at once."""
        self.paced.do(Way.OUT, thing)

    def signalr(self, now: float, *, binary_ok: bool, stateful: bool) -> HubConnection:
        """The protocol of one more SignalR client, see ``HubConnection``."""
        return HubConnection(self._limits, now=now, binary_ok=binary_ok, stateful=stateful)

    def broken(self, connection_id: str, code: str) -> None:
        """A client sent what its protocol forbids: count and log it."""
        self.metrics.broken(code)
        self.log.protocol_broken(connection=connection_id, hub=self.hub.name)

    def client_results(self) -> ClientResults:
        """The questions to one more client."""
        config = self.config
        return ClientResults(
            limit=config.max_pending_results,
            timeout_s=config.client_result_timeout_s,
            reached=self.metrics.reached,
        )

    def remember(self, session: HubSession, transport: str) -> None:
        """A connection is made; ``transport`` is the name of its first one."""
        self.sessions[session.connection_id] = session
        self._of_user[_user(session.principal)] += 1
        self.metrics.connections.labels(transport).inc()

    def opened(self, session: HubSession, protocol: str) -> None:
        """A connection has finished its handshake: from now on others reach it."""
        self.log.connection_opened(connection=session.connection_id, hub=self.hub.name, protocol=protocol)
        self.lifetime.add(session)

    def forget(self, connection_id: str) -> bool:
        """A connection has ended; False when it had already."""
        session = self.sessions.pop(connection_id, None)
        self._left.set()
        if session is None:
            return False
        user = _user(session.principal)
        self._of_user[user] -= 1
        if not self._of_user[user]:
            del self._of_user[user]
        return True

    def bound_met(self, principal: Principal) -> str:
        """The bound that one more connection of this user would break here, "" for none; it is counted."""
        met = ""
        if len(self.sessions) >= self.config.max_connections:
            met = "max_connections"
        elif self._of_user[_user(principal)] >= self.config.max_user_connections:
            met = "max_user_connections"
        if met:
            self.metrics.reached(met)
        return met

    async def emptied(self) -> None:
        """Wait until no connection is left."""
        while self.sessions:
            self._left.clear()
            await self._left.wait()

    async def welcome(self, caller: Caller) -> bool:
        """The hub's own word to a new connection; False when it failed, which ends the connection."""
        try:
            await self.hub.on_connected(caller)
        except Exception as error:  # noqa: BLE001  # the boundary of a hook: the connection ends, the server lives
            self._crashed(caller.connection_id, "on_connected", error)
            return False
        return True

    def warn_of_expiry(self, caller: Caller, left_s: float) -> None:
        """The hub's word to a caller whose token ends soon."""
        try:
            self.hub.on_expiring(caller, left_s)
        except Exception as error:  # noqa: BLE001  # the boundary of a hook: the timers of all others go on
            self._crashed(caller.connection_id, "on_expiring", error)

    def tell_of_end(self, caller: Caller, *, joined: bool) -> None:
        """The hub's word about a caller whose token has ended, if it was welcomed; then the connection ends."""
        try:
            if joined:
                self.hub.on_expired(caller)
        except Exception as error:  # noqa: BLE001  # the boundary of a hook: the connection ends all the same
            self._crashed(caller.connection_id, "on_expired", error)

    def warn_of_drain(self, retry_after_ms: int) -> None:
        """The hub's word to everybody before the server closes."""
        try:
            self.hub.on_draining(HubClients(self.lifetime), retry_after_ms)
        except Exception as error:  # noqa: BLE001  # the boundary of a hook: the server drains all the same
            self._crashed("", "on_draining", error)

    async def farewell(self, session: HubSession, life: Life) -> None:
        """After a connection: its calls, the hub's last word (if its first one was a welcome), the counters."""
        caller = session.caller
        # What was received is carried out, also when the sender has gone: a report must not be lost.
        if not await session.tasks.finish(self.config.call_grace_s):
            self.metrics.reached("call_grace_s")
        if session.joined:
            try:
                await self.hub.on_disconnected(caller)
            except Exception as error:  # noqa: BLE001  # the boundary of a hook: the connection is gone anyway
                self._crashed(caller.connection_id, "on_disconnected", error)
        # Nothing of it refers to itself any more, so that no collector has to find it.
        del session.caller
        session.flow.close()
        self.metrics.connections.labels(life.transport).dec()
        self.metrics.durations.labels(life.cause, life.transport).observe(life.duration_s)
        self.log.connection_closed(
            connection=caller.connection_id, hub=self.hub.name, cause=life.cause, duration_s=life.duration_s
        )

    def sweep(self) -> None:
        """Look at the timers of all connections: one sweep instead of a timer each."""
        now, wall = self.monotonic(), self.clock()
        ahead_s, before_s = wall - now, self._ahead_s
        self._ahead_s = ahead_s
        # When the wall clock was set, or the machine slept, tokens may have ended.
        is_set = abs(ahead_s - before_s) > _CLOCK_SLACK_S
        for session in tuple(self.sessions.values()):
            # Nearly all of many thousands have nothing due, and are not even asked.
            if now >= session.quiet_until or is_set:
                session.tick(now, wall)

    def _crashed(self, connection_id: str, method: str, error: BaseException) -> None:
        self.log.call_crashed(connection=connection_id, hub=self.hub.name, method=method, error=error)
