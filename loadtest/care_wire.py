"""The care hub spoken as JSON over one WebSocket, as cheaply as a generator must: calls, pushes, and what they are.

Nothing is checked that the benchmark does not need; a refusal or an error of a call ends the run. It must not know a
session. Read ``CareWire.ask`` first.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Final, Literal, TypeVar

import msgspec
from msgspec import UNSET, Raw, UnsetType

from protocol.contract import CONTRACT_VERSION
from protocol.contract.session import Hello, HelloAnswer

from .bench_websocket import BenchFailed, Opcode, WebSocket, client_frame, connect

__all__ = ["CareWire"]

T = TypeVar("T")
CALL_S: Final = 20.0
_SEPARATOR: Final = b"\x1e"
_HANDSHAKE: Final = b'{"protocol":"json","version":1}\x1e'


class _Message(msgspec.Struct, rename="camel"):
    type: int
    invocation_id: str = ""
    target: str = ""
    arguments: tuple[Raw, ...] = ()
    result: Raw | UnsetType = UNSET
    error: str | None = None


class _Verdict(msgspec.Struct):
    ok: bool


_decode: Final = msgspec.json.Decoder(_Message).decode
_encode: Final = msgspec.json.Encoder().encode


class CareWire:
    """One connection. ``on_push`` gets the target, its argument, and the id to answer when the server waits for one."""

    def __init__(
        self, socket: WebSocket, on_push: Callable[[str, Raw, str], None], fail: Callable[[str], None]
    ) -> None:
        self._socket, self._on_push, self._fail = socket, on_push, fail
        self._calls = 0
        self._waiting: dict[str, asyncio.Future[Raw]] = {}

    @classmethod
    async def open(
        cls, url: str, token: str, *, on_push: Callable[[str, Raw, str], None], fail: Callable[[str], None]
    ) -> "CareWire":
        """Connect, shake hands and say hello. Raises BenchFailed."""
        socket = await connect(f"{url}/hub", {"Authorization": f"Bearer {token}"})
        if await socket.exchange(client_frame(Opcode.TEXT, _HANDSHAKE)) != b"{}\x1e":
            raise BenchFailed("the handshake was refused")
        wire = cls(socket, on_push, fail)
        socket.on_payload, socket.on_lost = wire._receive, fail
        await wire.ask("Hello", Hello(contract=CONTRACT_VERSION, app="auricle-bench"), HelloAnswer)
        return wire

    async def ask(self, target: str, payload: object, answer: type[T]) -> T:
        """A call and its typed answer. Raises BenchFailed for every other answer."""
        call_id = self.call(target, payload)
        self._waiting[call_id] = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(CALL_S):
                raw = await self._waiting[call_id]
        except TimeoutError:
            raise BenchFailed(f"{target} was not answered within {CALL_S:g} s") from None
        finally:
            del self._waiting[call_id]
        return msgspec.json.decode(raw, type=answer)

    def call(self, target: str, payload: object) -> str:
        """Send a call whose answer is only looked at for a refusal; its id."""
        self._calls += 1
        call_id = str(self._calls)
        self._send({"type": 1, "invocationId": call_id, "target": target, "arguments": [payload]})
        return call_id

    def answer(self, call_id: str, result: object) -> None:
        """What the server asked this client for."""
        self._send({"type": 3, "invocationId": call_id, "result": result})

    async def close(self) -> None:
        """Drop the connection."""
        await self._socket.close()

    def _send(self, message: dict[str, Any]) -> None:
        self._socket.send(client_frame(Opcode.TEXT, _encode(message) + _SEPARATOR))

    def _receive(self, payload: bytes) -> None:
        for text in payload.split(_SEPARATOR)[:-1]:
            message = _decode(text)
            kind: int | Literal[7] = message.type
            if kind == 1:
                self._on_push(message.target, message.arguments[0], message.invocation_id)
            elif kind == 3:
                self._answered(message)
            elif kind == 7:
                self._fail(f"the server closed the connection: {message.error}")

    def _answered(self, message: _Message) -> None:
        if message.error is not None or message.result is UNSET:
            self._fail(f"a call failed: {message.error}")
            return
        if not msgspec.json.decode(message.result, type=_Verdict).ok:
            self._fail(f"refused: {bytes(message.result).decode()[:300]}")
            return
        waiting = self._waiting.get(message.invocation_id)
        if waiting is not None and not waiting.done():
            waiting.set_result(message.result)
