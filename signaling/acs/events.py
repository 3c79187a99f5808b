"""What Event Grid tells us of threads: only that one is to be looked at. Whoever lies to us costs us a look.

Whoever is not known (``event_auth``) is told nothing, nor is what is of another topic taken; the validation of a
subscription is answered at once, and never by asking the address that it names. Read ``AcsEvents.handle``.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

import msgspec
from aiohttp import web

from media.entra import Flaw
from protocol.errors import BadArgument, Unauthenticated, Unavailable
from signaling.bodies import Bodies

from .event_auth import SECRET_HEADER, EventAuth

__all__ = ["PATH", "SECRET_HEADER", "AcsEvents"]

PATH: Final = "/acs/events"
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
    """``topics``: in lower case. ``poke`` has a thread looked at; raises Unavailable. ``counted``: what came of it."""

    auth: EventAuth
    topics: frozenset[str]
    bodies: Bodies
    poke: Callable[[str], Awaitable[None]]
    counted: Callable[[str], None]

    def register(self, app: web.Application) -> None:
        """Listen."""
        app.router.add_post(PATH, self.handle)

    async def handle(self, request: web.Request) -> web.Response:
        """One delivery.

        Raises:
            Unauthenticated: whoever sends it is not known.
            BadArgument: it is none, or is of another topic. It does not come again.
            Unavailable: it must come again.
        """
        flaw = await self.auth.flaw(request.headers)
        if flaw is not None:
            self.counted(flaw)
            if flaw is Flaw.KEYS_AWAY:
                raise Unavailable("whether you may cannot be found out now, try again")
            raise Unauthenticated("valid credentials are required")
        events = await self._events(request)
        threads = {event.data.thread_id for event in events if event.event_type.startswith(_OF_THREADS)}
        for thread in sorted(threads.difference({""})):
            await self.poke(thread)
        for event in events:
            if event.event_type == _VALIDATION:
                self.counted("validated")
                return web.json_response({"validationResponse": event.data.validation_code})
        self.counted("taken")
        return web.Response()

    async def _events(self, request: web.Request) -> tuple[_Event, ...]:
        try:
            events = _decode(await self.bodies.read(request))
        except (msgspec.MsgspecError, RecursionError):
            self.counted("unreadable")
            raise BadArgument("a list of events is expected") from None
        if not all(self._is_of(event.topic) for event in events):
            self.counted(Flaw.TOPIC)
            raise BadArgument("this topic is not listened to")
        return events

    def _is_of(self, topic: str) -> bool:
        """Whether it is one of ours, or of an Azure subscription that is."""
        named = topic.lower()
        return named in self.topics or "/".join(named.split("/")[:3]) in self.topics
