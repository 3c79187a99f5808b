"""Socket.IO by hand: exactly the packets that a test wants, over a WebSocket or over polling."""

import json
from typing import Any, Self

import aiohttp

from tests.signaling.conftest import House

__all__ = ["HUB", "POLLING", "WEBSOCKET", "PollingByHand", "SocketByHand"]

WEBSOCKET = "/socket.io/?EIO=4&transport=websocket"
POLLING = "/socket.io/?EIO=4&transport=polling"
HUB = "/hub"
PATIENCE_S = 30.0


class SocketByHand:
    """One WebSocket."""

    def __init__(self, house: House, frames: aiohttp.ClientWebSocketResponse) -> None:
        self.house = house
        self.frames = frames
        self.sid = ""

    @classmethod
    async def dial(cls, house: House, path: str = WEBSOCKET) -> Self:
        """Open a session; nobody is in any namespace yet."""
        socket = cls(house, await house.socket(house.url.replace("http", "ws") + path))
        opened = await socket.text()
        assert opened[0] == "0"
        socket.sid = json.loads(opened[1:])["sid"]
        return socket

    @classmethod
    async def enter(cls, house: House, user: str = "ann", *roles: str, **options: Any) -> Self:
        """And into the namespace of the care hub."""
        socket = await cls.dial(house)
        await socket.say("0/hub," + json.dumps({"token": house.token(user, *roles, **options)}))
        assert (await socket.packet()).startswith("0/hub,")
        return socket

    async def say(self, *packets: str | bytes) -> None:
        """Send Socket.IO packets, or attachments."""
        for packet in packets:
            await (self.frames.send_bytes(packet) if isinstance(packet, bytes) else self.frames.send_str("4" + packet))

    async def text(self) -> str:
        """The next frame."""
        frame = await self.frames.receive(PATIENCE_S)
        assert frame.type is aiohttp.WSMsgType.TEXT, frame
        return str(frame.data)

    async def packet(self) -> str:
        """The next Socket.IO packet; pings are passed over."""
        while (text := await self.text()) == "2":
            await self.frames.send_str("3")
        assert text[0] == "4", text
        return text[1:]

    async def call(self, ack_id: int, name: str, *arguments: Any) -> Any:
        """Emit an event and take its acknowledgement."""
        await self.say(f"2/hub,{ack_id}{json.dumps([name, *arguments])}")
        return await self.ack(ack_id)

    async def ack(self, ack_id: int) -> Any:
        """An acknowledgement; events before it are passed over."""
        head = f"3/hub,{ack_id}["
        while not (packet := await self.packet()).startswith(head):
            pass
        return json.loads(packet[len(head) - 1 :])[0]

    async def event(self, name: str) -> Any:
        """The payload of the next event of that name; others are passed over."""
        while not (packet := await self.packet()).startswith(f'2/hub,["{name}",'):
            pass
        return json.loads(packet[len("2/hub,") :])[1]

    async def closed(self) -> list[str]:
        """Wait for the end; the frames before it."""
        said = []
        while (frame := await self.frames.receive(PATIENCE_S)).type is aiohttp.WSMsgType.TEXT:
            said.append(str(frame.data))
        assert frame.type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.CLOSING), frame
        return said


class PollingByHand:
    """One session that polls."""

    def __init__(self, house: House, sid: str) -> None:
        self.house = house
        self.sid = sid

    @classmethod
    async def dial(cls, house: House) -> Self:
        """Open a session."""
        async with house.http.get(house.url + POLLING) as answer:
            assert answer.status == 200
            return cls(house, json.loads((await answer.text())[1:])["sid"])

    @classmethod
    async def enter(cls, house: House, user: str = "ann", *roles: str) -> Self:
        """And into the namespace of the care hub."""
        polling = await cls.dial(house)
        assert await polling.post("40/hub," + json.dumps({"token": house.token(user, *roles)})) == 200
        assert (await polling.poll())[1].startswith("40/hub,")
        return polling

    @property
    def address(self) -> str:
        """Where it polls and posts."""
        return f"{self.house.url}{POLLING}&sid={self.sid}"

    async def poll(self) -> tuple[int, str]:
        """One poll: status and body."""
        async with self.house.http.get(self.address) as answer:
            return answer.status, await answer.text()

    async def post(self, body: str | bytes, **headers: str) -> int:
        """One post: its status."""
        given = {"Content-Type": "text/plain;charset=UTF-8"} | headers
        async with self.house.http.post(self.address, data=body, headers=given) as answer:
            await answer.read()
            return answer.status
