"""The hub over Socket.IO: a WebSocket, and polls of which each comes on a TCP connection of its own.

As much of Engine.IO and Socket.IO as a probe needs, said by hand. Everything ends in ``WhoAmI``, which changes nothing.
Read ``websocket`` first, then ``polling``.
"""

from typing import Final, Protocol

import aiohttp
import msgspec

from clients.probe.target import Target
from clients.probe.verdicts import Trouble, Verdict, ok, skip, warn
from clients.probe.web import Answer, browser_of, fetch, in_plain_words

__all__ = ["polling", "websocket"]

_PATH: Final = "/socket.io/"
_SEPARATOR: Final = "\x1e"
_PING, _PONG, _CLOSE = "2", "3", "1"
_SESSIONS: Final = 4
_CALLS: Final = 3
_MAX_PACKET_BYTES: Final = 1_048_576


class _Open(msgspec.Struct, frozen=True):
    sid: str


class _Said(msgspec.Struct, frozen=True):
    ok: bool


class _NotOffered(Exception):
    """There is no Socket.IO at that address."""


class _Wire(Protocol):
    """Carries Engine.IO packets of one session. Both raise Trouble."""

    async def say(self, packet: str) -> None: ...
    async def hear(self) -> list[str]: ...


class _Socket:
    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket

    async def say(self, packet: str) -> None:
        async with in_plain_words():
            await self._socket.send_str(packet)

    async def hear(self) -> list[str]:
        async with in_plain_words():
            frame = await self._socket.receive()
        if frame.type is not aiohttp.WSMsgType.TEXT:
            raise Trouble("the WebSocket was ended")
        return [str(frame.data)]


class _Polls:
    """``requests`` counts what was asked, each on a TCP connection of its own."""

    def __init__(self, browser: aiohttp.ClientSession, target: Target) -> None:
        self._browser = browser
        self._url = target.base + _PATH
        self._query = {"EIO": "4", "transport": "polling"}
        self.requests = 0

    async def open(self) -> None:
        """Raises _NotOffered."""
        answer = await self._ask("GET", None)
        if answer.status == 404:
            raise _NotOffered
        self._query["sid"] = _opened(_text_of(answer))

    async def say(self, packet: str) -> None:
        _text_of(await self._ask("POST", packet.encode()))

    async def hear(self) -> list[str]:
        return _text_of(await self._ask("GET", None)).split(_SEPARATOR)

    async def _ask(self, method: str, data: bytes | None) -> Answer:
        self.requests += 1
        headers = {} if data is None else {"Content-Type": "text/plain;charset=UTF-8"}
        return await fetch(self._browser, method, self._url, headers=headers, params=self._query, data=data)


async def websocket(target: Target) -> Verdict:
    """Whether a session that is a WebSocket from its first moment gets into the hub, and is answered."""
    async with browser_of(target) as browser:
        try:
            async with in_plain_words():
                socket = await _dialled(browser, target)
        except _NotOffered:
            return skip("Socket.IO is not offered here")
        try:
            wire = _Socket(socket)
            _opened((await wire.hear())[0])
            await _call(wire, target)
        finally:
            await socket.close()
    return ok("into the hub and WhoAmI")


async def polling(target: Target) -> Verdict:
    """Whether a session works when each of its requests comes on a TCP connection of its own."""
    try:
        requests = await _polled(target, cookies=False)
    except _NotOffered:
        return skip("Socket.IO is not offered here")
    except Trouble as trouble:
        try:
            await _polled(target, cookies=True)
        except (Trouble, _NotOffered):
            raise trouble from None
        return warn("works only with the balancer's cookie, which not every client keeps")
    return ok(f"{_SESSIONS} sessions, {requests} requests on as many TCP connections")


async def _dialled(browser: aiohttp.ClientSession, target: Target) -> aiohttp.ClientWebSocketResponse:
    try:
        return await browser.ws_connect(
            target.base + _PATH,
            params={"EIO": "4", "transport": "websocket"},
            max_msg_size=_MAX_PACKET_BYTES,
            timeout=aiohttp.ClientWSTimeout(ws_close=1.0),
        )
    except aiohttp.WSServerHandshakeError as error:
        if error.status == 404:
            raise _NotOffered from None
        raise


async def _polled(target: Target, *, cookies: bool) -> int:
    requests = 0
    for _ in range(_SESSIONS):
        async with browser_of(target, cookies=cookies) as browser:
            wire = _Polls(browser, target)
            await wire.open()
            await _call(wire, target)
            await wire.say(_CLOSE)
            requests += wire.requests
    return requests


async def _call(wire: _Wire, target: Target) -> None:
    hub = target.hub_path
    shown = msgspec.json.encode({"token": target.token}).decode()
    await wire.say(f"40{hub},{shown}")
    await _until(wire, f"40{hub},", refusal=f"44{hub},")
    for number in range(_CALLS):
        await wire.say(f'42{hub},{number}["WhoAmI"]')
        said = await _until(wire, f"43{hub},{number}", refusal=f"41{hub},")
        try:
            [answer] = msgspec.json.decode(said, type=list[_Said])
        except (ValueError, msgspec.MsgspecError):
            raise Trouble("WhoAmI was answered with something else") from None
        if not answer.ok:
            raise Trouble("WhoAmI was refused: is it the care hub of an Auricle?")


async def _until(wire: _Wire, head: str, *, refusal: str) -> str:
    """What comes behind ``head``."""
    while True:
        found: str | None = None
        for packet in await wire.hear():
            if packet.startswith(head):
                found = packet[len(head) :]
            elif packet.startswith(refusal):
                raise Trouble("the hub has refused the token, or is no namespace here")
            elif packet == _CLOSE:
                raise Trouble("the server has ended the session")
            elif packet == _PING:
                await wire.say(_PONG)
        if found is not None:
            return found


def _opened(packet: str) -> str:
    """The id of the session that the first packet opens."""
    try:
        return msgspec.json.decode(packet.removeprefix("0"), type=_Open).sid
    except msgspec.MsgspecError:
        raise Trouble("what came is not Engine.IO") from None


def _text_of(answer: Answer) -> str:
    if answer.status != 200:
        hint = ": it did not reach the pod that holds the session" if b"Session ID unknown" in answer.body else ""
        raise Trouble(f"a request was answered with {answer.status}{hint}")
    return answer.body.decode("utf-8", "replace")
