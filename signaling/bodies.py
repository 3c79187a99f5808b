"""The body of an HTTP request, within bounds of size and time; aiohttp itself waits for ever.

Knows neither hubs nor resources: whoever asks turns the refusal into its own kind of answer.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Final

from aiohttp import web

from .transports.aiohttp_seam import stop_reading

__all__ = ["PIECE_BYTES", "Bodies"]

PIECE_BYTES: Final = 65_536


@dataclass(frozen=True, slots=True)
class Bodies:
    """Reads bodies of at most ``max_bytes``; each 64 KiB of one, or its end, must come in ``timeout_s``.

    ``bound`` is the configuration field of ``max_bytes``; ``reached`` is told which of the two was.
    """

    max_bytes: int
    bound: str
    timeout_s: float
    reached: Callable[[str], None]

    async def read(self, request: web.Request) -> bytes:
        """The whole body. Raises as ``pieces`` does."""
        return b"".join([piece async for piece in self.pieces(request)])

    async def pieces(self, request: web.Request) -> AsyncIterator[bytes]:
        """The body in pieces of about 64 KiB, a smaller one whole.

        Raises:
            HTTPUnsupportedMediaType: it is compressed, which none of our clients does; nothing here unpacks anything.
            HTTPRequestEntityTooLarge: it is above the bound.
            HTTPRequestTimeout: it did not come in time; the connection must be closed behind the answer.
            HTTPBadRequest: the client went away within it.
        """
        if request.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise web.HTTPUnsupportedMediaType(text="The body must not be compressed")
        size = 0
        while piece := await self._piece(request):
            size += len(piece)
            if size > self.max_bytes:
                self.reached(self.bound)
                raise web.HTTPRequestEntityTooLarge(self.max_bytes, size, text="The body is too large")
            yield piece

    async def _piece(self, request: web.Request) -> bytes:
        parts: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(self.timeout_s):
                while size < PIECE_BYTES and (part := await request.content.readany()):
                    parts.append(part)
                    size += len(part)
        except TimeoutError:
            self.reached("body_timeout_s")
            stop_reading(request)
            raise web.HTTPRequestTimeout(text="The body did not come in time") from None
        except (ConnectionError, web.RequestPayloadError):
            raise web.HTTPBadRequest(text="The body is broken") from None
        return b"".join(parts)
