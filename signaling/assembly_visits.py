"""The parts of the app that are about visits, made for each other: ``assembly`` says of what.

Nothing here is started.
"""

from collections.abc import Callable
from dataclasses import dataclass

from fitting.log import DeviceLog
from fitting.push import PushNotifier

from .backplane import Backplane
from .config import Config
from .flows.bookings import BookingFlow, LinkTimes
from .flows.chat import ChatFlow, ChatLimits
from .flows.deserted import DesertedPace, DesertedVisits
from .flows.history import DeviceHistory
from .flows.rooms import VisitRooms
from .flows.session import SessionFlow
from .flows.visit_summary import VisitSummaries
from .flows.visits import VisitFlow, VisitLimits
from .grants import RememberedGrants
from .hub_clients import HubClients
from .lifetime import LifetimeManager
from .pods.directory import PodDirectory
from .rest.messages import Messages
from .rest.resource import Resource
from .rest.visits import Joins, Visits
from .storage import Storage, new_id
from .stores.visit_grants import VisitGrants
from .tasks import TaskSet
from .troubles import Troubles
from .visit_tokens import LinkTokens, VisitTokens

__all__ = ["VisitAssembly"]


@dataclass(frozen=True, slots=True)
class VisitAssembly:
    """Builds what visits need; ``remembered`` are the grants of devices."""

    config: Config
    storage: Storage
    log: DeviceLog
    backplane: Backplane
    tasks: TaskSet
    grants: VisitGrants
    remembered: RememberedGrants
    guests: VisitTokens
    troubles: Troubles
    links: LinkTokens
    notifier: PushNotifier
    push_secret: bytes
    clock: Callable[[], float]
    monotonic: Callable[[], float]
    reached: Callable[[str], None]
    directory: PodDirectory

    def flow(self, lifetime: LifetimeManager, session: SessionFlow, history: DeviceHistory) -> VisitFlow:
        config, store = self.config, self.storage.visits
        clients = HubClients(lifetime)
        return VisitFlow(
            visits=store,
            grants=self.grants,
            rooms=VisitRooms(clients=clients, backplane=self.backplane, tasks=self.tasks, look=store.get),
            log=self.log,
            endings=session.ends,
            summaries=VisitSummaries(self.log, history),
            troubles=self.troubles,
            limits=VisitLimits(config.visit_times, config.max_due_visits, config.max_untold_departures),
            clock=self.clock,
            new_id=new_id,
            reached=self.reached,
            pod=self.directory.pod,
        )

    def deserted(self, flow: VisitFlow) -> DesertedVisits:
        config = self.config
        return DesertedVisits(
            flow,
            self.directory,
            pace=DesertedPace(config.pod_gone_s, config.max_due_visits, config.visit_times),
            tasks=self.tasks,
            clock=self.clock,
            monotonic=self.monotonic,
            reached=self.reached,
        )

    def chat(self, flow: VisitFlow, lifetime: LifetimeManager) -> ChatFlow:
        config = self.config
        return ChatFlow(
            store=self.storage.chat,
            visits=flow,
            rooms=flow.rooms,
            clients=HubClients(lifetime),
            tokens=self.storage.push_tokens,
            notifier=self.notifier,
            secret=self.push_secret,
            limits=ChatLimits(config.chat_times, config.max_visit_signals, config.max_due_chats),
            clock=self.clock,
            monotonic=self.monotonic,
            new_id=new_id,
            reached=self.reached,
        )

    def resources(self, flow: VisitFlow, chat: ChatFlow) -> tuple[Resource, ...]:
        config = self.config
        bookings = BookingFlow(
            flow,
            devices=self.storage.devices,
            times=config.visit_times,
            link_times=LinkTimes(config.visit_link_s, config.visit_guest_s),
            links=self.links,
            guests=self.guests,
            remembered=self.remembered,
            clock=self.clock,
            new_id=new_id,
        )
        return (Visits(flow, bookings, self.clock, config.visit_text), Joins(bookings), Messages(chat))
