"""One phone of a storm: it wakes up, attaches with what its aids hold, takes its package, sets it aside, and leaves.

It speaks the hub protocol by ``protocol.signalr`` over a cheap WebSocket, shows that it lives as a real client does,
and compares what it is offered with the one package that is its own. A visit that fails may be made again; a package
of somebody else never passes. It must not know when phones wake up. Read ``visit`` first.
"""

import asyncio
import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from msgspec import Raw

from protocol.contract import CONTRACT_VERSION
from protocol.contract.base import EARS
from protocol.contract.devices import AttachDevice, Offer, Report
from protocol.contract.session import Hello
from protocol.signalr.client_connection import HubClientConnection
from protocol.signalr.codec import CODECS, ProtocolName
from protocol.signalr.endpoint import HubLimits
from protocol.signalr.events import Broken, Event, KeepAliveDue, Opened, PeerClosed, Refused, TimedOut
from protocol.signalr.messages import Completion, Invocation

from .bench_websocket import BenchFailed, Opcode, WebSocket, client_frame, connect
from .storm_package import claim, device_name, wrong

__all__ = ["Visit", "VisitFailed", "Visitors", "WrongPackage"]

_LIMITS: Final = HubLimits(max_message_bytes=1_048_576)


class VisitFailed(Exception):
    """The visit came to nothing, as those of real phones do; the phone tries again."""


class WrongPackage(Exception):
    """A phone was offered what is not its own."""


@dataclass(frozen=True, slots=True)
class Visit:
    """Seconds from the beginning of the connection, and from ``AttachDevice``, to the offer."""

    connect_to_offer_s: float
    attach_to_offer_s: float


class _Told(msgspec.Struct, frozen=True, rename="camel"):
    code: str = ""
    retry_after_ms: int = 0


class _Verdict(msgspec.Struct):
    ok: bool
    error: _Told = _Told()


class _NotNow(VisitFailed):
    """The server has no room, and has said when to ask again."""

    def __init__(self, after_s: float) -> None:
        super().__init__("asked to come back, and the line was lost")
        self.after_s = after_s


class _Line:
    """One hub connection: calls, and the first offer."""

    def __init__(self, socket: WebSocket, protocol: ProtocolName, now: Callable[[], float]) -> None:
        self._socket, self._now = socket, now
        self._codec = CODECS[protocol]
        self._opcode = Opcode.BINARY if self._codec.binary else Opcode.TEXT
        self._offer_of, self._verdict_of = self._codec.binder(Offer), self._codec.binder(_Verdict)
        self._hub = HubClientConnection(protocol, _LIMITS, now=now())
        loop = asyncio.get_running_loop()
        self._opened: asyncio.Future[None] = loop.create_future()
        self.offered: asyncio.Future[tuple[Offer, float]] = loop.create_future()
        self._answers: dict[str, asyncio.Future[None]] = {}
        self._calls = 0
        self._is_over = False
        socket.on_payload, socket.on_lost = self._receive, self.end

    async def shake_hands(self) -> None:
        self._socket.send(client_frame(Opcode.TEXT, self._hub.hello()))
        await self._opened

    def call(self, target: str, payload: object) -> "asyncio.Future[None]":
        """Sent; what is awaited is its answer."""
        self._calls += 1
        name = str(self._calls)
        answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._answers[name] = answer
        self._write(self._codec.encode(Invocation(target=target, arguments=(payload,), invocation_id=name)))
        return answer

    async def until_over(self, seconds: float) -> None:
        """Wait, and no longer than there is a line. Raises VisitFailed."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                # That an offer comes before it was asked for is nothing to wait for, and no harm.
                await asyncio.shield(self.offered)

    def tick(self) -> None:
        """Show that it lives."""
        self._take(self._hub.tick(self._now()))

    def end(self, reason: str) -> None:
        """Whoever waits is told."""
        if self._is_over:
            return
        self._is_over = True
        waiting: tuple[asyncio.Future[Any], ...] = (self._opened, self.offered, *self._answers.values())
        for future in waiting:
            if not future.done():
                future.set_exception(VisitFailed(reason))
            # What nobody waits for any more must not be reported as lost.
            with suppress(VisitFailed):
                future.exception()

    def _receive(self, payload: bytes) -> None:
        if not self._is_over:
            self._take(self._hub.receive_data(payload, self._now()))

    def _take(self, events: list[Event]) -> None:
        for event in events:
            if isinstance(event, Invocation):
                self._told(event)
            elif isinstance(event, Completion):
                self._answered(event)
            elif isinstance(event, KeepAliveDue):
                self._write(event.data)
            elif isinstance(event, Opened):
                self._opened.set_result(None)
            elif isinstance(event, Refused | PeerClosed | Broken | TimedOut):
                self.end(f"the connection ended: {type(event).__name__}")

    def _told(self, call: Invocation) -> None:
        # One that comes again, because its first answer was slow, is the same.
        if call.target == "Offer" and not self.offered.done():
            [argument] = call.arguments
            assert isinstance(argument, Raw)
            self.offered.set_result((self._offer_of(argument), self._now()))

    def _answered(self, completion: Completion) -> None:
        answer = self._answers.pop(completion.invocation_id, None)
        if answer is None or answer.done():
            return
        result = completion.result
        if completion.error is not None or not isinstance(result, Raw):
            answer.set_exception(VisitFailed(f"a call failed: {completion.error}"))
            return
        verdict = self._verdict_of(result)
        if verdict.ok:
            answer.set_result(None)
        elif verdict.error.retry_after_ms:
            answer.set_exception(_NotNow(verdict.error.retry_after_ms / 1_000))
        else:
            answer.set_exception(VisitFailed(f"a call was refused: {verdict.error.code}"))

    def _write(self, data: bytes) -> None:
        if not self._is_over:
            self._socket.send(client_frame(self._opcode, data))
            self._hub.sent_at = self._now()


class Visitors:
    """All phones of one process that are on the line. ``patience_s`` bounds every wait, ``stay_s`` is spent there.

    ``put_off``: how often one was asked to come back. It stays on the line, as a phone does, and asks again in time.
    """

    def __init__(
        self, url: str, protocol: ProtocolName, *, patience_s: float, stay_s: float, now: Callable[[], float]
    ) -> None:
        self._url, self._protocol, self._now = url, protocol, now
        self._patience_s, self._stay_s = patience_s, stay_s
        self._lines: set[_Line] = set()
        self.put_off = 0

    async def visit(self, number: int, token: str) -> Visit:
        """One phone comes, and has gone again. Raises VisitFailed and WrongPackage."""
        began_s = self._now()
        try:
            async with asyncio.timeout(self._patience_s):
                socket = await connect(f"{self._url}/hub", {"Authorization": f"Bearer {token}"})
        except (BenchFailed, TimeoutError) as error:
            raise VisitFailed(f"no connection: {error}") from None
        line = _Line(socket, self._protocol, self._now)
        self._lines.add(line)
        try:
            visit = await self._collect(line, number, began_s)
            await asyncio.sleep(self._stay_s)  # sleep: a phone stays for a while
            return visit
        except TimeoutError:
            raise VisitFailed(f"not over within {self._patience_s:g} s") from None
        finally:
            self._lines.discard(line)
            line.end("over")
            await socket.close()

    def tick(self) -> None:
        """Called about every second."""
        for line in tuple(self._lines):
            line.tick()

    async def _collect(self, line: _Line, number: int, began_s: float) -> Visit:
        async with asyncio.timeout(self._patience_s):
            await line.shake_hands()
            await line.call("Hello", Hello(contract=CONTRACT_VERSION, app="auricle-storm"))
        hello: AttachDevice = claim(number)
        attached_s = await self._attach(line, hello)
        async with asyncio.timeout(self._patience_s):
            offer, offered_s = await line.offered
            await self._put_aside(line, offer, number)
        return Visit(offered_s - began_s, offered_s - attached_s)

    async def _attach(self, line: _Line, hello: AttachDevice) -> float:
        """When it was asked for that the server has let it in."""
        while True:
            asked_s = self._now()
            try:
                async with asyncio.timeout(self._patience_s):
                    await line.call("AttachDevice", hello)
            except _NotNow as put_off:
                self.put_off += 1
                after_s = random.uniform(1.0, 1.25) * put_off.after_s
            else:
                return asked_s
            await line.until_over(after_s)

    async def _put_aside(self, line: _Line, offer: Offer, number: int) -> None:
        fault = wrong(offer, number)
        if fault:
            raise WrongPackage(f"{device_name(number)} was offered what is not its own: {fault}")
        told: dict[str, Any] = {
            "device": offer.device,
            "epoch": offer.epoch,
            "seq": offer.seq,
            "attempt": offer.attempt,
        }
        await line.call("Report", Report(**told, n=1, state="received"))
        waiting = [
            line.call("Report", Report(**told, n=n, state="awaiting_install", ear=ear)) for n, ear in enumerate(EARS, 2)
        ]
        for answer in waiting:
            await answer
