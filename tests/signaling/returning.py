"""A client that keeps its connection over the loss of its socket, made of our own client core and raw bytes."""

import asyncio
from collections.abc import Awaitable, Callable

from msgspec import Raw

from protocol.signalr.client_connection import HubClientConnection
from protocol.signalr.codec import ProtocolName
from protocol.signalr.connection import HubLimits
from protocol.signalr.events import AckDue, Event, KeepAliveDue, Opened
from protocol.signalr.messages import Completion, Invocation, Message, StreamInvocation, StreamItem
from signaling.transport import NOWHERE
from tests.eventually import eventually
from tests.protocol.websocket.client import BINARY, TEXT, frame
from tests.signaling.by_hand import HUB, PATIENCE_S, Ticket, negotiate
from tests.signaling.conftest import House
from tests.signaling.raw_websocket import Wire, dial, open_wire, upgrade

LIMITS = HubLimits(max_message_bytes=2**24)
ACK_S = 1.0


class Returning:
    """One connection; ``wire`` is its socket of the moment. Nothing is acknowledged unless a test says so."""

    wire: Wire

    def __init__(self, house: House, ticket: Ticket, protocol: ProtocolName, hub: str, *who: str) -> None:
        self.house, self.ticket, self.who, self.protocol = house, ticket, who, protocol
        self.path = f"{hub}?id={ticket.token}"
        self.now_s = 0.0
        self.core = HubClientConnection(protocol, LIMITS, now=0.0, stateful=True)
        self.inbox: list[Event] = []

    async def open(self) -> None:
        """The first socket, and the handshake."""
        self.wire = await open_wire(self.house, self.path, *self.who)
        self._write(self.core.hello(), opcode=TEXT)
        assert isinstance(await self.next(), Opened)

    async def send(self, *messages: Message) -> None:
        """Number them and write what may be written, in one frame."""
        self._write(b"".join(self.core.outgoing(self.core.codec.encode(message)) for message in messages))

    async def call(
        self, target: str, *arguments: object, id_: str | None = None, streams: tuple[str, ...] = ()
    ) -> None:
        await self.send(Invocation(target, arguments, id_, streams))

    async def stream(self, target: str, *arguments: object, id_: str, streams: tuple[str, ...] = ()) -> None:
        await self.send(StreamInvocation(id_, target, arguments, streams))

    async def upload(self, id_: str, *values: object) -> None:
        await self.send(*(StreamItem(id_, value) for value in values))

    async def next(self) -> Event:
        """The next event, over whatever socket there is."""
        while not self.inbox:
            opcode, payload = await self.wire.frame()
            assert opcode == (BINARY if self.protocol == "messagepack" else TEXT), (opcode, payload)
            self.inbox += self.core.receive_data(payload, self.now_s)
        return self.inbox.pop(0)

    async def result(self, id_: str) -> object:
        """The result of a call, which must be what comes next."""
        event = await self.next()
        assert isinstance(event, Completion), event
        assert event.invocation_id == id_
        assert event.error is None, event.error
        return self.free(event.result)

    async def error(self) -> str:
        event = await self.next()
        assert isinstance(event, Completion)
        assert event.error is not None
        return event.error

    async def heard(self) -> list[object]:
        """The arguments of the invocation that must come next."""
        event = await self.next()
        assert isinstance(event, Invocation), event
        return [self.free(value) for value in event.arguments]

    async def item(self) -> object:
        event = await self.next()
        assert isinstance(event, StreamItem), event
        return self.free(event.item)

    def free(self, value: object) -> object:
        assert isinstance(value, Raw)
        return self.core.codec.free(value)

    def acknowledge(self) -> None:
        """What is due by the clock: an Ack for what was read, pings."""
        self.now_s += ACK_S
        for event in self.core.tick(self.now_s):
            assert isinstance(event, AckDue | KeepAliveDue)
            self._write(event.data)

    def lose(self) -> None:
        """The socket dies, and both ends see it."""
        self.wire.drop()
        self.core.detach(self.now_s)

    async def resume(self, *who: str, between: Callable[[], Awaitable[None]] | None = None) -> None:
        """A new socket for the same connection; ``between`` happens before a word is said on it."""
        self.wire = await open_wire(self.house, self.path, *(who or self.who))
        if between is not None:
            await between()
        self._write(self.core.attach(self.now_s))

    def _write(self, data: bytes, opcode: int | None = None) -> None:
        if data:
            self.wire.send(frame(opcode or (BINARY if self.core.codec.binary else TEXT), data))


async def returning(house: House, *who: str, protocol: ProtocolName = "json", hub: str = HUB) -> Returning:
    """A connection behind its handshake, and both ends agreed on coming back."""
    client = Returning(house, await negotiate(house, *who, hub=hub, stateful=True), protocol, hub, *who)
    await client.open()
    return client


async def client_of(house: House, *who: str, protocol: ProtocolName = "json") -> Returning:
    return await returning(house, *who, protocol=protocol, hub=house.parts.hubs[-1].hub.path)


async def detached(client: Returning) -> None:
    """Lose the socket and wait until the server has seen it."""
    client.lose()
    await eventually(lambda: client.house.session(client.ticket.connection_id).transport is NOWHERE)


async def answer_to(client: Returning, *who: str) -> int:
    """The status of a try to come back."""
    wire = await dial(client.house)
    wire.send(upgrade(client.house, client.path, *who))
    line = await asyncio.wait_for(wire.reader.readline(), PATIENCE_S)
    wire.drop()
    return int(line.split()[1])
