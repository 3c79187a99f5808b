"""Makes the parts of calls for each other, as they are configured. Starts nothing."""

import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from media.candidate import HostPolicy
from protocol.contract.calls import CallEndReason, FallBackReason
from signaling.acs.visits import AcsVisits
from signaling.config import Config
from signaling.flows.visits import VisitFlow
from signaling.hub_clients import HubClients
from signaling.metrics import Metrics
from signaling.pods.joined import Joined
from signaling.tasks import TaskSet

from .backends import CallBackends
from .beside import BesideParts, CallsBeside
from .device_checks import CheckLimits, DeviceChecks
from .flow import CallFlow, CallParts
from .missed import MissedNews
from .people import PeopleOfVisits
from .registry import CallRegistry, MemoryCalls
from .relay import SignalRelay
from .relay_build import RelayedCalls, relayed_calls
from .signals import SignalLimits
from .turn_probe import TurnWatch

if TYPE_CHECKING:
    from signaling.bus.tables_redis import RedisTables

__all__ = ["CallHouse", "call_house"]

# A call whose pods have all gone is forgotten after so many looks at which nobody has kept it.
_FORGOTTEN_AFTER_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class CallHouse:
    """What of calls the hub and the app need."""

    flow: CallFlow
    missed: MissedNews
    backends: CallBackends
    relay: SignalRelay
    checks: DeviceChecks
    turn: TurnWatch | None
    beside: CallsBeside
    relayed: RelayedCalls

    async def sweep(self) -> None:
        """What time brings about. Raises Unavailable."""
        try:
            await self.flow.sweep()
            await self.missed.sweep()
        finally:
            await self.beside.sweep()


def call_house(
    config: Config,
    *,
    signing_key: bytes,
    joined: Joined,
    clients: HubClients,
    visits: VisitFlow,
    acs: AcsVisits | None,
    tasks: TaskSet,
    metrics: Metrics,
    clock: Callable[[], float],
    monotonic: Callable[[], float],
    new_id: Callable[[], str],
    beside: BesideParts,
) -> CallHouse:
    """The calls of one process, which end with the visits that they are part of. Raises ConfigError."""
    plan, directory = config.ice_plan, joined.directory
    hosts = HostPolicy.ANY if config.dev else HostPolicy(config.ice_host_candidates)
    flow = CallFlow(
        CallParts(
            registry=_registry(config, signing_key, joined.tables, metrics),
            clients=clients,
            people=PeopleOfVisits(visits),
            ice=plan,
            times=config.call_times,
            max_peers=config.max_call_peers,
            hosts=hosts,
            pod=directory.pod,
            is_alive=lambda pod: pod in directory.pods(),
            now_s=clock,
            new_id=new_id,
            metrics=metrics,
            ended=_ended(metrics),
        )
    )
    relayed = relayed_calls(config, flow, visits, joined, tasks=tasks, metrics=metrics, new_id=new_id)
    visits.before_end.append(lambda visit: flow.over(visit.visit, "visit_ended"))
    visits.on_removed.append(flow.sent_away)
    missed = MissedNews(flow, joined.backplane, visits.rooms.visits_here, tasks, config.max_calls)
    limits = SignalLimits(config.max_candidates, config.max_signals, config.signal_every_s)
    return CallHouse(
        flow,
        missed,
        CallBackends(flow, visits, acs, waits=(config.acs_patience_s, monotonic), fell_back=_counted(metrics)),
        SignalRelay(flow, limits, relayed.line),
        DeviceChecks(_checks(config), hosts=hosts, tasks=tasks, new_id=new_id, reached=metrics.reached),
        TurnWatch(plan, config.turn_answer_s, metrics, clock) if plan.turn_urls() else None,
        CallsBeside(flow, beside),
        relayed,
    )


def _checks(config: Config) -> CheckLimits:
    return CheckLimits(config.max_device_checks if config.device_check or config.dev else 0, config.device_check_s)


def _ended(metrics: Metrics) -> Callable[[CallEndReason], None]:
    ended = metrics.counter("auricle_calls_ended_total", "Calls that have ended, by why.", ["reason"])
    return lambda reason: ended.labels(reason).inc()


def _counted(metrics: Metrics) -> Callable[[FallBackReason], None]:
    fell_back = metrics.counter("auricle_call_fallbacks_total", "Calls that went on without ACS, by why.", ["reason"])
    return lambda reason: fell_back.labels(reason).inc()


def _registry(config: Config, signing_key: bytes, tables: "RedisTables | None", metrics: Metrics) -> CallRegistry:
    if tables is None:
        return MemoryCalls(config.max_calls, metrics.reached)
    from .registry_redis import RedisCalls

    key = hmac.digest(signing_key, b"calls", hashlib.sha256)
    return RedisCalls(tables, key=key, ttl_s=_FORGOTTEN_AFTER_S, limit=config.max_calls, reached=metrics.reached)
