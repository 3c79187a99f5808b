"""Registering a device: a pair of aids, the patient who wears it, what is on file of him, and who may fit it."""

from typing import Annotated

from msgspec import UNSET, Meta, UnsetType

from .base import Answer, Id, StrictWire, Text
from .devices import RegisteredAid
from .fitting import Slot

__all__ = ["Loudness", "RegisterDevice", "Registered", "StableGain", "Thresholds"]

# What can be measured at all. No level in whole decibels, the likeliest mistake, is in the first range.
LoudnessLevels = Annotated[tuple[Annotated[int, Meta(ge=300, le=1_400)] | None, ...], Meta(min_length=1, max_length=48)]
StableGains = Annotated[tuple[Annotated[int, Meta(ge=0, le=1_000)] | None, ...], Meta(min_length=1, max_length=48)]


class Thresholds(StrictWire, frozen=True, kw_only=True):
    """An audiogram: thresholds in dB HL by frequency in Hz (a text), per ear: ``{"right": {"500": 35, ...}}``."""

    left: dict[Text, int | float] | UnsetType = UNSET
    right: dict[Text, int | float] | UnsetType = UNSET
    name: Text = ""


class Loudness(StrictWire, frozen=True, kw_only=True):
    """Uncomfortable levels per ear, one per band of its aid: tenths of dB SPL in a 2 cc coupler, null: not measured."""

    left: LoudnessLevels | UnsetType = UNSET
    right: LoudnessLevels | UnsetType = UNSET


class StableGain(StrictWire, frozen=True, kw_only=True):
    """Of one program slot the gains from which each ear whistles: tenths of dB per band, null: not measured."""

    slot: Slot
    left: StableGains | UnsetType = UNSET
    right: StableGains | UnsetType = UNSET


class RegisterDevice(StrictWire, frozen=True, kw_only=True):
    """Body of ``POST /api/v1/devices``: a pair of aids (or one), its patient, and who may fit it.

    ``audiogram``: the patient's thresholds; without one the server lets no maximum output rise.
    ``loudness_ddb``: what was measured as too loud; where it was, it counts in place of the audiogram.
    ``max_stable_gain_ddb``: feedback measurements, a slot at most once.
    ``red_flags``: there are signs that need a physician, and no professional has dismissed them.
    """

    device: Id
    patient: Id
    assignments: Annotated[tuple[Id, ...], Meta(max_length=50)] = ()
    left: RegisteredAid | UnsetType = UNSET
    right: RegisteredAid | UnsetType = UNSET
    audiogram: Thresholds | UnsetType = UNSET
    loudness_ddb: Loudness | UnsetType = UNSET
    max_stable_gain_ddb: Annotated[tuple[StableGain, ...], Meta(max_length=8)] = ()
    red_flags: bool = False


class Registered(Answer, frozen=True, kw_only=True):
    """The device as it was stored."""

    device: str
    patient: str
    assignments: tuple[str, ...]
