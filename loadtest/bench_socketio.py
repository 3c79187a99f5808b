"""How Socket.IO is spoken to: Engine.IO 4 over a WebSocket, the default namespace, text packets.

Every packet is one text frame: ``0`` opens and ``2`` pings on the level of Engine.IO; ``40`` connects, ``42`` is an
event and ``43`` an acknowledgement, the digits behind them the number of the call. The servers are
``loadtest/node/server.mjs`` and ``loadtest/socketio_python.py``. It must not know sockets or clocks. Read ``SocketIo``
first.
"""

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from .bench_websocket import BenchFailed, Opcode, client_frame
from .dialects import Answer

__all__ = ["SocketIo"]

_decode: Final = msgspec.json.Decoder(list[Any]).decode


class SocketIo:
    """A ``Dialect``; texts are plain ASCII with nothing to escape. ``name``: of the server that is spoken to."""

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
            try:
                values = _decode(bracket + rest)
            except msgspec.DecodeError as error:
                raise BenchFailed(f"not a Socket.IO packet: {error}") from None
            match values:
                case [str(text)] if kind == b"43":
                    yield Answer(call_id.decode(), text)
                    return
                case ["message", str(text)] if kind == b"42":
                    yield Answer("", text)
                    return
        elif kind == b"40" or payload[:1] in (b"0", b"2"):
            return
        raise BenchFailed(f"an unexpected packet: {payload[:120]!r}")


def _text(packet: str) -> bytes:
    return client_frame(Opcode.TEXT, packet.encode())
