"""A hub connection over Server-Sent Events: the server's half is one endless response, the client's half is POSTs.

Text only. Every line of a payload becomes a ``data:`` line; an event carries whole hub messages.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from aiohttp import web

from signaling.connection import HubSession

from .posts import Inbox, PostedTransport, has_gone

__all__ = ["EventStreamTransport", "event"]

FIRST_COMMENT: Final = b":\r\n\r\n"
HEADERS: Final = {
    "Content-Type": "text/event-stream",
    "Cache-Control": "no-cache,no-store",
    "Pragma": "no-cache",
    "Content-Encoding": "identity",
    "X-Accel-Buffering": "no",
}


class EventStreamTransport(PostedTransport):
    """A ``SessionTransport`` whose outgoing half is ``run``.

    ``close_timeout_s``: how long the last words may take, looked at by ``tick``; ``reached`` is told of it.
    """

    name: Final = "server_sent_events"
    inherent_keep_alive: Final = False
    is_quiet: Final = False

    def __init__(self, inbox: Inbox, *, close_timeout_s: float, reached: Callable[[str], None]) -> None:
        super().__init__(inbox)
        self._close_timeout_s = close_timeout_s
        self._reached = reached
        self._ends_at: float | None = None
        self._events: list[bytes] = []
        self._waiting_bytes = 0
        self._closed = False
        self._wake = asyncio.Event()
        self._request: web.Request | None = None

    async def run(self, request: web.Request, session: HubSession) -> web.StreamResponse:
        """Send until either end stops; the connection ends with the response."""
        self._request = request
        response = web.StreamResponse(headers=HEADERS)
        try:
            await response.prepare(request)
            # Some browsers report the stream open only when data has come.
            await response.write(FIRST_COMMENT)
            while not (self._closed and not self._events):
                await self._wake.wait()
                self._wake.clear()
                payload = b"".join(self._events)
                self._events.clear()
                if payload:
                    await response.write(payload)
                self._waiting_bytes -= len(payload)
                session.drained()
        except ConnectionError:
            # The client went away: an ordinary end.
            pass
        finally:
            self._closed = True
            self.resume_reading()
            session.lost(self, graceful=True)
        return response

    @property
    def waiting_bytes(self) -> int:
        """See ``SessionTransport``."""
        return self._waiting_bytes

    def use_binary(self) -> None:
        """Never asked for: the handshake refuses binary formats on a text transport."""

    def write(self, payload: bytes) -> None:
        """See ``SessionTransport``."""
        if not self._closed:
            line = event(payload)
            self._events.append(line)
            self._waiting_bytes += len(line)
            self._wake.set()

    def tick(self, now: float) -> None:
        """A client that has gone, or does not take our last words, is noticed here."""
        if self._request is None or has_gone(self._request):
            self.close()
        elif self._closed and self._ends_at is None:
            self._ends_at = now + self._close_timeout_s
        elif self._ends_at is not None and now >= self._ends_at:
            self._reached("close_timeout_s")
            self.abort()

    def close(self) -> None:
        """See ``SessionTransport``."""
        self._closed = True
        self._wake.set()

    def abort(self) -> None:
        """See ``SessionTransport``."""
        self._events.clear()
        self.close()
        if self._request is not None and self._request.transport is not None:
            self._request.transport.abort()


def event(payload: bytes) -> bytes:
    """One event with all lines of the payload: JSON that was passed through may hold line breaks as white space."""
    lines = payload.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
    return b"".join(b"data: " + line + b"\r\n" for line in lines) + b"\r\n"
