"""Audiograms over REST, as our JSON and as FHIR, and what a first fit of the newest one would be."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import ClassVar, Final

import msgspec
from msgspec import UNSET, Raw, UnsetType

from fitting.audiogram import Audiogram, AudiogramError, audiogram_of, parse_audiogram, with_marks
from fitting.fhir import FhirAudiogram, read_fhir, write_fhir
from fitting.fhir_errors import FHIR_CODES, FhirError
from fitting.log import DeviceLog
from protocol.contract.audiograms import (
    AudiogramAnswer,
    EarMarks,
    FirstFitAnswer,
    FirstFitQuery,
    LeftOutPart,
    NewAudiogram,
)
from protocol.contract.base import EARS, Ear, Failure, Id, Refusal
from protocol.contract.registration import Thresholds
from protocol.contract.rest import Page, PageQuery
from protocol.contract.times import iso_ms
from protocol.errors import BadArgument, NotFound
from signaling.flows.first_fit import FirstFitFlow
from signaling.policy import DEVICE_READERS, Relation, Rule
from signaling.stores.audiograms import (
    REGISTERED,
    AudiogramRecord,
    AudiogramStore,
    OlderAudiogram,
    registered_audiogram,
)
from signaling.stores.devices import DeviceRecord, DeviceStore

from .pages import number_after, page
from .resource import Call, Reply, Resource, route

__all__ = ["FHIR_JSON", "Audiograms"]

FHIR_JSON: Final = "application/fhir+json"
# Days begin up to 14 hours earlier in the east than in UTC.
_EARLIEST_DAY: Final = timedelta(hours=14)
_ALL: Final = "/api/v1/devices/{device}/audiograms"
_ONE: Final = "/api/v1/devices/{device}/audiograms/{audiogram}"
_FIRST_FIT: Final = "/api/v1/devices/{device}/first-fit"

_FITTER: Final = Rule({"clinician": Relation.ASSIGNED}, "device")
_EXAMPLE: Final = {
    "right": {"500": 35, "1000": 40, "2000": 50, "4000": 60},
    "noResponse": {"right": [4000]},
    "measuredOn": "2026-01-30",
}
_FHIR_EXAMPLE: Final = write_fhir(
    audiogram_of({"right": {500: 350, 1000: 400, 2000: 500, 4000: 600}}),
    audiogram_id="example",
    patient="pat",
    measured_on="2026-01-30",
)


class Audiograms(Resource):
    """Puts audiograms on file, gives them back, and computes from the newest. ``clock`` gives Unix seconds.

    ``look_again`` judges the packages of a device anew.
    """

    tag: ClassVar[str] = "audiograms"
    policy: ClassVar[Mapping[str, Rule]] = {
        f"GET {_ALL}": DEVICE_READERS,
        f"POST {_ALL}": _FITTER,
        f"GET {_ONE}": DEVICE_READERS,
        f"GET {_FIRST_FIT}": _FITTER,
    }

    def __init__(
        self,
        devices: DeviceStore,
        audiograms: AudiogramStore,
        log: DeviceLog,
        first_fit: FirstFitFlow,
        *,
        look_again: Callable[[str], Awaitable[None]],
        clock: Callable[[], float],
    ) -> None:
        self._devices = devices
        self._audiograms = audiograms
        self._log = log
        self._first_fit = first_fit
        self._look_again = look_again
        self._clock = clock

    @route(f"GET {_ALL}")
    async def list_audiograms(self, call: Call, device: Id, query: PageQuery) -> Page[AudiogramAnswer]:
        """The audiograms of a device, those that were put on file last first."""
        before = number_after(query.after)
        found = [*await self._audiograms.page(device, before=before, limit=query.limit + 1)]
        first = registered_audiogram(await self._device(device))
        if first is not None and len(found) <= query.limit and before != 0:
            found.append(first)
        counts = await self._counts(device)
        told = [_told(one, counts=one.number == counts) for one in found]
        numbers = {one.audiogram_id: one.number for one in found}
        return page(told, query, lambda one: numbers[one.audiogram])

    @route(
        f"POST {_ALL}",
        status=HTTPStatus.CREATED,
        creates=True,
        problems=("older_audiogram",),
        body_example=_EXAMPLE,
        links={"readAudiogram": {"device": "$request.path.device", "audiogram": "$response.body#/audiogram"}},
    )
    async def add_audiogram(self, call: Call, device: Id, body: NewAudiogram) -> Reply[AudiogramAnswer] | Failure:
        """Put an audiogram on file; from now on changes are judged by it."""
        measured_on = "" if isinstance(body.measured_on, UnsetType) else body.measured_on.isoformat()
        audiogram = _audiogram(body)
        return await self._added(
            call,
            AudiogramRecord(device, call.new_id, "manual", audiogram, measured_on=measured_on, method=body.method),
        )

    @route(
        f"POST {_ALL}",
        status=HTTPStatus.CREATED,
        creates=True,
        accepts=FHIR_JSON,
        body_example=_FHIR_EXAMPLE,
        problems=("older_audiogram", "bad_audiogram", *FHIR_CODES),
        links={"readAudiogram": {"device": "$request.path.device", "audiogram": "$response.body#/audiogram"}},
    )
    async def import_audiogram(self, call: Call, device: Id, body: Raw) -> Reply[AudiogramAnswer] | Failure:
        """Put on file what an Observation, a DiagnosticReport or a Bundle of FHIR R4 holds; tells what was left out."""
        record = await self._device(device)
        try:
            read = read_fhir(bytes(body), patient=record.patient)
        except (FhirError, AudiogramError) as error:
            return _refused(error.code, error.public_message)
        draft = AudiogramRecord(device, call.new_id, "fhir", read.audiogram, measured_on=read.measured_on)
        return await self._added(call, draft, read)

    @route(f"GET {_ONE}")
    async def read_audiogram(self, call: Call, device: Id, audiogram: Id) -> AudiogramAnswer:
        """One audiogram."""
        found = await self._found(device, audiogram)
        return _told(found, counts=found.number == await self._counts(device))

    @route(f"GET {_ONE}", gives=FHIR_JSON, problems=("not_exportable",))
    async def export_audiogram(self, call: Call, device: Id, audiogram: Id) -> Raw | Failure:
        """One audiogram as a Bundle of FHIR R4; not what was measured through the aids, which is no clinical one."""
        record, found = await self._device(device), await self._found(device, audiogram)
        if found.method != "clinical":
            return _refused("not_exportable", "an audiogram that was measured through the aids is no clinical one")
        bundle = write_fhir(
            found.audiogram, audiogram_id=f"{device}/{audiogram}", patient=record.patient, measured_on=found.measured_on
        )
        return Raw(msgspec.json.encode(bundle))

    @route(f"GET {_FIRST_FIT}", problems=("no_audiogram", "not_prescribable"))
    async def preview_first_fit(self, call: Call, device: Id, query: FirstFitQuery) -> FirstFitAnswer | Failure:
        """What a formula makes of the newest audiogram on these aids; nothing changes: submit ``content`` yourself."""
        return await self._first_fit.preview(device, query.rationale)

    async def _added(
        self, call: Call, draft: AudiogramRecord, read: FhirAudiogram | None = None
    ) -> Reply[AudiogramAnswer] | Failure:
        device, now_s = draft.device, self._clock()
        if draft.measured_on > (datetime.fromtimestamp(now_s, UTC) + _EARLIEST_DAY).date().isoformat():
            raise BadArgument("measuredOn: the day is still to come")
        wanted = replace(draft, recorded_by=call.principal.user, recorded_at_s=now_s)
        try:
            stored = await self._audiograms.add(wanted)
        except OlderAudiogram as error:
            return _refused(error.code, error.public_message)
        # A request that died here is sent again, and noted again rather than never.
        await self._log.note(device, "device", "audiogram", actor=call.principal.user, text=stored.audiogram_id)
        await self._look_again(device)
        answer = _told(stored, counts=stored.number == await self._counts(device), read=read)
        return Reply(answer, location=f"/api/v1/devices/{device}/audiograms/{stored.audiogram_id}")

    async def _device(self, device: str) -> DeviceRecord:
        record = await self._devices.get(device)
        if record is None:
            raise NotFound("no such device")
        return record

    async def _found(self, device: str, audiogram_id: str) -> AudiogramRecord:
        if audiogram_id == REGISTERED:
            found = registered_audiogram(await self._device(device))
        else:
            found = await self._audiograms.get(device, audiogram_id)
        if found is None:
            raise NotFound("no such audiogram")
        return found

    async def _counts(self, device: str) -> int:
        newest = await self._audiograms.newest(device)
        return 0 if newest is None else newest.number


def _refused(code: str, message: str) -> Failure:
    refusal = Refusal(code=code, message=message)
    return Failure(error=refusal, errors=(refusal,))


def _audiogram(body: NewAudiogram) -> Audiogram:
    thresholds = Thresholds(left=body.left, right=body.right, name=body.name)
    try:
        read = parse_audiogram(msgspec.json.encode(thresholds))
        return with_marks(read, masked=_marks(body.masked), no_response=_marks(body.no_response))
    except AudiogramError as error:
        raise BadArgument(error.public_message) from None


def _marks(given: EarMarks | UnsetType) -> dict[Ear, tuple[int, ...]]:
    if isinstance(given, UnsetType):
        return {}
    pairs: tuple[tuple[Ear, tuple[int, ...] | UnsetType], ...] = (("right", given.right), ("left", given.left))
    return {ear: marks for ear, marks in pairs if not isinstance(marks, UnsetType)}


def _told(record: AudiogramRecord, *, counts: bool, read: FhirAudiogram | None = None) -> AudiogramAnswer:
    audiogram = record.audiogram
    points = {ear: {str(hz): ddb / 10 for hz, ddb in audiogram.ears[ear]} for ear in EARS if ear in audiogram.ears}
    return AudiogramAnswer(
        device=record.device,
        audiogram=record.audiogram_id,
        source=record.source,
        method=record.method,
        counts=counts,
        name=audiogram.name,
        left=points.get("left", UNSET),
        right=points.get("right", UNSET),
        masked=_told_marks(audiogram.masked),
        no_response=_told_marks(audiogram.no_response),
        measured_on=record.measured_on or UNSET,
        recorded_by=record.recorded_by or UNSET,
        recorded_at=UNSET if record.recorded_at_s is None else iso_ms(record.recorded_at_s),
        left_out=()
        if read is None
        else tuple(LeftOutPart(where=one.where, reason=one.reason, code=one.code or UNSET) for one in read.left_out),
    )


def _told_marks(marks: Mapping[Ear, tuple[int, ...]]) -> EarMarks | UnsetType:
    return EarMarks(left=marks.get("left", UNSET), right=marks.get("right", UNSET)) if marks else UNSET
