"""Audiograms on file, and the first fit that is computed from the newest of them."""

from datetime import date
from typing import Annotated, Literal

from msgspec import UNSET, Meta, UnsetType

from .base import Answer, Ear, StrictWire, Wire
from .fitting import Content, Digests, EarProgram, Finding, SafetySummary
from .registration import Thresholds

__all__ = [
    "AudiogramAnswer",
    "AudiogramMethod",
    "AudiogramSource",
    "EarMarks",
    "FirstFitAnswer",
    "FirstFitQuery",
    "LeftOutPart",
    "NewAudiogram",
    "Rationale",
]

AudiogramSource = Literal["registration", "manual", "fhir"]
AudiogramMethod = Literal["clinical", "in_situ"]
Rationale = Literal["camfit", "nal_rp"]
MarkedHz = Annotated[tuple[Annotated[int, Meta(ge=125, le=8_000)], ...], Meta(max_length=12)]


class EarMarks(StrictWire, frozen=True, kw_only=True):
    """Frequencies in Hz, per ear."""

    left: MarkedHz | UnsetType = UNSET
    right: MarkedHz | UnsetType = UNSET


class NewAudiogram(Thresholds, frozen=True, kw_only=True):
    """An audiogram to put on file, thresholds in dB HL by frequency in Hz.

    ``masked``: frequencies that were measured with noise on the other ear. ``no_response``: those at which the loudest
    tone, the threshold that is given, was not heard. ``measured_on``: the day. ``method``: ``in_situ`` when the aids
    themselves made the tones.
    """

    masked: EarMarks | UnsetType = UNSET
    no_response: EarMarks | UnsetType = UNSET
    measured_on: date | UnsetType = UNSET
    method: AudiogramMethod = "clinical"


class LeftOutPart(Wire, frozen=True, kw_only=True):
    """A part of a FHIR document that was not taken; ``code`` is its own, of whatever system."""

    where: str
    reason: Literal["resource", "unknown_code", "frequency", "method", "not_measured"]
    code: str | UnsetType = UNSET


class AudiogramAnswer(Answer, frozen=True, kw_only=True):
    """One audiogram on file. It never changes but for ``counts``: whether changes are judged by it.

    ``recorded_by`` and ``recorded_at`` are absent for what came with the registration. ``left_out``: of the document
    that it was read from; told once.
    """

    device: str
    audiogram: str
    source: AudiogramSource
    method: AudiogramMethod
    counts: bool
    name: str = ""
    left: dict[str, float] | UnsetType = UNSET
    right: dict[str, float] | UnsetType = UNSET
    masked: EarMarks | UnsetType = UNSET
    no_response: EarMarks | UnsetType = UNSET
    measured_on: str | UnsetType = UNSET
    recorded_by: str | UnsetType = UNSET
    recorded_at: str | UnsetType = UNSET
    left_out: tuple[LeftOutPart, ...] = ()


class FirstFitQuery(StrictWire, frozen=True, kw_only=True):
    """``rationale``: the formula; ``camfit`` compresses, ``nal_rp`` is linear."""

    rationale: Rationale = "camfit"


class FirstFitAnswer(Answer, frozen=True, kw_only=True):
    """What a formula makes of an audiogram on these aids; nothing is changed by it.

    ``targets``: what the formula wants, on the aids' steps. ``content``: what is left of it, to be submitted with
    ``origin: "first_fit"``; ``digests`` are what a read-back must give then. ``trims``: a finding per value that was
    lowered, ``value`` the target and ``limit`` what is given. ``safety``: what the kernel says of ``content`` over
    ``revision``, the newest one, absent when the aids were never read back; ``accepted``: it refuses nothing.
    ``fitted``: a first fit would not be the first change any more.
    """

    device: str
    audiogram: str
    rationale: Rationale
    content: Content
    digests: Digests
    targets: dict[Ear, EarProgram]
    trims: tuple[Finding, ...]
    accepted: bool
    safety: SafetySummary
    fitted: bool
    revision: str | UnsetType = UNSET
    label: Literal["reference computation"] = "reference computation"
