"""Whether what Event Grid tells is taken from nobody else, and whether the keys of its tenant can be had.

Nothing is told here, and no token is shown: only Event Grid has one. Read ``events``.
"""

import asyncio
import ssl
from typing import Final

import aiohttp

from clients.probe.target import Target
from clients.probe.verdicts import Trouble, Verdict, ok, skip
from clients.probe.web import browser_of, fetch
from media.entra import read_discovery, read_keys

__all__ = ["events"]

_PATH: Final = "/acs/events"
_MOST_BYTES: Final = 262_144


async def events(target: Target) -> Verdict:
    """Ask as somebody unknown, then for the keys as the server does."""
    headers = {"Content-Type": "application/json"}
    async with browser_of(target) as browser:
        answer = await fetch(browser, "POST", target.base + _PATH, headers=headers, data=b"[]")
    if answer.status == 404:
        return skip("Event Grid is not listened to: threads are looked at every acs_poll_s")
    if answer.status != 401:
        raise Trouble(f"{_PATH} was answered with {answer.status} to somebody unknown: is it passed on?")
    if not target.acs_keys[0]:
        return ok(f"{_PATH} takes nothing from somebody unknown")
    return ok(f"{_PATH} takes nothing from somebody unknown; the tenant has {await _keys(target)} keys")


async def _keys(target: Target) -> int:
    discovery, issuers = target.acs_keys
    context = ssl.create_default_context()
    if target.acs_ca:
        context.load_verify_locations(target.acs_ca)
    try:
        async with (
            asyncio.timeout(target.timeout_s),
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as http,
        ):
            keys_at = read_discovery(await _document(http, discovery), frozenset(issuers))
            return len(read_keys(await _document(http, keys_at)))
    # Errors of certificates are of both kinds.
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        raise Trouble(f"the keys of acs_event_tenant are not had: {type(error).__name__}") from None
    except ValueError as error:
        raise Trouble(f"the keys of acs_event_tenant are not had: {error}") from None


async def _document(http: aiohttp.ClientSession, url: str) -> bytes:
    async with http.get(url, allow_redirects=False) as answer:
        if answer.status != 200:
            raise ValueError(f"answered with {answer.status}")
        found = bytearray()
        async for piece in answer.content.iter_chunked(_MOST_BYTES):
            found += piece
            if len(found) > _MOST_BYTES:
                raise ValueError("a document is too large")
        return bytes(found)
