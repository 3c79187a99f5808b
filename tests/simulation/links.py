"""The network: links between clients and the server that take time, break, or die with neither end told.

The client is the product's own down to the socket, the server from its transport on, so real bytes travel. Bytes of one
direction arrive in order; directions and links know nothing of each other. Must not know what the bytes mean. Read
``Link`` first, then ``Network``.
"""

import asyncio
import random
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Final, Protocol, Self

import aiohttp
import msgspec

from signaling.auth import Principal
from signaling.connection import HubSession
from signaling.hub_server import HubServer

from .loop import Process

__all__ = ["ClientSession", "Link", "Network", "Point"]

_CLOSED: Final = aiohttp.WSMsgType.CLOSED
_TEXT: Final = aiohttp.WSMsgType.TEXT
_TOKEN_LIVES_S: Final = 1e9
Point = Callable[[str], None]


class Listening(Protocol):
    """A server, as clients find it."""

    process: Process
    hub_server: HubServer


@dataclass(slots=True)
class Frame:
    """What a client reads."""

    type: aiohttp.WSMsgType
    data: bytes = b""


class Pipe:
    """One direction. ``is_dead``: what is sent vanishes, and nobody notices."""

    def __init__(self, latency_s: Callable[[], float], arrive: Callable[[bytes], None]) -> None:
        self._latency_s, self._arrive = latency_s, arrive
        self._under_way: deque[bytes] = deque()
        self._last_s = 0.0
        self.is_dead = False
        self.stalled_until_s = 0.0

    def send(self, data: bytes) -> None:
        if self.is_dead:
            return
        loop = asyncio.get_running_loop()
        when = max(loop.time() + self._latency_s(), self.stalled_until_s, self._last_s)
        self._last_s = when
        self._under_way.append(data)
        loop.call_at(when, self._deliver)

    def stall(self, seconds: float) -> None:
        """For so long nothing arrives; then all of it."""
        self.stalled_until_s = asyncio.get_running_loop().time() + seconds

    def _deliver(self) -> None:
        data = self._under_way.popleft()
        if not self.is_dead:
            self._arrive(data)


class Link:
    """One WebSocket of one client. Both ends are told of its end, each in its own time."""

    def __init__(self, client: str, latency_s: Callable[[], float], point: Point) -> None:
        self.client = client
        self.up = Pipe(latency_s, self._up)
        self.down = Pipe(latency_s, self._down)
        self._point = point
        self.inbox: asyncio.Queue[Frame] = asyncio.Queue()
        self.session: HubSession | None = None
        self.server: Process | None = None
        self._client_open = self._server_open = True

    @property
    def is_open(self) -> bool:
        """Whether neither end has been told of an end."""
        return self._client_open and self._server_open

    @property
    def works(self) -> bool:
        """Whether what is sent arrives."""
        return self.is_open and not self.up.is_dead and not self.down.is_dead

    def cut(self, *, client_sees_s: float | None, server_sees_s: float | None) -> None:
        """From now on nothing arrives; None for an end that has to find out by itself."""
        self.up.is_dead = self.down.is_dead = True
        loop = asyncio.get_running_loop()
        if client_sees_s is not None:
            loop.call_later(client_sees_s, self.end_client)
        if server_sees_s is not None:
            loop.call_later(server_sees_s, self.end_server)

    def end_client(self) -> None:
        """The client reads the end."""
        if self._client_open:
            self._client_open = False
            self.inbox.put_nowait(Frame(_CLOSED))

    def end_server(self, *, graceful: bool = False) -> None:
        """The server's transport has ended."""
        if self._server_open:
            self._server_open = False
            self.up.is_dead = True
            self._as_server(lambda session: session.lost(self, graceful=graceful))

    # The client's end, as aiohttp has it

    async def receive(self) -> Frame:
        return await self.inbox.get() if self._client_open or not self.inbox.empty() else Frame(_CLOSED)

    async def send_frame(self, data: bytes, _: aiohttp.WSMsgType) -> None:
        if not self._client_open:
            raise aiohttp.ClientConnectionResetError("the link is closed")
        self.up.send(data)

    async def close_client(self) -> None:
        if self._client_open:
            self._client_open = False
            self.inbox.put_nowait(Frame(_CLOSED))
            if not self.up.is_dead:
                self.up.send(b"")

    # The server's end: a SessionTransport

    name = "websockets"
    inherent_keep_alive = False
    is_quiet = True
    waiting_bytes = 0

    def use_binary(self) -> None: ...

    def write(self, payload: bytes) -> None:
        if self._server_open:
            self.down.send(payload)

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def tick(self, now: float) -> None: ...

    def close(self) -> None:
        if self._server_open:
            self.down.send(b"")
            asyncio.get_running_loop().call_soon(lambda: self.end_server(graceful=True))

    def abort(self) -> None:
        if self._server_open:
            self.down.send(b"")
            asyncio.get_running_loop().call_soon(self.end_server)

    def _up(self, data: bytes) -> None:
        if not self._server_open or self.session is None:
            return
        if not data:
            self.end_server(graceful=True)
            return
        self._point(f"to_server:{self.client}")
        self._as_server(lambda session: self._hand_on(session, data))

    def _hand_on(self, session: HubSession, data: bytes) -> None:
        # What was struck at the point before may have been this link.
        if self._server_open and not self.up.is_dead:
            session.receive(data)

    def _as_server(self, action: Callable[[HubSession], None]) -> None:
        """What the server starts then is the server's."""
        server, session = self.server, self.session
        if server is not None and session is not None and server.is_alive:
            server.run(lambda: action(session))

    def _down(self, data: bytes) -> None:
        if not self._client_open:
            return
        if not data:
            self.end_client()
            return
        self._point(f"to_client:{self.client}")
        self._show(Frame(_TEXT, data))

    def _show(self, frame: Frame) -> None:
        if self._client_open and not self.down.is_dead:
            self.inbox.put_nowait(frame)


class _ClientSocket:
    """The face of a link that aiohttp shows."""

    def __init__(self, link: Link, process: Process) -> None:
        self._link, self._process = link, process

    async def receive(self) -> Frame:
        return await self._link.receive()

    async def send_frame(self, data: bytes, kind: aiohttp.WSMsgType) -> None:
        await self._process.reach()
        await self._link.send_frame(data, kind)

    async def close(self) -> None:
        if self._process.is_alive:
            await self._link.close_client()


class Network:
    """Finds the server for clients. ``away`` are clients without a network, ``links`` those that were made last.

    ``slow_s``: what each way takes longer now, by client.
    """

    def __init__(self, chance: random.Random, point: Point, new_id: Callable[[], str]) -> None:
        self._chance, self._point, self._new_id = chance, point, new_id
        self.server: Listening | None = None
        self.away: set[str] = set()
        self.slow_s: dict[str, float] = {}
        self.links: dict[str, Link] = {}
        self.principals: dict[str, Principal] = {}
        self.calm = False

    def _latency_s(self) -> float:
        """Mostly some milliseconds; now and then a second, unless it is ``calm``."""
        chance = self._chance
        is_short = chance.random() < 0.97 or self.calm
        return 0.002 + chance.random() ** 3 * 0.08 if is_short else chance.uniform(0.1, 1.2)

    def admit(self, client: str, user: str, *roles: str) -> None:
        """A client whose token is its name."""
        self.principals[client] = Principal(user, "c1", frozenset(roles), _TOKEN_LIVES_S * 10)

    async def round_trip(self, client: str) -> Listening:
        """Reach the server and come back. Raises what aiohttp does when nobody is there."""
        await asyncio.sleep(2 * self._latency_s())
        server = self.server
        if client in self.away or server is None or not server.process.is_alive:
            raise aiohttp.ClientConnectionError("nobody answers")
        return server

    async def open(self, client: str, connection_id: str) -> Link:
        """One more link of a client; older ones that are still open stay so."""
        server = await self.round_trip(client)
        link = Link(client, lambda: self._latency_s() + self.slow_s.get(client, 0.0), self._point)
        link.server = server.process
        server.process.run(lambda: self._serve(link, server, connection_id))
        self.links[client] = link
        return link

    def _serve(self, link: Link, server: Listening, connection_id: str) -> None:
        link.session = HubSession(server.hub_server, link, connection_id, self.principals[link.client])

    def expire(self, client: str, at_unix_s: float) -> None:
        """The token that a client has shown ends then; the next one is as good as ever."""
        link = self.links.get(client)
        if link is not None and link.session is not None and link.is_open:
            link.session.renew(replace(self.principals[client], expires_at_s=at_unix_s))

    def drop_all(self, *, of: str | None = None, server_sees_s: float | None = 0.05) -> None:
        """The process at one end is gone; the machines are not, so the other end hears of it soon."""
        for link in self.links.values():
            if of in (None, link.client) and link.is_open:
                link.cut(client_sees_s=self._latency_s(), server_sees_s=server_sees_s)


class ClientSession:
    """As much of an aiohttp session as a hub client needs."""

    def __init__(self, network: Network, client: str, process: Process) -> None:
        self._network, self._client, self._process = network, client, process

    def post(self, url: str, *, params: Mapping[str, str], headers: Mapping[str, str]) -> "_Negotiation":
        return _Negotiation(self._network, self._client)

    async def ws_connect(self, url: str, *, params: Mapping[str, str], **_: Any) -> _ClientSocket:
        await self._process.reach()
        return _ClientSocket(await self._network.open(self._client, params["id"]), self._process)

    async def close(self) -> None:
        """There is nothing to close."""


class _Negotiation:
    """The answer to ``POST /hub/negotiate``."""

    status = 200

    def __init__(self, network: Network, client: str) -> None:
        self._network, self._client = network, client
        self.content = self

    async def __aenter__(self) -> Self:
        await self._network.round_trip(self._client)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing is held."""

    async def read(self, _: int) -> bytes:
        connection_id = self._network._new_id()
        return msgspec.json.encode({"connectionId": connection_id, "connectionToken": connection_id})
