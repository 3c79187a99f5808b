"""How Socket.IO servers are spoken to: Engine.IO 4 over a WebSocket, text packets of one namespace.

Every packet is one text frame: ``0`` opens and ``2`` pings on the level of Engine.IO; ``40`` connects, ``42`` is an
event and ``43`` an acknowledgement, the digits behind them the number of the call. The yardsticks are Socket.IO on
Node (``loadtest/node/server.mjs``) and python-socketio's own server (``loadtest/socketio_python.py``). It must not know
sockets or clocks. Read ``SocketIo`` first.
"""

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from .bench_websocket import BenchFailed, Opcode, client_frame
from .dialects import Answer

__all__ = ["AuricleSocketIo", "SocketIo"]

_decode: Final = msgspec.json.Decoder(list[Any]).decode


class SocketIo:
    """A ``Dialect``; texts are plain ASCII with nothing to escape. ``name`` is that of the server."""

    speaks_first = True

    def __init__(self, name: str = "socketio-node") -> None:
        self.name = name

    def path(self, _own: str, _to: str, /) -> str:
        """See ``Dialect``."""
        return "/socket.io/?EIO=4&transport=websocket"

    def greetings(self, own: str) -> Iterator[tuple[bytes, bytes | None]]:
        """See ``Dialect``."""
        yield _text("40"), None
        if own:
            yield _text(f'420["join","{own}"]'), b'430[""]'

    def echo(self, call: int, text: str, /) -> tuple[bytes, Answer]:
        """See ``Dialect``."""
        return _text(f'42{call}["echo","{text}"]'), Answer(str(call), text)

    def relay(self, to: str, text: str, /) -> tuple[bytes, Answer]:
        """See ``Dialect``."""
        return _text(f'42["relay","{to}","{text}"]'), Answer("", text)

    def answers(self, payload: bytes) -> Iterator[Answer]:
        """See ``Dialect``."""
        kind = payload[:2]
        if kind in (b"42", b"43"):
            call_id, bracket, rest = payload[2:].partition(b"[")
            match self._values(call_id, bracket + rest):
                case [str(text)] if kind == b"43":
                    yield Answer(call_id.decode(), text)
                    return
                case ["message", str(text)] if kind == b"42":
                    yield Answer("", text)
                    return
        elif kind == b"40" or payload[:1] in (b"0", b"2"):
            return
        raise BenchFailed(f"an unexpected packet: {payload[:120]!r}")

    def _values(self, _head: bytes, content: bytes) -> list[Any]:
        try:
            return _decode(content)
        except msgspec.DecodeError as error:
            raise BenchFailed(f"not a Socket.IO packet: {error}") from None


class AuricleSocketIo(SocketIo):
    """The conformance hub over Socket.IO: a namespace with a login, and answers that are objects."""

    _namespace: Final = "/hubs/conformance,"

    def __init__(self, token: str) -> None:
        super().__init__("auricle-socketio")
        self._token = token

    def greetings(self, own: str) -> Iterator[tuple[bytes, bytes | None]]:
        """See ``Dialect``."""
        yield _text(f'40{self._namespace}{{"token":"{self._token}"}}'), None
        if own:
            yield _text(f'42{self._namespace}0["JoinGroup","{own}"]'), f'43{self._namespace}0[{{"ok":true}}]'.encode()

    def echo(self, call: int, text: str, /) -> tuple[bytes, Answer]:
        """See ``Dialect``."""
        return _text(f'42{self._namespace}{call}["Echo","{text}"]'), Answer(str(call), text)

    def relay(self, to: str, text: str, /) -> tuple[bytes, Answer]:
        """See ``Dialect``."""
        return _text(f'42{self._namespace}["ToGroup","{to}","message","{text}"]'), Answer("", text)

    def answers(self, payload: bytes) -> Iterator[Answer]:
        """See ``Dialect``."""
        head, _, rest = payload.partition(self._namespace.encode())
        if head == b"43":
            call_id, bracket, content = rest.partition(b"[")
            match self._values(call_id, bracket + content):
                case [{"ok": True, "result": str(text)}]:
                    yield Answer(call_id.decode(), text)
                    return
            raise BenchFailed(f"an unexpected packet: {payload[:120]!r}")
        yield from super().answers(head + rest)


def _text(packet: str) -> bytes:
    return client_frame(Opcode.TEXT, packet.encode())
