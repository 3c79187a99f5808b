"""One connection of a reconnect storm, as little of a client as must be there: upgrade, handshake, ``WhoAmI``.

It is back when the hub has said to it who it is, by the token that it has shown. It must not know when connections are
cut, nor when one comes again. Read ``open_client`` first.
"""

import asyncio
from typing import Any, Final, cast

import msgspec

from .bench_websocket import Opcode, client_frame, upgrade_request

__all__ = ["Client", "Refused", "open_client"]

_HELLO: Final = client_frame(Opcode.TEXT, b'{"protocol":"json","version":1}\x1e')
_PING: Final = client_frame(Opcode.TEXT, b'{"type":6}\x1e')
_ASK: Final = client_frame(Opcode.TEXT, b'{"type":1,"invocationId":"1","target":"WhoAmI","arguments":[]}\x1e')
_WELCOME: Final = b"{}\x1e"
_MAX_ANSWER_BYTES: Final = 65_536


class Refused(Exception):
    """It did not come in; the message is why, as a row of the statistics. ``wait_s``: what the server asks for."""

    def __init__(self, why: str, wait_s: float = 0.0) -> None:
        super().__init__(why)
        self.wait_s = wait_s


class _Who(msgspec.Struct):
    user: str


class _Answer(msgspec.Struct, rename="camel"):
    type: int = 0
    invocation_id: str = ""
    result: _Who | None = None


class Client(asyncio.Protocol):
    """An end of a socket; ``is_back`` is done when the hub has answered, or with Refused."""

    __slots__ = ("_held", "_request", "_transport", "_user", "is_back", "was_lost")

    def __init__(self, request: bytes, user: str) -> None:
        self._request = request
        self._user = user
        self._held = b""
        self._transport: asyncio.Transport | None = None
        self.is_back: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.was_lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See ``asyncio.Protocol``."""
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(self._request + _HELLO)

    def data_received(self, data: bytes) -> None:
        """What is no answer that is waited for is a keep-alive."""
        if self.is_back.done():
            return
        self._held += data
        if self._request:
            self._read_head()
        if not self._request:
            self._read_messages()
        if len(self._held) > _MAX_ANSWER_BYTES:
            self._fail(Refused("too much was said"))

    def connection_lost(self, _: Exception | None, /) -> None:
        """See ``asyncio.Protocol``."""
        self.was_lost = True
        self._fail(Refused("ended before it was back"))

    def show_life(self) -> None:
        """As a client does that has nothing to say."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(_PING)

    def cut(self) -> None:
        """End it without a word."""
        if self._transport is not None:
            self._transport.abort()

    def _read_head(self) -> None:
        head, end, rest = self._held.partition(b"\r\n\r\n")
        if not end:
            return
        status = head[9:12].decode(errors="replace")
        if status != "101":
            self._fail(Refused(status, _retry_after_s(head)))
            self.cut()
            return
        self._held, self._request = rest, b""

    def _read_messages(self) -> None:
        for payload in self._payloads():
            if payload == _WELCOME and self._transport is not None:
                self._transport.write(_ASK)
                continue
            for text in payload.split(b"\x1e")[:-1]:
                answer = msgspec.json.decode(text, type=_Answer)
                if answer.type == 3 and answer.invocation_id == "1":
                    self._take(answer)

    def _take(self, answer: _Answer) -> None:
        if answer.result is None or answer.result.user != self._user:
            self._fail(Refused("answered as somebody else"))
        elif not self.is_back.done():
            self.is_back.set_result(None)

    def _payloads(self) -> list[bytes]:
        """Of whole frames below 64 KiB."""
        found = []
        while len(self._held) >= 2:
            size, start = self._held[1], 2
            if size == 126:
                size, start = int.from_bytes(self._held[2:4], "big"), 4
            if len(self._held) < start + size:
                break
            found.append(self._held[start : start + size])
            self._held = self._held[start + size :]
        return found

    def _fail(self, error: Refused) -> None:
        if not self.is_back.done():
            self.is_back.set_exception(error)


def _retry_after_s(head: bytes) -> float:
    _, found, rest = head.lower().partition(b"\r\nretry-after:")
    text = rest.partition(b"\r\n")[0].strip()
    return float(text) if found and text.isdigit() else 0.0


async def open_client(url: str, token: str, user: str, *, patience_s: float) -> Client:
    """A connection to the hub of the server at ``url`` that is back. Raises Refused."""
    host, port, request = upgrade_request(f"{url}/hub", {"Authorization": f"Bearer {token}"})
    loop: Any = asyncio.get_running_loop()
    client: Client | None = None
    try:
        async with asyncio.timeout(patience_s):
            _, client = await loop.create_connection(lambda: Client(request, user), host, port)
            assert client is not None
            await client.is_back
            return client
    except TimeoutError:
        raise _dropped(client, Refused(f"not back within {patience_s:g} s")) from None
    except OSError as error:
        raise _dropped(client, Refused(f"no connection: {error.strerror or type(error).__name__}")) from None
    except Refused as refused:
        raise _dropped(client, refused) from None


def _dropped(client: Client | None, refused: Refused) -> Refused:
    if client is not None:
        client.cut()
    return refused
