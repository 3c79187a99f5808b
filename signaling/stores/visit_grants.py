"""How people stand to visits: ``policy.Grants`` over what is stored, and who may make a device quiet because of one.

This module must not know what a role may do: that is in ``media.visit``. Read ``participant_of`` first.
"""

from media.visit import Participant, Right, Visit
from signaling.auth import Principal
from signaling.policy import Grants, Relation
from signaling.visit_tokens import GUEST_PREFIX

from .assignments import Assignments
from .devices import DeviceStore
from .visits import VisitStore

__all__ = ["QuietingGrants", "VisitGrants", "participant_of"]


def participant_of(visit: Visit, principal: Principal) -> Participant | None:
    """As whom the caller takes part in the visit, None when he does not."""
    if visit.clinic != principal.clinic:
        return None
    if principal.visit:
        # What a guest knows ends with the visit that he was a guest of.
        is_guest = principal.visit == visit.visit and not visit.is_over
        found = visit.find(principal.user.removeprefix(GUEST_PREFIX)) if is_guest else None
        return found if found is not None and not found.user else None
    return visit.of_user(principal.user)


class VisitGrants:
    """``policy.Grants`` over visits."""

    def __init__(self, visits: VisitStore, devices: DeviceStore, assignments: Assignments) -> None:
        self._visits = visits
        self._devices = devices
        self._assignments = assignments

    async def holds(self, principal: Principal, relation: Relation, object_id: str) -> bool:
        """Whether the caller takes part, is assigned to the device, is the patient, or is of the clinic."""
        visit = await self._visits.get(object_id)
        if visit is None or visit.clinic != principal.clinic:
            return False
        if relation is Relation.OWN:
            return visit.patient == principal.user
        if relation is Relation.ASSIGNED:
            return await self.is_assigned(principal, visit)
        if relation is Relation.PARTICIPANT:
            return participant_of(visit, principal) is not None or await self.is_assigned(principal, visit)
        return relation is Relation.CLINIC

    async def is_assigned(self, principal: Principal, visit: Visit) -> bool:
        """Whether the caller is a professional who may fit the device: one may stand in for another."""
        if principal.visit or principal.roles.isdisjoint({"clinician", "assistant"}):
            return False
        record = await self._devices.get(visit.device)
        is_same = record is not None and record.clinic == principal.clinic
        return record is not None and is_same and await self._assignments.holds(record, principal.user)


class QuietingGrants:
    """``policy.Grants`` over devices, to which who sits beside the wearer in a live visit stands as a participant."""

    def __init__(self, inner: Grants, visits: VisitStore) -> None:
        self._inner = inner
        self._visits = visits

    async def holds(self, principal: Principal, relation: Relation, object_id: str) -> bool:
        """See ``policy.Grants``."""
        if relation is not Relation.PARTICIPANT:
            return await self._inner.holds(principal, relation, object_id)
        visit = await self._visits.live_of(object_id)
        person = None if visit is None else participant_of(visit, principal)
        return person is not None and person.may(Right.STOP) and person.may(Right.UNDO)
