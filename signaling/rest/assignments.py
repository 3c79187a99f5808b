"""Who may fit a device: put there and taken away, with a reason, by those who may already or by the clinic's admin."""

from collections.abc import Callable, Mapping
from typing import ClassVar, Final

from msgspec import UNSET

from fitting.log import DeviceLog
from protocol.contract.base import Id
from protocol.contract.people import Assigned, Assignments, Because, DecisionView
from protocol.contract.times import iso_ms
from protocol.errors import NotFound
from signaling.auth import Role
from signaling.policy import Relation, Rule, role_in
from signaling.stores.assignments import Assignments as AssignmentStore
from signaling.stores.decisions import Decision, standing
from signaling.stores.devices import DeviceRecord, DeviceStore

from .problems import PreconditionFailed
from .resource import Call, Reply, Resource, route

__all__ = ["AssignmentsOfDevices", "decision_view"]

_WHO: Final = Rule({"clinician": Relation.ASSIGNED, "assistant": Relation.ASSIGNED, "admin": Relation.CLINIC}, "device")
_ONE: Final = "/api/v1/devices/{device}/assignments/{person}"
_EXAMPLE: Final = {"reason": "takes over while ann is away"}


class AssignmentsOfDevices(Resource):
    """The professionals of a device. Whether one acts as a clinician or an assistant is in his token."""

    tag: ClassVar[str] = "assignments"
    policy: ClassVar[Mapping[str, Rule]] = {
        "GET /api/v1/devices/{device}/assignments": _WHO,
        f"PUT {_ONE}": _WHO,
        f"DELETE {_ONE}": _WHO,
    }

    def __init__(
        self,
        devices: DeviceStore,
        assignments: AssignmentStore,
        log: DeviceLog,
        clock: Callable[[], float],
        forget: Callable[[str, str, str], None],
    ) -> None:
        """``forget`` is told clinic, person and device of who may not any more, so that it holds here at once."""
        self._devices = devices
        self._assignments = assignments
        self._log = log
        self._clock = clock
        self._forget = forget

    @route("GET /api/v1/devices/{device}/assignments")
    async def list_assignments(self, call: Call, device: Id) -> Reply[Assignments]:
        """Everybody who may fit the device now, and how that came about."""
        return await self._shown(await self._record(device))

    @route(f"PUT {_ONE}", body_example=_EXAMPLE)
    async def assign(self, call: Call, device: Id, person: Id, body: Because) -> Reply[Assignments]:
        """Let somebody fit the device; who may already goes on as before."""
        record = await self._record(device)
        await self._decide(call, record, person, True, body.reason)
        return await self._shown(record)

    @route(f"DELETE {_ONE}", body_example=_EXAMPLE)
    async def unassign(self, call: Call, device: Id, person: Id, body: Because) -> Reply[Assignments]:
        """Let somebody not fit the device any more. His live session ends with its lease, which he cannot renew."""
        record = await self._record(device)
        if not await self._decide(call, record, person, False, body.reason):
            raise NotFound("no such assignment")
        return await self._shown(record)

    async def _decide(self, call: Call, record: DeviceRecord, person: str, holds: bool, reason: str) -> bool:
        """False when it is so already. Who has lost the answer sends the same again, and it is noted again."""
        user, role = call.principal.user, await self._role(call, record)
        made = Decision(record.clinic, record.device, person, holds, user, role, reason, self._clock())
        history = await self._assignments.decisions.history(record.clinic, record.device)
        newest = standing(history).get(person)
        if not _is_repeated(newest, made):
            if call.if_match is not None:
                call.expects(str(len(history)))
            if await self._assignments.holds(record, person) == holds:
                return False
            seen = None if call.if_match is None else 0 if newest is None else newest.n
            if await self._assignments.decisions.decide(made, seen=seen) is None:
                raise PreconditionFailed("somebody else has decided: read it again")
        if not holds:
            # Before anything that may fail: it holds from now on.
            self._forget(record.clinic, person, record.device)
        await self._log.note(
            record.device, "device", "assigned" if holds else "unassigned", actor=made.by, text=made.reason
        )
        return True

    async def _role(self, call: Call, record: DeviceRecord) -> Role:
        """As what the caller decides: who is not assigned may only as an admin, whatever else he is."""
        if "admin" in call.principal.roles and not await self._assignments.holds(record, call.principal.user):
            return "admin"
        return role_in(call.principal, _WHO)

    async def _record(self, device: str) -> DeviceRecord:
        record = await self._devices.get(device)
        if record is None:
            raise NotFound("no such device")
        return record

    async def _shown(self, record: DeviceRecord) -> Reply[Assignments]:
        now = await self._assignments.of(record)
        history = await self._assignments.decisions.history(record.clinic, record.device)
        answer = Assignments(
            device=record.device,
            assigned=tuple(
                Assigned(person=person, decision=UNSET if decision is None else decision_view(decision))
                for person, decision in now.items()
            ),
            history=tuple(Assigned(person=one.subject, decision=decision_view(one)) for one in history),
        )
        return Reply(answer, version=str(len(history)))


def _is_repeated(newest: Decision | None, made: Decision) -> bool:
    """Whether this very decision stands already, and only its answer may have been lost (RFC 9110, 13.1.1)."""
    wanted = (made.holds, made.by, made.reason)
    return newest is not None and (newest.holds, newest.by, newest.reason) == wanted


def decision_view(decision: Decision) -> DecisionView:
    """A decision as it is shown."""
    return DecisionView(
        holds=decision.holds,
        by=decision.by,
        role=decision.role,
        at=iso_ms(decision.at_s),
        reason=decision.reason,
    )
