"""How each measured server is spoken to: an echo, a message to a group, and what may come back.

The frames are written by hand, with neither the server's codecs nor a client library: the generator must cost less
than the server, and a codec's mistake must not cancel out against itself. It must not know sockets or clocks. Read
``Dialect`` first.
"""

from collections.abc import Iterator
from typing import Any, Final, NamedTuple, Protocol

import msgspec

from .bench_websocket import BenchFailed, Opcode, client_frame

__all__ = ["DIALECTS", "Answer", "BareText", "Dialect", "SignalRJson", "SignalRMessagePack"]

_SEPARATOR: Final = "\x1e"
_TARGET: Final = "Message"
_PING: Final = 6
HANDSHAKE_ACCEPTED: Final = b"{}\x1e"


class Answer(NamedTuple):
    """What arrived: the id of the call that it answers, empty for a relayed message, and its text."""

    call_id: str
    text: str


class Dialect(Protocol):
    """Whole frames out, payloads in. Texts are plain ASCII with nothing to escape."""

    name: str
    speaks_first: bool
    """Whether the server's first payload comes unasked."""

    def path(self, own: str, to: str, /) -> str:
        """The URL path of a connection that joins group ``own`` and sends to group ``to``, both empty for echoes."""
        ...

    def greetings(self, own: str) -> Iterator[tuple[bytes, bytes | None]]:
        """What a new connection sends, and the payload that must answer it (None: any answer without an error)."""
        ...

    def echo(self, call: int, text: str, /) -> tuple[bytes, Answer]:
        """The frame of a call, and the answer that it must get."""
        ...

    def relay(self, to: str, text: str, /) -> tuple[bytes, Answer]:
        """The frame of a message to a group, and what every member must get."""
        ...

    def answers(self, payload: bytes) -> Iterator[Answer]:
        """What a payload carries. Raises BenchFailed for anything but answers and keep-alives."""
        ...


class BareText:
    """The texts themselves: what a transport costs when nothing is around the message."""

    name = "aiohttp"
    speaks_first = False

    def path(self, own: str, to: str, /) -> str:
        """See ``Dialect``."""
        return f"/relay/{own}/{to}" if own else "/echo"

    def greetings(self, own: str) -> Iterator[tuple[bytes, bytes | None]]:
        """The relay answers the first message: from then on the connection is in its group."""
        if own:
            yield client_frame(Opcode.TEXT, b"join"), b"joined"

    def echo(self, _call: int, text: str, /) -> tuple[bytes, Answer]:
        """See ``Dialect``."""
        return self.relay("", text)

    def relay(self, _to: str, text: str, /) -> tuple[bytes, Answer]:
        """See ``Dialect``."""
        return client_frame(Opcode.TEXT, text.encode()), Answer("", text)

    def answers(self, payload: bytes) -> Iterator[Answer]:
        """See ``Dialect``."""
        yield Answer("", payload.decode())


class _SignalR:
    """What both formats of the SignalR hub protocol share; the groups are those of the conformance hub."""

    name: str
    speaks_first = False
    _format: str

    def path(self, _own: str, _to: str, /) -> str:
        """See ``Dialect``."""
        return "/hubs/conformance"

    def greetings(self, own: str) -> Iterator[tuple[bytes, bytes | None]]:
        """See ``Dialect``."""
        handshake = f'{{"protocol":"{self._format}","version":1}}{_SEPARATOR}'
        yield client_frame(Opcode.TEXT, handshake.encode()), HANDSHAKE_ACCEPTED
        if own:
            yield self.invocation("join", "JoinGroup", own), None

    def echo(self, call: int, text: str, /) -> tuple[bytes, Answer]:
        """See ``Dialect``."""
        return self.invocation(str(call), "Echo", text), Answer(str(call), text)

    def relay(self, to: str, text: str, /) -> tuple[bytes, Answer]:
        """See ``Dialect``."""
        return self.invocation("", "ToGroup", to, _TARGET, text), Answer("", text)

    def invocation(self, call_id: str, target: str, *arguments: str) -> bytes:
        """The frame of a call; without an id nothing answers it."""
        raise NotImplementedError


class _JsonMessage(msgspec.Struct, frozen=True, rename="camel"):
    type: int
    invocation_id: str = ""
    target: str = ""
    arguments: tuple[str, ...] = ()
    result: str | None = None
    error: str | None = None


_decode_json: Final = msgspec.json.Decoder(_JsonMessage).decode
_decode_messagepack: Final = msgspec.msgpack.Decoder(list[Any]).decode


class SignalRJson(_SignalR):
    """The SignalR hub protocol as JSON (HubProtocol specification, "JSON Encoding")."""

    name = "auricle-json"
    _format = "json"

    def invocation(self, call_id: str, target: str, *arguments: str) -> bytes:
        """See ``_SignalR``."""
        head = f'"invocationId":"{call_id}",' if call_id else ""
        values = '","'.join(arguments)
        message = f'{{"type":1,{head}"target":"{target}","arguments":["{values}"]}}{_SEPARATOR}'
        return client_frame(Opcode.TEXT, message.encode())

    def answers(self, payload: bytes) -> Iterator[Answer]:
        """See ``Dialect``."""
        if not payload.endswith(b"\x1e"):
            raise BenchFailed("a frame that does not end with a whole message")
        for body in payload[:-1].split(b"\x1e"):
            try:
                message = _decode_json(body)
            except msgspec.DecodeError as error:
                raise BenchFailed(f"not a hub message: {error}") from None
            if message.type == 1 and message.target == _TARGET and len(message.arguments) == 1:
                yield Answer("", message.arguments[0])
            elif message.type == 3 and message.error is None:
                yield Answer(message.invocation_id, message.result or "")
            elif message.type != _PING:
                raise BenchFailed(f"an unexpected hub message: {body[:120]!r}")


class SignalRMessagePack(_SignalR):
    """The SignalR hub protocol as MessagePack (HubProtocol specification, "MessagePack Encoding")."""

    name = "auricle-messagepack"
    _format = "messagepack"

    def invocation(self, call_id: str, target: str, *arguments: str) -> bytes:
        """See ``_SignalR``."""
        body = msgspec.msgpack.encode((1, {}, call_id or None, target, arguments, ()))
        return client_frame(Opcode.BINARY, _length_prefix(len(body)) + body)

    def answers(self, payload: bytes) -> Iterator[Answer]:
        """See ``Dialect``."""
        start = 0
        while start < len(payload):
            start, end = _message_bounds(payload, start)
            try:
                message = _decode_messagepack(payload[start:end])
            except msgspec.DecodeError as error:
                raise BenchFailed(f"not a hub message: {error}") from None
            start = end
            match message:
                case [1, _, None, str(target), [str(text)], *_] if target == _TARGET:
                    yield Answer("", text)
                case [3, _, str(call_id), 3, result]:
                    yield Answer(call_id, result or "")
                case [3, _, str(call_id), 2]:
                    yield Answer(call_id, "")
                case [6]:
                    pass
                case _:
                    raise BenchFailed(f"an unexpected hub message: {message!r:.120}")


def _length_prefix(size: int) -> bytes:
    prefix = bytearray()
    while size >= 0x80:
        prefix.append(size & 0x7F | 0x80)
        size >>= 7
    return bytes((*prefix, size))


def _message_bounds(payload: bytes, start: int) -> tuple[int, int]:
    """Where the message behind the length prefix at ``start`` begins and ends."""
    size = shift = 0
    for at in range(start, len(payload)):
        size |= (payload[at] & 0x7F) << shift
        shift += 7
        if payload[at] < 0x80:
            if at + 1 + size > len(payload):
                break
            return at + 1, at + 1 + size
    raise BenchFailed("a frame that does not end with a whole message")


DIALECTS: Final[tuple[Dialect, ...]] = (SignalRJson(), SignalRMessagePack(), BareText())
