"""The one place where implementations are chosen, and made for each other; ``app`` puts them to work.

Nothing here is started. Read ``Assembly`` from the top.
"""

import hashlib
import hmac
from collections.abc import Callable, Sequence
from dataclasses import replace

from fitting.signing import OfferSigner

from .assembly_pods import PodParts, Pods
from .assembly_visits import VisitAssembly
from .auth import DevTokens, TokenVerifier
from .bodies import Bodies
from .calls.turn_probe import TurnWatch
from .clinic_limits import read_clinic_limits
from .config import Config
from .connection_token import ConnectionTokens
from .dispatcher import Dispatcher
from .far_asks import FarAsks
from .flows.consents import ConsentFlow
from .flows.waking import Waking
from .grants import RememberedGrants
from .health import Readiness
from .hub import Hub
from .hub_clients import HubClients
from .hub_server import HubServer
from .kill_points import killable
from .lifetime import LifetimeManager
from .log import LogBook
from .metrics import Metrics
from .paced import Paced
from .pods.joined import Joined
from .policy import Grants
from .push_notifier import push_notifier
from .rest.house import RestHouse
from .rest.replay import Replays
from .storage import StorageContext, new_id, storage_of
from .stores.assignments import DeviceGrants, PatientGrants
from .stores.visit_grants import QuietingGrants, VisitGrants
from .tasks import TaskSet
from .transports.routes import HubRoutes, Routes
from .troubles import Troubles
from .visit_tokens import AnyOf, LinkTokens, VisitTokens
from .workers.siblings import Siblings
from .workers.worker import Worker

__all__ = ["Assembly"]


class Assembly:
    """Builds one app; each method makes one part and nothing else."""

    def __init__(
        self,
        config: Config,
        signing_key: bytes,
        log: LogBook,
        clock: Callable[[], float],
        monotonic: Callable[[], float],
        *,
        log_clock: Callable[[], float] | None = None,
    ) -> None:
        self.config = config
        self.signing_key = signing_key
        self.turn: TurnWatch | None = None
        self.log = log
        self.clock = clock
        self.monotonic = monotonic
        self.metrics = Metrics()
        self.troubles = Troubles(self.metrics, log)
        self.readiness = Readiness()
        self.closing = TaskSet("closing", log)
        self.paced = Paced(config.max_accepts)
        self.flows = TaskSet("flows", log)
        self.joined = Joined(config, signing_key, metrics=self.metrics, log=log, clock=clock, monotonic=monotonic)
        self.backplane = self.joined.backplane
        self.pods = Pods(
            PodParts(config, signing_key, self.joined, self.metrics, self.readiness, log, clock, monotonic)
        )
        self.guests = VisitTokens(signing_key, clock)
        self.links = LinkTokens(signing_key, clock)
        self.verifier: TokenVerifier = AnyOf((DevTokens(signing_key, clock), self.guests))
        self.tokens = self.connection_tokens()
        self.notifier = push_notifier(config, self.metrics, log, clock=clock, monotonic=monotonic)
        self.push_secret = hmac.digest(signing_key, b"push", hashlib.sha256)
        self.signer = OfferSigner(hmac.digest(signing_key, b"offers", hashlib.sha256))
        self.storage = storage_of(
            StorageContext(config, log_clock or clock, monotonic, self.metrics, self.troubles.met)
        )
        self.readiness.degraded = self.away
        self.devices = self.storage.devices
        self.audiograms = self.storage.audiograms
        self.limits = read_clinic_limits(config.clinic_limits)
        self.device_log = killable(self.storage.log, config)
        self.people = self.storage.people
        self.waking = Waking(self.storage.push_tokens, self.people.bindings, self.storage.outbox.now_s)
        self.consents = ConsentFlow(self.people.consents, self.devices)
        self.bind_key = hmac.digest(signing_key, b"bind-codes", hashlib.sha256)
        self.remembered = self.remembered_grants()
        self.grants: Grants = self.remembered
        self.visit_grants = VisitGrants(self.storage.visits, self.devices, self.people.assignments)
        self.visits = self.visit_parts()

    def connection_tokens(self) -> ConnectionTokens:
        return ConnectionTokens(
            key=hmac.digest(self.signing_key, b"connection-tokens", hashlib.sha256),
            pod=self.joined.pod,
            ttl_s=self.config.token_open_s,
            clock=self.clock,
        )

    def remembered_grants(self) -> RememberedGrants:
        return RememberedGrants(
            QuietingGrants(DeviceGrants(self.devices, self.people.assignments), self.storage.visits),
            limit=self.config.max_grants,
            patience_s=self.config.grant_patience_s,
            wait_s=self.config.database_timeout_s,
            monotonic=self.monotonic,
            reached=self.metrics.reached,
        )

    def visit_parts(self) -> VisitAssembly:
        return VisitAssembly(
            *(self.config, self.storage, self.device_log, self.backplane, self.flows),
            grants=self.visit_grants,
            remembered=self.remembered,
            guests=self.guests,
            troubles=self.troubles,
            links=self.links,
            notifier=self.notifier,
            push_secret=self.push_secret,
            clock=self.clock,
            monotonic=self.monotonic,
            reached=self.metrics.reached,
            directory=self.joined.directory,
        )

    def away(self) -> list[str]:
        """What is away just now, while everything else goes on."""
        away = {
            "database": self.storage.is_away,
            "redis": not self.joined.is_whole,
            "turn": self.turn is not None and self.turn.is_away,
        }
        return [name for name, is_away in away.items() if is_away]

    def siblings(self, worker: Worker) -> Siblings:
        found = Siblings(worker, self.pods.client, self.metrics, timeout_s=self.config.worker_metrics_s)
        self.readiness.degraded = lambda: [*self.away(), *found.away()]
        return found

    def lifetime(self, name: str) -> LifetimeManager:
        config, asks = self.config, self.joined.asks
        timeouts = {"taken_s": config.pod_ask_s, "timeout_s": config.client_result_timeout_s}
        far = None if asks is None else FarAsks(asks, self.flows, **timeouts)
        return LifetimeManager(
            name, self.backplane, max_groups=config.max_groups, reached=self.metrics.reached, far=far
        )

    def hub_server(self, hub: Hub, lifetime: LifetimeManager | None = None) -> HubServer:
        if lifetime is None:
            lifetime = self.lifetime(hub.name)
        hub.on_serving(HubClients(lifetime))
        return HubServer(
            hub,
            config=self.config,
            dispatcher=Dispatcher(
                hub,
                grants=self.grants if hub.grants is None else hub.grants,
                grants_of={"visit": self.visit_grants} if hub.grants is None else {},
                log=self.log,
                metrics=self.metrics,
                max_streams=self.config.max_streams,
                upload_buffer_items=self.config.upload_buffer_items,
            ),
            lifetime=lifetime,
            log=self.log,
            metrics=self.metrics,
            clock=self.clock,
            monotonic=self.monotonic,
            closing=self.closing,
            paced=self.paced,
        )

    def rest(self) -> RestHouse:
        config = self.config
        return RestHouse(
            verifier=self.verifier,
            grants={
                "device": self.grants,
                "patient": PatientGrants(self.devices, self.people.assignments),
                "visit": self.visit_grants,
            },
            replays=Replays(self.storage.answers, self.clock),
            metrics=self.metrics,
            bodies=Bodies(config.max_body_bytes, "max_body_bytes", config.body_timeout_s, self.metrics.reached),
            # A body is bounded by its size; how many keys that may be is nobody's wish.
            scan=replace(config.hub_limits.scan, keys=config.max_body_bytes),
            new_id=new_id,
            verifiers={"link": self.links},
        )

    def socketio(self, servers: Sequence[HubServer]) -> Routes:
        # Two libraries more, which a server without Socket.IO never loads.
        from .transports.socketio import SocketIoRoutes

        routes = SocketIoRoutes(servers, self.verifier, self.readiness, self.closing)
        if self.pods.elsewhere is not None:
            from .transports.engineio_elsewhere import EngineElsewhere

            routes.register_inside(self.pods.internal, EngineElsewhere(self.tokens, self.pods.elsewhere))
        return routes

    def routes(self, server: HubServer) -> HubRoutes:
        routes = HubRoutes(server, self.verifier, self.tokens, self.readiness, self.pods.elsewhere)
        if self.pods.elsewhere is not None:
            routes.register_inside(self.pods.internal)
        return routes
