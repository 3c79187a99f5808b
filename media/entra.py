"""Whether a token is one that Entra ID has signed for who may tell us of events, and with which key. Fetches nothing.

A tenant publishes where its keys are (a discovery document) and the keys (JWKS). A token is believed only when one of
them has signed it with RS256, for us, for one of the publishers that are expected, and now. Time is an argument. Read
``flaw_of`` first, then ``KeyRing.next_step``.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum, StrEnum, auto
from typing import Any, Final

import jwt
import msgspec
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from jwt.types import Options

__all__ = [
    "DISCOVERY",
    "MAX_TOKEN_CHARS",
    "SKEW_S",
    "Expected",
    "Flaw",
    "KeyRing",
    "KeyStep",
    "discovery_of",
    "flaw_of",
    "issuers_of",
    "key_id_of",
    "read_discovery",
    "read_keys",
]

DISCOVERY: Final = "/.well-known/openid-configuration"
_PUBLIC_CLOUD: Final = "https://login.microsoftonline.com"
MAX_TOKEN_CHARS: Final = 8_192
# Clocks may be off by so much.
SKEW_S: Final = 300.0
_ALGORITHM: Final = "RS256"
_KEY_BITS: Final = range(2_048, 8_193)
_MAX_KEYS: Final = 64
_MAX_KEY_ID_CHARS: Final = 256
# The library reads the wall clock, and takes more forms of a claim than are ever issued.
_SIGNATURE_ALONE: Final[Options] = {
    "verify_signature": True,
    "verify_exp": False,
    "verify_nbf": False,
    "verify_iat": False,
    "verify_aud": False,
    "verify_iss": False,
    "verify_sub": False,
    "verify_jti": False,
}
# Keys are looked at again after an hour: new ones are published long before they sign.
_FRESH_S: Final = 3_600.0


class Flaw(StrEnum):
    """What is wrong with who wants to tell us something. The words are stable."""

    MISSING = "no_credentials"
    SECRET = "wrong_secret"  # noqa: S105  # a word
    MALFORMED = "malformed"
    ALGORITHM = "algorithm"
    UNKNOWN_KEY = "unknown_key"
    KEYS_AWAY = "keys_away"
    """Nobody can say: the keys were not to be had."""
    SIGNATURE = "signature"
    ISSUER = "issuer"
    AUDIENCE = "audience"
    PUBLISHER = "publisher"
    EXPIRED = "expired"
    EARLY = "not_yet_valid"
    TOPIC = "topic"


@dataclass(frozen=True, slots=True)
class Expected:
    """Of a token: who has signed it, for whom (any of them), and on behalf of which application."""

    issuers: frozenset[str]
    audiences: frozenset[str]
    publishers: frozenset[str]


def discovery_of(tenant: str) -> str:
    """Where a tenant of the public cloud says where its keys are."""
    return f"{_PUBLIC_CLOUD}/{tenant}/v2.0{DISCOVERY}"


def issuers_of(tenant: str, discovery: str) -> tuple[str, str]:
    """How tokens of version 2 and of version 1 call it."""
    return discovery.removesuffix(DISCOVERY), f"https://sts.windows.net/{tenant}/"


def key_id_of(token: str) -> str | Flaw:
    """The name of the key that has signed a token, as far as its header can be believed to say so."""
    if len(token) > MAX_TOKEN_CHARS:
        return Flaw.MALFORMED
    try:
        header = jwt.get_unverified_header(token)
    except jwt.PyJWTError:
        return Flaw.MALFORMED
    if header.get("alg") != _ALGORITHM:
        return Flaw.ALGORITHM
    key_id = header.get("kid")
    # What a header says is critical would have to be understood.
    if not isinstance(key_id, str) or not 0 < len(key_id) <= _MAX_KEY_ID_CHARS or "crit" in header:
        return Flaw.MALFORMED
    return key_id


def flaw_of(token: str, key: jwt.PyJWK, expected: Expected, now_s: float) -> Flaw | None:
    """What is wrong with a token that ``key`` is said to have signed; ``now_s`` is Unix time."""
    try:
        claims: dict[str, Any] = jwt.decode(token, key, algorithms=[_ALGORITHM], options=_SIGNATURE_ALONE)
    except jwt.InvalidSignatureError:
        return Flaw.SIGNATURE
    except (jwt.PyJWTError, ValueError, RecursionError):
        return Flaw.MALFORMED
    return _flaw_of_claims(claims, expected, now_s)


def _flaw_of_claims(claims: Mapping[str, Any], expected: Expected, now_s: float) -> Flaw | None:
    if not _is_in(claims.get("iss"), expected.issuers):
        return Flaw.ISSUER
    if not _is_in(claims.get("aud"), expected.audiences):
        return Flaw.AUDIENCE
    # Version 2 of a token calls its application ``azp``, version 1 ``appid``.
    applications = [claims[name] for name in ("azp", "appid") if name in claims]
    if not applications or not all(_is_in(one, expected.publishers) for one in applications):
        return Flaw.PUBLISHER
    ends_s, begins_s = _seconds(claims.get("exp")), _seconds(claims.get("nbf"))
    if ends_s is None or begins_s is None:
        return Flaw.MALFORMED
    if ends_s + SKEW_S <= now_s:
        return Flaw.EXPIRED
    return Flaw.EARLY if begins_s - SKEW_S > now_s else None


def _is_in(value: object, wanted: frozenset[str]) -> bool:
    return isinstance(value, str) and value in wanted


def _seconds(value: object) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and math.isfinite(value) else None  # type: ignore[arg-type]  # it is a number


class _Discovery(msgspec.Struct, frozen=True):
    issuer: str
    jwks_uri: str


class _KeySet(msgspec.Struct, frozen=True):
    keys: list[dict[str, Any]]


def read_discovery(document: bytes, issuers: frozenset[str]) -> str:
    """Where the keys of a tenant are.

    Raises:
        ValueError: it is no such document, or that of another issuer; nothing of it is quoted.
    """
    try:
        found = msgspec.json.decode(document, type=_Discovery)
    except (msgspec.MsgspecError, RecursionError):
        raise ValueError("it is no discovery document") from None
    if found.issuer not in issuers:
        raise ValueError("it is the document of another issuer")
    return found.jwks_uri


def read_keys(document: bytes) -> dict[str, jwt.PyJWK]:
    """The keys of a JWKS document that can sign with RS256, by name.

    Raises:
        ValueError: it is no such document, or has none; nothing of it is quoted.
    """
    try:
        found = msgspec.json.decode(document, type=_KeySet)
    except (msgspec.MsgspecError, RecursionError):
        raise ValueError("it is no JWKS document") from None
    keys = {name: key for one in found.keys[:_MAX_KEYS] for name, key in _read_key(one)}
    if not keys:
        raise ValueError("it has no key for RS256")
    return keys


def _read_key(given: dict[str, Any]) -> list[tuple[str, jwt.PyJWK]]:
    """One key; none when it is of another kind, or weak."""
    name = given.get("kid")
    is_fit = (
        given.get("kty") == "RSA" and given.get("use", "sig") == "sig" and given.get("alg", _ALGORITHM) == _ALGORITHM
    )
    if not is_fit or not isinstance(name, str) or not 0 < len(name) <= _MAX_KEY_ID_CHARS:
        return []
    try:
        # Only what makes a public key: one that came with its private part is none of Entra's.
        key = jwt.PyJWK({part: given[part] for part in ("kty", "n", "e")}, _ALGORITHM)
    except (jwt.PyJWTError, KeyError, TypeError, ValueError):
        return []
    return [(name, key)] if isinstance(key.key, RSAPublicKey) and key.key.key_size in _KEY_BITS else []


class KeyStep(Enum):
    """What to do about a key that somebody names."""

    USE = auto()
    FETCH = auto()
    UNKNOWN = auto()
    """There is no such key."""
    AWAY = auto()
    """Whether there is one cannot be found out now."""


@dataclass(frozen=True, slots=True)
class KeyRing:
    """The keys as they were read last. Times only rise, in seconds; None: never."""

    keys: Mapping[str, jwt.PyJWK]
    read_s: float | None = None
    tried_s: float | None = None

    def next_step(self, key_id: str, now_s: float, *, again_s: float, kept_s: float) -> KeyStep:
        """``again_s``: keys are asked for so often at most. ``kept_s``: how long they are good while none are had."""
        age_s = math.inf if self.read_s is None else now_s - self.read_s
        is_known = key_id in self.keys and age_s < kept_s
        if is_known and age_s < _FRESH_S:
            return KeyStep.USE
        if self.tried_s is None or now_s - self.tried_s >= again_s:
            return KeyStep.FETCH
        if is_known:
            return KeyStep.USE
        return KeyStep.UNKNOWN if self.read_s == self.tried_s else KeyStep.AWAY

    def had(self, keys: Mapping[str, jwt.PyJWK], now_s: float) -> "KeyRing":
        """They were read."""
        return KeyRing(keys, now_s, now_s)

    def missed(self, now_s: float) -> "KeyRing":
        """They were not to be had."""
        return replace(self, tried_s=now_s)
