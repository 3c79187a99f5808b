"""What all payloads share: the struct bases, the ears, and the shape of a refusal.

A refusal of the domain is a *result* on every transport, ``{"ok": false, "error": {...}}``; errors of
the call itself are ``protocol.errors.HubError``.
"""

from typing import Annotated, Final, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

__all__ = [
    "EARS",
    "MAX_SAFE_INTEGER",
    "NO_NUL",
    "Answer",
    "Ear",
    "Failure",
    "Id",
    "Ordinal",
    "Reason",
    "Refusal",
    "StrictWire",
    "Text",
    "Wire",
]

MAX_SAFE_INTEGER: Final = 2**53 - 1

Ear = Literal["left", "right"]
# The right ear is drawn first everywhere in audiology, so it also comes first here.
EARS: Final[tuple[Ear, Ear]] = ("right", "left")

Id = Annotated[str, Meta(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9][A-Za-z0-9._:\-]*\Z")]
# Whatever a client writes itself: of all characters PostgreSQL cannot keep this one.
NO_NUL: Final = r"^[^\x00]*\Z"
Text = Annotated[str, Meta(pattern=NO_NUL)]
Reason = Annotated[str, Meta(min_length=1, max_length=500, pattern=NO_NUL)]
Ordinal = Annotated[int, Meta(ge=0, le=MAX_SAFE_INTEGER)]


class Wire(Struct, frozen=True, kw_only=True, rename="camel"):
    """A payload whose unknown fields are ignored, so that a newer peer is still understood."""


class StrictWire(Wire, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A payload that describes sound: an unknown field could be a change that gets lost."""


class Refusal(Wire, frozen=True, kw_only=True):
    """Why the domain said no. ``limit`` is in the unit of the rule, tenths of a decibel for gains.

    ``code`` is stable; ``rule`` is a rule of the safety kernel, ``K1`` to ``K12``, and ``source`` says where its
    limit comes from.
    """

    code: str
    message: str
    retryable: bool = False
    rule: str | UnsetType = UNSET
    slot: int | UnsetType = UNSET
    ear: Ear | UnsetType = UNSET
    band: int | UnsetType = UNSET
    value: int | UnsetType = UNSET
    limit: int | UnsetType = UNSET
    source: str | UnsetType = UNSET
    retry_after_ms: int | UnsetType = UNSET


class Answer(Wire, frozen=True, kw_only=True):
    """The base of every successful result."""

    ok: Literal[True] = True


class Failure(Wire, frozen=True, kw_only=True):
    """The result of a call that the domain refused; ``errors`` holds every reason, the first in ``error``."""

    error: Refusal
    errors: tuple[Refusal, ...] = ()
    ok: Literal[False] = False
