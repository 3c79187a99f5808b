"""What pods say to the one that carries a device's phone, on the channel of that device, and what it answers.

Typed, so that a word that is none is refused when it is read. Knows no bus and no session. Read ``PhoneWord`` first.
"""

from collections.abc import Callable
from typing import Literal

import msgspec
from msgspec import Raw

from protocol.contract.base import Refusal
from protocol.contract.sessions import SessionState
from signaling.pods.asks import Asker

__all__ = [
    "AskPhone",
    "Attached",
    "Begin",
    "Begun",
    "Frozen",
    "GivenUp",
    "PhoneWord",
    "SignsAsked",
    "SignsTold",
    "TellPhone",
    "Wake",
    "What",
    "word_of",
]


What = Literal["signs", "begin", "read_back"]


class Wake(msgspec.Struct, frozen=True, array_like=True, tag=0):
    """The log has something new for the device."""


class TellPhone(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """Something for the phone: the name of the payload's class, and the payload."""

    target: str
    payload: Raw


class Attached(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """A phone has attached elsewhere; whoever carries one of an older generation lets it go."""

    generation: int


class AskPhone(msgspec.Struct, frozen=True, array_like=True, tag=3):
    """A question to the pod that carries the phone, of that generation or a newer one."""

    asker: Asker
    what: What
    generation: int
    body: bytes = b""


class GivenUp(msgspec.Struct, frozen=True, array_like=True, tag=4):
    """Whoever had asked for live work under that fence does not wait for it any more."""

    fence: int


PhoneWord = Wake | TellPhone | Attached | AskPhone | GivenUp


class SignsAsked(msgspec.Struct, frozen=True, array_like=True):
    """How is the phone? ``fence`` is that of the session that is meant, 0 without one.

    ``call_silent_s``: since when the fitter here has told of no call, None when of none at all.
    """

    fence: int = 0
    call_silent_s: float | None = None


class SignsTold(msgspec.Struct, frozen=True, array_like=True):
    """How it is, as ``fitting.mode.Signs`` has it; seconds are those of the moment that it was told.

    ``fence`` and ``state`` are those of the session as the phone's own pod has judged it, 0 and ``none`` without one.
    """

    generation: int
    fence: int
    state: SessionState
    phone_silent_s: float
    background_s: float | None = None
    aids_away_s: float | None = None
    battery_percent: int | None = None
    rtt_p95_ms: int | None = None
    slow_s: float | None = None


class Begin(msgspec.Struct, frozen=True, array_like=True):
    """Begin live work for a fitter, who is known by his connection; he was found to be allowed to."""

    device: str
    fence: int
    reason: str
    user: str
    clinic: str
    connection_id: str


class Begun(msgspec.Struct, frozen=True, array_like=True):
    """What came of it: the state of the session, or why there is none."""

    state: SessionState = "none"
    refusal: Refusal | None = None


class Frozen(msgspec.Struct, frozen=True, array_like=True):
    """Unasked, to pods that have asked for signs: nothing may rise in the session of that fence any more."""

    device: str
    fence: int


_decode: Callable[[bytes], PhoneWord] = msgspec.msgpack.Decoder(PhoneWord).decode


def word_of(payload: bytes) -> PhoneWord:
    """Read a word. Raises msgspec.MsgspecError for what is none."""
    return _decode(payload)
