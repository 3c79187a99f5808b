"""Who must not come in: pages of other sites, people without a token, and people with one that was made up.

Each is asked of the negotiation and of the WebSocket, because a proxy may treat them differently. What should be
refused and is not fails. Read ``forged_token`` first.
"""

import base64
import hashlib
import json
import secrets
from collections.abc import Mapping
from typing import Final

from clients.probe.negotiation import ask_to_negotiate
from clients.probe.target import Target
from clients.probe.verdicts import Trouble, Verdict, ok
from clients.probe.web import browser_of, fetch

__all__ = ["foreign_origin", "forged_token", "missing_token"]

_FOREIGN: Final = "https://foreign.invalid"  # RFC 2606: nobody's
_UNAUTHENTICATED: Final = 401
_FORBIDDEN: Final = 403
_UPGRADE: Final = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
}


async def foreign_origin(target: Target) -> Verdict:
    """A page of another site must not use the token that a browser sends along."""
    await _refused(target, target.authorization | {"Origin": _FOREIGN}, _FORBIDDEN, "a page of another site")
    return ok(f"a page of another site is refused ({_FORBIDDEN})")


async def missing_token(target: Target) -> Verdict:
    """Nobody comes in without a token."""
    await _refused(target, {}, _UNAUTHENTICATED, "a caller without a token")
    return ok(f"no token is refused ({_UNAUTHENTICATED})")


async def forged_token(target: Target) -> Verdict:
    """Nobody comes in with another signature under a token, nor with one that says it needs none."""
    tokens = _forged(target.token)
    for what, token in tokens.items():
        await _refused(target, {"Authorization": f"Bearer {token}"}, _UNAUTHENTICATED, what)
    return ok(f"{len(tokens)} forged tokens are refused ({_UNAUTHENTICATED})")


async def _refused(target: Target, headers: Mapping[str, str], status: int, who: str) -> None:
    """Raises Trouble when it is not refused just so."""
    async with browser_of(target) as browser:
        answer = await ask_to_negotiate(browser, target, headers)
        if answer.status != status:
            raise Trouble(_let_in(who, "negotiate", answer.status, status))
        key = base64.b64encode(secrets.token_bytes(16)).decode()
        answer = await fetch(browser, "GET", target.hub, headers={**headers, **_UPGRADE, "Sec-WebSocket-Key": key})
        if answer.status != status:
            raise Trouble(_let_in(who, "the WebSocket", answer.status, status))


def _let_in(who: str, where: str, status: int, wanted: int) -> str:
    if status in (101, 200):
        return f"{where}: {who} is LET IN ({status})"
    return f"{where}: {who} was answered with {status}, not {wanted}"


def _forged(token: str | None) -> dict[str, str]:
    """By what was done to them: forged copies of the given token, or of one that was made up."""
    parts = (token or "").split(".")
    claims = parts[1] if len(parts) == 3 else _segment({"sub": "probe", "exp": 4_102_444_800})
    head = parts[0] if len(parts) == 3 else _segment({"alg": "HS256", "typ": "JWT"})
    another = base64.urlsafe_b64encode(hashlib.sha256(secrets.token_bytes(32)).digest()).rstrip(b"=").decode()
    return {
        "a token with another signature": f"{head}.{claims}.{another}",
        "a token that says it is not signed": f"{_segment({'alg': 'none', 'typ': 'JWT'})}.{claims}.",
    }


def _segment(value: Mapping[str, object]) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()
