"""The part of the care hub that is about visits: a base class of it, so that each file stays small."""

from collections.abc import Mapping
from typing import Final

from protocol.contract.base import Failure
from protocol.contract.visits import AdmitToVisit, Departed, Invited, JoinVisit, JoinVisitAnswer, LeaveVisit
from signaling.flows.chat import ChatFlow
from signaling.flows.visits import VisitFlow
from signaling.hub import Caller, hub_method
from signaling.policy import Relation, Rule

__all__ = ["IN_VISIT", "VISIT_POLICY", "VisitMethods"]

IN_VISIT: Final = Rule(
    {
        "clinician": Relation.PARTICIPANT,
        "assistant": Relation.PARTICIPANT,
        "patient": Relation.PARTICIPANT,
        "representative": Relation.PARTICIPANT,
        "guest": Relation.PARTICIPANT,
    },
    "visit",
)
# What the role in the visit allows is asked in the flow: a token's role says only who somebody is in the clinic.
VISIT_POLICY: Final[Mapping[str, Rule]] = {
    "JoinVisit": IN_VISIT,
    "LeaveVisit": IN_VISIT,
    "AdmitToVisit": Rule({"clinician": Relation.PARTICIPANT, "assistant": Relation.PARTICIPANT}, "visit"),
}


class VisitMethods:
    """Methods of the care hub. ``_visits`` and ``_chat`` are given to it by the hub."""

    _visits: VisitFlow
    _chat: ChatFlow

    @hub_method("JoinVisit")
    async def join_visit(self, caller: Caller, request: JoinVisit) -> JoinVisitAnswer | Failure:
        """Come into a visit, or into its waiting room."""
        answer = await self._visits.join(caller, request)
        return answer if isinstance(answer, Failure) else await self._chat.caught_up(answer, request.after)

    @hub_method("LeaveVisit")
    async def leave_visit(self, caller: Caller, request: LeaveVisit) -> Departed:
        """Go out of a visit; it goes on."""
        return await self._visits.leave(caller, request)

    @hub_method("AdmitToVisit")
    async def admit_to_visit(self, caller: Caller, request: AdmitToVisit) -> Invited | Failure:
        """Let somebody in from the waiting room; with the first one the visit begins."""
        return await self._visits.admit(caller, request)
