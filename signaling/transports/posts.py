"""The client's half of a connection that is not a WebSocket: hub bytes in the bodies of POST requests.

What comes in a body is a part of one stream of bytes, handed on as it comes and not when it is whole. A client may post
as soon as it has negotiated, before its first poll or event stream has come: what it says then is kept for the
connection that is about to open. Read ``Inbox`` first.
"""

import asyncio
from http import HTTPStatus

from aiohttp import web

from protocol.signalr.connection import CLOSED_WITH_ERROR
from signaling.bodies import Bodies
from signaling.connection import HubSession

from .guard import UNKNOWN, refuse, refused

__all__ = ["Inbox", "PostedTransport", "WaitingRoom", "has_gone"]


class Inbox:
    """Takes one POST after the other; while reading is paused a POST waits with its body unread.

    ``posts``: how many are being taken or wait. What ``early`` reads is kept until ``open``, up to its bound.
    """

    def __init__(self, bodies: Bodies, early: Bodies) -> None:
        self.posts = 0
        self._bodies = bodies
        self._early_bodies = early
        self._early = b""
        self._session: HubSession | None = None
        self._over = False
        self._readable = asyncio.Event()
        self._readable.set()
        self._turn = asyncio.Lock()

    async def post(self, request: web.Request) -> web.Response:
        """Hand the body on; answered once it is taken in, before its calls have run."""
        self.posts += 1
        try:
            async with self._turn:
                await self._readable.wait()
                if self._session is None:
                    return self._take(await self._early_bodies.read(request))
                return await self._stream(request, self._session)
        except web.HTTPException as error:
            return refused(error)
        finally:
            self.posts -= 1

    def open(self, session: HubSession) -> None:
        """From now on what comes is the session's, and what came before it too."""
        self._session = session
        early, self._early = self._early, b""
        if early:
            session.receive(early)

    def give_up(self) -> None:
        """The connection was never opened and cannot be any more."""
        self._over = True
        self._early = b""

    def pause_reading(self) -> None:
        """See ``SessionTransport``."""
        self._readable.clear()

    def resume_reading(self) -> None:
        """See ``SessionTransport``."""
        self._readable.set()

    async def _stream(self, request: web.Request, session: HubSession) -> web.Response:
        handed_on = False
        try:
            async for piece in self._bodies.pieces(request):
                await self._readable.wait()
                if handed_on:
                    # One body may hold more calls than their answers have room.
                    await session.writable()
                if session.is_ending:
                    break
                session.receive(piece)
                handed_on = True
        except web.HTTPException:
            if handed_on:
                # The beginning of a message is in, and its rest will not come.
                session.close("protocol_error", CLOSED_WITH_ERROR, allow_reconnect=True)
            raise
        return refuse(HTTPStatus.NOT_FOUND, UNKNOWN) if session.is_ending and not handed_on else web.Response(text="")

    def _take(self, body: bytes) -> web.Response:
        if self._over or (self._session is not None and self._session.is_ending):
            # Nobody will look at it, so it must not look as if it had arrived.
            return refuse(HTTPStatus.NOT_FOUND, UNKNOWN)
        if self._session is not None:
            self._session.receive(body)
        elif len(self._early) + len(body) <= self._early_bodies.max_bytes:
            self._early += body
        else:
            self._early_bodies.reached(self._early_bodies.bound)
            return refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "Too much before the connection is open")
        return web.Response(text="")


class WaitingRoom:
    """The inboxes of connections that have been posted to and not been opened, at most ``limit``."""

    def __init__(self, bodies: Bodies, early: Bodies, *, limit: int) -> None:
        self._bodies = bodies
        self._early = early
        self._limit = limit
        self._inboxes: dict[str, tuple[Inbox, float]] = {}

    def __contains__(self, connection_id: str) -> bool:
        """Whether somebody has posted for it."""
        return connection_id in self._inboxes

    def enter(self, connection_id: str, until_s: float) -> Inbox | None:
        """The inbox of a connection that may be opened ``until_s``, Unix time; None when there is no room."""
        known = self._inboxes.get(connection_id)
        if known is not None:
            return known[0]
        if len(self._inboxes) >= self._limit:
            self._bodies.reached("max_early_connections")
            return None
        inbox = self._new()
        self._inboxes[connection_id] = (inbox, until_s)
        return inbox

    def leave(self, connection_id: str) -> Inbox:
        """The inbox of a connection that is being opened, an empty one if nothing has been posted."""
        known = self._inboxes.pop(connection_id, None)
        return known[0] if known is not None else self._new()

    def sweep(self, now_s: float) -> None:
        """Forget those that nobody can open any more."""
        for key in [key for key, (_, until_s) in self._inboxes.items() if until_s < now_s]:
            self._inboxes.pop(key)[0].give_up()

    def _new(self) -> Inbox:
        return Inbox(self._bodies, self._early)


class PostedTransport:
    """What event streams and long polling have in common: their client posts."""

    def __init__(self, inbox: Inbox) -> None:
        self.inbox = inbox

    def pause_reading(self) -> None:
        """See ``SessionTransport``."""
        self.inbox.pause_reading()

    def resume_reading(self) -> None:
        """See ``SessionTransport``."""
        self.inbox.resume_reading()


def has_gone(request: web.Request) -> bool:
    """Whether the client of a request that is being answered has left."""
    transport = request.transport
    return transport is None or transport.is_closing()
