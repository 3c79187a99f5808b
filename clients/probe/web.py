"""HTTP as a probe needs it: each request on a TCP connection of its own, answers bounded, errors in plain words.

Nothing is followed, kept or repeated, so that every answer is that of the server behind this very connection. It must
not know what is asked for. Read ``fetch`` first.
"""

import os
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import aiohttp

from clients.probe.target import Target
from clients.probe.verdicts import Trouble

__all__ = ["MAX_BODY_BYTES", "Answer", "browser_of", "fetch", "in_plain_words"]

MAX_BODY_BYTES: Final = 65_536


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server said. ``body`` is cut off at ``MAX_BODY_BYTES``."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def browser_of(target: Target, *, cookies: bool = True) -> aiohttp.ClientSession:
    """Makes requests, each on a new TCP connection; its total time is the caller's to bound.

    ``cookies``: what a balancer sets is shown to it again, as browsers do.
    """
    jar = aiohttp.CookieJar(unsafe=True) if cookies else aiohttp.DummyCookieJar()
    connector = aiohttp.TCPConnector(force_close=True, ssl=target.tls or True)
    timeout = aiohttp.ClientTimeout(total=None)
    return aiohttp.ClientSession(connector=connector, cookie_jar=jar, timeout=timeout)


async def fetch(
    browser: aiohttp.ClientSession,
    method: str,
    url: str,
    *,
    headers: Mapping[str, str],
    params: Mapping[str, str] | None = None,
    data: bytes | None = None,
) -> Answer:
    """One request and its answer. Raises Trouble when there is none."""
    async with (
        in_plain_words(),
        browser.request(method, url, headers=headers, params=params, data=data, allow_redirects=False) as response,
    ):
        body = bytearray()
        async for piece in response.content.iter_chunked(MAX_BODY_BYTES):
            body += piece
            if len(body) >= MAX_BODY_BYTES:
                break
        return Answer(response.status, response.headers, bytes(body[:MAX_BODY_BYTES]))


@asynccontextmanager
async def in_plain_words() -> AsyncIterator[None]:
    """Every error of the network becomes a Trouble that names no URL: one may hold the token of a connection."""
    try:
        yield
    except aiohttp.ClientConnectorCertificateError as error:
        raise Trouble(_certificate_words(error.certificate_error)) from None
    except aiohttp.WSServerHandshakeError as error:
        raise Trouble(f"the WebSocket was refused with {error.status}") from None
    except aiohttp.ClientConnectorError as error:
        raise Trouble(_system_words(error.os_error)) from None
    except aiohttp.ClientError as error:
        raise Trouble(f"no HTTP answer ({type(error).__name__})") from None
    except TimeoutError:
        raise  # whoever set the time says how long it was
    except ssl.SSLError as error:
        raise Trouble(_certificate_words(error)) from None
    except OSError as error:
        raise Trouble(_system_words(error)) from None


def _certificate_words(error: BaseException) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate is not good: {error.verify_message}"
    return f"no TLS ({getattr(error, 'reason', None) or type(error).__name__})"


def _system_words(error: BaseException) -> str:
    # asyncio puts the address into the text.
    number = getattr(error, "errno", None)
    return os.strerror(number) if isinstance(number, int) and number > 0 else type(error).__name__
