"""The whole server as an aiohttp application: its routes, and what goes on while it runs.

Its parts are made in ``assembly_care``. Read ``create_app`` first.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from aiohttp import web

from protocol.errors import Unavailable

from .assembly_care import Care, CareAssembly
from .assembly_pods import Pods
from .config import Config, ConfigError
from .dev_page import register_page
from .health import Readiness, register_health
from .hub import Hub
from .hub_server import HubServer
from .hubs.care_hub import CareHub
from .hubs.conformance_hub import ConformanceHub
from .log import LogBook
from .metrics import Metrics
from .origins import Origins
from .paced import Paced
from .rest.document import register_document
from .rest.problems import problem_middleware
from .rest.resource import Resource
from .storage import Storage
from .tasks import TaskSet
from .transports.routes import Routes
from .workers.worker import Worker

__all__ = ["PARTS", "Parts", "create_app"]


@dataclass(slots=True)
class Parts:
    """What the process needs of its app to start and to end it."""

    readiness: Readiness
    log: LogBook
    metrics: Metrics
    hubs: list[HubServer]
    routes: list[Routes]
    closing: TaskSet
    paced: Paced
    pods: Pods | None = None


_LOOK_AT_RECORDINGS_S: Final = 60.0
PARTS: Final = web.AppKey("parts", Parts)


def create_app(
    config: Config,
    *,
    signing_key: bytes,
    log: LogBook,
    hubs: Sequence[Hub] = (),
    clock: Callable[[], float] = time.time,
    monotonic: Callable[[], float] = time.monotonic,
    worker: Worker | None = None,
) -> web.Application:
    """The whole server as an aiohttp application; ``hubs`` are served beside the care hub.

    ``worker``: this process is one of several on one port.

    Raises:
        IncompletePolicy: a method or route has no rule.
        ConfigError: a hub has no name or path, or that of another; or the limits of the clinics cannot be used.
    """
    if config.conformance:
        log.conformance_on()
        hubs = (*hubs, ConformanceHub())
    _check_distinct((CareHub, *hubs))
    log_clock = None if worker is None else worker.log_clock
    parts = CareAssembly(config, signing_key, log, clock, monotonic, log_clock=log_clock)
    care = parts.care()
    servers = [care.server, *map(parts.hub_server, hubs)]
    routes: list[Routes] = [parts.routes(server) for server in servers]
    if config.socketio:
        routes.append(parts.socketio(servers))

    app = web.Application(middlewares=[problem_middleware(log)])
    app[PARTS] = _needed(parts, servers, routes)
    Origins(config.origins).register(app)
    for hub_routes in routes:
        hub_routes.register(app)
    resources = parts.resources(care)
    parts.rest().mount(app, resources)
    _told_from_outside(app, care)
    _documents(app, config, resources)
    _watched(app, parts, worker)
    app.cleanup_ctx.extend((_stored(parts.storage), _answering(parts.pods), _running(parts, routes, servers, care)))
    return app


def _needed(parts: CareAssembly, servers: list[HubServer], routes: list[Routes]) -> Parts:
    return Parts(
        readiness=parts.readiness,
        log=parts.log,
        metrics=parts.metrics,
        hubs=servers,
        routes=routes,
        closing=parts.closing,
        paced=parts.paced,
        pods=parts.pods,
    )


def _check_distinct(hubs: Sequence[Hub | type[Hub]]) -> None:
    """Names are channels and metrics, paths are routes: two hubs with one of them would hear each other's messages."""
    for what in ("name", "path"):
        seen: set[object] = set()
        for hub in hubs:
            value = getattr(hub, what, None)
            who = hub.__name__ if isinstance(hub, type) else type(hub).__name__
            if not value:
                raise ConfigError(f"{who}: a hub needs a {what}")
            if value in seen:
                raise ConfigError(f"{who}: another hub has the {what} {value}")
            seen.add(value)


def _told_from_outside(app: web.Application, care: Care) -> None:
    """What other services tell this one."""
    if care.acs is not None and care.acs.events is not None:
        care.acs.events.register(app)


def _documents(app: web.Application, config: Config, resources: Sequence[Resource]) -> None:
    """What is there to look at: what the server serves and, in development, a page that uses it."""
    register_document(app, [type(resource) for resource in resources])
    if config.dev:
        register_page(app)


def _watched(app: web.Application, parts: CareAssembly, worker: Worker | None) -> None:
    """Health and metrics: one's own, or those of all workers."""
    parts.metrics.watch_log(parts.log.lost)
    if worker is None:
        register_health(app, parts.readiness, parts.metrics)
        return
    siblings = parts.siblings(worker)
    register_health(app, parts.readiness, parts.metrics, joint=siblings.page)
    app.cleanup_ctx.append(siblings.running)


def _stored(storage: Storage) -> Callable[[web.Application], AsyncIterator[None]]:
    async def stored(_: web.Application) -> AsyncIterator[None]:
        await storage.open()
        yield
        await storage.close()

    return stored


def _answering(pods: Pods) -> Callable[[web.Application], AsyncIterator[None]]:
    async def answering(_: web.Application) -> AsyncIterator[None]:
        await pods.open()
        yield
        # Last: while this process says goodbye to its clients, others still bring what some of them say.
        await pods.close()

    return answering


@dataclass(slots=True)
class _Told:
    """Whether those who run the server know that the database is away: it is told once, whoever notices."""

    log: LogBook
    missed_by: set[str] = field(default_factory=set)

    def away(self, who: str) -> None:
        if not self.missed_by:
            self.log.database_away()
        self.missed_by.add(who)

    def back(self, who: str) -> None:
        if who in self.missed_by:
            self.missed_by.discard(who)
            if not self.missed_by:
                self.log.database_back()


async def _look_after(who: str, look: Callable[[], Awaitable[None]], told: _Told, every_s: float) -> None:
    """Do what time brings about in the database."""
    while True:
        await asyncio.sleep(every_s)
        try:
            await look()
        except Unavailable:
            told.away(who)
        except Exception as error:  # noqa: BLE001  # one bad turn must not end them all
            told.log.task_failed(owner="sweep", error=error)
        else:
            told.back(who)


def _look_after_all(parts: CareAssembly, care: Care, sweeps: TaskSet) -> None:
    """Each on its own: a slow database must not hold up the time-outs of connections, nor a push service the rest."""
    config, told = parts.config, _Told(parts.log)
    looks = {
        "care": (care.sweep, config.sweep_s),
        "visits": (care.visits.sweep, config.sweep_s),
        "deserted": (care.deserted.sweep, config.sweep_s),
        "chat": (care.chat.sweep, config.sweep_s),
        "calls": (care.calls.sweep, config.sweep_s),
        "packages": (care.packages.sweep, config.sweep_s),
        "onlookers": (care.onlookers.look, config.presence_flush_s),
    }
    if config.redis_url:
        # Alone nobody can miss anything.
        looks["lookout"] = care.lookout.look, config.look_live_s
    if care.acs is not None:
        looks["acs"] = care.acs.tending.sweep, config.sweep_s
    if care.calls.relayed.host is not None:
        if care.calls.relayed.recorder is not None:
            looks["recordings"] = care.calls.relayed.recorder.sweep, _LOOK_AT_RECORDINGS_S
        looks["relay"] = care.calls.relayed.host.sweep, config.sweep_s
    if care.calls.turn is not None:
        sweeps.spawn(care.calls.turn.look())
        looks["turn"] = care.calls.turn.look, config.turn_probe_s
    for who, (look, every_s) in looks.items():
        sweeps.spawn(_look_after(who, look, told, every_s))


def _running(
    parts: CareAssembly, routes: list[Routes], servers: list[HubServer], care: Care
) -> Callable[[web.Application], AsyncIterator[None]]:
    async def sweep() -> None:
        while True:
            await asyncio.sleep(parts.config.sweep_s)
            try:
                for server in servers:
                    server.sweep()
                for hub_routes in routes:
                    hub_routes.sweep()
                parts.pods.sweep()
            except Exception as error:  # noqa: BLE001  # one bad turn must not end all time-outs of the server
                parts.log.task_failed(owner="sweep", error=error)

    async def running(_: web.Application) -> AsyncIterator[None]:
        await parts.joined.open()
        sweeps = TaskSet("sweep", parts.log)
        sweeps.spawn(sweep())
        _look_after_all(parts, care, sweeps)
        yield
        await sweeps.close()
        parts.paced.end()
        for server in servers:
            for session in tuple(server.sessions.values()):
                session.transport.abort()
        await parts.flows.close()
        await parts.closing.close()
        await parts.joined.close()
        await parts.notifier.close()
        if care.acs is not None:
            await care.acs.service.close()

    return running
