"""Makes the parts that work with Azure Communication Services for each other, as configured. Starts nothing."""

import hashlib
import hmac
import uuid
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from media.acs_quota import Slots
from media.visit import Visit
from protocol.contract.base import Refusal
from protocol.contract.sessions import ConsentScope
from protocol.errors import Overloaded, Unavailable
from signaling.config import ConfigError
from signaling.flows.chat import ChatFlow
from signaling.flows.consents import ConsentFlow
from signaling.flows.visits import VisitFlow
from signaling.log import LogBook
from signaling.stores.assignments import devices_of
from signaling.stores.devices import DeviceStore

from .bridge import ChatBridge
from .events import AcsEvents
from .events_build import acs_events
from .gate import Gate, GateLimits
from .identities import AcsIdentities
from .sdk import Gates, SdkService, translated
from .service import CommunicationService
from .tending import AcsTending, TendingPace
from .visits import AcsParts, AcsVisits

if TYPE_CHECKING:
    from signaling.assembly import Assembly
    from signaling.calls.backends import CallBackends

__all__ = ["AcsHouse", "acs_house"]

_WINDOW_S: Final = 30.0
# Nobody knows how often rooms and chats may be asked for; what they refuse is waited for.
_UNKNOWN: Final = 10_000
_POLLS_WITH_EVENTS: Final = 12
_VIDEO: Final[ConsentScope] = "video"


@dataclass(frozen=True, slots=True)
class AcsHouse:
    """What the hub, the app and the resources need. ``events`` is None when Event Grid is not listened to."""

    service: CommunicationService
    identities: AcsIdentities
    visits: AcsVisits
    tending: AcsTending
    events: AcsEvents | None
    flow: VisitFlow

    def on_withdrawn(self, consents: ConsentFlow, devices: DeviceStore, backends: "CallBackends") -> None:
        """Who takes back that he may be seen ends his calls over ACS, and what is open for them."""

        async def withdrawn(clinic: str, patient: str, scope: str) -> None:
            if scope != _VIDEO or self.visits.plan_of(clinic) is None:
                return
            async for device in devices_of(devices, clinic, patient):
                visit = await self.flow.visits.live_of(device)
                if visit is not None:
                    await backends.withdrawn(visit)
                    await self.visits.touch(visit)

        consents.on_withdrawn.append(withdrawn)


def acs_house(of: "Assembly", flow: VisitFlow, chat: ChatFlow) -> AcsHouse | None:
    """None when no resource is configured. Raises ConfigError."""
    config = of.config
    address, plan = config.acs_address, config.acs_plan
    if address is None:
        return None
    _check_extra(is_needed=plan.uses_rooms or not address.key, has_key=bool(address.key))
    service = SdkService(address, _gates(of), ca=config.acs_ca)
    key = hmac.digest(of.signing_key, b"acs", hashlib.sha256)
    identities = AcsIdentities(service, of.people.acs, key)

    async def consent(device: str) -> Refusal | None:
        return await of.consents.refusal(device, _VIDEO)

    parts = AcsParts(
        service=service,
        identities=identities,
        store=of.people.acs,
        plan=plan,
        endpoint=address.endpoint,
        clock=of.clock,
        new_group=lambda: str(uuid.uuid4()),
        consent=consent,
    )
    visits = AcsVisits(parts)
    poll_s = config.acs_poll_s * (_POLLS_WITH_EVENTS if config.acs_events_on else 1)
    tending = AcsTending(
        visits,
        ChatBridge(service, identities, chat),
        look_up=flow.visits.get,
        pace=TendingPace(poll_s, config.max_due_acs),
        reached=of.metrics.reached,
    )
    _listen(of, flow, chat, visits)
    return AcsHouse(service, identities, visits, tending, acs_events(of, visits.poke), flow)


def _listen(of: "Assembly", flow: VisitFlow, chat: ChatFlow, visits: AcsVisits) -> None:
    """Whatever changes in a visit is looked at soon; what is not heard of is found by looking."""

    async def touch(visit: Visit) -> None:
        with suppress(Unavailable, Overloaded):
            await visits.touch(visit)

    def changed(visit: Visit) -> None:
        if visits.plan_of(visit.clinic) is not None and (visit.state == "live" or visit.is_over):
            of.flows.spawn(touch(visit))

    flow.on_change.append(changed)
    chat.on_written.append(changed)


def _gates(of: "Assembly") -> Gates:
    config, metrics = of.config, of.metrics
    asked = metrics.counter(
        "auricle_acs_requests_total", "Requests to Azure Communication Services, by outcome.", ["kind", "outcome"]
    )
    limits = GateLimits(config.acs_timeout_s, config.acs_patience_s, config.max_acs_waiting)
    told = _Told(of.log)

    def gate(kind: str, most: int) -> Gate:
        def counted(outcome: str) -> None:
            asked.labels(kind, outcome).inc()
            told.heard(outcome)

        return Gate(
            Slots(most, _WINDOW_S),
            limits,
            translate=translated,
            monotonic=of.monotonic,
            reached=metrics.reached,
            counted=counted,
        )

    most = config.max_acs_tokens
    # The service takes half as many revocations and deletions.
    return Gates(
        gate("token", most), gate("removal", max(1, most // 2)), gate("room", _UNKNOWN), gate("chat", _UNKNOWN)
    )


@dataclass(slots=True)
class _Told:
    """Trouble is told once, until something has gone well."""

    log: LogBook
    last: str = ""

    def heard(self, outcome: str) -> None:
        if outcome == "done":
            if self.last:
                self.log.acs_well()
            self.last = ""
        elif outcome in ("refused", "away", "slow", "mistake") and outcome != self.last:
            self.last = outcome
            self.log.acs_trouble(reason=outcome)


def _check_extra(*, is_needed: bool, has_key: bool) -> None:
    """Refuse to start rather than fail in the first visit."""
    from importlib.util import find_spec

    if not is_needed:
        return
    wanted = ["azure.communication.rooms"] if has_key else ["azure.communication.rooms", "azure.identity"]
    for name in wanted:
        try:
            found = find_spec(name)
        except ModuleNotFoundError:
            found = None
        if found is None:
            raise ConfigError(f"acs_clinics: {name} is missing: install auricle[azure], or turn rooms off")
