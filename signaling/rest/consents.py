"""What a patient consents to: decided by himself, or written down by a professional who says why."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final

from msgspec import UNSET

from protocol.contract.base import Id
from protocol.contract.people import Consents, ConsentState, ConsentView, DecideConsent
from protocol.contract.sessions import ConsentScope, Revert
from protocol.errors import BadArgument
from signaling.flows.consents import ConsentFlow
from signaling.flows.phones import Phones
from signaling.flows.session import SessionFlow
from signaling.policy import Relation, Rule, role_in
from signaling.stores.decisions import Decision

from .assignments import decision_view
from .problems import PreconditionFailed
from .resource import Call, Reply, Resource, route

__all__ = ["ConsentsOfPatients"]

_WHO: Final = Rule({"patient": Relation.OWN, "clinician": Relation.ASSIGNED, "assistant": Relation.ASSIGNED}, "patient")
_ALL: Final = "/api/v1/patients/{patient}/consents"


@dataclass(frozen=True, slots=True)
class _LiveWork:
    """See ``flows.consents.LiveWork``."""

    session: SessionFlow
    phones: Phones
    look_again_at: Callable[[str], Awaitable[None]]
    actor: str

    def worn_by(self, clinic: str, patient: str) -> tuple[str, ...]:
        return self.phones.worn_by(clinic, patient)

    def goes_on(self, device: str) -> bool:
        return self.session.state_of(device) != "none"

    def end(self, device: str) -> None:
        self.session.restore(Revert(device=device), "consent_withdrawn", actor=self.actor)

    async def look_again(self, device: str) -> None:
        await self.look_again_at(device)


class ConsentsOfPatients(Resource):
    """Consents, each with its history."""

    tag: ClassVar[str] = "consents"
    policy: ClassVar[Mapping[str, Rule]] = {f"GET {_ALL}": _WHO, f"PUT {_ALL}/{{scope}}": _WHO}

    def __init__(
        self,
        consents: ConsentFlow,
        session: SessionFlow,
        phones: Phones,
        look_again: Callable[[str], Awaitable[None]],
        clock: Callable[[], float],
    ) -> None:
        self._consents = consents
        self._session = session
        self._phones = phones
        self._look_again = look_again
        self._clock = clock

    @route(f"GET {_ALL}")
    async def list_consents(self, call: Call, patient: Id) -> Reply[Consents]:
        """Every scope, what stands and all that was decided."""
        return await self._shown(call, patient)

    @route(f"PUT {_ALL}/{{scope}}", body_example={"granted": False})
    async def decide_consent(
        self, call: Call, patient: Id, scope: ConsentScope, body: DecideConsent
    ) -> Reply[Consents]:
        """Give a consent, or take it back; without ``live_tuning`` live work ends at once and does not begin."""
        principal = call.principal
        seen = await self._seen(call, patient, scope)
        is_patient = principal.user == patient and "patient" in principal.roles
        if not is_patient and body.reason is UNSET:
            raise BadArgument("reason: a professional says why")
        decision = Decision(
            clinic=principal.clinic,
            owner=patient,
            subject=scope,
            holds=body.granted,
            by=principal.user,
            role="patient" if is_patient else role_in(principal, _STAFF),
            reason="" if body.reason is UNSET else body.reason,
            at_s=self._clock(),
        )
        live = _LiveWork(self._session, self._phones, self._look_again, principal.user)
        if not await self._consents.decide(decision, live, seen=seen):
            raise PreconditionFailed("somebody else has decided: read it again")
        return await self._shown(call, patient)

    async def _seen(self, call: Call, patient: str, scope: ConsentScope) -> int | None:
        """How many decisions about the scope the caller has seen, None when he does not say."""
        if call.if_match is None:
            return None
        by_scope = await self._consents.history(call.principal.clinic, patient)
        call.expects(_version(by_scope))
        return len(by_scope[scope])

    async def _shown(self, call: Call, patient: str) -> Reply[Consents]:
        by_scope = await self._consents.history(call.principal.clinic, patient)
        views = tuple(_view(scope, decisions) for scope, decisions in by_scope.items())
        return Reply(Consents(patient=patient, consents=views), version=_version(by_scope))


_STAFF: Final = Rule({"clinician": Relation.ASSIGNED, "assistant": Relation.ASSIGNED}, "patient")


def _version(by_scope: Mapping[ConsentScope, Sequence[Decision]]) -> str:
    """Decisions are only ever added."""
    return str(sum(map(len, by_scope.values())))


def _view(scope: ConsentScope, decisions: tuple[Decision, ...]) -> ConsentView:
    state: ConsentState = "unasked" if not decisions else "granted" if decisions[-1].holds else "withdrawn"
    return ConsentView(scope=scope, state=state, history=tuple(map(decision_view, decisions)))
