"""What is on file of a device, between the contract and the record: read strictly, shown as it was given.

This module must not know a request. Read ``changed`` first.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import msgspec
from msgspec import UNSET, UnsetType

from fitting.audiogram import Audiogram, AudiogramError, parse_audiogram
from fitting.capability import CapabilitySheet, sheet
from fitting.measured import loudness_of, stable_gain_of
from protocol.contract.base import EARS, Ear
from protocol.contract.devices import RegisteredAid
from protocol.contract.people import ChangeOnFile, OnFile
from protocol.contract.registration import Loudness, StableGain, Thresholds
from protocol.contract.times import iso_ms
from protocol.errors import BadArgument, NotFound
from signaling.stores.devices import DeviceRecord

__all__ = ["audiogram_of", "changed", "is_done", "sheets_of", "shown"]

_OF_CHANGE: Final = ("version", "changed_by", "changed_because", "changed_at_s")


def sheets_of(aids: Mapping[Ear, RegisteredAid]) -> dict[Ear, CapabilitySheet]:
    """The capability sheets of aids. Raises BadArgument for a model that there is not."""
    found: dict[Ear, CapabilitySheet] = {}
    for ear, aid in aids.items():
        try:
            found[ear] = sheet(aid.model)
        except NotFound as error:
            raise BadArgument(f"{ear}.model: {error.public_message}") from None
    return found


def audiogram_of(given: Thresholds) -> Audiogram:
    """An audiogram as it was sent. Raises BadArgument for one that cannot be used, saying where it is wrong."""
    try:
        return parse_audiogram(msgspec.json.encode(given))
    except AudiogramError as error:
        raise BadArgument(f"audiogram: {error.public_message}") from None


def changed(record: DeviceRecord, change: ChangeOnFile, *, by: str, at_s: float) -> DeviceRecord:
    """The next version of a record. Raises BadArgument for what does not fit its aids."""
    sheets = sheets_of(record.aids)
    new: dict[str, Any] = {}
    if change.loudness_ddb is not UNSET:
        new["loudness_ddb"] = {} if change.loudness_ddb is None else loudness_of(change.loudness_ddb, sheets)
    if change.max_stable_gain_ddb is not UNSET:
        new["max_stable_gain_ddb"] = stable_gain_of(change.max_stable_gain_ddb, sheets)
    if change.red_flags is not UNSET:
        new["red_flags"] = change.red_flags
    if not new:
        raise BadArgument("loudnessDdb, maxStableGainDdb, redFlags: at least one must be given")
    return replace(
        record,
        **new,
        version=record.version + 1,
        changed_by=by,
        changed_because=change.reason,
        changed_at_s=at_s,
    )


def is_done(record: DeviceRecord, wanted: DeviceRecord) -> bool:
    """Whether the record is what the same person, for the same reason, has made of it already."""
    same = replace(wanted, **{name: getattr(record, name) for name in _OF_CHANGE}) == record
    return same and (record.changed_by, record.changed_because) == (wanted.changed_by, wanted.changed_because)


def shown(record: DeviceRecord) -> OnFile:
    """A record as its readers see it."""
    was_changed = record.version > 1
    return OnFile(
        device=record.device,
        version=record.version,
        loudness_ddb=_loudness(record),
        max_stable_gain_ddb=_stable_gains(record),
        red_flags=record.red_flags,
        changed_by=record.changed_by if was_changed else UNSET,
        changed_at=iso_ms(record.changed_at_s) if was_changed else UNSET,
        reason=record.changed_because if was_changed else UNSET,
    )


def _loudness(record: DeviceRecord) -> Loudness | UnsetType:
    ears: dict[str, Any] = {str(ear): levels for ear, levels in record.loudness_ddb.items()}
    return Loudness(**ears) if ears else UNSET


def _stable_gains(record: DeviceRecord) -> tuple[StableGain, ...]:
    slots = sorted({slot for slot, _ in record.max_stable_gain_ddb})
    return tuple(
        StableGain(
            slot=slot,
            **{ear: record.max_stable_gain_ddb[slot, ear] for ear in EARS if (slot, ear) in record.max_stable_gain_ddb},
        )
        for slot in slots
    )
