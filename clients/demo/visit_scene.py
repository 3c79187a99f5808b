"""The visit around the fitting: scheduled, waited for, written in, and a real call that goes on while the gain changes.

Sound is encoded, encrypted, sent and decoded at both ends; what counts is what was decoded, not what was promised. Read
``met`` first, then ``talked``.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeVar

import aiohttp
import msgspec
from msgspec import UnsetType

from clients.calling import CallEnd, CallNews, Talk
from clients.demo.delivering import WAIT_S, DemoFailed, digests_in
from clients.demo.stage import DEVICE, Stage
from clients.hub_client import HubClient
from clients.tone import ToneTrack
from protocol.contract.base import Answer, Failure
from protocol.contract.bookings import VisitAnswer, VisitSummary
from protocol.contract.calls import RELAY_PEER, CallBackend, CallEnded, IncomingCall
from protocol.contract.chat import MessageReceived, MessageSent, SendMessage
from protocol.contract.sessions import ModeChanged
from protocol.contract.visits import AdmitToVisit, Invited, JoinVisit, JoinVisitAnswer, ParticipantChanged

__all__ = ["RELAYING", "Meeting", "met", "talked", "talked_through_server", "visit_over"]

A = TypeVar("A", bound=Answer)
T = TypeVar("T")
# What a server needs that passes media on; it is off by default.
RELAYING: Final = {"AURICLE_MEDIA_RELAY": "true"}
_LAST_RESORT: Final[CallBackend] = "relay"
# Half a second of sound.
_ENOUGH: Final = 25
_SOON: Final = timedelta(minutes=5)


class Side:
    """One person in the visit, and what was heard of it over that connection."""

    def __init__(self, hub: HubClient, visit: str, tone_hz: float) -> None:
        self.hub = hub
        self.visit = visit
        self.news: list[object] = []
        self._came = asyncio.Event()
        self.end = CallEnd(hub, visit, lambda: [ToneTrack(tone_hz)], on_news=self._hear_call)
        hub.on("ParticipantChanged", self._hear, ParticipantChanged)
        hub.on("MessageReceived", self._hear, MessageReceived)

    async def ask(self, target: str, payload: msgspec.Struct, answer: type[A]) -> A:
        """A method that must not be refused. Raises DemoFailed."""
        given = await self.hub.ask(target, payload, answer=answer)
        if isinstance(given, Failure):
            raise DemoFailed(f"{target} was refused: {given.error.message}")
        return given

    async def join(self) -> JoinVisitAnswer:
        """Come into the visit, or its waiting room."""
        return await self.ask("JoinVisit", JoinVisit(visit=self.visit), JoinVisitAnswer)

    async def first(self, matches: Callable[[Any], bool]) -> Any:
        """The first news that matches, waiting for it."""
        async with asyncio.timeout(WAIT_S):
            while True:
                for news in self.news:
                    if matches(news):
                        return news
                await self._came.wait()

    def _hear(self, news: object) -> None:
        self.news.append(news)
        self._came.set()
        self._came.clear()

    def _hear_call(self, news: CallNews) -> None:
        self._hear(news)


@dataclass(slots=True)
class Meeting:
    """The visit, with both who are in it."""

    visit: str
    fitter: Side
    phone: Side


async def met(stage: Stage) -> Meeting:
    """Schedule it, have the patient wait, let him in, and write to each other."""
    at = datetime.now(UTC) + _SOON
    body = {"startsLocal": at.strftime("%Y-%m-%dT%H:%M"), "zone": "UTC", "durationMin": 30}
    made = await _rest(stage, "POST", f"/api/v1/devices/{DEVICE}/visits", body, VisitAnswer)
    fitter, phone = Side(stage.fitter_hub, made.visit, 440), Side(stage.phone_hub, made.visit, 660)
    stage.printer.tell("scheduled", f"a visit is scheduled for {made.starts_at}", startsAt=made.starts_at)
    waiting = await phone.join()
    alone = [one.participant for one in waiting.visit.participants] == [waiting.participant]
    stage.checks.expect("the patient waits, and sees nobody", not waiting.admitted and alone)
    stage.printer.tell("waiting", "the patient is in the waiting room")
    here = await fitter.join()
    waits = [one.participant for one in here.visit.participants if one.admission == "waiting"]
    stage.checks.expect("the professional sees who waits", waits == [waiting.participant], str(waits))
    await fitter.ask("AdmitToVisit", AdmitToVisit(visit=made.visit, participant=waiting.participant), Invited)
    await phone.first(lambda news: isinstance(news, ParticipantChanged) and news.participant.admission == "admitted")
    inside = await phone.join()
    stage.checks.expect("whoever was let in sees the others", inside.admitted and len(inside.visit.participants) == 2)
    stage.printer.tell("admitted", "the professional lets the patient in: the visit is live")
    await _write(stage, fitter, phone, "Does your own voice sound better now?")
    await _write(stage, phone, fitter, "Yes, but paper rustles.")
    return Meeting(made.visit, fitter, phone)


async def talked(stage: Stage, meeting: Meeting, during: Callable[[], Awaitable[None]]) -> None:
    """Call each other, work on the aids meanwhile, and hang up, which ends live work; what was saved stays."""
    began_s = asyncio.get_running_loop().time()
    async with _called(meeting) as (hers, his):
        await _decoded(hers, his, 1)
        set_up_ms = round((asyncio.get_running_loop().time() - began_s) * 1_000)
        text = f"in a call: sound is decoded at both ends after {set_up_ms} ms"
        stage.printer.tell("in_call", text, setUpMs=set_up_ms)
        await during()
        await _still_heard(stage, hers, his)
        held, heard = digests_in(stage, "nvm"), len(stage.news.news)
        await _hung_up(stage, meeting, hers.call_id)
        async with asyncio.timeout(WAIT_S):
            mode = await stage.news.first(ModeChanged, heard, lambda change: change.mode == "standard")
        stage.checks.expect("live work ends with its call", mode.reason == "call_ended", str(mode.reason))
        both = digests_in(stage, "nvm"), digests_in(stage, "ram")
        stage.checks.expect("what was saved in the call stays in the aids", both == (held, held), str(both))
        stage.printer.tell("call_over", "the patient hangs up: live work ends with the call, what was saved stays")


async def talked_through_server(stage: Stage, meeting: Meeting) -> None:
    """The same for people whose networks let them reach nobody but the server, which passes on what they say."""
    async with _called(meeting, _LAST_RESORT) as (hers, his):
        await _decoded(hers, his, _ENOUGH)
        only = [set(talk.links()) | set(talk.frames) for talk in (hers, his)]
        stage.checks.expect("both talk to the server's own peer alone", only == [{RELAY_PEER}] * 2, str(only))
        stage.printer.tell(
            "through_server",
            "another call, through the server: each end has one peer, the server's own, and decodes the other's sound",
            peers=[sorted(peers) for peers in only],
            sounds=[_heard(talk) for talk in (hers, his)],
        )
        await _hung_up(stage, meeting, hers.call_id)


async def visit_over(stage: Stage, meeting: Meeting) -> None:
    """End it: what was saved stays, and the visit says what it has changed."""
    held = digests_in(stage, "nvm")
    path = f"/api/v1/visits/{meeting.visit}"
    over = await _rest(stage, "PUT", f"{path}/end", {"reason": "all said"}, VisitAnswer)
    stage.checks.expect("the visit has ended", over.state == "ended", over.state)
    stage.checks.expect("what was saved in it stays in the aids", digests_in(stage, "nvm") == held)
    summary = await _rest(stage, "GET", f"{path}/summary", None, VisitSummary)
    changed = () if isinstance(summary.changes, UnsetType) else summary.changes
    stage.checks.expect("the visit knows what it has changed in the aids", bool(changed), str(summary.changes))
    stage.printer.tell(
        "visit_over",
        f"the visit is over; in it {len(summary.revisions)} changes were accepted, {len(changed)} values are kept",
        revisions=len(summary.revisions),
        kept=len(changed),
    )


@asynccontextmanager
async def _called(meeting: Meeting, backend: CallBackend = "webrtc") -> AsyncIterator[tuple[Talk, Talk]]:
    """The professional calls, the patient answers; both ends are let go of afterwards, whatever happens."""
    try:
        hers = _in_call(await meeting.fitter.end.start("audio", backend=backend))
        news = await meeting.phone.first(lambda one: isinstance(one, IncomingCall) and one.call_id == hers.call_id)
        yield hers, _in_call(await meeting.phone.end.answer(news.call_id))
    finally:
        await meeting.fitter.end.close()
        await meeting.phone.end.close()


async def _hung_up(stage: Stage, meeting: Meeting, call_id: str) -> None:
    await meeting.phone.end.hang_up()
    ended = await meeting.fitter.first(lambda one: isinstance(one, CallEnded) and one.call_id == call_id)
    stage.checks.expect("who hangs up is heard to", ended.reason == "hung_up", ended.reason)


async def _still_heard(stage: Stage, hers: Talk, his: Talk) -> None:
    """Sound goes on to be decoded at both ends."""
    before = _heard(hers), _heard(his)
    await _decoded(hers, his, max(before) + _ENOUGH)
    flows = await hers.flow(), await his.flow()
    come = all(flow.packets >= _ENOUGH and flow.sounds > had for flow, had in zip(flows, before, strict=True))
    stage.checks.expect("sound comes on while the aids change", come, str(flows))
    told = [f"{flow.sounds * 20 / 1_000:.1f} s" for flow in flows]
    stage.printer.tell(
        "call_heard",
        f"the call went on while the gain changed: the fitter decoded {told[0]} of sound, the phone {told[1]}",
        packets=[flow.packets for flow in flows],
        lost=[flow.lost for flow in flows],
        sounds=[flow.sounds for flow in flows],
    )


async def _write(stage: Stage, writer: Side, reader: Side, text: str) -> None:
    sent = await writer.ask(
        "SendMessage", SendMessage(visit=writer.visit, client_id=f"{len(text)}", text=text), MessageSent
    )
    news = await reader.first(lambda one: isinstance(one, MessageReceived) and one.message.n == sent.n)
    stage.checks.expect("what was written is read at the other end", news.message.text == text)
    stage.printer.tell("written_to", f"message {sent.n}, read at the other end: {text}", n=sent.n)


def _in_call(talk: Talk | Failure) -> Talk:
    if isinstance(talk, Failure):
        raise DemoFailed(f"no call: {talk.error.message}")
    return talk


async def _decoded(hers: Talk, his: Talk, frames: int) -> None:
    async with asyncio.timeout(WAIT_S):
        while min(_heard(hers), _heard(his)) < frames:  # noqa: ASYNC110  # a decoder tells nobody of its frames
            await asyncio.sleep(0.01)


def _heard(talk: Talk) -> int:
    """Frames in which the other end's tone is; that of the server says nothing while nobody does."""
    return sum(talk.loud.values())


async def _rest(stage: Stage, method: str, path: str, body: object, answer: type[T]) -> T:
    headers = {"Authorization": f"Bearer {stage.fitter_token}", "Content-Type": "application/json"}
    data = None if body is None else msgspec.json.encode(body)
    async with (
        aiohttp.ClientSession(headers=headers) as http,
        http.request(method, f"{stage.server.url}{path}", data=data) as response,
    ):
        text = await response.read()
        if response.status not in (200, 201):
            raise DemoFailed(f"{method} of the visit was answered with {response.status}")
        return msgspec.json.decode(text, type=answer)
