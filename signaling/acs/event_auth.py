"""Who may tell us of events: whoever knows the secret, or shows a token that Entra ID has signed for Event Grid.

Each stands on its own; who shows a token is judged by it. Read ``EventAuth.flaw``.
"""

import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from media.entra import Expected, Flaw, flaw_of, key_id_of

from .entra_keys import EntraKeys

__all__ = ["SECRET_HEADER", "EntraTokens", "EventAuth"]

SECRET_HEADER: Final = "X-Auricle-Event-Secret"  # noqa: S105  # the name of a header
_SCHEME: Final = "bearer "


@dataclass(frozen=True, slots=True)
class EntraTokens:
    """What makes a token good. ``clock``: Unix seconds."""

    keys: EntraKeys
    expected: Expected
    clock: Callable[[], float]

    async def flaw(self, token: str) -> Flaw | None:
        """What is wrong with a token."""
        name = key_id_of(token)
        if isinstance(name, Flaw):
            return name
        key = await self.keys.key(name)
        return key if isinstance(key, Flaw) else flaw_of(token, key, self.expected, self.clock())


@dataclass(frozen=True, slots=True)
class EventAuth:
    """``secret`` "" and ``tokens`` None: nobody is known that way."""

    secret: str = field(repr=False)
    tokens: EntraTokens | None

    async def flaw(self, headers: Mapping[str, str]) -> Flaw | None:
        """Why whoever sends these headers may not tell us anything."""
        given = headers.get("Authorization", "")
        if self.tokens is not None and given[: len(_SCHEME)].lower() == _SCHEME:
            return await self.tokens.flaw(given[len(_SCHEME) :].strip())
        said = headers.get(SECRET_HEADER)
        if not self.secret or said is None:
            return Flaw.MISSING
        return None if hmac.compare_digest(said.encode(), self.secret.encode()) else Flaw.SECRET
