"""``POST /api/v1/devices``: a clinic registers a pair of aids, who wears it and who may fit it."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

import msgspec
from aiohttp import web
from msgspec import UNSET

from fitting.audiogram import Audiogram, AudiogramError, parse_audiogram
from fitting.capability import CapabilitySheet, sheet
from fitting.log import DeviceLog
from fitting.measured import loudness_of, stable_gain_of
from protocol.contract.base import EARS, Refusal
from protocol.contract.registration import RegisterDevice, Registered
from protocol.errors import BadArgument, NotFound, Unauthenticated
from signaling.auth import TokenVerifier
from signaling.bearer import authenticate
from signaling.bodies import Bodies
from signaling.metrics import Metrics
from signaling.policy import Relation, Rule, authorize, check_complete
from signaling.stores.devices import DeviceGrants, DeviceRecord, DeviceStore

from .problems import Conflict

__all__ = ["REST_POLICY", "DeviceRoutes"]

REGISTER = "POST /api/v1/devices"
REST_POLICY: Final[Mapping[str, Rule]] = {
    REGISTER: Rule({"clinician": Relation.ANY, "assistant": Relation.ANY, "admin": Relation.ANY}),
}


class DeviceRoutes:
    """The device resource."""

    def __init__(
        self, devices: DeviceStore, log: DeviceLog, verifier: TokenVerifier, metrics: Metrics, bodies: Bodies
    ) -> None:
        self._devices = devices
        self._grants = DeviceGrants(devices)
        self._log = log
        self._verifier = verifier
        self._metrics = metrics
        self._bodies = bodies

    def register(self, app: web.Application) -> None:
        """Add the routes; each has a rule."""
        check_complete("rest", [REGISTER], REST_POLICY)
        app.router.add_post("/api/v1/devices", self._create)

    async def _create(self, request: web.Request) -> web.Response:
        try:
            principal = authenticate(request, self._verifier)
        except Unauthenticated:
            self._metrics.unauthenticated.inc()
            raise
        await authorize(REST_POLICY[REGISTER], principal, "", self._grants)
        body = _decode(await self._bodies.read(request))
        aids = {ear: aid for ear in EARS if (aid := getattr(body, ear)) is not UNSET}
        if not aids:
            raise BadArgument("left, right: at least one aid is needed")
        sheets = {ear: _sheet(ear, aid.model) for ear, aid in aids.items()}
        record = DeviceRecord(
            device=body.device,
            clinic=principal.clinic,
            patient=body.patient,
            assignments=frozenset(body.assignments),
            aids=aids,
            audiogram=_audiogram(body),
            loudness_ddb={} if body.loudness_ddb is UNSET else loudness_of(body.loudness_ddb, sheets),
            max_stable_gain_ddb=stable_gain_of(body.max_stable_gain_ddb, sheets),
            red_flags=body.red_flags,
        )
        if not await self._devices.register(record) and await self._devices.get(body.device) != record:
            raise Conflict("a device with this id exists already")
        # Whoever asked before may have died here: the same request again finishes what it began.
        refused = await self._log.create(body.device, aids)
        if isinstance(refused, Refusal):
            raise Conflict(refused.message)
        answer = Registered(device=body.device, patient=body.patient, assignments=tuple(sorted(record.assignments)))
        return web.Response(
            status=HTTPStatus.CREATED,
            body=msgspec.json.encode(answer),
            content_type="application/json",
        )


def _decode(body: bytes) -> RegisterDevice:
    try:
        return msgspec.json.decode(body, type=RegisterDevice)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        text = str(error) if isinstance(error, msgspec.ValidationError) else "the body is not JSON"
        raise BadArgument(text) from None


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
