"""A server around a hub of a test's own, wired as ``signaling.app`` wires its hubs."""

from collections.abc import Callable

from aiohttp import web

from signaling.app import PARTS, Parts
from signaling.auth import DevTokens, Principal
from signaling.backplane import MemoryBackplane, MemoryBus
from signaling.config import Config
from signaling.connection_token import ConnectionTokens
from signaling.dispatcher import Dispatcher
from signaling.health import Readiness
from signaling.hub import Hub
from signaling.hub_server import HubServer
from signaling.lifetime import LifetimeManager
from signaling.log import LogBook
from signaling.metrics import Metrics
from signaling.origins import Origins
from signaling.paced import Paced
from signaling.policy import Relation
from signaling.tasks import TaskSet
from signaling.transports.routes import HubRoutes

__all__ = ["app_around"]


class OwnName:
    """Grants by which an object is its namesake's."""

    async def holds(self, principal: Principal, relation: Relation, object_id: str) -> bool:
        return relation is Relation.OWN and object_id == principal.user


def _dispatcher(hub: Hub, config: Config, log: LogBook, metrics: Metrics) -> Dispatcher:
    return Dispatcher(
        hub,
        grants=OwnName(),
        log=log,
        metrics=metrics,
        max_streams=config.max_streams,
        upload_buffer_items=config.upload_buffer_items,
    )


def app_around(
    hub: Hub,
    config: Config,
    *,
    signing_key: bytes,
    log: LogBook,
    clock: Callable[[], float],
    monotonic: Callable[[], float],
) -> web.Application:
    """An application that serves ``hub`` alone."""
    metrics, readiness, closing = Metrics(), Readiness(), TaskSet("closing", log)
    paced = Paced(config.max_accepts)
    server = HubServer(
        hub,
        config=config,
        dispatcher=_dispatcher(hub, config, log, metrics),
        lifetime=LifetimeManager(
            hub.name, MemoryBackplane(MemoryBus()), max_groups=config.max_groups, reached=metrics.reached
        ),
        log=log,
        metrics=metrics,
        clock=clock,
        monotonic=monotonic,
        closing=closing,
        paced=paced,
    )
    tokens = ConnectionTokens(key=signing_key, pod="p", ttl_s=config.connection_token_ttl_s, clock=clock)
    app = web.Application()
    routes = HubRoutes(server, DevTokens(signing_key, clock), tokens, readiness)
    app[PARTS] = Parts(
        readiness=readiness,
        log=log,
        metrics=metrics,
        hubs=[server],
        routes=[routes],
        closing=closing,
        paced=paced,
    )
    routes.register(app)
    Origins(config.origins).register(app)

    async def close(_: web.Application) -> None:
        paced.end()
        for session in tuple(server.sessions.values()):
            session.transport.abort()
        await closing.close()

    app.on_cleanup.append(close)
    return app
