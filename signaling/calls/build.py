"""Makes the parts of calls for each other, as they are configured. Starts nothing."""

import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass

from media.candidate import HostPolicy
from signaling.bus.tables_redis import RedisTables
from signaling.config import Config
from signaling.hub_clients import HubClients
from signaling.metrics import Metrics
from signaling.pods.directory import PodDirectory

from .flow import CallFlow, CallParts, VisitPeople
from .registry import CallRegistry, MemoryCalls
from .registry_redis import RedisCalls
from .relay import SignalRelay
from .signals import SignalLimits
from .turn_probe import TurnWatch

__all__ = ["CallHouse", "call_house"]

# A call whose pods have all gone is forgotten after so many looks at which nobody has kept it.
_FORGOTTEN_AFTER_S = 60.0


@dataclass(frozen=True, slots=True)
class CallHouse:
    """What of calls the hub and the app need."""

    flow: CallFlow
    relay: SignalRelay
    turn: TurnWatch | None


def call_house(
    config: Config,
    *,
    signing_key: bytes,
    tables: RedisTables | None,
    directory: PodDirectory,
    clients: HubClients,
    people: VisitPeople,
    metrics: Metrics,
    clock: Callable[[], float],
    new_id: Callable[[], str],
) -> CallHouse:
    """``tables`` is None without Redis. Raises ConfigError."""
    plan, limit = config.ice_plan, config.max_calls
    registry: CallRegistry
    if tables is None:
        registry = MemoryCalls(limit, metrics.reached)
    else:
        key = hmac.digest(signing_key, b"calls", hashlib.sha256)
        registry = RedisCalls(tables, key=key, ttl_s=_FORGOTTEN_AFTER_S, limit=limit, reached=metrics.reached)
    flow = CallFlow(
        CallParts(
            registry=registry,
            clients=clients,
            people=people,
            ice=plan,
            times=config.call_times,
            max_peers=config.max_call_peers,
            hosts=HostPolicy.ANY if config.dev else HostPolicy(config.ice_host_candidates),
            pod=directory.pod,
            is_alive=lambda pod: pod in directory.pods(),
            now_s=clock,
            new_id=new_id,
            metrics=metrics,
        )
    )
    limits = SignalLimits(config.max_candidates, config.max_signals, config.signal_every_s)
    turn = TurnWatch(plan, config.turn_answer_s, metrics, clock) if plan.turn_urls() else None
    return CallHouse(flow, SignalRelay(flow, limits), turn)
