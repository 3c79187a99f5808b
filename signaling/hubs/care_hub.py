"""The care hub: fitting software and phones meet here, at ``/hub``.

Each method takes one object and returns one. Refusals of the domain are results; who may call what stands in
``CARE_POLICY`` and is checked before a method runs.
"""

from collections.abc import Mapping
from contextlib import suppress
from importlib.metadata import version
from typing import ClassVar

from fitting.log import DeviceLog
from fitting.log_values import LeaseGranted
from protocol.contract import CONTRACT_VERSION
from protocol.contract.base import Failure, Refusal
from protocol.contract.devices import (
    AcquireLease,
    AttachAnswer,
    AttachDevice,
    DeliveryAnswer,
    DeliveryQuery,
    DeviceAnswer,
    DeviceQuery,
    LeaseAnswer,
    Report,
    ReportAnswer,
)
from protocol.contract.fitting import CheckAnswer, Submit, SubmitAnswer
from protocol.contract.packages import AnswerKeep, KeepAnswered, RegisterPush
from protocol.contract.session import (
    Draining,
    Hello,
    HelloAnswer,
    Reauthenticate,
    ReauthenticateAnswer,
    SessionExpiring,
    WhoAmIAnswer,
)
from protocol.contract.sessions import (
    AnswerConsent,
    Cancel,
    DeviceHeld,
    Done,
    Heartbeat,
    Hold,
    LeaseRenewed,
    ModeAnswer,
    Relayed,
    ReleaseLease,
    ReportDevice,
    Revert,
    Save,
    SetMode,
    StealLease,
)
from protocol.contract.times import iso_ms
from protocol.errors import BadArgument, Overloaded, Unauthenticated
from signaling.auth import TokenVerifier
from signaling.calls.build import CallHouse
from signaling.flows.arrivals import Arrivals
from signaling.flows.chat import ChatFlow
from signaling.flows.delivery import DeliveryFlow
from signaling.flows.device_views import DeviceViews, head_view
from signaling.flows.history import DeviceHistory
from signaling.flows.news import DeviceNews
from signaling.flows.packages import PackageFlow
from signaling.flows.phones import Phones, device_group
from signaling.flows.session import SessionFlow
from signaling.flows.submit import SubmitFlow
from signaling.flows.visits import VisitFlow
from signaling.flows.waking import Waking
from signaling.hub import Caller, Hub, Lane, hub_method
from signaling.hub_clients import HubClients
from signaling.hubs.call_methods import CALL_POLICY, CallMethods
from signaling.hubs.chat_methods import CHAT_POLICY, ChatMethods
from signaling.hubs.history_methods import HISTORY_POLICY, HistoryMethods
from signaling.hubs.visit_methods import VISIT_POLICY, VisitMethods
from signaling.policy import ANYONE, DEVICE_READERS, Grants, Relation, Rule
from signaling.pushes import push

__all__ = ["CareHub"]

_FITTER = Rule({"clinician": Relation.ASSIGNED}, "device")
_PHONE = Rule({"device": Relation.OWN}, "device")
_PATIENT = Rule({"patient": Relation.OWN}, "device")
# Who may make the aids quiet again.
_QUIETER = Rule(
    {
        "clinician": Relation.ASSIGNED,
        "patient": Relation.OWN,
        "device": Relation.OWN,
        # Who sits beside the wearer in a live visit.
        "representative": Relation.PARTICIPANT,
        "guest": Relation.PARTICIPANT,
    },
    "device",
)

# Who may take a package back.
_WEARER = Rule({"patient": Relation.OWN, "device": Relation.OWN}, "device")

CARE_POLICY: Mapping[str, Rule] = {
    "Hello": ANYONE,
    "WhoAmI": ANYONE,
    "Reauthenticate": ANYONE,
    "AcquireLease": _FITTER,
    "Check": _FITTER,
    "Submit": _FITTER,
    "GetDevice": DEVICE_READERS,
    "GetDelivery": DEVICE_READERS,
    "AttachDevice": _PHONE,
    "Report": _PHONE,
    "ReportDevice": _PHONE,
    "AnswerConsent": _PATIENT,
    "RenewLease": _FITTER,
    "ReleaseLease": _FITTER,
    "StealLease": _FITTER,
    "SetMode": _FITTER,
    "Save": _FITTER,
    "Cancel": _FITTER,
    "ReadBack": _FITTER,
    "Revert": _FITTER,
    "Undo": _QUIETER,
    "Stop": _QUIETER,
    "Heartbeat": ANYONE,
    "RegisterPush": _PHONE,
    "AnswerKeep": _WEARER,
    **HISTORY_POLICY,
    **VISIT_POLICY,
    **CALL_POLICY,
    **CHAT_POLICY,
}


class CareHub(HistoryMethods, VisitMethods, ChatMethods, CallMethods, Hub):
    """Contract version 1."""

    path: ClassVar[str] = "/hub"
    name: ClassVar[str] = "care"
    policy: ClassVar[Mapping[str, Rule]] = CARE_POLICY
    parts: ClassVar[tuple[type, ...]] = (HistoryMethods, VisitMethods, ChatMethods, CallMethods)
    explains_arguments: ClassVar[bool] = True

    def __init__(
        self,
        *,
        log: DeviceLog,
        submit: SubmitFlow,
        delivery: DeliveryFlow,
        session: SessionFlow,
        news: DeviceNews,
        phones: Phones,
        history: DeviceHistory,
        packages: PackageFlow,
        waking: Waking,
        views: DeviceViews,
        visits: VisitFlow,
        calls: CallHouse,
        chat: ChatFlow,
        verifier: TokenVerifier,
        grants: Grants,
        arrivals: Arrivals,
    ) -> None:
        self._grants = grants
        self.guards = {"AttachDevice": arrivals}
        self._log = log
        self._verifier = verifier
        self._submit = submit
        self._delivery = delivery
        self._session = session
        self._news = news
        self._phones = phones
        self._history = history
        self._packages = packages
        self._waking = waking
        self._views = views
        self._visits = visits
        self._calls = calls
        self._chat = chat
        self._server = f"auricle/{version('auricle')}"

    @hub_method("Hello")
    def hello(self, _: Caller, hello: Hello) -> HelloAnswer:
        """Agree on a contract version."""
        if hello.contract < 1:
            raise BadArgument("contract: the first version is 1")
        return HelloAnswer(contract=min(hello.contract, CONTRACT_VERSION), server=self._server)

    @hub_method("WhoAmI")
    def who_am_i(self, caller: Caller) -> WhoAmIAnswer:
        """The caller as the server sees it."""
        principal = caller.principal
        return WhoAmIAnswer(
            user=principal.user,
            clinic=principal.clinic,
            roles=tuple(sorted(principal.roles)),
            connection_id=caller.connection_id,
        )

    @hub_method("Reauthenticate")
    def reauthenticate(self, caller: Caller, request: Reauthenticate) -> ReauthenticateAnswer | Failure:
        """Go on with a new token of the same person; another's is refused like a bad one."""
        try:
            principal = self._verifier.verify(request.token)
        except Unauthenticated:
            principal = None
        known = caller.principal
        if principal is None or (principal.user, principal.clinic) != (known.user, known.clinic):
            refusal = Refusal(code="invalid_token", message="a valid token of the same person is required")
            return Failure(error=refusal, errors=(refusal,))
        caller.renew(principal)
        return ReauthenticateAnswer(expires_at=iso_ms(principal.expires_at_s))

    def on_expiring(self, caller: Caller, left_s: float) -> None:
        """Tell the client in time."""
        push(caller, SessionExpiring(expires_at=iso_ms(caller.principal.expires_at_s)))

    def on_expired(self, caller: Caller) -> None:
        """Live work that hangs on this connection ends with it."""
        self._session.ends.token_expired(caller)

    def on_draining(self, clients: HubClients, retry_after_ms: int) -> None:
        """Tell everybody when to come back."""
        push(clients.all_here, Draining(retry_after_ms=retry_after_ms))

    @hub_method("AcquireLease")
    async def acquire_lease(self, caller: Caller, request: AcquireLease) -> LeaseAnswer | Failure:
        """Become the one who fits the device, and hear what happens to it."""
        # Watching comes first: nothing may happen unseen, and a connection in too many groups must not hold a lease.
        caller.groups.add(device_group(request.device))
        granted = await self._log.acquire(request.device, session=request.session, holder=caller.principal.user)
        if isinstance(granted, Refusal):
            return Failure(error=granted, errors=(granted,))
        return await self._lease_answer(caller, request.device, granted)

    @hub_method("StealLease")
    async def steal_lease(self, caller: Caller, request: StealLease) -> LeaseAnswer | Failure:
        """Take the device from whoever holds it."""
        caller.lifetime.add_to_group(caller.connection_id, device_group(request.device))
        granted = await self._session.steal(caller, request)
        return granted if isinstance(granted, Failure) else await self._lease_answer(caller, request.device, granted)

    @hub_method("RenewLease")
    async def renew_lease(self, caller: Caller, request: Hold) -> LeaseRenewed | Failure:
        """The holder is still there."""
        return await self._session.renew(caller, request)

    @hub_method("ReleaseLease")
    async def release_lease(self, caller: Caller, request: ReleaseLease) -> Done | Failure:
        """Give the device back."""
        return await self._session.release(caller, request)

    @hub_method("SetMode")
    async def set_mode(self, caller: Caller, request: SetMode) -> ModeAnswer | Failure:
        """Begin live work, once the patient has agreed; or end it."""
        return await self._session.set_mode(caller, request)

    @hub_method("Check")
    async def check(self, caller: Caller, request: Submit) -> CheckAnswer | Failure:
        """What ``Submit`` would say now; changes nothing."""
        return await self._submit.check(caller.principal.user, request)

    @hub_method("Submit")
    async def submit(self, caller: Caller, request: Submit) -> SubmitAnswer | Failure:
        """Put a change into the device's log; never waits for the phone."""
        if request.mode == "standard":
            # Whoever sends a package hears of it; it needs no lease.
            _watch(caller, request.device)
        return await self._submit.submit(caller.principal.user, request)

    @hub_method("Save")
    async def save(self, caller: Caller, request: Save) -> SubmitAnswer | Failure:
        """Keep what the aids hold in RAM, on both ears."""
        return await self._submit.save(caller.principal.user, request)

    @hub_method("Cancel")
    async def cancel(self, caller: Caller, request: Cancel) -> DeliveryAnswer | Failure:
        """Take a change back that has not begun."""
        outcome = await self._log.cancel(request.device, request.seq, actor=caller.principal.user, epoch=request.epoch)
        if isinstance(outcome, Refusal):
            return Failure(error=outcome, errors=(outcome,))
        self._delivery.withdrawn(request.device, outcome)
        return await self._views.delivery(DeliveryQuery(device=request.device, epoch=request.epoch, seq=request.seq))

    @hub_method("ReadBack")
    async def read_back(self, caller: Caller, request: DeviceHeld) -> Relayed:
        """Have the phone read both aids now."""
        return await self._news.read_back(request.device, caller.user)

    @hub_method("Revert", lane=Lane.SAFETY)
    async def revert(self, caller: Caller, request: Revert) -> Relayed:
        """The fitter goes back to what the session began with."""
        return self._session.revert(caller, request, "revert")

    @hub_method("Undo", lane=Lane.SAFETY)
    async def undo(self, caller: Caller, request: Revert) -> Relayed:
        """Anybody who may goes back to what the session began with."""
        return self._session.revert(caller, request, "undo")

    @hub_method("Stop", lane=Lane.SAFETY)
    async def stop(self, caller: Caller, request: Revert) -> Relayed:
        """Go back, and end live work."""
        return self._session.revert(caller, request, "stop")

    @hub_method("Heartbeat", lane=Lane.SAFETY)
    async def heartbeat(self, caller: Caller, request: Heartbeat) -> Done:
        """One end is there."""
        self._session.ends.heartbeat(caller, request)
        return self._news.heartbeat(caller, request)

    @hub_method("GetDevice")
    async def get_device(self, _: Caller, request: DeviceQuery) -> DeviceAnswer:
        """What is worn, what was wanted, what is in the aids."""
        return await self._views.device(request.device)

    @hub_method("GetDelivery")
    async def get_delivery(self, caller: Caller, request: DeliveryQuery) -> DeliveryAnswer | Failure:
        """Where a delivery is now, for those who may have missed the news of it."""
        if "clinician" in caller.principal.roles:
            # Days later and over another connection, whoever sent a package hears what else becomes of it.
            _watch(caller, request.device)
        return await self._views.delivery(request)

    @hub_method("AttachDevice")
    async def attach_device(self, caller: Caller, claim: AttachDevice) -> AttachAnswer | Failure:
        """A phone says what its aids hold; offers follow."""
        attached = await self._delivery.attach(caller, claim)
        if isinstance(attached, Refusal):
            return Failure(error=attached, errors=(attached,))
        self._session.attached(caller, claim, attached)
        self._news.tell(claim.device)
        await self._packages.attached(caller, claim.device, attached)
        return self._delivery.answer(attached)

    @hub_method("Report", lane=Lane.SAFETY)
    async def report(self, caller: Caller, report: Report) -> ReportAnswer | Failure:
        """A phone says what it did with an offer."""
        return await self._delivery.report(caller, report, on_alarm=self._news.tell)

    @hub_method("ReportDevice", lane=Lane.SAFETY)
    async def report_device(self, caller: Caller, told: ReportDevice) -> Done | Failure:
        """A phone says what its aids hold, unasked."""
        return await self._news.report(caller, told, on_ended=self._session.ends.over)

    @hub_method("AnswerConsent", lane=Lane.SAFETY)
    async def answer_consent(self, caller: Caller, answer: AnswerConsent) -> Done | Failure:
        """The patient takes a consent back."""
        return await self._session.answer_consent(caller, answer)

    @hub_method("RegisterPush")
    async def register_push(self, caller: Caller, request: RegisterPush) -> Done | Failure:
        """A phone says how it can be woken."""
        return await self._waking.register(caller.principal.clinic, request)

    @hub_method("AnswerKeep")
    async def answer_keep(self, caller: Caller, answer: AnswerKeep) -> KeepAnswered | Failure:
        """What the wearer says of an installed package; not to keep it brings back what was there before."""
        return await self._packages.answer(caller, answer)

    async def on_disconnected(self, caller: Caller) -> None:
        """A phone that is gone carries nothing, and whoever is gone is in no visit."""
        await self._visits.gone(caller)
        for device in await self._delivery.detach(caller.connection_id):
            self._news.tell(device)
        await self.left_calls(caller)

    async def _lease_answer(self, caller: Caller, device: str, granted: LeaseGranted) -> LeaseAnswer:
        head = await self._views.head(device)
        await self._session.acquired(caller, head)
        is_live = head.live is not None and head.live.fence == granted.fence
        return LeaseAnswer(
            fence=granted.fence,
            lease_for_ms=int(granted.lease_for_s * 1_000),
            mode="advanced" if is_live else "standard",
            in_aid=head.in_aid,
            phone=await self._views.phone(head),
            head=head_view(head.revision),
            alarms=tuple(sorted(head.alarms)),
        )


def _watch(caller: Caller, device: str) -> None:
    """Hear what happens to the device, as long as there is room."""
    with suppress(Overloaded):
        caller.groups.add(device_group(device))
