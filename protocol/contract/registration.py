"""Registering a device: a pair of aids, the patient who wears it, what is on file of him, and who may fit it."""

from typing import Annotated

from msgspec import UNSET, Meta, UnsetType

from .base import Answer, Id, StrictWire
from .devices import RegisteredAid

__all__ = ["RegisterDevice", "Registered", "Thresholds"]


class Thresholds(StrictWire, frozen=True, kw_only=True):
    """An audiogram: thresholds in dB HL by frequency in Hz (a text), per ear: ``{"right": {"500": 35, ...}}``."""

    left: dict[str, int | float] | UnsetType = UNSET
    right: dict[str, int | float] | UnsetType = UNSET
    name: str = ""


class RegisterDevice(StrictWire, frozen=True, kw_only=True):
    """Body of ``POST /api/v1/devices``: a pair of aids (or one), its patient, and who may fit it.

    ``audiogram``: the patient's thresholds; without one the server lets no maximum output rise.
    """

    device: Id
    patient: Id
    assignments: Annotated[tuple[Id, ...], Meta(max_length=50)] = ()
    left: RegisteredAid | UnsetType = UNSET
    right: RegisteredAid | UnsetType = UNSET
    audiogram: Thresholds | UnsetType = UNSET


class Registered(Answer, frozen=True, kw_only=True):
    """The device as it was stored."""

    device: str
    patient: str
    assignments: tuple[str, ...]
