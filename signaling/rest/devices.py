"""Registering devices: a clinic says which pair of aids there is, who wears it and who may fit it."""

from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import ClassVar, Final

from msgspec import UNSET

from fitting.log import DeviceLog
from fitting.measured import loudness_of, stable_gain_of
from protocol.contract.base import EARS, Refusal
from protocol.contract.registration import RegisterDevice, Registered
from protocol.errors import BadArgument
from signaling.policy import Relation, Rule, role_in
from signaling.stores.assignments import Assignments
from signaling.stores.devices import DeviceRecord, DeviceStore

from .on_file_views import audiogram_of, sheets_of
from .problems import Conflict
from .resource import Call, Reply, Resource, route

__all__ = ["DeviceRegistrations"]

_EXAMPLE: Final = {
    "device": "d1",
    "patient": "pat",
    "assignments": ["ann"],
    "right": {"serial": "R-1", "model": "ref10", "firmware": "2.3.1"},
    "audiogram": {"right": {"500": 35, "1000": 40, "2000": 50, "4000": 60}},
}


class DeviceRegistrations(Resource):
    """Makes devices known."""

    tag: ClassVar[str] = "devices"
    policy: ClassVar[Mapping[str, Rule]] = {
        "POST /api/v1/devices": Rule(
            {"clinician": Relation.ANY, "assistant": Relation.ANY, "admin": Relation.ANY},
        ),
    }

    def __init__(
        self, devices: DeviceStore, log: DeviceLog, assignments: Assignments, clock: Callable[[], float]
    ) -> None:
        self._assignments = assignments
        self._clock = clock
        self._devices = devices
        self._log = log

    @route(
        "POST /api/v1/devices",
        status=HTTPStatus.CREATED,
        creates=True,
        problems=("already_exists",),
        body_example=_EXAMPLE,
        answer_example={"ok": True, "device": "d1", "patient": "pat", "assignments": ["ann"]},
        links={"readDevice": {"device": "$response.body#/device"}},
    )
    async def register_device(self, call: Call, body: RegisterDevice) -> Reply[Registered]:
        """Register a pair of aids, or one, with its patient, and with who may fit it."""
        record = _record(call.principal.clinic, body)
        if not await self._devices.register(record) and await self._devices.get(body.device) != record:
            raise Conflict("a device with this id exists already")
        # Whoever asked before may have died here: the same request again finishes what it began.
        role = role_in(call.principal, self.policy["POST /api/v1/devices"])
        await self._assignments.seed(record, by=call.principal.user, role=role, at_s=self._clock())
        refused = await self._log.create(body.device, record.aids)
        if isinstance(refused, Refusal):
            raise Conflict(refused.message)
        answer = Registered(device=body.device, patient=body.patient, assignments=tuple(sorted(record.assignments)))
        return Reply(answer, location=f"/api/v1/devices/{body.device}")


def _record(clinic: str, body: RegisterDevice) -> DeviceRecord:
    aids = {ear: aid for ear in EARS if (aid := getattr(body, ear)) is not UNSET}
    if not aids:
        raise BadArgument("left, right: at least one aid is needed")
    sheets = sheets_of(aids)
    return DeviceRecord(
        device=body.device,
        clinic=clinic,
        patient=body.patient,
        assignments=frozenset(body.assignments),
        aids=aids,
        audiogram=None if body.audiogram is UNSET else audiogram_of(body.audiogram),
        loudness_ddb={} if body.loudness_ddb is UNSET else loudness_of(body.loudness_ddb, sheets),
        max_stable_gain_ddb=stable_gain_of(body.max_stable_gain_ddb, sheets),
        red_flags=body.red_flags,
    )
