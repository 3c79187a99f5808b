"""What a hearing-aid configuration is on the wire, and how a change of it is asked for.

Levels and gains are integers in tenths of a decibel (``Ddb``). ``g50Ddb``, ``g65Ddb`` and ``g80Ddb`` are the
gains for narrow-band inputs of 50, 65 and 80 dB SPL, ``mpoDdb`` is the maximum power output in dB SPL. Each is
a list with one value per band of ``bandsHz``.
"""

from typing import Annotated, Final, Literal

from msgspec import UNSET, Meta, UnsetType, field

from .base import NO_NUL, Answer, Ear, Id, Ordinal, Reason, StrictWire, Text, Wire

__all__ = [
    "BAND_PATHS",
    "BandPath",
    "BandValues",
    "Base",
    "CheckAnswer",
    "Content",
    "Ddb",
    "DeliveryKind",
    "Digest",
    "Digests",
    "EarProgram",
    "Finding",
    "MicMode",
    "Mode",
    "Origin",
    "Patch",
    "PatchOp",
    "Path",
    "Program",
    "References",
    "SafetySummary",
    "ScalarPath",
    "Slot",
    "Submit",
    "SubmitAnswer",
    "VendorPayload",
]

Digest = Annotated[str, Meta(pattern=r"^sha256:[0-9a-f]{64}$")]
Ddb = Annotated[int, Meta(ge=-2_000, le=2_000)]
MicMode = Literal["omni", "pinna", "fixed_dir", "adaptive_dir"]
Mode = Literal["standard", "advanced"]
DeliveryKind = Literal["volatile", "persist"]
Origin = Literal["fitting", "first_fit"]
BandPath = Literal["g50Ddb", "g65Ddb", "g80Ddb", "mpoDdb"]
ScalarPath = Literal["nrDdb", "mic"]
Path = Literal["g50Ddb", "g65Ddb", "g80Ddb", "mpoDdb", "nrDdb", "mic"]
BAND_PATHS: Final[tuple[BandPath, ...]] = ("g50Ddb", "g65Ddb", "g80Ddb", "mpoDdb")
BandValues = Annotated[tuple[Ddb, ...], Meta(min_length=1, max_length=48)]
Slot = Annotated[int, Meta(ge=1, le=8)]


class References(StrictWire, frozen=True, kw_only=True):
    """What the numbers of a content are measured against; one choice per content, never mixed."""

    gain_ref: Literal["REIG"] = "REIG"
    level_ref: Literal["narrowband"] = "narrowband"
    mpo_ref: Literal["coupler_2cc"] = "coupler_2cc"


class EarProgram(StrictWire, frozen=True, kw_only=True):
    """One program of one ear: everything that the signal processing of that slot reads.

    ``max_stable_gain_ddb``: the gain per band beyond which this ear whistles, as a feedback measurement found it.
    A field that is absent is in no digest.
    """

    g50_ddb: BandValues
    g65_ddb: BandValues
    g80_ddb: BandValues
    mpo_ddb: BandValues
    nr_ddb: Ddb = 0
    mic: MicMode = "omni"
    max_stable_gain_ddb: BandValues | UnsetType = UNSET


class Program(StrictWire, frozen=True, kw_only=True):
    """A program slot of a pair; an ear that is absent wears no aid."""

    slot: Slot
    name: Annotated[str, Meta(min_length=1, max_length=40, pattern=NO_NUL)]
    category: Literal["universal", "noise", "music", "stream", "telecoil", "tinnitus"] = "universal"
    left: EarProgram | UnsetType = UNSET
    right: EarProgram | UnsetType = UNSET


class Content(StrictWire, frozen=True, kw_only=True):
    """A whole configuration of one or two aids."""

    bands_hz: Annotated[tuple[Annotated[int, Meta(ge=100, le=16_000)], ...], Meta(min_length=1, max_length=48)]
    programs: Annotated[tuple[Program, ...], Meta(min_length=1, max_length=8)]
    refs: References = References()


class PatchOp(StrictWire, frozen=True, kw_only=True):
    """One change of one leaf. ``add`` is relative and resolved on the server; the phone gets absolute values."""

    op: Literal["set", "add"]
    ear: Ear
    path: Path
    value: int | Text
    band: Annotated[int, Meta(ge=0, le=47)] | UnsetType = UNSET


class Patch(StrictWire, frozen=True, kw_only=True):
    """Changes of one program slot. A patch names its slot: the active one may not be the one that is heard."""

    slot: Slot
    ops: Annotated[tuple[PatchOp, ...], Meta(min_length=1, max_length=160)]


class Digests(Wire, frozen=True, kw_only=True):
    """SHA-256 of the canonical form, per ear and of the pair (``fitting.digest``)."""

    pair: Digest
    left: Digest | UnsetType = UNSET
    right: Digest | UnsetType = UNSET


class Base(Wire, frozen=True, kw_only=True):
    """The revision, and what each ear held, when the change was thought of."""

    revision: Id
    left: Digest | UnsetType = UNSET
    right: Digest | UnsetType = UNSET


class Finding(Wire, frozen=True, kw_only=True):
    """One thing the safety kernel noticed. ``value`` and ``limit`` are in tenths of a decibel (K4's ratio: tenths).

    ``source`` says where the limit comes from: a regulation, the clinic's policy, a capability sheet, what is on
    file, what the session began with.
    """

    rule: str
    severity: Literal["refuse", "warn", "trim"]
    message: str
    source: str = ""
    slot: int | UnsetType = UNSET
    ear: Ear | UnsetType = UNSET
    band: int | UnsetType = UNSET
    value: int | UnsetType = UNSET
    limit: int | UnsetType = UNSET


class SafetySummary(Wire, frozen=True, kw_only=True):
    """What the safety kernel said of an accepted change; kept with the revision.

    ``rules`` were applied, with the numbers in ``limits``, by name; what is not a refusal is in ``findings``.
    """

    rules: tuple[str, ...]
    findings: tuple[Finding, ...] = ()
    limits: dict[str, int] = field(default_factory=dict)


class VendorPayload(StrictWire, frozen=True, kw_only=True):
    """A maker's own form of a change, opaque to the server: ``data`` is base64, ``digest`` that of the decoded bytes.

    What it makes of the aid is said by the open tables beside it, its projection; only those are checked and read back.
    """

    format: Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^[a-z0-9][a-z0-9._/\-]*$")]
    digest: Digest
    data: Annotated[str, Meta(max_length=16_384, pattern=NO_NUL)]


class Submit(Wire, frozen=True, kw_only=True):
    """Ask for a change. ``Check`` takes the same and changes nothing.

    Exactly one of ``patch``, ``content`` and ``revision``, an earlier revision of the device to go back to.
    """

    device: Id
    kind: DeliveryKind
    mode: Mode
    base: Base
    reason: Reason
    idempotency_key: Id
    fence: Ordinal | UnsetType = UNSET
    patch: Patch | UnsetType = UNSET
    content: Content | UnsetType = UNSET
    revision: Id | UnsetType = UNSET
    vendor: VendorPayload | UnsetType = UNSET
    origin: Origin = "fitting"
    expires_in_s: Annotated[int, Meta(ge=1, le=30 * 24 * 3600)] | UnsetType = UNSET


class SubmitAnswer(Answer, frozen=True, kw_only=True):
    """The change is accepted: it has a number, and will end in exactly one recorded state."""

    epoch: str
    seq: int
    revision_id: str
    digests: Digests
    safety: SafetySummary


class CheckAnswer(Answer, frozen=True, kw_only=True):
    """The change would be accepted now."""

    digests: Digests
    safety: SafetySummary
