"""A change as the safety kernel is asked about it: with everything that is known beside it, whoever asks.

What is on file is read at the time of asking. This module must not know what the kernel says, nor what follows. Read
``Changes.of``.
"""

from collections.abc import Mapping
from dataclasses import replace

from fitting.budgets import was_active, was_worn
from fitting.capability import sheet
from fitting.ledger import budgets_of, was_in_nvm
from fitting.limits import KERNEL_LIMITS, ClinicLimits
from fitting.log_values import DeviceHead
from fitting.measured import lowest_stable_gain
from fitting.safety import Change, ChangeOrigin, SafetyContext
from protocol.contract.fitting import Content
from signaling.stores.devices import DeviceRecord, OnFile

__all__ = ["Changes"]


class Changes:
    """``limits``: of the clinics that have tightened any, by clinic."""

    def __init__(self, devices: OnFile, limits: Mapping[str, ClinicLimits]) -> None:
        self._devices = devices
        self._limits = limits

    async def of(
        self, head: DeviceHead, base: Content | None, candidate: Content, origin: ChangeOrigin, reason: str
    ) -> Change:
        """As live work asks; whoever does otherwise replaces mode and kind. Raises Unavailable."""
        record = await self._devices.get(head.device)
        worn = was_in_nvm(head) if origin == "rollback" else ()
        return Change(
            base=base,
            candidate=candidate,
            sheets={ear: sheet(aid.model) for ear, aid in head.aids.items()},
            origin=origin,
            mode="advanced",
            kind="volatile",
            context=replace(
                SafetyContext() if record is None else self._on_file(record, base),
                reason=reason,
                budgets=budgets_of(head),
                restores_active=was_active(worn, candidate),
                restores_pair=was_worn(worn, candidate),
            ),
        )

    def _on_file(self, record: DeviceRecord, base: Content | None) -> SafetyContext:
        """What the kernel is told of the patient and the clinic, whatever the change."""
        stable = record.max_stable_gain_ddb
        return SafetyContext(
            audiogram=record.audiogram,
            loudness_ddb=record.loudness_ddb,
            max_stable_gain_ddb=stable if base is None else lowest_stable_gain(stable, base),
            red_flags=record.red_flags,
            limits=self._limits.get(record.clinic, KERNEL_LIMITS),
        )
