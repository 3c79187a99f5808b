"""What Azure Communication Services keep of a patient, and that it is gone when he, or the clinic, wants it."""

from collections.abc import Mapping
from typing import ClassVar

from media.acs import Trouble
from protocol.contract.base import Id
from protocol.contract.calls import AcsErased
from protocol.errors import NotFound, Unavailable
from signaling.acs.identities import AcsIdentities
from signaling.policy import Relation, Rule

from .resource import Call, Resource, route

__all__ = ["AcsIdentityOfPatients"]


class AcsIdentityOfPatients(Resource):
    """``identities`` is None for a server without ACS."""

    tag: ClassVar[str] = "patients"
    policy: ClassVar[Mapping[str, Rule]] = {
        "DELETE /api/v1/patients/{patient}/acs-identity": Rule(
            {"patient": Relation.OWN, "clinician": Relation.CLINIC, "assistant": Relation.CLINIC}, "patient"
        )
    }

    def __init__(self, identities: AcsIdentities | None) -> None:
        self._identities = identities

    @route("DELETE /api/v1/patients/{patient}/acs-identity")
    async def erase_acs_identity(self, call: Call, patient: Id) -> AcsErased:
        """Delete a patient's identity in Azure Communication Services: his tokens end; the next visit makes one."""
        try:
            erased = self._identities is not None and await self._identities.erase(
                call.principal.clinic, f"user:{patient}"
            )
        except Trouble:
            raise Unavailable("it cannot be deleted there just now, try again") from None
        if not erased:
            raise NotFound("nothing of him is kept there")
        return AcsErased()
