"""The tokens of users: real three-part JWTs, since clients read ``exp`` of them. Read ``issue`` and ``opened``."""

from dataclasses import dataclass
from typing import Any, Final

import jwt

from .answers import Breach
from .state import Identity, Resource, iso

__all__ = ["SCOPES", "UserToken", "issue", "minutes_of", "opened", "scopes_of"]

# Read: all scopes that there are.
SCOPES: Final = frozenset({"chat", "voip", "chat.join", "chat.join.limited", "voip.join"})


@dataclass(frozen=True, slots=True)
class UserToken:
    """Who, and what for."""

    identity: Identity
    scopes: frozenset[str]


def scopes_of(value: Any) -> tuple[str, ...]:
    """Public: at least one, each a known one. Raises Breach."""
    if not isinstance(value, list) or not value or not set(value) <= SCOPES:
        raise Breach(400, "ValidationError", "scopes: one or more known ones are wanted")
    return tuple(value)


def minutes_of(value: Any) -> int:
    """Read: one hour to a day, a day when nothing is said. Raises Breach."""
    if value is None:
        return 1_440
    if not isinstance(value, int) or not 60 <= value <= 1_440:
        raise Breach(400, "ValidationError", "expiresInMinutes: 60 to 1440")
    return value


def issue(
    resource: Resource, identity: Identity, scopes: tuple[str, ...], minutes: int, now_s: float
) -> dict[str, str]:
    """Public: what is in one. Read: the answer, whose ``expiresOn`` is text."""
    identity.issued += 1
    ends_s = int(now_s) + minutes * 60
    claims = {
        "skypeid": identity.id.removeprefix("8:"),
        "scp": 1792,
        "csi": str(int(now_s)),
        "exp": ends_s,
        # The fake's own: when it was issued, so that one that was revoked in the same second is told apart.
        "at": now_s,
        "n": identity.issued,
        "acsScope": ",".join(scopes),
        "resourceId": resource.id,
        "iat": int(now_s),
    }
    return {
        "token": jwt.encode(claims, resource.token_key, algorithm="HS256"),
        "expiresOn": iso(ends_s),
    }


def opened(resource: Resource, header: str, now_s: float) -> UserToken:
    """Whose a bearer token is. Assumed: 401 for all that is wrong with one. Raises Breach."""
    scheme, _, token = header.partition(" ")
    if scheme != "Bearer":
        raise Breach(401, "Unauthorized", "a user's token is wanted")
    try:
        claims = jwt.decode(token, resource.token_key, algorithms=["HS256"], options={"verify_exp": False})
    except jwt.InvalidTokenError:
        raise Breach(401, "Unauthorized", "the token is none of this resource") from None
    identity = resource.identities.get(f"8:{claims['skypeid']}")
    if claims["exp"] <= now_s:
        raise Breach(401, "Unauthorized", "the token has expired")
    if identity is None or claims["at"] <= identity.revoked_at_s:
        raise Breach(401, "Unauthorized", "the token was revoked")
    return UserToken(identity, frozenset(claims["acsScope"].split(",")))
