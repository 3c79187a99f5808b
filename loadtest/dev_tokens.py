"""Development tokens for load tests, without the server's code: HS256 (RFC 7519, RFC 7515) by the standard library.

A JWT library imports ssl, and that must not happen before Locust has patched it. It must not know who the users are.
Read ``mint`` first.
"""

import base64
import hashlib
import hmac
import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Final

__all__ = ["KEY_VARIABLE", "KeyMissing", "find_key", "mint"]

KEY_VARIABLE: Final = "AURICLE_DEV_SIGNING_KEY"
_DATA_VARIABLE: Final = "AURICLE_DATA"
_KEY_FILE: Final = "dev-signing-key"
_ISSUER: Final = "auricle-dev"
_AUDIENCE: Final = "auricle"


class KeyMissing(Exception):
    """There is no signing key where one was looked for."""


def find_key(environ: Mapping[str, str], file: Path | None = None) -> bytes:
    """The signing key: in ``file`` when one is named, else in the environment, else in the server's data folder.

    Raises KeyMissing, naming the place.
    """
    if file is None and environ.get(KEY_VARIABLE):
        return environ[KEY_VARIABLE].encode()
    folder = Path(environ.get(_DATA_VARIABLE) or Path.home() / ".auricle")
    path = folder / _KEY_FILE if file is None else file
    try:
        key = path.read_bytes().strip()
    except OSError as error:
        raise KeyMissing(f"cannot read a signing key from {path}: {error.strerror}") from None
    if not key:
        raise KeyMissing(f"{path} holds no signing key")
    return key


def mint(
    key: bytes, *, user: str, clinic: str, roles: Collection[str], now_s: float, expires_in_s: float = 86_400.0
) -> str:
    """A token that the server takes while ``key`` is its key; ``now_s`` is Unix time."""
    claims = {
        "iss": _ISSUER,
        "aud": _AUDIENCE,
        "sub": user,
        "clinic": clinic,
        "roles": sorted(roles),
        "iat": int(now_s),
        "exp": int(now_s + expires_in_s),
    }
    signed = f"{_segment({'alg': 'HS256', 'typ': 'JWT'})}.{_segment(claims)}"
    return f"{signed}.{_base64url(hmac.digest(key, signed.encode(), hashlib.sha256))}"


def _segment(value: object) -> str:
    return _base64url(json.dumps(value, separators=(",", ":")).encode())


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
