"""A client that keeps its connection over the loss of its socket, and writes down what it says and what it hears.

It has the server say a number back to it, one after the other, over the conformance hub: each must come once and in
order, however many sockets that took. Made of the client core of ``protocol.signalr``. Read ``Resumer.run`` first.
"""

import asyncio
import contextlib
import time
from typing import Any, Final

import aiohttp
import msgspec
from msgspec import Raw

from clients.hub_link import CLIENT_LIMITS
from protocol.signalr.client_connection import HubClientConnection
from protocol.signalr.codec import ProtocolName
from protocol.signalr.events import AckDue, Event, KeepAliveDue, Opened
from protocol.signalr.messages import Completion, Invocation
from protocol.signalr.states import State
from tests.chaos.history import HistoryFile
from tests.chaos.patience import LIMITS
from tests.chaos.proxy import Proxy
from tests.chaos.waiting import PATIENCE

__all__ = ["Resumer"]

HUB: Final = "/hubs/conformance"
SAYS_EVERY_S: Final = 0.05
TICK_S: Final = 0.25
AGAIN_S: Final = 0.1
CONNECT_S: Final = 4.0 * PATIENCE
FAREWELL_S: Final = 10.0 * PATIENCE
Socket = aiohttp.ClientWebSocketResponse[Any]


class _Negotiated(msgspec.Struct, rename="camel"):
    connection_id: str
    connection_token: str
    use_stateful_reconnect: bool = False


class Resumer:
    """``resumed``: how often a connection went on over another socket; ``is_open``: there is one just now."""

    def __init__(self, protocol: ProtocolName, link: Proxy, token: str, history: HistoryFile) -> None:
        self.protocol, self.link = protocol, link
        self.resumed = 0
        self.is_open = False
        self._headers = {"Authorization": f"Bearer {token}"}
        self._history = history

    async def run(self, stop: asyncio.Event) -> None:
        """One connection after the other, each for as long as the server knows it; the last one hears what is owed."""
        async with aiohttp.ClientSession(headers=self._headers) as session:
            while not stop.is_set():
                with contextlib.suppress(aiohttp.ClientError, OSError, TimeoutError):
                    await _Connection(self, session, self._history, stop).live()
                self.is_open = False
                await asyncio.sleep(AGAIN_S)


class _Connection:
    def __init__(
        self, owner: Resumer, session: aiohttp.ClientSession, history: HistoryFile, stop: asyncio.Event
    ) -> None:
        self._owner, self._session, self._history, self._stop = owner, session, history, stop
        self._core = HubClientConnection(owner.protocol, LIMITS, now=time.monotonic(), stateful=True)
        self._url = f"{owner.link.url}{HUB}"
        self._token = self._id = ""
        self._socket: Socket | None = None
        self._said = self._heard = self._answered = 0

    async def live(self) -> None:
        """From negotiation to the end; raises what a first connect may."""
        query = {"negotiateVersion": "1", "useStatefulReconnect": "true"}
        async with asyncio.timeout(CONNECT_S):
            async with self._session.post(f"{self._url}/negotiate", params=query) as answer:
                answer.raise_for_status()
                agreed = msgspec.json.decode(await answer.read(), type=_Negotiated)
            assert agreed.use_stateful_reconnect
            self._token, self._id = agreed.connection_token, agreed.connection_id
            self._socket = await self._dial()
            await self._socket.send_str(self._core.hello().decode())
        speaker = asyncio.get_running_loop().create_task(self._speak())
        try:
            await self._listen(self._socket)
            while await self._resume():
                assert self._socket is not None
                await self._listen(self._socket)
        finally:
            speaker.cancel()
            await asyncio.wait({speaker})

    async def _dial(self) -> Socket:
        timeout = aiohttp.ClientWSTimeout(ws_close=1.0)
        params = {"id": self._token}
        return await self._session.ws_connect(
            self._url, params=params, timeout=timeout, decode_text=False, max_msg_size=CLIENT_LIMITS.max_message_bytes
        )

    async def _listen(self, socket: Socket) -> None:
        """Until the socket is gone, or the last word is said."""
        async with socket:
            while True:
                if self._stop.is_set() and self._heard == self._answered == self._said:
                    self._tell("end", why="done", said=self._said)
                    return
                try:
                    async with asyncio.timeout(TICK_S):
                        frame = await socket.receive()
                except TimeoutError:
                    await self._tick()
                    continue
                if frame.type not in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
                    return
                for event in self._core.receive_data(frame.data, time.monotonic()):
                    self._take(event)

    def _take(self, event: Event) -> None:
        if isinstance(event, Opened):
            self._owner.is_open = True
            self._tell("open", connection=self._id)
        elif isinstance(event, Invocation):
            [number] = event.arguments
            assert isinstance(number, Raw)
            self._heard += 1
            self._tell("heard", number=self._core.codec.free(number))
        elif isinstance(event, Completion):
            self._answered += 1
            self._tell("answered", number=int(event.invocation_id))

    async def _tick(self) -> None:
        """What is due. A server that is silent for too long is given up, and the connection with it."""
        if self._core.state is State.DETACHED:
            return
        for event in self._core.tick(time.monotonic()):
            if isinstance(event, AckDue | KeepAliveDue):
                await self._write(event.data)
            elif self._socket is not None:
                await self._socket.close()

    async def _speak(self) -> None:
        while True:
            await asyncio.sleep(SAYS_EVERY_S)
            await self._tick()
            if self._owner.is_open and self._core.can_send and not self._stop.is_set():
                self._said += 1
                self._tell("said", number=self._said)
                call = Invocation("CallMe", ("said", self._said), str(self._said))
                await self._write(self._core.outgoing(self._core.codec.encode(call)))

    async def _resume(self) -> bool:
        """Go on over another socket; False when the server knows nothing of the connection any more, or all is said."""
        if self._stop.is_set() and self._heard == self._answered == self._said:
            return False
        if not self._core.detach(time.monotonic()):
            self._tell("end", why="closed")
            return False
        self._tell("lost")
        began = time.monotonic()
        while True:
            try:
                async with asyncio.timeout(CONNECT_S):
                    self._socket = await self._dial()
            except aiohttp.WSServerHandshakeError as error:
                if error.status == 404:
                    self._tell("end", why="gone")
                    return False
            except (aiohttp.ClientError, OSError, TimeoutError):
                pass
            else:
                await self._write(self._core.attach(time.monotonic()))
                self._owner.resumed += 1
                self._tell("back")
                return True
            if self._stop.is_set() and time.monotonic() - began > FAREWELL_S:
                self._tell("end", why="stopped")
                return False
            await asyncio.sleep(AGAIN_S)

    async def _write(self, data: bytes) -> None:
        if not data or self._socket is None:
            return
        with contextlib.suppress(ConnectionError):  # who listens sees it too
            await (self._socket.send_bytes(data) if self._core.codec.binary else self._socket.send_str(data.decode()))

    def _tell(self, what: str, /, **values: Any) -> None:
        self._history.write("ok", f"resume_{what}", **values)
