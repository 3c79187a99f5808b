"""Who is calling: from a bearer token to a Principal.

``TokenVerifier`` is the port; development tokens (HS256, one key) are the implementation for a laptop
and for tests. A token, and why it was refused, is never logged and never told to the caller.
"""

import base64
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, Literal, Protocol, get_args

import jwt

from protocol.errors import Unauthenticated

from .config import MIN_SIGNING_KEY_BYTES, Config, ConfigError

__all__ = [
    "ROLES",
    "DevTokens",
    "Principal",
    "Role",
    "TokenVerifier",
    "dev_signing_key",
    "find_signing_key",
    "signing_key_of",
]

# A guest has no account: he takes part in one visit, which his token names.
Role = Literal["clinician", "assistant", "patient", "representative", "device", "admin", "service", "auditor", "guest"]
ROLES: Final[frozenset[str]] = frozenset(get_args(Role))
KEY_FILE = "dev-signing-key"
MAX_TOKEN_CHARS = 8_192
ISSUER = "auricle-dev"
AUDIENCE = "auricle"


@dataclass(frozen=True, slots=True)
class Principal:
    """The caller. ``expires_at_s`` is Unix time: a connection does not outlive it. ``visit`` is that of a guest."""

    user: str
    clinic: str
    roles: frozenset[str]
    expires_at_s: float
    visit: str = ""


class TokenVerifier(Protocol):
    """Turns a token into a Principal."""

    def verify(self, token: str) -> Principal:
        """Check signature, issuer, audience, time and claims.

        Raises:
            Unauthenticated: anything is wrong with it; the message is the same for every cause.
        """
        ...


class DevTokens:
    """Mints and verifies development tokens with one symmetric key (RFC 7519, HS256)."""

    def __init__(self, key: bytes, clock: Callable[[], float]) -> None:
        self._key = key
        self._clock = clock
        # Looked over by the library now, and not for each token.
        encoded = base64.urlsafe_b64encode(key).decode()
        self._verifying = jwt.PyJWK({"kty": "oct", "k": encoded}, "HS256")

    def mint(self, *, user: str, clinic: str, roles: frozenset[str], expires_in_s: float) -> str:
        """A token; a negative ``expires_in_s`` gives an expired one, for tests of clients."""
        now = self._clock()
        claims = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": user,
            "clinic": clinic,
            "roles": sorted(roles),
            "iat": int(now),
            "exp": int(now + expires_in_s),
        }
        return jwt.encode(claims, self._key, algorithm="HS256")

    def verify(self, token: str) -> Principal:
        """See ``TokenVerifier``. No leeway: the same clock minted it.

        A header that names a key, or anything else than what ``mint`` writes, is refused before the signature is
        looked at: there is one key, and no token says which.
        """
        if len(token) > MAX_TOKEN_CHARS:
            raise Unauthenticated("a valid token is required")
        try:
            if not _names_no_key(token.partition(".")[0]):
                raise ValueError
            claims = jwt.decode(
                token,
                self._verifying,
                algorithms=["HS256"],
                audience=AUDIENCE,
                issuer=ISSUER,
                # The library reads the wall clock for times; ours is injected.
                options={
                    "require": ["exp", "sub"],
                    "verify_exp": False,
                    "verify_iat": False,
                    "verify_nbf": False,
                    "strict_aud": True,
                },
            )
            principal = _principal(claims)
            if not _whole(claims.get("nbf", 0)) <= self._clock():
                raise ValueError
        except (jwt.PyJWTError, TypeError, ValueError, KeyError):
            raise Unauthenticated("a valid token is required") from None
        if principal.expires_at_s <= self._clock():
            raise Unauthenticated("a valid token is required")
        return principal


# Nearly all tokens have one and the same.
@lru_cache(maxsize=64)
def _names_no_key(head: str) -> bool:
    """Whether the header of a token, the part before its first dot, says nothing but what ``mint`` writes."""
    header = jwt.get_unverified_header(f"{head}..")
    return header.keys() <= {"alg", "typ"} and header.get("typ", "JWT") == "JWT"


def _principal(claims: dict[str, Any]) -> Principal:
    roles = frozenset(claims["roles"])
    user, clinic, expires_at_s = claims["sub"], claims["clinic"], claims["exp"]
    names_are_text = isinstance(user, str) and isinstance(clinic, str)
    # The log keeps who did what, and PostgreSQL cannot keep this character.
    if not names_are_text or "\0" in user + clinic or not user or not clinic or not roles or not roles <= ROLES:
        raise ValueError
    return Principal(user=user, clinic=clinic, roles=roles, expires_at_s=_whole(expires_at_s))


def _whole(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError
    return value


def find_signing_key(configured: str, data: Path) -> bytes | None:
    """The key of the development tokens: configured, or kept in the data folder by an earlier start.

    Raises:
        ConfigError: the key file is there but unreadable or too short.
    """
    if configured:
        return configured.encode()
    path = data / KEY_FILE
    try:
        key = path.read_bytes().strip()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from None
    if len(key) < MIN_SIGNING_KEY_BYTES:
        raise ConfigError(f"{path}: the key must have at least {MIN_SIGNING_KEY_BYTES} bytes")
    return key


def dev_signing_key(configured: str, data: Path) -> bytes:
    """As ``find_signing_key``, but makes a key and keeps it (mode 0600) when there is none.

    Raises:
        ConfigError: as ``find_signing_key``, or the data folder cannot be written.
    """
    key = find_signing_key(configured, data)
    if key is not None:
        return key
    key = secrets.token_urlsafe(48).encode()
    try:
        data.mkdir(parents=True, exist_ok=True, mode=0o700)
        # In one step: a crash in between must not leave half a key behind.
        draft = data / f"{KEY_FILE}.{secrets.token_hex(4)}"
        draft.touch(mode=0o600)
        draft.write_bytes(key + b"\n")
        draft.replace(data / KEY_FILE)
    except OSError as error:
        raise ConfigError(f"cannot keep a signing key in {data}: {error.strerror}") from None
    return key


def signing_key_of(config: Config) -> bytes:
    """The key of this server's tokens; in development it is made when there is none.

    Raises:
        ConfigError: there is none, or it cannot be read or kept.
    """
    if config.dev:
        return dev_signing_key(config.dev_signing_key, config.data)
    key = find_signing_key(config.dev_signing_key, config.data) if config.dev_signing_key else None
    if key is None:
        raise ConfigError("nothing can verify tokens: start with --dev, or set AURICLE_DEV_SIGNING_KEY")
    return key
