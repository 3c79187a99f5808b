"""Whether a request is signed with an access key: HMAC-SHA256 over its raw target, its date, host and content hash.

Pure: the time is an argument. Read ``check_signature`` first.
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Final
from urllib.parse import unquote

from .answers import Breach

__all__ = ["SKEW_S", "Signed", "check_signature", "signature"]

# Public: a request is good for 15 minutes. Assumed: before and after.
SKEW_S: Final = 900
# Read: the only list of headers that the SDKs sign.
_SIGNED_HEADERS: Final = "x-ms-date;host;x-ms-content-sha256"


@dataclass(frozen=True, slots=True)
class Signed:
    """What of a request is signed. ``target`` is that of its first line, exactly as it came."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes


def signature(key: str, request: Signed) -> str:
    """What the holder of ``key`` (base64) writes into ``Signature``."""
    headers = request.headers
    values = ";".join(headers.get(name, "") for name in _SIGNED_HEADERS.split(";"))
    text = f"{request.method}\n{request.target}\n{values}"
    return base64.b64encode(hmac.digest(base64.b64decode(key), text.encode(), hashlib.sha256)).decode()


def check_signature(request: Signed, keys: Iterable[str], now_s: float) -> None:
    """Raises Breach, always 401. ``keys``: those that are good now, base64; ``now_s`` is Unix time."""
    scheme, _, rest = request.headers.get("Authorization", "").partition(" ")
    parts = dict(part.partition("=")[::2] for part in rest.split("&"))
    if scheme != "HMAC-SHA256" or parts.get("SignedHeaders") != _SIGNED_HEADERS:
        raise Breach(401, "Denied", "Denied by the resource provider: no signature")
    _check_date(request.headers.get("x-ms-date", ""), now_s)
    hashed = base64.b64encode(hashlib.sha256(request.body).digest()).decode()
    if request.headers.get("x-ms-content-sha256") != hashed:
        raise Breach(401, "Denied", "Denied by the resource provider: the content hash is wrong")
    given = parts.get("Signature", "")
    if not any(_is_of(request, key, given) for key in keys):
        raise Breach(401, "Denied", "Denied by the resource provider: the signature is wrong")


def _is_of(request: Signed, key: str, given: str) -> bool:
    # Read: the SDKs of today sign what is unquoted and may send what is quoted, so both are the same target.
    targets = (request.target, unquote(request.target))
    try:
        return any(
            hmac.compare_digest(signature(key, Signed(request.method, one, request.headers, request.body)), given)
            for one in targets
        )
    except (binascii.Error, TypeError):
        return False


def _check_date(text: str, now_s: float) -> None:
    try:
        at_s = parsedate_to_datetime(text).timestamp()
    except ValueError:
        raise Breach(401, "Denied", "Denied by the resource provider: x-ms-date is no date") from None
    if abs(at_s - now_s) > SKEW_S:
        raise Breach(401, "Denied", "Denied by the resource provider: x-ms-date is too far from now")
