"""What the two of a pair do in one call of the benchmarks: with real sound, or with nothing but what is signalled.

Read ``Sounding.set_up`` and ``Signalling.set_up``.
"""

import asyncio
import time
from dataclasses import dataclass
from typing import Any, Final

from clients.calling import CallEnd, CallNews, Talk
from clients.hub_client import HubClient
from clients.tone import ToneTrack
from protocol.contract.calls import (
    AnswerCall,
    CallAnswer,
    CallChanged,
    CallEnded,
    EndCall,
    IncomingCall,
    SendSignal,
    Signal,
    StartCall,
)
from protocol.contract.sessions import Done

from .bench_websocket import BenchFailed
from .call_pairs import Pair, asked
from .call_sdp import CANDIDATES, DESCRIPTION

__all__ = ["Heard", "Signalling", "Sounding"]

_POLL_S: Final = 0.002
PATIENCE_S: Final = 20.0


@dataclass(frozen=True, slots=True)
class Heard:
    """Seconds from ``StartCall`` to its answer, to the first decoded sound at either end, and at the later one."""

    answer_s: float
    first_s: float
    both_s: float


class Sounding:
    """A pair that hears each other, with aiortc at both ends."""

    def __init__(self, pair: Pair) -> None:
        self._news: asyncio.Queue[CallNews] = asyncio.Queue(256)
        self._fitter = CallEnd(pair.fitter, pair.visit, lambda: [ToneTrack(440)])
        self._patient = CallEnd(pair.patient, pair.visit, lambda: [ToneTrack(660)], on_news=self._news.put_nowait)

    async def set_up(self) -> Heard:
        """One call, until sound is decoded at both ends; then it is over. Raises BenchFailed."""
        async with asyncio.timeout(PATIENCE_S):
            began_s = time.perf_counter()
            caller = _talk(await self._fitter.start("audio"))
            answer_s = time.perf_counter() - began_s
            ringing = await self._next(IncomingCall)
            callee = _talk(await self._patient.answer(ringing.call_id))
            first_s = 0.0
            while not (caller.frames and callee.frames):
                if not first_s and (caller.frames or callee.frames):
                    first_s = time.perf_counter() - began_s
                await asyncio.sleep(_POLL_S)  # a decoder tells nobody of its frames
            both_s = time.perf_counter() - began_s
            await self._fitter.hang_up()
            await self._next(CallEnded)
        return Heard(answer_s, first_s or both_s, both_s)

    async def _next(self, kind: type[Any]) -> Any:
        while True:
            news = await self._news.get()
            if isinstance(news, kind):
                return news


class Signalling:
    """A pair that says all that is said for a call, with descriptions that nobody stands behind."""

    def __init__(self, pair: Pair) -> None:
        self._pair = pair
        self._heard: dict[HubClient, asyncio.Queue[Any]] = {}
        for hub in (pair.fitter, pair.patient):
            heard = self._heard[hub] = asyncio.Queue(256)
            for kind in (IncomingCall, Signal, CallEnded):
                hub.on(kind.__name__, heard.put_nowait, kind)
            hub.on("CallChanged", _nothing, CallChanged)

    async def set_up(self) -> float:
        """One call, until the caller's answer to the other's offer is there; its seconds. Raises BenchFailed."""
        fitter, patient, visit = self._pair.fitter, self._pair.patient, self._pair.visit
        async with asyncio.timeout(PATIENCE_S):
            began_s = time.perf_counter()
            begun = await asked(fitter, "StartCall", StartCall(visit=visit, media="audio"), CallAnswer)
            call_id = begun.call_id
            await self._next(patient, IncomingCall)
            joined = await asked(patient, "AnswerCall", AnswerCall(visit=visit, call_id=call_id), CallAnswer)
            await self._say(patient, call_id, begun.peer, "offer")
            await self._next(fitter, Signal)
            await self._say(fitter, call_id, joined.peer, "answer")
            await self._next(patient, Signal)
            took_s = time.perf_counter() - began_s
            await asked(fitter, "EndCall", EndCall(visit=visit, call_id=call_id), Done)
            for hub in (fitter, patient):
                await self._next(hub, CallEnded)
        return took_s

    async def _say(self, hub: HubClient, call_id: str, to: int, kind: Any) -> None:
        """A description, and what a browser sends behind it."""
        visit = self._pair.visit
        described = SendSignal(visit=visit, call_id=call_id, to=to, kind=kind, sdp=DESCRIPTION)
        await asked(hub, "SendSignal", described, Done)
        for text in CANDIDATES:
            found = SendSignal(visit=visit, call_id=call_id, to=to, kind="candidate", candidate=text, sdp_mid="0")
            await asked(hub, "SendSignal", found, Done)

    async def _next(self, hub: HubClient, kind: type[Any]) -> Any:
        """What is told next of that kind; candidates are as good as nothing."""
        while True:
            news = await self._heard[hub].get()
            if isinstance(news, kind) and not (isinstance(news, Signal) and news.kind == "candidate"):
                return news


def _talk(outcome: object) -> Talk:
    if not isinstance(outcome, Talk):
        raise BenchFailed("a call was refused")
    return outcome


def _nothing(_: object) -> None:
    """Who takes part is no news to a pair."""
