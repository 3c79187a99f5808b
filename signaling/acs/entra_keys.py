"""The keys with which a tenant of Entra ID signs: fetched when they are needed, kept while Entra is away.

What is believed, and when to ask, is decided in ``media.entra``. Nobody's token comes here, only the name of a key.
Read ``EntraKeys.key`` first.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import aiohttp
import jwt

from media.entra import Flaw, KeyRing, KeyStep, read_discovery, read_keys

from .trust import trusting

__all__ = ["EntraKeys", "KeyLimits", "KeySource"]

_PIECE_BYTES: Final = 16_384
_HEADERS: Final = {"Accept": "application/json", "Accept-Encoding": "identity"}


@dataclass(frozen=True, slots=True)
class KeySource:
    """``discovery``: the address of the document that says where the keys are, of one of ``issuers``.

    ``ca``: a file with a certificate to trust, "" for the known ones alone. ``https_only``: False in development.
    """

    discovery: str
    issuers: frozenset[str]
    ca: str = ""
    https_only: bool = True


@dataclass(frozen=True, slots=True)
class KeyLimits:
    """``timeout_s``: for both documents. ``again_s``, ``kept_s``: see ``KeyRing``. ``max_waiting``: who waits."""

    timeout_s: float
    again_s: float
    kept_s: float
    max_bytes: int
    max_waiting: int


class EntraKeys:
    """``told`` is told why no keys were had, "" when they were."""

    def __init__(
        self,
        source: KeySource,
        limits: KeyLimits,
        *,
        monotonic: Callable[[], float],
        reached: Callable[[str], None],
        told: Callable[[str], None],
    ) -> None:
        self._source = source
        self._limits = limits
        self._monotonic = monotonic
        self._reached = reached
        self._told = told
        self._ring = KeyRing({})
        self._fetching = asyncio.Lock()
        self._waiting = 0

    async def key(self, name: str) -> jwt.PyJWK | Flaw:
        """A key of the tenant; UNKNOWN_KEY, or KEYS_AWAY when nobody can say."""
        step = self._next(name)
        if step is KeyStep.FETCH:
            if self._waiting >= self._limits.max_waiting:
                self._reached("max_acs_event_waiting")
                return Flaw.KEYS_AWAY
            step = await self._asked(name)
        if step is KeyStep.USE:
            return self._ring.keys[name]
        # It would be asked for now, if that had not been done a moment ago.
        self._reached("acs_event_keys_again_s")
        return Flaw.UNKNOWN_KEY if step is KeyStep.UNKNOWN else Flaw.KEYS_AWAY

    def _next(self, name: str) -> KeyStep:
        limits = self._limits
        return self._ring.next_step(name, self._monotonic(), again_s=limits.again_s, kept_s=limits.kept_s)

    async def _asked(self, name: str) -> KeyStep:
        """Ask for the keys, unless somebody else has in the meantime."""
        self._waiting += 1
        try:
            async with self._fetching:
                if self._next(name) is KeyStep.FETCH:
                    await self._fetch()
                return self._next(name)
        finally:
            self._waiting -= 1

    async def _fetch(self) -> None:
        try:
            async with asyncio.timeout(self._limits.timeout_s):
                keys = await self._read()
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            if isinstance(error, TimeoutError):
                self._reached("acs_timeout_s")
            before, now_s = self._ring, self._monotonic()
            self._ring = before.missed(now_s)
            if before.read_s is not None and now_s - before.read_s >= self._limits.kept_s:
                self._reached("acs_event_keys_kept_s")
            # Texts of other errors quote addresses.
            self._told(str(error) if type(error) is ValueError else type(error).__name__)
        else:
            self._ring = self._ring.had(keys, self._monotonic())
            self._told("")

    async def _read(self) -> dict[str, jwt.PyJWK]:
        # None of their documents is compressed unless that is asked for, and nothing here unpacks anything.
        connector = aiohttp.TCPConnector(ssl=trusting(self._source.ca))
        async with aiohttp.ClientSession(
            connector=connector, cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False, headers=_HEADERS
        ) as http:
            keys_at = read_discovery(await self._document(http, self._source.discovery), self._source.issuers)
            return read_keys(await self._document(http, keys_at))

    async def _document(self, http: aiohttp.ClientSession, url: str) -> bytes:
        if self._source.https_only and not url.startswith("https://"):
            raise ValueError("keys come over https alone")
        found = bytearray()
        async with http.get(url, allow_redirects=False) as answer:
            if answer.status != 200:
                raise ValueError(f"answered with {answer.status}")
            async for piece in answer.content.iter_chunked(_PIECE_BYTES):
                found += piece
                if len(found) > self._limits.max_bytes:
                    self._reached("max_acs_event_document_bytes")
                    raise ValueError("a document is too large")
        return bytes(found)
