"""Ways in for people without an account: a link, which is redeemed once, and the short token that it gives.

Both are signed with keys of their own, so that neither can pass for the other nor for a token of somebody with an
account. Neither is ever logged; a link's secret stands behind a ``#`` where a browser sends it to nobody. Read
``VisitTokens`` first.
"""

import hashlib
import hmac
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import jwt

from protocol.errors import Unauthenticated

from .auth import MAX_TOKEN_CHARS, Principal, TokenVerifier

__all__ = ["GUEST_PREFIX", "AnyOf", "LinkTokens", "VisitTokens", "guest_user"]

# No clinic's own name of a person begins so: the two must not be taken for each other.
GUEST_PREFIX: Final = "guest:"


def guest_user(participant: str) -> str:
    """The user id of a guest, which is nobody else's."""
    return f"{GUEST_PREFIX}{participant}"


@dataclass(frozen=True, slots=True)
class _Signed:
    """Tokens of one kind (RFC 7519, HS256): they hold clinic, visit, participant, a name of their own, and an end."""

    key: bytes
    kind: str
    clock: Callable[[], float]

    def mint(self, *, clinic: str, visit: str, participant: str, name: str, expires_at_s: float) -> str:
        claims = {
            "aud": self.kind,
            "clinic": clinic,
            "visit": visit,
            "sub": participant,
            "jti": name,
            "exp": int(expires_at_s),
        }
        return jwt.encode(claims, self.key, algorithm="HS256")

    def claims(self, token: str) -> dict[str, Any]:
        """Raises Unauthenticated, for every cause alike."""
        if len(token) > MAX_TOKEN_CHARS:
            raise Unauthenticated("a valid token is required")
        try:
            claims = jwt.decode(
                token,
                self.key,
                algorithms=["HS256"],
                audience=self.kind,
                # The library reads the wall clock for times; ours is injected.
                options={"require": ["exp", "sub", "jti"], "verify_exp": False, "strict_aud": True},
            )
            found = {name: claims[name] for name in ("clinic", "visit", "sub", "jti", "exp")}
        except (jwt.PyJWTError, TypeError, ValueError, KeyError):
            raise Unauthenticated("a valid token is required") from None
        if not isinstance(found["exp"], int) or found["exp"] <= self.clock():
            raise Unauthenticated("a valid token is required")
        return found


class VisitTokens:
    """Tokens of guests: a ``TokenVerifier``. A guest may do what his role in that visit allows, until it is over."""

    def __init__(self, signing_key: bytes, clock: Callable[[], float]) -> None:
        self._signed = _Signed(hmac.digest(signing_key, b"visit-guests", hashlib.sha256), "auricle-visit", clock)

    def mint(self, *, clinic: str, visit: str, participant: str, name: str, expires_at_s: float) -> str:
        """A token; ``name`` never repeats."""
        return self._signed.mint(
            clinic=clinic, visit=visit, participant=participant, name=name, expires_at_s=expires_at_s
        )

    def verify(self, token: str) -> Principal:
        """See ``TokenVerifier``."""
        claims = self._signed.claims(token)
        return Principal(
            guest_user(claims["sub"]), claims["clinic"], frozenset({"guest"}), claims["exp"], visit=claims["visit"]
        )


class LinkTokens:
    """The secrets of links: a ``TokenVerifier`` for the one route that redeems them; nothing else takes them."""

    def __init__(self, signing_key: bytes, clock: Callable[[], float]) -> None:
        self._signed = _Signed(hmac.digest(signing_key, b"visit-links", hashlib.sha256), "auricle-join", clock)

    def mint(self, *, clinic: str, visit: str, participant: str, name: str, expires_at_s: float) -> str:
        """A link's secret; ``name`` is that of the link."""
        return self._signed.mint(
            clinic=clinic, visit=visit, participant=participant, name=name, expires_at_s=expires_at_s
        )

    def verify(self, token: str) -> Principal:
        """See ``TokenVerifier``. The user is ``PARTICIPANT LINK``: nobody's name has a space."""
        claims = self._signed.claims(token)
        user = f"{claims['sub']} {claims['jti']}"
        return Principal(user, claims["clinic"], frozenset({"guest"}), claims["exp"], visit=claims["visit"])


class AnyOf:
    """A ``TokenVerifier`` over several: the first that knows a token says whose it is."""

    def __init__(self, verifiers: Sequence[TokenVerifier]) -> None:
        self._verifiers = verifiers

    def verify(self, token: str) -> Principal:
        """See ``TokenVerifier``."""
        for verifier in self._verifiers:
            try:
                return verifier.verify(token)
            except Unauthenticated:
                continue
        raise Unauthenticated("a valid token is required")
