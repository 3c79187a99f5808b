"""The care hub, its parts made for each other over what ``assembly`` has made.

Nothing here is started. Read ``CareAssembly.care`` first.
"""

from dataclasses import dataclass

from fitting.safety import Kernel

from .acs.build import AcsHouse, acs_house
from .admission import Gate
from .assembly import Assembly
from .auth import Principal
from .calls.beside import BesideParts
from .calls.build import CallHouse, call_house
from .flows.arrivals import Arrivals
from .flows.changes import Changes
from .flows.chat import ChatFlow
from .flows.delivery import DeliveryFlow
from .flows.deserted import DesertedVisits
from .flows.device_views import DeviceViews
from .flows.far_phones import FarPhones
from .flows.first_fit import FirstFitFlow
from .flows.history import DeviceHistory
from .flows.lookout import Lookout, LookTimes
from .flows.news import DeviceNews
from .flows.onlookers import Onlookers, PhonesAnywhere, PresencePace
from .flows.packages import PackageFlow, PackageLimits
from .flows.phones import Phones, overhearing
from .flows.second_look import SecondLook
from .flows.session import SessionFlow
from .flows.submit import SubmitFlow
from .flows.visits import VisitFlow
from .hub_clients import HubClients
from .hub_server import HubServer
from .hubs.care_hub import CareHub
from .lifetime import LifetimeManager
from .rest.acs import AcsIdentityOfPatients
from .rest.audiograms import Audiograms
from .rest.calls import Calls
from .rest.device_reads import DeviceReads
from .rest.devices import DeviceRegistrations
from .rest.people import PeopleParts, people_resources
from .rest.resource import Resource
from .rest.sheets import Sheets
from .storage import new_id
from .stores.audiograms import NewestOnFile

__all__ = ["Care", "CareAssembly"]


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
    visits: VisitFlow
    calls: CallHouse
    chat: ChatFlow
    deserted: DesertedVisits
    acs: AcsHouse | None

    async def sweep(self) -> None:
        try:
            await self.session.sweep()
        finally:
            # Whatever keeps one from its work must not keep the others.
            try:
                await self.delivery.sweep()
            finally:
                await self.news.sweep()


class CareAssembly(Assembly):
    """Builds the care hub and what is served over REST beside it; each method makes one part and nothing else."""

    def care(self) -> Care:
        config = self.config
        lifetime = self.lifetime(CareHub.name)
        phones = self.phones(lifetime)
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
        visits = self.visits.flow(lifetime, session, history)
        chat = self.visits.chat(visits, lifetime)
        calls, acs = self.calls(lifetime, visits, chat, self.beside(session, phones, anywhere))
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
            visits=visits,
            calls=calls,
            chat=chat,
            verifier=self.verifier,
            grants=self.grants,
            arrivals=self.arrivals(),
        )
        onlookers, lookout = self.onlookers(lifetime, phones), self.lookout(phones, delivery, session)
        return Care(
            *(self.hub_server(hub, lifetime), delivery, session, phones, news, packages, submit, views, history),
            *(lookout, onlookers, visits, calls, chat, self.visits.deserted(visits), acs),
        )

    def phones(self, lifetime: LifetimeManager) -> Phones:
        lifetime.on_group_told = overhearing(self.device_log)
        return Phones(clients=HubClients(lifetime), backplane=self.backplane, monotonic=self.monotonic)

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

    def beside(self, session: SessionFlow, phones: Phones, anywhere: PhonesAnywhere) -> BesideParts:
        return BesideParts(
            *(self.config, self.storage, anywhere, phones, session.ends, self.notifier, self.push_secret, self.flows),
            clock=self.clock,
            reached=self.metrics.reached,
        )

    def calls(
        self, lifetime: LifetimeManager, visits: VisitFlow, chat: ChatFlow, beside: BesideParts
    ) -> tuple[CallHouse, AcsHouse | None]:
        acs = acs_house(self, visits, chat)
        house = call_house(
            self.config,
            signing_key=self.signing_key,
            joined=self.joined,
            clients=HubClients(lifetime),
            visits=visits,
            acs=None if acs is None else acs.visits,
            tasks=self.flows,
            metrics=self.metrics,
            clock=self.clock,
            monotonic=self.monotonic,
            new_id=new_id,
            beside=beside,
        )
        self.turn = house.turn
        if acs is not None:
            acs.on_withdrawn(self.consents, self.devices, house.backends)
        return house, acs

    def arrivals(self) -> Arrivals:
        limit, reached = self.config.max_attachments, self.metrics.reached
        gate = Gate(limit, bound="max_attachments", monotonic=self.monotonic, reached=reached)
        return Arrivals(gate, self.monotonic)

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
            AcsIdentityOfPatients(None if care.acs is None else care.acs.identities),
            *self.visits.resources(care.visits, care.chat),
            Calls(care.calls.beside.recorder),
        )
