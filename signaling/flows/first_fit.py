"""What a first fit would be: computed from the newest audiogram, trimmed, and judged as a ``Submit`` of it would be.

Changes nothing: whoever fits looks at it, and submits the content himself. This module must not know a formula, nor a
rule. Read ``FirstFitFlow.preview``.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from msgspec import UNSET

from fitting.audiogram import Audiogram
from fitting.budgets import Place
from fitting.capability import sheet
from fitting.digest import content_digests
from fitting.limits import KERNEL_LIMITS, ClinicLimits
from fitting.log import DeviceLog
from fitting.log_values import DeviceHead, Revision
from fitting.measured import lowest_stable_gain
from fitting.model import PerBand
from fitting.prescription import Prescription, prescribe
from fitting.safety import ChangeOrigin, SafetyReport
from protocol.contract.audiograms import FirstFitAnswer, Rationale
from protocol.contract.base import Failure, Refusal
from protocol.contract.fitting import Content
from protocol.errors import BadArgument, NotFound
from signaling.stores.audiograms import AudiogramStore, registered_audiogram
from signaling.stores.devices import DeviceRecord, DeviceStore

from .tried import is_fitted

__all__ = ["FirstFitFlow"]

# A Submit always has a reason, so what needs one is not refused for want of it here.
_REASON: Final = "first fit"
_SLOT: Final = 1
_NO_AUDIOGRAM: Final = Refusal(code="no_audiogram", message="no audiogram is on file: put one there first")

Judge = Callable[[DeviceHead, Content, ChangeOrigin, str], Awaitable[SafetyReport]]


class FirstFitFlow:
    """Computes first fits. ``limits``: of the clinics that have tightened any; ``judge`` is ``SubmitFlow.judged``."""

    def __init__(
        self,
        log: DeviceLog,
        *,
        devices: DeviceStore,
        audiograms: AudiogramStore,
        limits: Mapping[str, ClinicLimits],
        judge: Judge,
    ) -> None:
        self._log = log
        self._devices = devices
        self._audiograms = audiograms
        self._limits = limits
        self._judge = judge

    async def preview(self, device: str, rationale: Rationale) -> FirstFitAnswer | Failure:
        """The first fit of a device by a formula. Refused: ``not_found``, ``no_audiogram``, ``not_prescribable``."""
        head, record = await self._log.head(device), await self._devices.get(device)
        if isinstance(head, Refusal):
            return Failure(error=head, errors=(head,))
        if record is None:
            raise NotFound("no such device")
        newest = await self._audiograms.newest(device) or registered_audiogram(record)
        if newest is None:
            return Failure(error=_NO_AUDIOGRAM, errors=(_NO_AUDIOGRAM,))
        base = head.revision
        try:
            prescription = self._prescribed(newest.audiogram, head, record, rationale)
        except BadArgument as error:
            refusal = Refusal(code="not_prescribable", message=error.public_message)
            return Failure(error=refusal, errors=(refusal,))
        report = await self._judge(head, prescription.content, "first_fit", _REASON)
        return FirstFitAnswer(
            device=device,
            audiogram=newest.audiogram_id,
            rationale=rationale,
            content=prescription.content,
            digests=content_digests(prescription.content),
            targets=dict(prescription.targets),
            trims=prescription.trims,
            accepted=report.accepted,
            safety=report.summary(),
            fitted=base is not None and await is_fitted(self._log, head, base),
            revision=UNSET if base is None else base.revision_id,
        )

    def _prescribed(
        self, audiogram: Audiogram, head: DeviceHead, record: DeviceRecord, rationale: Rationale
    ) -> Prescription:
        stable = _stable_gain(record, head.revision)
        return prescribe(
            audiogram,
            {ear: sheet(aid.model) for ear, aid in head.aids.items()},
            rationale,
            limits=self._limits.get(record.clinic, KERNEL_LIMITS),
            loudness_ddb=record.loudness_ddb,
            max_stable_gain_ddb={ear: values for (slot, ear), values in stable.items() if slot == _SLOT},
        )


def _stable_gain(record: DeviceRecord, base: Revision | None) -> Mapping[Place, PerBand]:
    if base is None:
        return record.max_stable_gain_ddb
    return lowest_stable_gain(record.max_stable_gain_ddb, base.content)
