"""The client's half of a connection that is not a WebSocket: hub bytes in the bodies of POST requests."""

import asyncio
from http import HTTPStatus

from aiohttp import web

from signaling.connection import HubSession

__all__ = ["PostedTransport"]


class PostedTransport:
    """Takes one POST after the other; while reading is paused a POST waits with its body unread."""

    def __init__(self) -> None:
        self._readable = asyncio.Event()
        self._readable.set()
        self._turn = asyncio.Lock()

    async def post(self, request: web.Request, session: HubSession, *, max_body_bytes: int) -> web.Response:
        """Hand the body on; answered once it is taken in, before its calls have run."""
        async with self._turn:
            await self._readable.wait()
            body = await _body(request, max_body_bytes)
            if body is None:
                status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
                return web.Response(status=status, text="The body is too large")
            session.receive(body)
        return web.Response(text="")

    def pause_reading(self) -> None:
        """See ``SessionTransport``."""
        self._readable.clear()

    def resume_reading(self) -> None:
        """See ``SessionTransport``."""
        self._readable.set()


async def _body(request: web.Request, max_body_bytes: int) -> bytes | None:
    """The whole body, None when it is above the bound."""
    parts: list[bytes] = []
    size = 0
    async for part in request.content.iter_any():
        size += len(part)
        if size > max_body_bytes:
            return None
        parts.append(part)
    return b"".join(parts)
