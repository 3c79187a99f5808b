"""The push that wakes a sleeping phone: what is told, to whom, and what became of it.

A push goes through the hands of others (Google, Apple, the push service), so it carries a pointer and nothing else:
the phone comes, proves who it is, and fetches. That a push was sent is never a delivery. This module must not know
what a service wants to hear (``push_messages``, ``notification_hubs``) nor when a push is due. Read ``PushNotifier``
first.
"""

import re
from dataclasses import dataclass, field
from typing import Final, Literal, Protocol, TypeAlias, get_args

__all__ = [
    "Gone",
    "Later",
    "Platform",
    "PushKind",
    "PushNote",
    "PushNotifier",
    "PushOutcome",
    "PushTarget",
    "Refused",
    "Sent",
]

Platform: TypeAlias = Literal["fcm", "apns"]
PushKind: TypeAlias = Literal["package", "question", "message", "call"]

# An APNs collapse id has at most 64 bytes.
_NONCE: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_POINTER: Final = re.compile(r"[A-Za-z0-9_-]{1,128}")
# Tokens travel in a header: what is no visible ASCII could end it and begin another.
_TOKENS: Final = {"fcm": re.compile(r"[!-~]{1,1024}"), "apns": re.compile(r"[0-9A-Fa-f]{1,512}")}


@dataclass(frozen=True, slots=True)
class PushTarget:
    """One installed app; ``token`` is what its platform gave it, and is shown to that platform only.

    Raises ValueError, without the token in it, for a platform that there is not, and for what is no token of it.
    """

    platform: Platform
    token: str = field(repr=False)

    def __post_init__(self) -> None:
        shape = _TOKENS.get(self.platform)
        if shape is None:
            raise ValueError("platform: must be fcm or apns")
        if not shape.fullmatch(self.token):
            raise ValueError(f"token: is none of {self.platform}")


@dataclass(frozen=True, slots=True)
class PushNote:
    """What a phone is told: that something waits.

    ``kind``: a package to install, a question to answer, a message to read, or a call that rings: how urgent the push
    is, what it may replace on its way, and whether the app is to be woken rather than people told.
    ``pointer``: the name of what waits, random letters and digits (``-`` and ``_`` too, at most 128) that tell a
    stranger nothing. ``nonce``: the same in every push of the same matter, of the same letters, at most 64; pushes with
    the same nonce show once. ``expires_in_s``: seconds after which a push that has not arrived is dropped.

    Raises ValueError for anything else.
    """

    kind: PushKind
    pointer: str
    nonce: str
    expires_in_s: int

    def __post_init__(self) -> None:
        if self.kind not in get_args(PushKind):
            raise ValueError("kind: must be package, question, message or call")
        if not _POINTER.fullmatch(self.pointer):
            raise ValueError("pointer: must be 1 to 128 letters, digits, - or _")
        if not _NONCE.fullmatch(self.nonce):
            raise ValueError("nonce: must be 1 to 64 letters, digits, - or _")
        if self.expires_in_s <= 0:
            raise ValueError("expires_in_s: must be more than 0")


@dataclass(frozen=True, slots=True)
class Sent:
    """The push service took it. Whether the phone ever shows it is not known."""


@dataclass(frozen=True, slots=True)
class Gone:
    """The token is dead and stays so: nothing must be sent to it again, until the app brings another."""


@dataclass(frozen=True, slots=True)
class Later:
    """Not now; the same push may be sent again after ``retry_after_s`` seconds. It may have arrived all the same."""

    retry_after_s: float


@dataclass(frozen=True, slots=True)
class Refused:
    """Our own fault, or our operator's: the same push is refused again until somebody mends it. ``code`` is stable."""

    code: str


PushOutcome: TypeAlias = Sent | Gone | Later | Refused


class PushNotifier(Protocol):
    """Sends pushes, one attempt a call. It keeps none of them and tries none again: that is the caller's."""

    async def send(self, to: PushTarget, note: PushNote) -> PushOutcome:
        """Hand one push to the service. Never raises for what the service or the network does, never waits for long.

        Sent twice, because an answer was lost, it shows once.
        """
        ...

    async def close(self) -> None:
        """Let go of the service; what is sent afterwards is ``Later``. May be called twice."""
        ...
