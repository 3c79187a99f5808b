"""Revisions as they are shown: who changed what by how many dB, and how three of them compare."""

from typing import Annotated, Literal

from msgspec import UNSET, Meta, UnsetType

from .base import Answer, Ear, Id, Ordinal, Wire
from .fitting import Content, Digests, Path, SafetySummary

__all__ = [
    "Compare",
    "CompareAnswer",
    "Difference",
    "GetHistory",
    "GetRevision",
    "HistoryAnswer",
    "HistoryEvent",
    "RevisionAnswer",
    "RevisionOrigin",
    "RevisionView",
    "ThreeWay",
    "WatchDevice",
]

RevisionOrigin = Literal["readback", "first_fit", "fitting", "save", "rollback"]


class Difference(Wire, frozen=True, kw_only=True):
    """One leaf that differs. Numbers are tenths of a decibel; ``ddb`` is ``to`` less ``from``."""

    slot: int
    path: Path | Literal["name", "category", "program"]
    ear: Ear | UnsetType = UNSET
    band_hz: int | UnsetType = UNSET
    before: int | str | UnsetType = UNSET
    after: int | str | UnsetType = UNSET
    ddb: int | UnsetType = UNSET


class RevisionView(Wire, frozen=True, kw_only=True):
    """One revision, and what it changed of its parent."""

    revision: str
    parent: str
    origin: RevisionOrigin
    author: str
    reason: str
    at: str
    digests: Digests
    safety: SafetySummary
    changes: tuple[Difference, ...] = ()


class GetHistory(Wire, frozen=True, kw_only=True):
    """The newest revisions first; ``before`` is the ``next`` of the page before."""

    device: Id
    before: Id | UnsetType = UNSET
    limit: Annotated[int, Meta(ge=1, le=100)] = 20


class HistoryAnswer(Answer, frozen=True, kw_only=True):
    """A page of revisions; ``next`` is absent on the last one."""

    revisions: tuple[RevisionView, ...]
    next: str | UnsetType = UNSET


class GetRevision(Wire, frozen=True, kw_only=True):
    """Names one revision of a device."""

    device: Id
    revision: Id


class RevisionAnswer(Answer, frozen=True, kw_only=True):
    """One revision with its whole content."""

    view: RevisionView
    content: Content


class Compare(Wire, frozen=True, kw_only=True):
    """Two revisions; with ``aid`` also against what the aids were last read to hold."""

    device: Id
    base: Id
    wanted: Id
    aid: bool = False


class ThreeWay(Wire, frozen=True, kw_only=True):
    """One leaf on which base, aid and wanted do not agree. ``conflict``: aid and wanted both moved, apart."""

    slot: int
    path: Path
    ear: Ear
    base: int | str
    aid: int | str
    wanted: int | str
    conflict: bool
    band_hz: int | UnsetType = UNSET


class CompareAnswer(Answer, frozen=True, kw_only=True):
    """What ``wanted`` changes of ``base``; ``three_way`` when the aid was asked for and is known."""

    changes: tuple[Difference, ...]
    three_way: tuple[ThreeWay, ...] | UnsetType = UNSET


class WatchDevice(Wire, frozen=True, kw_only=True):
    """A stream of the device's recorded events after number ``after``, then of new ones as they come."""

    device: Id
    after: Ordinal = 0


class HistoryEvent(Wire, frozen=True, kw_only=True):
    """One event of the device's log. Numbers rise by one; a gap means that older ones are no longer kept.

    ``text`` is a typed reason. ``hash`` covers the event and all before it.
    """

    n: int
    kind: str
    at: str
    actor: str = ""
    seq: int | UnsetType = UNSET
    state: str | UnsetType = UNSET
    ear: Ear | UnsetType = UNSET
    code: str | UnsetType = UNSET
    digest: str | UnsetType = UNSET
    text: str | UnsetType = UNSET
    hash: str = ""
