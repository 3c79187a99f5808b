"""Packages: how a sleeping phone is reached, and what its wearer says of one that was worn for a while.

A push itself is no message of the contract: it says only that something waits (``fitting.push``).
"""

from typing import Annotated, Literal

from msgspec import UNSET, Meta, UnsetType

from .base import NO_NUL, Answer, Id, Ordinal, StrictWire, Text, Wire

__all__ = ["AnswerKeep", "KeepAnswered", "KeepAsked", "PackageAnswered", "RegisterPush"]

Rating = Annotated[int, Meta(ge=1, le=5)]
Words = Annotated[str, Meta(max_length=280, pattern=NO_NUL)]


class RegisterPush(StrictWire, frozen=True, kw_only=True):
    """How the phone that carries a device can be woken: what its platform calls this app on this phone.

    ``phone``: the name of this installation, as it was bound. When the one that was bound last has said its name, only
    that one is taken.
    """

    device: Id
    platform: Literal["fcm", "apns"]
    token: Annotated[str, Meta(min_length=1, max_length=1_024, pattern=NO_NUL)]
    phone: Id | UnsetType = UNSET


class KeepAsked(Wire, frozen=True, kw_only=True):
    """To the phone: a package was worn for a while; does its wearer want to keep it? It answers with ``AnswerKeep``."""

    device: str
    epoch: str
    seq: int
    revision_id: str


class AnswerKeep(Wire, frozen=True, kw_only=True):
    """What the wearer says of an installed package. Not to keep it may be said at any time while it is worn.

    ``rating``: how content, from 1 (not at all) to 5 (very). ``words``: a few of them, for the professional.
    """

    device: Id
    epoch: Text
    seq: Ordinal
    keep: bool
    rating: Rating | UnsetType = UNSET
    words: Words | UnsetType = UNSET


class KeepAnswered(Answer, frozen=True, kw_only=True):
    """It is recorded. ``seq`` is the package that takes it back: the wearer has agreed to it by asking for it."""

    epoch: str | UnsetType = UNSET
    seq: int | UnsetType = UNSET


class PackageAnswered(Wire, frozen=True, kw_only=True):
    """To the fitters: what the wearer said of a package."""

    device: str
    epoch: str
    seq: int
    keep: bool
    at: str
    rating: Rating | UnsetType = UNSET
    words: str | UnsetType = UNSET
