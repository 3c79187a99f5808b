"""The body of an HTTP request, within a bound of size and one of time; aiohttp itself waits for ever.

Knows neither hubs nor resources: whoever asks turns the refusal into its own kind of answer.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from aiohttp import web

from .transports.aiohttp_seam import stop_reading

__all__ = ["Bodies"]


@dataclass(frozen=True, slots=True)
class Bodies:
    """Reads bodies of at most ``max_bytes``, decompressed, each within ``timeout_s`` of its first look.

    ``bound`` is the configuration field of ``max_bytes``; ``reached`` is told which of the two was.
    """

    max_bytes: int
    bound: str
    timeout_s: float
    reached: Callable[[str], None]

    async def read(self, request: web.Request) -> bytes:
        """The whole body.

        Raises:
            HTTPRequestEntityTooLarge: it is above the bound.
            HTTPRequestTimeout: it did not come in time; the connection must be closed behind the answer.
            HTTPBadRequest: the client went away within it, or it is not coded as it says.
        """
        try:
            async with asyncio.timeout(self.timeout_s):
                return await self._parts(request)
        except TimeoutError:
            self.reached("body_timeout_s")
            stop_reading(request)
            raise web.HTTPRequestTimeout(text="The body did not come in time") from None
        except (ConnectionError, web.RequestPayloadError):
            raise web.HTTPBadRequest(text="The body is broken") from None

    async def _parts(self, request: web.Request) -> bytes:
        parts: list[bytes] = []
        size = 0
        async for part in request.content.iter_any():
            size += len(part)
            if size > self.max_bytes:
                self.reached(self.bound)
                raise web.HTTPRequestEntityTooLarge(self.max_bytes, size, text="The body is too large")
            parts.append(part)
        return b"".join(parts)
