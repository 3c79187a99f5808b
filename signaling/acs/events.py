"""What Event Grid tells us of threads: only that one is to be looked at. Whoever lies to us costs us a look.

A subscription sends a secret in a header of its own and is of one topic; its validation is answered at once, and never
by asking the address that it names. Read ``AcsEvents.handle``.
"""

import hmac
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

import msgspec
from aiohttp import web

from protocol.errors import Unavailable
from signaling.bodies import Bodies

__all__ = ["PATH", "SECRET_HEADER", "AcsEvents"]

PATH: Final = "/acs/events"
SECRET_HEADER: Final = "X-Auricle-Event-Secret"  # noqa: S105  # the name of a header
_VALIDATION: Final = "Microsoft.EventGrid.SubscriptionValidationEvent"
_OF_THREADS: Final = "Microsoft.Communication.ChatMessage"


class _Data(msgspec.Struct, frozen=True, rename="camel"):
    """Of all that an event says this is looked at."""

    thread_id: str = ""
    validation_code: str = ""


class _Event(msgspec.Struct, frozen=True, rename="camel"):
    event_type: str
    topic: str = ""
    data: _Data = _Data()


_decode: Final = msgspec.json.Decoder(tuple[_Event, ...]).decode


@dataclass(frozen=True, slots=True)
class AcsEvents:
    """``poke`` has a thread looked at; raises Unavailable."""

    secret: str
    topic: str
    bodies: Bodies
    poke: Callable[[str], Awaitable[None]]

    def register(self, app: web.Application) -> None:
        """Listen."""
        app.router.add_post(PATH, self.handle)

    async def handle(self, request: web.Request) -> web.Response:
        """One delivery: 401 without the secret, 400 for what is none, 503 when it must come again."""
        given = request.headers.get(SECRET_HEADER, "")
        if not hmac.compare_digest(given.encode(), self.secret.encode()):
            return web.Response(status=HTTPStatus.UNAUTHORIZED)
        try:
            events = _decode(await self.bodies.read(request))
        except (msgspec.MsgspecError, RecursionError):
            return web.Response(status=HTTPStatus.BAD_REQUEST)
        if any(event.topic.lower() != self.topic.lower() for event in events):
            return web.Response(status=HTTPStatus.BAD_REQUEST)
        threads = {event.data.thread_id for event in events if event.event_type.startswith(_OF_THREADS)}
        try:
            for thread in sorted(threads.difference({""})):
                await self.poke(thread)
        except Unavailable:
            return web.Response(status=HTTPStatus.SERVICE_UNAVAILABLE)
        for event in events:
            if event.event_type == _VALIDATION:
                return web.json_response({"validationResponse": event.data.validation_code})
        return web.Response()
