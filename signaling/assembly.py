"""The one place where implementations are chosen, and made for each other; ``app`` puts them to work.

Nothing here is started. Read ``Assembly`` from the top.
"""

import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass, replace

from fitting.safety import Kernel
from fitting.signing import OfferSigner

from .auth import DevTokens, Principal
from .bodies import Bodies
from .clinic_limits import read_clinic_limits
from .config import MEMORY, Config
from .connection_token import ConnectionTokens
from .dispatcher import Dispatcher
from .flows.changes import Changes
from .flows.consents import ConsentFlow
from .flows.delivery import DeliveryFlow
from .flows.device_views import DeviceViews
from .flows.far_phones import FarPhones
from .flows.first_fit import FirstFitFlow
from .flows.history import DeviceHistory
from .flows.lookout import Lookout, LookTimes
from .flows.news import DeviceNews
from .flows.onlookers import Onlookers, PhonesAnywhere, PresencePace
from .flows.packages import PackageFlow, PackageLimits
from .flows.phones import Phones
from .flows.second_look import SecondLook
from .flows.session import SessionFlow
from .flows.submit import SubmitFlow
from .flows.waking import Waking
from .grants import RememberedGrants
from .health import Readiness
from .hub import Hub
from .hub_clients import HubClients
from .hub_server import HubServer
from .hubs.care_hub import CareHub
from .kill_points import killable
from .lifetime import LifetimeManager
from .log import LogBook
from .metrics import Metrics
from .pods.joined import Joined
from .policy import Grants
from .push_notifier import push_notifier
from .rest.audiograms import Audiograms
from .rest.device_reads import DeviceReads
from .rest.devices import DeviceRegistrations
from .rest.house import RestHouse
from .rest.people import PeopleParts, people_resources
from .rest.replay import Replays
from .rest.resource import Resource
from .rest.sheets import Sheets
from .storage import MemoryStorage, Storage, StorageContext, new_id, postgres_storage, sqlite_storage
from .stores.assignments import DeviceGrants, PatientGrants
from .stores.audiograms import NewestOnFile
from .tasks import TaskSet
from .transports.routes import HubRoutes
from .troubles import Troubles

__all__ = ["Assembly", "Care"]


@dataclass(frozen=True, slots=True)
class Care:
    """The care hub's server, and what of it is looked at as time passes."""

    server: HubServer
    delivery: DeliveryFlow
    session: SessionFlow
    phones: Phones
    news: DeviceNews
    packages: PackageFlow
    submit: SubmitFlow
    views: DeviceViews
    history: DeviceHistory
    lookout: Lookout
    onlookers: Onlookers

    async def sweep(self) -> None:
        try:
            await self.session.sweep()
        finally:
            # Whatever keeps one from its work must not keep the others.
            try:
                await self.delivery.sweep()
            finally:
                await self.news.sweep()


class Assembly:
    """Builds one app; each method makes one part and nothing else."""

    def __init__(
        self,
        config: Config,
        signing_key: bytes,
        log: LogBook,
        clock: Callable[[], float],
        monotonic: Callable[[], float],
    ) -> None:
        self.config = config
        self.log = log
        self.clock = clock
        self.monotonic = monotonic
        self.metrics = Metrics()
        self.troubles = Troubles(self.metrics, log)
        self.readiness = Readiness()
        self.closing = TaskSet("closing", log)
        self.flows = TaskSet("flows", log)
        self.verifier = DevTokens(signing_key, clock)
        self.joined = Joined(config, signing_key, metrics=self.metrics, log=log, clock=clock, monotonic=monotonic)
        self.backplane = self.joined.backplane
        self.tokens = ConnectionTokens(
            key=hmac.digest(signing_key, b"connection-tokens", hashlib.sha256),
            pod=self.joined.pod,
            ttl_s=config.connection_token_ttl_s,
            clock=clock,
        )
        self.notifier = push_notifier(config, self.metrics, log, clock=clock, monotonic=monotonic)
        self.push_secret = hmac.digest(signing_key, b"push", hashlib.sha256)
        self.signer = OfferSigner(hmac.digest(signing_key, b"offers", hashlib.sha256))
        self.storage = _storage(StorageContext(config, clock, monotonic, self.metrics, self.troubles.met))
        self.readiness.degraded = self.away
        self.devices = self.storage.devices
        self.audiograms = self.storage.audiograms
        self.limits = read_clinic_limits(config.clinic_limits)
        self.device_log = killable(self.storage.log, config)
        self.people = self.storage.people
        self.waking = Waking(self.storage.push_tokens, self.people.bindings, self.storage.outbox.now_s)
        self.consents = ConsentFlow(self.people.consents, self.devices)
        self.bind_key = hmac.digest(signing_key, b"bind-codes", hashlib.sha256)
        self.remembered = RememberedGrants(
            DeviceGrants(self.devices, self.people.assignments),
            limit=config.max_grants,
            patience_s=config.grant_patience_s,
            monotonic=monotonic,
            reached=self.metrics.reached,
        )
        self.grants: Grants = self.remembered

    def away(self) -> list[str]:
        """What is away just now, while everything else goes on."""
        found = ["database"] if self.storage.is_away else []
        return found if self.joined.is_whole else [*found, "redis"]

    def lifetime(self, name: str) -> LifetimeManager:
        return LifetimeManager(name, self.backplane, max_groups=self.config.max_groups, reached=self.metrics.reached)

    def care(self) -> Care:
        config = self.config
        lifetime = self.lifetime(CareHub.name)
        phones = Phones(clients=HubClients(lifetime), backplane=self.backplane, monotonic=self.monotonic)
        far = self.far_phones(phones)
        anywhere = PhonesAnywhere(phones, far, self.joined.presence)
        delivery = DeliveryFlow(
            log=self.device_log,
            devices=self.devices,
            phones=phones,
            signer=self.signer,
            tasks=self.flows,
            book=self.log,
            metrics=self.metrics,
            offer_timeout_s=config.offer_timeout_s,
            troubles=self.troubles,
            objection=SecondLook(self.device_log, Kernel(), self.changes(), self.consents.package_refusal).objection,
        )
        session = self.session(phones, far, delivery)
        news = self.news(phones, anywhere, far, delivery)
        views = DeviceViews(self.device_log, anywhere)
        history = DeviceHistory(self.device_log, look_every_s=config.watch_every_s)
        submit = self.submit(delivery, session)
        packages = self.packages(phones, anywhere, submit)
        hub = CareHub(
            log=self.device_log,
            submit=submit,
            delivery=delivery,
            session=session,
            news=news,
            phones=phones,
            history=history,
            packages=packages,
            waking=self.waking,
            views=views,
            verifier=self.verifier,
            grants=self.grants,
        )
        lookout = self.lookout(phones, delivery, session)
        server = self.hub_server(hub, lifetime)
        onlookers = self.onlookers(lifetime, phones)
        return Care(server, delivery, session, phones, news, packages, submit, views, history, lookout, onlookers)

    def far_phones(self, phones: Phones) -> FarPhones:
        return FarPhones(
            phones,
            self.backplane,
            self.joined.asks,
            tasks=self.flows,
            patience_s=self.config.pod_ask_s,
            reached=self.metrics.reached,
        )

    def session(self, phones: Phones, far: FarPhones, delivery: DeliveryFlow) -> SessionFlow:
        return SessionFlow(
            log=self.device_log,
            phones=phones,
            far=far,
            delivery=delivery,
            tasks=self.flows,
            metrics=self.metrics,
            troubles=self.troubles,
            limits=self.config.mode_limits,
            times=self.config.session_times,
            consent=self.consents.live_refusal,
        )

    def lookout(self, phones: Phones, delivery: DeliveryFlow, session: SessionFlow) -> Lookout:
        return Lookout(
            log=self.device_log,
            phones=phones,
            delivery=delivery,
            session=session,
            backplane=self.backplane,
            troubles=self.troubles,
            times=LookTimes(all_every_s=self.config.look_s, max_devices=self.config.max_looked_devices),
            monotonic=self.monotonic,
            reached=self.metrics.reached,
        )

    def changes(self) -> Changes:
        return Changes(NewestOnFile(self.devices, self.audiograms), self.limits)

    def onlookers(self, lifetime: LifetimeManager, phones: Phones) -> Onlookers:
        presence, config = self.joined.presence, self.config

        def moved(who: Principal, has_come: bool) -> None:
            (presence.came if has_come else presence.left)(presence.person(who.clinic, who.user))

        onlookers = Onlookers(
            presence,
            phones,
            self.devices,
            pace=PresencePace(config.pod_beat_s, config.presence_grace_s, config.max_watched_people),
            troubles=self.troubles,
            monotonic=self.monotonic,
            reached=self.metrics.reached,
        )
        lifetime.on_people, lifetime.on_group = moved, onlookers.began
        return onlookers

    def news(self, phones: Phones, anywhere: PhonesAnywhere, far: FarPhones, delivery: DeliveryFlow) -> DeviceNews:
        return DeviceNews(
            log=self.device_log,
            phones=phones,
            anywhere=anywhere,
            far=far,
            delivery=delivery,
            tasks=self.flows,
            metrics=self.metrics,
            max_untold=self.config.max_untold_devices,
        )

    def packages(self, phones: Phones, anywhere: PhonesAnywhere, submit: SubmitFlow) -> PackageFlow:
        return PackageFlow(
            log=self.device_log,
            outbox=self.storage.outbox,
            tokens=self.storage.push_tokens,
            notifier=self.notifier,
            phones=phones,
            anywhere=anywhere,
            submit=submit,
            troubles=self.troubles,
            secret=self.push_secret,
            limits=PackageLimits(max_due=self.config.max_due_pushes),
            reached=self.metrics.reached,
        )

    def submit(self, delivery: DeliveryFlow, session: SessionFlow) -> SubmitFlow:
        return SubmitFlow(
            self.device_log,
            Kernel(),
            self.metrics,
            changes=self.changes(),
            delivery=delivery,
            may_rise=session.may_rise,
            package_refusal=self.consents.package_refusal,
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
        )

    def rest(self) -> RestHouse:
        config = self.config
        return RestHouse(
            verifier=self.verifier,
            grants={"device": self.grants, "patient": PatientGrants(self.devices, self.people.assignments)},
            replays=Replays(self.storage.answers, self.clock),
            metrics=self.metrics,
            bodies=Bodies(config.max_body_bytes, "max_body_bytes", config.body_timeout_s, self.metrics.reached),
            # A body is bounded by its size; how many keys that may be is nobody's wish.
            scan=replace(config.hub_limits.scan, keys=config.max_body_bytes),
            new_id=new_id,
        )

    def resources(self, care: Care) -> tuple[Resource, ...]:
        people = PeopleParts(
            config=self.config,
            people=self.people,
            devices=self.devices,
            log=self.device_log,
            consents=self.consents,
            session=care.session,
            phones=care.phones,
            look_again=care.delivery.look_again,
            signer=self.signer,
            bind_key=self.bind_key,
            clock=self.clock,
            monotonic=self.monotonic,
            remembered=self.remembered,
            waking=self.waking,
            lifetime=care.server.lifetime,
            backplane=self.backplane,
            reached=self.metrics.reached,
        )
        assignments = self.people.assignments
        first_fit = FirstFitFlow(
            self.device_log,
            devices=self.devices,
            audiograms=self.audiograms,
            limits=self.limits,
            judge=care.submit.judged,
        )
        return (
            DeviceRegistrations(self.devices, self.device_log, assignments, self.clock),
            DeviceReads(self.devices, assignments, care.views, care.history),
            Sheets(),
            Audiograms(
                *(self.devices, self.audiograms, self.device_log, first_fit),
                look_again=care.delivery.look_again,
                clock=self.clock,
            ),
            *people_resources(people),
        )

    def routes(self, server: HubServer) -> HubRoutes:
        return HubRoutes(server, self.verifier, self.tokens, self.readiness)


def _storage(context: StorageContext) -> Storage:
    """Where devices and their logs are kept."""
    if context.config.database_url == MEMORY:
        return MemoryStorage(context)
    if context.config.database_url:
        return postgres_storage(context, context.config.database_url)
    return sqlite_storage(context, context.config.sqlite_file)
