"""Who is in a visit, in the words of calls: the people who were let in, and what their roles allow.

This module must not know how a visit is stored. Read ``PeopleOfVisits``.
"""

from media.visit import Right
from protocol.errors import NotAllowed, NotFound
from signaling.flows.visits import VisitFlow
from signaling.hub import Caller
from signaling.visit_tokens import guest_user

__all__ = ["PeopleOfVisits"]


class PeopleOfVisits:
    """``VisitPeople`` over visits."""

    def __init__(self, visits: VisitFlow) -> None:
        self._visits = visits

    async def joined(self, visit: str) -> tuple[str, ...]:
        """The users who were let into a visit that is live. Raises Unavailable."""
        found = await self._visits.visits.get(visit)
        if found is None or found.state != "live":
            return ()
        return tuple(
            one.user or guest_user(one.participant) for one in found.present_list() if one.admission == "admitted"
        )

    async def may_start(self, caller: Caller, visit: str) -> bool:
        """Whether the caller may have others rung. Raises Unavailable."""
        return await self._may(caller, visit, Right.START_CALL)

    async def may_talk(self, caller: Caller, visit: str) -> bool:
        """Whether the caller may send sound and picture. Raises Unavailable."""
        return await self._may(caller, visit, Right.TALK)

    async def leads(self, caller: Caller, visit: str) -> bool:
        """Whether the caller may end the call for all. Raises Unavailable."""
        return await self._may(caller, visit, Right.MANAGE)

    async def _may(self, caller: Caller, visit: str, right: Right) -> bool:
        try:
            await self._visits.require(caller.principal, visit, right)
        except (NotAllowed, NotFound):
            return False
        return True
