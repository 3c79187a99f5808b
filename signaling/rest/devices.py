"""Registering devices: a clinic says which pair of aids there is, who wears it and who may fit it."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import ClassVar, Final

import msgspec
from msgspec import UNSET

from fitting.audiogram import Audiogram, AudiogramError, parse_audiogram
from fitting.capability import CapabilitySheet, sheet
from fitting.log import DeviceLog
from fitting.measured import loudness_of, stable_gain_of
from protocol.contract.base import EARS, Refusal
from protocol.contract.registration import RegisterDevice, Registered
from protocol.errors import BadArgument, NotFound
from signaling.policy import Relation, Rule
from signaling.stores.devices import DeviceRecord, DeviceStore

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

    def __init__(self, devices: DeviceStore, log: DeviceLog) -> None:
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
        refused = await self._log.create(body.device, record.aids)
        if isinstance(refused, Refusal):
            raise Conflict(refused.message)
        answer = Registered(device=body.device, patient=body.patient, assignments=tuple(sorted(record.assignments)))
        return Reply(answer, location=f"/api/v1/devices/{body.device}")


def _record(clinic: str, body: RegisterDevice) -> DeviceRecord:
    aids = {ear: aid for ear in EARS if (aid := getattr(body, ear)) is not UNSET}
    if not aids:
        raise BadArgument("left, right: at least one aid is needed")
    sheets = {ear: _sheet(ear, aid.model) for ear, aid in aids.items()}
    return DeviceRecord(
        device=body.device,
        clinic=clinic,
        patient=body.patient,
        assignments=frozenset(body.assignments),
        aids=aids,
        audiogram=_audiogram(body),
        loudness_ddb={} if body.loudness_ddb is UNSET else loudness_of(body.loudness_ddb, sheets),
        max_stable_gain_ddb=stable_gain_of(body.max_stable_gain_ddb, sheets),
        red_flags=body.red_flags,
    )


def _sheet(ear: str, model: str) -> CapabilitySheet:
    try:
        return sheet(model)
    except NotFound as error:
        raise BadArgument(f"{ear}.model: {error.public_message}") from None


def _audiogram(body: RegisterDevice) -> Audiogram | None:
    if body.audiogram is UNSET:
        return None
    try:
        return parse_audiogram(msgspec.json.encode(body.audiogram))
    except AudiogramError as error:
        raise BadArgument(f"audiogram: {error.public_message}") from None
