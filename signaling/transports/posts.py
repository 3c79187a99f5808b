"""The client's half of a connection that is not a WebSocket: hub bytes in the bodies of POST requests."""

import asyncio
from http import HTTPStatus

from aiohttp import web

from signaling.connection import HubSession

from .guard import UNKNOWN, refuse

__all__ = ["PostedTransport", "has_gone"]


class PostedTransport:
    """Takes one POST after the other; while reading is paused a POST waits with its body unread.

    ``posts``: how many are being taken or wait.
    """

    def __init__(self) -> None:
        self.posts = 0
        self._readable = asyncio.Event()
        self._readable.set()
        self._turn = asyncio.Lock()

    async def post(self, request: web.Request, session: HubSession, *, max_body_bytes: int) -> web.Response:
        """Hand the body on; answered once it is taken in, before its calls have run."""
        self.posts += 1
        try:
            return await self._in_turn(request, session, max_body_bytes)
        finally:
            self.posts -= 1

    async def _in_turn(self, request: web.Request, session: HubSession, max_body_bytes: int) -> web.Response:
        async with self._turn:
            await self._readable.wait()
            try:
                body = await _body(request, max_body_bytes)
            except (ConnectionError, web.RequestPayloadError):
                # The client went away within it, or it is not coded as it says.
                return refuse(HTTPStatus.BAD_REQUEST, "The body is broken")
            if body is None:
                return refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "The body is too large")
            if session.is_ending:
                # Nobody will look at it, so it must not look as if it had arrived.
                return refuse(HTTPStatus.NOT_FOUND, UNKNOWN)
            session.receive(body)
        return web.Response(text="")

    def pause_reading(self) -> None:
        """See ``SessionTransport``."""
        self._readable.clear()

    def resume_reading(self) -> None:
        """See ``SessionTransport``."""
        self._readable.set()


def has_gone(request: web.Request) -> bool:
    """Whether the client of a request that is being answered has left."""
    transport = request.transport
    return transport is None or transport.is_closing()


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
