"""The hub protocol over a pipe, as much of it as a probe needs: the handshake, calls, and coming back.

One task does everything: a call writes, and whoever wants its answer reads until it is there. It must not know
transports. Read ``HubLine.ask`` first.
"""

from collections.abc import Callable
from typing import Any, Final, TypeVar

import msgspec
from msgspec import Raw

from clients.probe.pipes import Pipe
from clients.probe.verdicts import Trouble
from protocol.contract.session import WhoAmIAnswer
from protocol.errors import BadArgument
from protocol.signalr.client_connection import HubClientConnection
from protocol.signalr.codec import ProtocolName
from protocol.signalr.endpoint import HubLimits
from protocol.signalr.events import Broken, Event, Opened, PeerClosed, Refused
from protocol.signalr.messages import Completion, Invocation

__all__ = ["HubLine"]

T = TypeVar("T")
_LIMITS: Final = HubLimits(max_message_bytes=1_048_576)
_WHO_AM_I: Final = "WhoAmI"


class _Verdict(msgspec.Struct, frozen=True):
    ok: bool


class HubLine:
    """One hub connection. ``stateful``: the negotiation agreed that it survives its socket."""

    def __init__(self, pipe: Pipe, protocol: ProtocolName, *, now: Callable[[], float], stateful: bool = False) -> None:
        self._pipe, self._now, self._stateful = pipe, now, stateful
        self._hub = HubClientConnection(protocol, _LIMITS, now=now(), stateful=stateful)
        self._is_open = False
        self._calls = 0
        self.open_calls: set[str] = set()
        """Calls without an answer yet."""
        self._answers: dict[str, Raw] = {}

    async def shake_hands(self) -> None:
        """The first words of both ends. Raises Trouble."""
        await self._pipe.send(self._hub.hello())
        while not self._is_open:
            await self._read()
        if self._stateful and not self._hub.resumable:
            raise Trouble("the handshake has not confirmed that the connection survives its socket")

    async def who_am_i(self) -> WhoAmIAnswer:
        """A call that changes nothing, and its answer. Raises Trouble."""
        call_id = self._call()
        await self._pipe.send(self._frame(call_id))
        return await self.answer_of(call_id)

    async def begin_calls(self, count: int) -> list[str]:
        """Calls whose answers nobody reads yet, in one piece."""
        calls = [self._call() for _ in range(count)]
        await self._pipe.send(b"".join(self._frame(call_id) for call_id in calls))
        return calls

    def keep_calls(self, count: int) -> list[str]:
        """Calls made while there is no socket: they leave with the next one."""
        calls = [self._call() for _ in range(count)]
        for call_id in calls:
            self._frame(call_id)
        return calls

    def cut_off(self) -> None:
        """The socket is gone."""
        self._hub.detach(self._now())

    async def come_back(self, pipe: Pipe) -> None:
        """Go on over a new socket: Sequence, and all that was not acknowledged. Raises Trouble."""
        self._pipe = pipe
        await pipe.send(self._hub.attach(self._now()))

    async def answer_of(self, call_id: str) -> WhoAmIAnswer:
        """Read until a call is answered. Raises Trouble, also for a refusal."""
        while call_id not in self._answers:
            await self._read()
        raw, codec = self._answers.pop(call_id), self._hub.codec
        try:
            if not codec.binder(_Verdict)(raw).ok:
                raise Trouble(f"{_WHO_AM_I} was refused")
            answer: WhoAmIAnswer = codec.binder(WhoAmIAnswer)(raw)
        except BadArgument:
            raise Trouble(f"{_WHO_AM_I} was answered with something else") from None
        return answer

    def _call(self) -> str:
        self._calls += 1
        call_id = str(self._calls)
        self.open_calls.add(call_id)
        return call_id

    def _frame(self, call_id: str) -> bytes:
        return self._hub.outgoing(
            self._hub.codec.encode(Invocation(target=_WHO_AM_I, arguments=(), invocation_id=call_id))
        )

    async def _read(self) -> None:
        for event in self._hub.receive_data(await self._pipe.receive(), self._now()):
            self._take(event)

    def _take(self, event: Event) -> None:
        if isinstance(event, Opened):
            self._is_open = True
        elif isinstance(event, Completion):
            self._answered(event)
        elif isinstance(event, Refused):
            raise Trouble("the handshake was refused")
        elif isinstance(event, PeerClosed):
            raise Trouble("the server has closed the connection")
        elif isinstance(event, Broken):
            raise Trouble("what came is not the hub protocol")

    def _answered(self, completion: Completion) -> None:
        result: Any = completion.result
        if completion.invocation_id not in self.open_calls:
            raise Trouble("a call was answered twice")
        if completion.error is not None or not isinstance(result, Raw):
            raise Trouble(f"{_WHO_AM_I} failed: is it the care hub of an Auricle?")
        self.open_calls.discard(completion.invocation_id)
        self._answers[completion.invocation_id] = result
