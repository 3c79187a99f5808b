"""A visit for the commands by hand: come in, let others in, write, and see and hear each other, with made-up media.

What comes in is printed each second. aiortc is loaded with the first visit. Must not know what a fitting is. Read
``VisitByHand.run`` first.
"""

import argparse
import asyncio
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from itertools import count
from typing import TYPE_CHECKING, Final

from clients.command import say
from clients.hub_client import HubClient
from clients.hub_errors import HubCallError
from protocol.contract.base import Failure
from protocol.contract.calls import CallEnded, IncomingCall, Media
from protocol.contract.chat import MessageReceived, MessageSent, SendMessage
from protocol.contract.visits import (
    AdmitToVisit,
    Invited,
    JoinVisit,
    JoinVisitAnswer,
    ParticipantChanged,
    ParticipantView,
)

if TYPE_CHECKING:
    from aiortc import MediaStreamTrack, RTCPeerConnection

    from clients.calling import CallNews

__all__ = ["VisitByHand", "add_visit_options"]

_TELL_EVERY_S: Final = 1.0


def add_visit_options(parser: argparse.ArgumentParser) -> None:
    """What ``VisitByHand`` goes by."""
    options = parser.add_argument_group("a visit, with synthetic sound and picture")
    options.add_argument("--visit", metavar="ID", help="come to this visit; a fitter lets in who waits")
    options.add_argument("--say", metavar="TEXT", help="write this to the others")
    options.add_argument("--call", choices=("audio", "video"), help="call the others")
    options.add_argument("--answer", action="store_true", help="answer when it rings")
    options.add_argument("--call-s", type=float, metavar="S", help="hang up after so long (default: when others do)")
    options.add_argument("--restart-after-s", type=float, metavar="S", help="find another way, as in a new network")
    options.add_argument("--relay-only", action="store_true", help="over TURN servers alone")


class VisitByHand:
    """Make it before the hub starts. ``leads``: whoever waits is let in. ``tone_hz``: what the others hear."""

    def __init__(
        self,
        hub: HubClient,
        given: argparse.Namespace,
        *,
        leads: bool,
        tone_hz: float,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        from clients.calling import CallEnd

        self._hub, self._given, self._leads, self._tone_hz, self._sleep = hub, given, leads, tone_hz, sleep
        self._media: Media = given.call or "audio"
        self._end = CallEnd(hub, given.visit, self._tracks, on_news=self._hear, relay_only=given.relay_only)
        self._me = ""
        self._is_in = False
        self._met = asyncio.Event()
        self._ringing: asyncio.Queue[str] = asyncio.Queue(1)
        hub.on("ParticipantChanged", self._changed, ParticipantChanged, aside=True)
        hub.on("MessageReceived", lambda news: say(f"written: {news.message.text}"), MessageReceived)
        hub.on_reconnected(self._back)

    async def run(self) -> int:
        """Come, write, and be in a call until it is over: 0 when all that was asked for was done, and heard."""
        given = self._given
        if not await self._join():
            return 1
        if not (given.say or given.call or given.answer):
            return 0
        await self._met.wait()
        if given.say:
            text = SendMessage(visit=given.visit, client_id=secrets.token_hex(8), text=given.say)
            if not _done(await self._hub.ask("SendMessage", text, answer=MessageSent)):
                return 1
        return await self._call() if given.call or given.answer else 0

    # The visit

    async def _join(self) -> bool:
        answer = await self._hub.ask("JoinVisit", JoinVisit(visit=self._given.visit), answer=JoinVisitAnswer)
        if isinstance(answer, Failure):
            return _done(answer)
        self._me, self._is_in = answer.participant, answer.admitted
        say("in the visit" if answer.admitted else "in the waiting room")
        for one in answer.visit.participants:
            await self._meet(one)
        return True

    async def _changed(self, news: ParticipantChanged) -> None:
        if news.participant.participant != self._me:
            await self._meet(news.participant)
        elif news.participant.admission == "admitted" and not self._is_in:
            # Whoever is let in may know of the others now.
            await self._join()

    async def _meet(self, one: ParticipantView) -> None:
        if one.participant == self._me:
            return
        if one.admission == "waiting" and self._leads:
            say(f"letting in: {one.role}")
            _done(
                await self._hub.ask(
                    "AdmitToVisit", AdmitToVisit(visit=self._given.visit, participant=one.participant), answer=Invited
                )
            )
        elif one.admission == "admitted" and one.present and self._is_in:
            self._met.set()

    async def _back(self) -> None:
        """After a new connection: into the visit and the call again."""
        if self._me and await self._join() and self._end.talk is not None:
            await self._end.answer(self._end.talk.call_id)

    # The call

    async def _call(self) -> int:
        if self._given.call:
            talk = await self._end.start(self._media)
        else:
            talk = await self._end.answer(await self._ringing.get())
        if isinstance(talk, Failure):
            _done(talk)
            return 1
        say(f"in the call as peer {talk.peer}")
        reporting = asyncio.get_running_loop().create_task(self._report(talk.call_id))
        try:
            return 0 if await self._follow() else 1
        finally:
            reporting.cancel()

    async def _follow(self) -> bool:
        """Tell what flows, until the call is over; whether all that should have been decoded was."""
        given, heard, seen, is_restarted = self._given, False, self._media == "audio", False
        for second in count(1):
            await self._sleep(_TELL_EVERY_S)
            talk = self._end.talk
            if talk is None:
                break
            flow = await talk.flow()
            heard, seen = heard or flow.sounds > 0, seen or flow.pictures > 0
            come = f"{flow.packets} packets came, {flow.lost} were lost"
            say(f"call: {come}; decoded {flow.sounds} frames of sound, {flow.pictures} pictures")
            if given.restart_after_s is not None and second >= given.restart_after_s and not is_restarted:
                is_restarted = True
                say("call: finding another way")
                await talk.restart()
            if given.call_s is not None and second >= given.call_s:
                await self._end.hang_up()
                break
        return heard and seen

    async def _report(self, call_id: str) -> None:
        """Tell the server how the way from everybody is, until that cannot be told."""
        from clients.call_quality import QualityReporter

        def links() -> "Mapping[int, RTCPeerConnection]":
            return {} if self._end.talk is None else self._end.talk.links()

        with suppress(HubCallError, ConnectionError, TimeoutError):
            await QualityReporter(self._hub, self._given.visit, call_id, links).run()

    def _tracks(self) -> "Sequence[MediaStreamTrack]":
        from clients.picture import PictureTrack
        from clients.tone import ToneTrack

        tone = ToneTrack(self._tone_hz)
        return [tone] if self._media == "audio" else [tone, PictureTrack()]

    def _hear(self, news: "CallNews") -> None:
        if isinstance(news, IncomingCall) and self._given.answer and self._ringing.empty():
            self._media = news.media
            self._ringing.put_nowait(news.call_id)
        elif isinstance(news, CallEnded):
            say(f"call: over, {news.reason}")


def _done(answer: object) -> bool:
    if isinstance(answer, Failure):
        say(f"refused: {answer.error.message}")
        return False
    return True
