"""Azure Notification Hubs without a socket: the address, the signature, and what an answer means for a push.

Direct send: one push to one device handle, with no registration kept at the service, so that it learns no more than it
must. Of a connection string nothing is ever quoted, it holds a key. This module must not know how bytes travel. Read
``outcome_of`` first.
"""

import base64
import hashlib
import hmac
import re
from dataclasses import dataclass, field
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Final
from urllib.parse import quote

from .push import Gone, Later, PushOutcome, Refused, Sent

__all__ = [
    "API_VERSION",
    "DEFAULT_RETRY_S",
    "Answer",
    "HubAddress",
    "hub_address",
    "outcome_of",
    "retry_after_s",
    "sas_token",
]

API_VERSION: Final = "2015-04"
# How long to wait when the service does not say, and the longest that it may say.
DEFAULT_RETRY_S: Final = 30.0
MAX_RETRY_S: Final = 3_600.0
QUOTA_RETRY_S: Final = 300.0

_HOST: Final = re.compile(r"[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?")
_HUB: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,258}[A-Za-z0-9])?")
# A token and a signature travel there.
_URL: Final = re.compile(
    r"(?:https://(?:\[[0-9a-fA-F:.]+\]|[A-Za-z0-9.-]+)|http://(?:127\.0\.0\.1|\[::1\]|localhost))(?::[0-9]{1,5})?"
)
# What APNs, FCM and the service call a token that is dead. 404 alone also says that there is no such hub, and
# would take the tokens of everybody for dead because one name in a configuration is wrong.
_DEAD_TOKEN: Final = re.compile(
    r"(?i)\b(BadDeviceToken|ExpiredToken|Unregistered|NotRegistered|BadChannel|ExpiredChannel)\b"
)
_REFUSALS: Final = {
    400: "push_malformed",
    401: "push_unauthorized",
    404: "push_hub_unknown",
    413: "push_too_large",
}
# Client errors that pass by themselves: a quota, a request that took too long, one that came too early, too many.
_FOR_NOW: Final = (403, 408, 425, 429)


@dataclass(frozen=True, slots=True)
class HubAddress:
    """Where a hub is and who may send: ``endpoint`` is ``https://HOST``, ``key`` the key's text as it is.

    ``url``: where it is reached when that is not its endpoint, "" when it is.
    """

    endpoint: str
    hub: str
    key_name: str
    key: str = field(repr=False)
    url: str = ""

    @property
    def resource(self) -> str:
        """What a signature is good for."""
        return f"{self.endpoint}/{self.hub}"

    @property
    def send_url(self) -> str:
        """Where a direct send goes."""
        return f"{self.url or self.endpoint}/{self.hub}/messages/?direct&api-version={API_VERSION}"


def hub_address(connection_string: str, hub: str, *, url: str = "") -> HubAddress:
    """Read ``Endpoint=sb://HOST/;SharedAccessKeyName=NAME;SharedAccessKey=KEY`` in any order; the key may hold ``=``.

    Raises:
        ValueError: a part is missing, doubled or malformed, named but not quoted; or ``hub`` is no name of a hub; or
            ``url`` has a path, or is neither https nor of this machine.
    """
    parts: dict[str, str] = {}
    for part in filter(None, map(str.strip, connection_string.split(";"))):
        name, equals, value = part.partition("=")
        name = name.strip().lower()
        if not equals or name in parts:
            raise ValueError("must be like Endpoint=sb://...;SharedAccessKeyName=...;SharedAccessKey=...")
        parts[name] = value.strip()
    for name in ("Endpoint", "SharedAccessKeyName", "SharedAccessKey"):
        if not parts.get(name.lower()):
            raise ValueError(f"{name} is missing")
    scheme, _, rest = parts["endpoint"].lower().partition("://")
    host = rest.removesuffix("/")
    if scheme not in ("sb", "https") or not _HOST.fullmatch(host):
        raise ValueError("Endpoint must be like sb://NAMESPACE.servicebus.windows.net/")
    if not _HUB.fullmatch(hub):
        raise ValueError(
            "the name of the hub is missing or has other characters than letters, digits, '.', '_' and '-'"
        )
    if url and not _URL.fullmatch(url):
        raise ValueError("the url must be like https://name:port, without a path, or http:// of this machine")
    return HubAddress(f"https://{host}", hub, parts["sharedaccesskeyname"], parts["sharedaccesskey"], url)


def sas_token(address: HubAddress, *, expires_at_s: int) -> str:
    """The ``Authorization`` header: HMAC-SHA256 over the resource and its end, with the bytes of the key's text."""
    resource = quote(address.resource, safe="").lower()
    signed = f"{resource}\n{expires_at_s}".encode()
    signature = base64.b64encode(hmac.digest(address.key.encode(), signed, hashlib.sha256)).decode()
    name = quote(address.key_name, safe="")
    return f"SharedAccessSignature sr={resource}&sig={quote(signature, safe='')}&se={expires_at_s}&skn={name}"


@dataclass(frozen=True, slots=True)
class Answer:
    """What the service said: status, the ``Retry-After`` header, and the beginning of the body of an error."""

    status: int
    retry_after: str | None = None
    detail: str = ""


def outcome_of(answer: Answer, *, now_s: float) -> PushOutcome:
    """What an answer means for the push. ``now_s``: Unix time, for a ``Retry-After`` that is a date."""
    status = answer.status
    if 200 <= status < 300:
        return Sent()
    if status == 410 or (status in (400, 404) and _DEAD_TOKEN.search(answer.detail)):
        return Gone()
    if 400 <= status < 500 and status not in _FOR_NOW:
        return Refused(_REFUSALS.get(status, "push_refused"))
    asked_s = retry_after_s(answer.retry_after, now_s=now_s)
    return Later(asked_s or (QUOTA_RETRY_S if status == 403 else DEFAULT_RETRY_S))


def retry_after_s(header: str | None, *, now_s: float) -> float | None:
    """Seconds of a ``Retry-After`` header, which is seconds or an HTTP date; 1 to 3,600. None for what is neither."""
    if header is None:
        return None
    header = header.strip()
    if header.isascii() and header.isdecimal():
        wait_s = float(header)
    else:
        try:
            until = parsedate_to_datetime(header)
        except ValueError:
            return None
        # A date with -0000 has no zone; all HTTP dates are in UTC.
        wait_s = (until if until.tzinfo else until.replace(tzinfo=UTC)).timestamp() - now_s
    return min(max(wait_s, 1.0), MAX_RETRY_S)
