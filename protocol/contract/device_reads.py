"""What REST tells of devices beside what hub methods answer: the registration, deliveries with their times, sheets."""

from typing import Annotated

from msgspec import Meta, field

from .base import Answer, Ear, Id, StrictWire, Wire
from .devices import DeliveryAnswer, DeviceAnswer
from .fitting import DeliveryKind, MicMode, Mode

__all__ = ["DeliveryView", "DeviceView", "DiffQuery", "SheetAnswer", "SheetView"]

Link = Annotated[str, Meta(pattern=r"^/api/v1/")]


class DeviceView(DeviceAnswer, frozen=True, kw_only=True):
    """A device as ``GetDevice`` answers it, and as it was registered.

    ``sheets``: where the capability sheet of each aid is.
    """

    patient: str
    assignments: tuple[str, ...]
    red_flags: bool
    sheets: dict[Ear, Link]


class DeliveryView(DeliveryAnswer, frozen=True, kw_only=True):
    """A delivery as ``GetDelivery`` answers it, and what it is made of; ``at`` is when it was accepted.

    ``expires_at`` is when it may not begin any more.
    """

    kind: DeliveryKind
    mode: Mode
    revision: str
    base: str
    author: str
    reason: str
    at: str
    expires_at: str


class DiffQuery(StrictWire, frozen=True, kw_only=True):
    """Two revisions to compare; with ``aid`` also against what the aids were last read to hold."""

    from_: Id = field(name="from")
    to: Id
    aid: bool = False


class SheetView(Wire, frozen=True, kw_only=True):
    """What a model of hearing aid can be told. ``Ddb`` are tenths of a decibel (MPO: of dB SPL), ``Ms`` are per ear.

    ``otc``: sold over the counter. ``input_controlled_compression``: the aid lowers its gain as the input rises.
    ``volatile_write``: RAM can be written without touching NVM. ``reverts_on_link_loss``: without its phone the aid
    goes back to what NVM holds.
    """

    model: str
    bands_hz: tuple[int, ...]
    gain_min_ddb: int
    gain_max_ddb: int
    gain_step_ddb: int
    mpo_min_ddb: int
    mpo_max_ddb: int
    mpo_step_ddb: int
    slots: int
    otc: bool
    mics: tuple[MicMode, ...]
    nr_min_ddb: int
    nr_max_ddb: int
    nr_step_ddb: int
    input_controlled_compression: bool
    volatile_write: bool
    reverts_on_link_loss: bool
    write_trial_ms: int
    commit_ms: int
    mutes_on_commit_ms: int


class SheetAnswer(Answer, frozen=True, kw_only=True):
    """One capability sheet."""

    sheet: SheetView
