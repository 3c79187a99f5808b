"""One link of a hub client: negotiate, one WebSocket, its handshake, its messages, its end.

A link is used once; whoever wants another one opens another one. What the bytes mean is decided by
``protocol.signalr``; this moves them and keeps the time. It must not know calls, handlers or when to
reconnect. Read ``HubLink.open`` first, then ``HubLink.serve``.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Literal, Self

import aiohttp
import msgspec

from clients.hub_errors import HubOverloaded, HubRefused, LinkLost
from protocol.signalr.client_connection import HubClientConnection
from protocol.signalr.codec import ProtocolName
from protocol.signalr.endpoint import HubLimits
from protocol.signalr.events import Broken, Event, KeepAliveDue, Opened, PeerClosed, Refused, TimedOut
from protocol.signalr.messages import Completion, Invocation, Message, StreamItem
from protocol.signalr.prescan import ScanLimits

__all__ = ["HubLink", "HubOptions", "LinkEnd", "Token", "Whereto"]

Token = str | Callable[[], Awaitable[str]]
Clock = Callable[[], float]
_MAX_NEGOTIATE_BYTES: Final = 65_536


# A server is not a stranger: a page of history has more keys than any call, and its size is bounded already.
CLIENT_LIMITS: Final = HubLimits(max_message_bytes=1_048_576, scan=ScanLimits(keys=100_000))


@dataclass(frozen=True, slots=True)
class HubOptions:
    """Bounds of a client; times in seconds.

    ``connect_timeout_s``: for negotiate, upgrade and handshake together. ``call_timeout_s``: for the answer to
    a call. ``send_timeout_s``: a send that the network does not take in that long ends the link.
    ``close_timeout_s``: for the server's close frame. ``tick_s``: how often the deadlines of ``limits`` are
    looked at. ``max_frame_bytes``: of one WebSocket frame, which may hold many messages. ``max_asides``: handlers that
    take their time at once. ``max_streams``: that run at once. ``max_stream_items``: of one stream that nobody has
    taken yet; one more ends the stream. ``socketio_transports``: over Socket.IO, the first one to begin with.
    """

    limits: HubLimits = CLIENT_LIMITS
    connect_timeout_s: float = 10.0
    call_timeout_s: float = 30.0
    send_timeout_s: float = 10.0
    close_timeout_s: float = 1.0
    tick_s: float = 1.0
    max_frame_bytes: int = 4_194_304
    max_pending_calls: int = 256
    max_queued_events: int = 1_024
    max_asides: int = 16
    max_streams: int = 16
    max_stream_items: int = 1_024
    socketio_transports: tuple[Literal["polling", "websocket"], ...] = ("websocket",)


@dataclass(frozen=True, slots=True)
class LinkEnd:
    """Why a link ended. ``may_reconnect`` is false when the server said goodbye without asking back."""

    cause: Literal["closed", "lost", "timed_out", "broken", "overloaded"]
    may_reconnect: bool
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Whereto:
    """What every link of one client has in common."""

    url: str
    token: Token
    protocol: ProtocolName
    options: HubOptions
    clock: Clock

    async def fresh_token(self) -> str | None:
        """Ask for a token, None when there is only the one."""
        return None if isinstance(self.token, str) else await self.token()


class _Negotiated(msgspec.Struct, frozen=True, rename="camel"):
    connection_id: str = ""
    connection_token: str = ""
    error: str | None = None
    url: str | None = None


class HubLink:
    """An open link. Made by ``open``; ``serve`` reads until it ends, ``send`` may be called meanwhile."""

    def __init__(
        self,
        socket: aiohttp.ClientWebSocketResponse[Literal[False]],
        whereto: Whereto,
        connection_id: str,
    ) -> None:
        self._socket = socket
        self._options, self._clock = whereto.options, whereto.clock
        self._hub = HubClientConnection(whereto.protocol, whereto.options.limits, now=whereto.clock())
        self._binary = whereto.protocol == "messagepack"
        self._early: list[Event] = []
        self._end: LinkEnd | None = None
        self.connection_id = connection_id

    @classmethod
    async def open(cls, session: aiohttp.ClientSession, whereto: Whereto) -> Self:
        """Negotiate, connect and shake hands. Raises HubRefused, and what ``token`` raises that is no network's."""
        try:
            fresh = await whereto.fresh_token()
        except ConnectionError:
            raise
        except (aiohttp.ClientError, OSError) as error:
            # Whoever gives tokens is out of reach just as a hub is: it is tried again.
            raise HubRefused(f"no token: {type(error).__name__}") from None
        headers = {"Authorization": f"Bearer {whereto.token if fresh is None else fresh}"}
        options = whereto.options
        try:
            async with asyncio.timeout(options.connect_timeout_s):
                negotiated = await _negotiate(session, whereto.url, headers)
                socket = await session.ws_connect(
                    whereto.url,
                    params={"id": negotiated.connection_token},
                    headers=headers,
                    max_msg_size=options.max_frame_bytes,
                    timeout=aiohttp.ClientWSTimeout(ws_close=options.close_timeout_s),
                    decode_text=False,
                )
                try:
                    link = cls(socket, whereto, negotiated.connection_id)
                    await link._shake_hands()
                except BaseException:
                    await socket.close()
                    raise
                return link
        except aiohttp.WSServerHandshakeError as error:
            raise HubRefused(f"the WebSocket was refused with {error.status}", error.status) from None
        except TimeoutError:
            raise HubRefused(f"no connection within {options.connect_timeout_s:g} s") from None
        except (aiohttp.ClientError, OSError) as error:
            if isinstance(error, HubRefused):
                raise
            # Only the class: the message may hold the URL, and the URL the connection token.
            raise HubRefused(f"no connection: {type(error).__name__}") from None

    async def send(self, message: Message) -> None:
        """Write one message. Raises LinkLost; a LocalProtocolError when it has no encoding."""
        await self._write(self._hub.codec.encode(message))

    async def close(self) -> None:
        """Say goodbye and close; ``serve`` then returns."""
        self._end = self._end or LinkEnd("closed", may_reconnect=False)
        with suppress(LinkLost):  # then there is nobody to say goodbye to
            await self._write(self._hub.close())
        await self._socket.close()

    async def serve(self, take: Callable[[Message], None]) -> LinkEnd:
        """Hand every call, item and completion to ``take`` until the link ends. HubOverloaded from it ends the link."""
        async with asyncio.TaskGroup() as tasks:
            reader = tasks.create_task(self._read(take))
            timer = tasks.create_task(self._keep_time())
            await asyncio.wait({reader, timer}, return_when=asyncio.FIRST_COMPLETED)
            reader.cancel()
            timer.cancel()
        await self._socket.close()
        return self._end or LinkEnd("lost", may_reconnect=True)

    async def _shake_hands(self) -> None:
        await self._write(self._hub.hello())
        while True:
            events = await self._receive()
            if not events:
                continue
            first, *self._early = events
            if isinstance(first, Opened):
                return
            detail = first.error if isinstance(first, Refused) else "the link ended in the handshake"
            raise HubRefused(f"the handshake failed: {detail}")

    async def _read(self, take: Callable[[Message], None]) -> None:
        events, self._early = self._early, []
        while self._end is None:
            for event in events:
                if not self._goes_on_after(event, take):
                    return
            events = await self._receive()

    async def _receive(self) -> list[Event]:
        frame = await self._socket.receive()
        if frame.type in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
            return self._hub.receive_data(frame.data, self._clock())
        self._end = self._end or LinkEnd("lost", may_reconnect=True)
        return self._hub.receive_eof()

    def _goes_on_after(self, event: Event, take: Callable[[Message], None]) -> bool:
        try:
            if isinstance(event, Invocation | Completion | StreamItem):
                take(event)
            elif isinstance(event, PeerClosed):
                self._end = self._end or LinkEnd("closed", event.allow_reconnect, event.error)
            elif isinstance(event, Broken):
                self._end = LinkEnd("broken", may_reconnect=True, error=event.detail)
        except HubOverloaded as error:
            self._end = LinkEnd("overloaded", may_reconnect=True, error=str(error))
        return self._end is None

    async def _keep_time(self) -> None:
        while self._end is None:
            await asyncio.sleep(self._options.tick_s)
            for event in self._hub.tick(self._clock()):
                if isinstance(event, TimedOut):
                    self._end = LinkEnd("timed_out", may_reconnect=True)
                if isinstance(event, KeepAliveDue):
                    with suppress(LinkLost):  # the reader will see it too
                        await self._write(event.data)

    async def _write(self, data: bytes) -> None:
        try:
            async with asyncio.timeout(self._options.send_timeout_s):
                await self._socket.send_frame(
                    data, aiohttp.WSMsgType.BINARY if self._binary else aiohttp.WSMsgType.TEXT
                )
        except TimeoutError:
            self._end = self._end or LinkEnd("lost", may_reconnect=True, error="a send took too long")
            raise LinkLost("the network took no data for too long") from None
        except (aiohttp.ClientError, OSError):
            raise LinkLost("the link is gone") from None
        self._hub.sent_at = self._clock()


async def _negotiate(session: aiohttp.ClientSession, url: str, headers: dict[str, str]) -> _Negotiated:
    query = {"negotiateVersion": "1"}
    async with session.post(f"{url.rstrip('/')}/negotiate", params=query, headers=headers) as response:
        body = await response.content.read(_MAX_NEGOTIATE_BYTES)
        if response.status != 200:
            raise HubRefused(f"negotiate was refused with {response.status}", response.status)
    try:
        negotiated = msgspec.json.decode(body, type=_Negotiated)
    except msgspec.DecodeError:
        raise HubRefused("negotiate was not answered by a SignalR hub") from None
    if negotiated.error is not None:
        raise HubRefused(f"negotiate: {negotiated.error}")
    if not negotiated.connection_token:
        raise HubRefused("negotiate gave no connection token; redirects are not followed")
    return negotiated
