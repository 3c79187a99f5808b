"""SignalR clients written out by hand, so that a test sees every status, header and byte."""

import asyncio
import io
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from signaling.connection import HubSession
from signaling.transports.long_polling import LongPollingTransport
from tests.signaling.conftest import House

HUB = "/hubs/conformance"
HELLO = b'{"protocol":"json","version":1}\x1e'
PATIENCE_S = 30.0
Messages = list[dict[str, Any]]


def frame(**fields: Any) -> bytes:
    """One framed JSON message."""
    return json.dumps(fields).encode() + b"\x1e"


def call(target: str, *arguments: Any, id_: str | None = None, streams: tuple[str, ...] = ()) -> bytes:
    """An invocation; without an id nothing answers."""
    given: dict[str, Any] = {"invocationId": id_} if id_ is not None else {}
    if streams:
        given["streamIds"] = streams
    return frame(type=1, target=target, arguments=arguments, **given)


def stream(target: str, *arguments: Any, id_: str, streams: tuple[str, ...] = ()) -> bytes:
    """A call for a stream."""
    given: dict[str, Any] = {"streamIds": streams} if streams else {}
    return frame(type=4, target=target, arguments=arguments, invocationId=id_, **given)


def items(id_: str, *values: Any) -> bytes:
    """Items of an upload."""
    return b"".join(frame(type=2, invocationId=id_, item=value) for value in values)


def done(id_: str, **fields: Any) -> bytes:
    """The end of an upload, or the answer to a question."""
    return frame(type=3, invocationId=id_, **fields)


def cancel(id_: str) -> bytes:
    """No more of that stream."""
    return frame(type=5, invocationId=id_)


def parsed(data: bytes) -> Messages:
    """The messages of some whole frames."""
    *parts, rest = data.split(b"\x1e")
    assert rest == b""
    return [json.loads(part) for part in parts]


@dataclass
class Answer:
    """A response that was read to its end."""

    status: int
    headers: dict[str, str]
    body: bytes


async def request(house: House, method: str, path: str, *who: str, **options: Any) -> Answer:
    """One request; ``headers`` take the place of the bearer token."""
    headers = options.pop("headers", None) or house.bearer(*who)
    async with house.http.request(method, house.url + path, headers=headers, **options) as response:
        body = await asyncio.wait_for(response.read(), PATIENCE_S)
        return Answer(response.status, dict(response.headers), body)


@dataclass(frozen=True)
class Ticket:
    """What negotiation gave: the secret that opens the connection, and its public id."""

    token: str
    connection_id: str


async def negotiate(house: House, *who: str, hub: str = HUB, stateful: bool = False) -> Ticket:
    """A new connection."""
    query = "&useStatefulReconnect=true" if stateful else ""
    answer = await request(house, "POST", f"{hub}/negotiate?negotiateVersion=1{query}", *who)
    body = json.loads(answer.body)
    assert body.get("useStatefulReconnect", False) is stateful
    return Ticket(body["connectionToken"], body["connectionId"])


@dataclass
class Client:
    """What all these clients have in common."""

    house: House
    ticket: Ticket
    hub: str = HUB
    who: tuple[str, ...] = ()
    inbox: Messages = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """The token of the first request is that of all, as with real clients."""
        self.headers = self.headers or self.house.bearer(*self.who)

    @property
    def path(self) -> str:
        return f"{self.hub}?id={self.ticket.token}"

    @property
    def session(self) -> HubSession:
        return self.house.session(self.ticket.connection_id)

    async def send(self, *frames: bytes) -> None:
        """All in one piece."""
        raise NotImplementedError

    async def more(self) -> None:
        """Put at least one message into the inbox."""
        raise NotImplementedError

    async def messages(self, count: int) -> Messages:
        """The next so many messages."""
        while len(self.inbox) < count:
            await self.more()
        found, self.inbox = self.inbox[:count], self.inbox[count:]
        return found

    async def until(self, id_: str) -> Messages:
        """The next messages up to the completion of a call."""
        found: Messages = []
        while not found or (found[-1]["type"], found[-1].get("invocationId")) != (3, id_):
            found += await self.messages(1)
        return found


class Posted(Client):
    """Those that send by POST."""

    async def ask(self, method: str, *who: str, **options: Any) -> Answer:
        options.setdefault("headers", self.house.bearer(*who) if who else self.headers)
        return await request(self.house, method, self.path, **options)

    async def post(self, *frames: bytes) -> int:
        return (await self.ask("POST", data=io.BytesIO(b"".join(frames)))).status

    async def send(self, *frames: bytes) -> None:
        assert await self.post(*frames) == 200


class Poller(Posted):
    """Long polling."""

    @property
    def transport(self) -> LongPollingTransport:
        transport = self.session.transport
        assert isinstance(transport, LongPollingTransport)
        return transport

    @property
    def polls_begun(self) -> int:
        return self.transport._polls

    async def poll(self) -> Answer:
        return await self.ask("GET")

    async def more(self) -> None:
        answer = await self.poll()
        assert answer.status == 200
        self.inbox += parsed(answer.body)

    async def shake(self) -> None:
        assert await self.post(HELLO) == 200
        assert await self.messages(1) == [{}]


async def poller(house: House, *who: str, hub: str = HUB) -> Poller:
    """A long polling connection behind its handshake."""
    client = Poller(house, await negotiate(house, *who, hub=hub), hub, who)
    assert (await client.poll()).status == 200
    await client.shake()
    return client


class EventReader(Posted):
    """Server-Sent Events."""

    response: aiohttp.ClientResponse

    async def event(self) -> bytes:
        """One event as it came, to its empty line."""
        return await asyncio.wait_for(self.response.content.readuntil(b"\r\n\r\n"), PATIENCE_S)

    async def more(self) -> None:
        lines = (await self.event()).split(b"\r\n")
        assert all(line.startswith(b"data: ") for line in lines[:-2]), lines
        self.inbox += parsed(b"\n".join(line.removeprefix(b"data: ") for line in lines[:-2]))

    async def rest(self) -> Messages:
        """Everything to the end of the response."""
        found = self.inbox
        while not self.response.content.at_eof():
            data = await self.event()
            if not data:
                break
            found += parsed(data.removeprefix(b"data: ").removesuffix(b"\r\n\r\n"))
        return found


@asynccontextmanager
async def event_reader(house: House, *who: str, hub: str = HUB, hello: bytes = HELLO) -> AsyncIterator[EventReader]:
    """A connection over Server-Sent Events, behind its first comment and its handshake."""
    client = EventReader(house, await negotiate(house, *who, hub=hub), hub, who)
    headers = client.headers | {"Accept": "text/event-stream"}
    async with house.http.get(house.url + client.path, headers=headers) as response:
        assert response.status == 200
        client.response = response
        assert await client.event() == b":\r\n\r\n"
        assert await client.post(hello) == 200
        if hello == HELLO:
            assert await client.messages(1) == [{}]
        yield client


class Socket(Client):
    """A WebSocket."""

    frames: aiohttp.ClientWebSocketResponse

    async def send(self, *frames: bytes) -> None:
        await self.frames.send_str(b"".join(frames).decode())

    async def more(self) -> None:
        received = await asyncio.wait_for(self.frames.receive(), PATIENCE_S)
        assert received.type is aiohttp.WSMsgType.TEXT, received
        self.inbox += parsed(received.data.encode())

    async def rest(self) -> tuple[Messages, int | None]:
        """Everything to the end, and the close code."""
        found = self.inbox
        async for received in self.frames:
            found += parsed(received.data.encode())
        return found, self.frames.close_code


async def socket(house: House, *who: str, hub: str = HUB) -> Socket:
    """A WebSocket connection behind its handshake."""
    client = Socket(house, await negotiate(house, *who, hub=hub), hub, who)
    client.frames = await house.socket(house.url + client.path, headers=client.headers)
    await client.send(HELLO)
    assert await client.messages(1) == [{}]
    return client
