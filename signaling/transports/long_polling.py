"""A hub connection over long polling: the server's half is one poll after the other, the client's half is POSTs.

The first poll is answered at once, because clients wait for it before they go on. Polling shows that both ends live, so
nobody pings; a client that does not poll for a while is gone.
"""

import asyncio
import contextlib
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from typing import Final

from aiohttp import web

from signaling.connection import HubSession
from signaling.pods.internal import asked_of

from .posts import Inbox, PostedTransport, has_gone

__all__ = ["LongPollingTransport"]

NO_CACHE: Final = {"Cache-Control": "no-cache,no-store", "Pragma": "no-cache"}


class LongPollingTransport(PostedTransport):
    """A ``SessionTransport`` whose outgoing half is ``poll``.

    ``poll_timeout_s``: how long a poll waits, and how long its answer may take. ``disconnect_timeout_s``: how long
    there may be no poll, and ``close_timeout_s`` that when only the last words are to be taken; ``reached`` is told of
    these two.
    """

    name: Final = "long_polling"
    inherent_keep_alive: Final = True
    is_quiet: Final = False

    def __init__(
        self,
        inbox: Inbox,
        *,
        poll_timeout_s: float,
        disconnect_timeout_s: float,
        close_timeout_s: float,
        reached: Callable[[str], None],
    ) -> None:
        super().__init__(inbox)
        self._poll_timeout_s = poll_timeout_s
        self._disconnect_timeout_s = disconnect_timeout_s
        self._close_timeout_s = close_timeout_s
        self._reached = reached
        self._frames: list[bytes] = []
        self._waiting_bytes = 0
        self._closed = False
        self._begun = False
        self._is_sent_home = False
        self._wake = asyncio.Event()
        self._polling = asyncio.Lock()
        self._polls = 0
        self._idle_since: float | None = None
        self._request: web.Request | None = None
        # The poll whose answer is on its way, and since when.
        self._answered: web.Request | None = None
        self._answering_since: float | None = None
        self._session: HubSession | None = None

    async def poll(self, request: web.Request, session: HubSession, *, wait_s: float | None = None) -> web.Response:
        """One GET. A newer poll sends an older one home with 204 and waits for it to finish.

        ``wait_s``: how long this one waits for something to send, unless as usual.
        """
        self._session = session
        self._request = request
        self._polls += 1
        number = self._polls
        self._idle_since = None
        self._wake.set()
        async with self._polling:
            if not self._begun:
                self._begun = True
                return _answer(b"")
            try:
                await self._wait(request, number, self._poll_timeout_s if wait_s is None else wait_s)
            finally:
                self._idle_since = None
            return self._take(request, session, number)

    @property
    def waiting_bytes(self) -> int:
        """See ``SessionTransport``."""
        return self._waiting_bytes

    def use_binary(self) -> None:
        """Bodies are bytes in either format."""

    def write(self, payload: bytes) -> None:
        """See ``SessionTransport``."""
        if not self._closed:
            self._frames.append(payload)
            self._waiting_bytes += len(payload)
            self._wake.set()

    def tick(self, now: float) -> None:
        """No poll for too long: the client is gone. A poll whose own connection was lost is none."""
        if self._polling.locked():
            if self._request is not None and has_gone(self._request):
                self._wake.set()
            return
        if self._is_answering(now):
            self._idle_since = None
            return
        if self._idle_since is None:
            self._idle_since = now
        elif self._closed and now - self._idle_since >= self._close_timeout_s:
            self._reached("close_timeout_s")
            self.end()
        elif now - self._idle_since >= self._disconnect_timeout_s:
            self._reached("disconnect_timeout_s")
            self.end()

    def _is_answering(self, now: float) -> bool:
        """Whether a client takes the answer to its poll, which a slow link may need its time for."""
        if self._answered is None or has_gone(self._answered):
            return False
        if self._answering_since is None:
            self._answering_since = now
        return now - self._answering_since < self._poll_timeout_s

    def close(self) -> None:
        """The next poll, or the one that waits, brings the last messages; the one after that learns of the end."""
        self._closed = True
        self._idle_since = None
        self.resume_reading()
        self._wake.set()

    def abort(self) -> None:
        """See ``SessionTransport``."""
        self._frames.clear()
        self._waiting_bytes = 0
        self.close()

    def end(self) -> None:
        """The client has said goodbye, or nothing for too long."""
        self.abort()
        if self._session is not None:
            self._session.lost(self, graceful=True)

    def send_home(self, pod: str) -> None:
        """Answer the poll that waits, if that pod has brought it: the client will come another way."""
        asked = asked_of(self._request) if self._request is not None else None
        if asked is not None and asked.sender == pod:
            self._is_sent_home = True
            self._wake.set()

    async def _wait(self, request: web.Request, number: int, wait_s: float) -> None:
        self._is_sent_home = False
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                while not (
                    self._frames or self._closed or self._is_sent_home or self._polls != number or has_gone(request)
                ):
                    self._wake.clear()
                    await self._wake.wait()

    def _take(self, request: web.Request, session: HubSession, number: int) -> web.Response:
        if self._polls != number or has_gone(request):
            # What waits is for the poll that comes, not for one that nobody hears.
            return _answer(None)
        if self._frames:
            body = b"".join(self._frames)
            self._frames.clear()
            self._waiting_bytes = 0
            session.drained()
            self._answered, self._answering_since = request, None
            return _LongAnswer(body, partial(self._written, request))
        if self._closed:
            session.lost(self, graceful=True)
            return _answer(None)
        return _answer(b"")

    def _written(self, request: web.Request) -> None:
        if self._answered is request:
            self._answered = None


class _LongAnswer(web.Response):
    """Tells when it is on its way as far as the client's buffers allow, or never will be."""

    def __init__(self, body: bytes, written: Callable[[], None]) -> None:
        super().__init__(body=body, headers=NO_CACHE | {"Content-Type": "application/octet-stream"})
        self._written = written

    async def write_eof(self, data: bytes = b"") -> None:
        """As of any answer."""
        try:
            await super().write_eof(data)
        finally:
            self._written()


def _answer(body: bytes | None) -> web.Response:
    if body is None:
        return web.Response(status=HTTPStatus.NO_CONTENT, headers=NO_CACHE)
    return web.Response(body=body, headers=NO_CACHE | {"Content-Type": "application/octet-stream"})
