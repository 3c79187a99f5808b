"""One person's end of a call, with aiortc: what a phone or a fitting desk does to be seen and heard.

The server says to whom an offer is to be made; a peer connection of its own goes to each of the others. Of two offers
that cross the server refuses one, and this end takes that one back. Importing this loads aiortc. Read ``Talk.offer``
and ``_take`` first.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, TypeAlias

from aiortc import MediaStreamTrack, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError
from aiortc.sdp import candidate_from_sdp
from av import AudioFrame
from msgspec import UNSET, UnsetType

from clients.call_quality import counted
from clients.hub_client import HubClient
from media.aiortc_seam import new_peer
from media.relay_sound import is_loud
from protocol.contract.base import Failure
from protocol.contract.calls import (
    RELAY_PEER,
    AnswerCall,
    AnsweredElsewhere,
    AnswerRecording,
    AskRecording,
    CallAnswer,
    CallBackend,
    CallChanged,
    CallEnded,
    DeclineCall,
    EndCall,
    IncomingCall,
    Media,
    SendSignal,
    Signal,
    SignalKind,
    StartCall,
)
from protocol.contract.sessions import Done

__all__ = ["CallEnd", "CallNews", "Flow", "Talk"]

CallNews: TypeAlias = IncomingCall | AnsweredElsewhere | CallChanged | CallEnded
Tracks = Callable[[], Sequence[MediaStreamTrack]]
_MAX_WAITING: Final = 256


@dataclass(frozen=True, slots=True)
class Flow:
    """``packets`` came in, ``lost`` did not; frames of ``sounds`` (20 ms each) and ``pictures`` were decoded."""

    packets: int
    lost: int
    sounds: int
    pictures: int


class Talk:
    """A call that this end takes part in.

    ``frames``: what was decoded of each peer, by its number; ``pictures``: how many of them were, ``loud``: in how many
    frames of sound somebody could be heard. Through the server sound comes also while nobody says anything.
    """

    def __init__(
        self, hub: HubClient, visit: str, answer: CallAnswer, tracks: Tracks, *, relay_only: bool = False
    ) -> None:
        self.call_id = answer.call_id
        self.peer = answer.peer
        self.backend: CallBackend = answer.backend
        self.frames: dict[int, int] = {}
        self.pictures: dict[int, int] = {}
        self.loud: dict[int, int] = {}
        self.refused: list[str] = []
        self._hub = hub
        self._visit = visit
        self._servers = answer.ice_servers
        self._tracks = tracks
        self._relay_only = relay_only
        self._links: dict[int, RTCPeerConnection] = {}
        self._signals: asyncio.Queue[Signal] = asyncio.Queue(_MAX_WAITING)
        self._tasks: set[asyncio.Task[None]] = set()
        # One description at a time: making one takes a while, and what comes meanwhile may undo it.
        self._turn = asyncio.Lock()
        self._spawn(self._work())

    def is_connected(self, peer: int) -> bool:
        """Whether media can flow between this end and that peer."""
        link = self._links.get(peer)
        return link is not None and link.connectionState == "connected"

    def links(self) -> Mapping[int, RTCPeerConnection]:
        """The connections as they are now, by peer."""
        return MappingProxyType(self._links)

    def kinds_of_candidates(self) -> set[str]:
        """How this end can be reached, over all of its connections: host, srflx, relay."""
        lines = [line for link in self._links.values() for line in link.localDescription.sdp.splitlines()]
        return {line.partition(" typ ")[2].split(" ")[0] for line in lines if line.startswith("a=candidate:")}

    async def flow(self) -> Flow:
        """What has come in so far, over the connections that there are now."""
        each = [await counted(link) for link in tuple(self._links.values())]
        pictures = sum(self.pictures.values())
        sounds = sum(self.frames.values()) - pictures
        return Flow(sum(one.received for one in each), sum(one.lost for one in each), sounds, pictures)

    async def restart(self) -> None:
        """The network has changed: find another way to everybody."""
        for peer in tuple(self._links):
            await self.offer(peer, kind="restart")

    def heard(self, signal: Signal) -> None:
        """What a peer says, taken in order. Too much of it at a time is dropped: the peer will offer again."""
        with suppress(asyncio.QueueFull):
            self._signals.put_nowait(signal)

    async def offer(self, to: int, *, kind: SignalKind = "offer") -> None:
        """Offer this end's media to a peer, over a new connection: ``restart`` after a network has changed."""
        async with self._turn:
            link = await self._anew(to)
            for track in self._tracks():
                link.addTrack(track)
            await link.setLocalDescription(await link.createOffer())
            if not await self._say(to, kind, link):
                # The offer of the other end counts, or there is nobody: this one is taken back.
                await self._drop(to, link)

    async def through_server(self) -> None:
        """Media go through the server from now on: let go of the others, and offer to its peer."""
        self.backend = "relay"
        for peer, link in tuple(self._links.items()):
            await self._drop(peer, link)
        await self.offer(RELAY_PEER)

    async def close(self) -> None:
        """Let go of everybody."""
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for peer, link in tuple(self._links.items()):
            await self._drop(peer, link)

    async def _work(self) -> None:
        while True:
            signal = await self._signals.get()
            # A signal that makes no sense is its sender's fault, and ends nothing here.
            async with self._turn:
                with suppress(ValueError, KeyError):
                    await self._take(signal)

    async def _take(self, signal: Signal) -> None:
        if signal.kind in ("offer", "restart"):
            known = self._links.get(signal.peer)
            if known is not None and known.signalingState == "have-local-offer" and self.peer < signal.peer:
                # They have crossed, and ours counts: theirs is being taken back.
                return
            link = await self._anew(signal.peer)
            for track in self._tracks():
                link.addTrack(track)
            await link.setRemoteDescription(RTCSessionDescription(sdp=str(signal.sdp), type="offer"))
            await link.setLocalDescription(await link.createAnswer())
            await self._say(signal.peer, "answer", link)
            return
        link = self._links[signal.peer]
        if signal.kind == "answer":
            await link.setRemoteDescription(RTCSessionDescription(sdp=str(signal.sdp), type="answer"))
        elif signal.candidate:
            candidate = candidate_from_sdp(str(signal.candidate).partition(":")[2])
            candidate.sdpMid = signal.sdp_mid if isinstance(signal.sdp_mid, str) else None
            candidate.sdpMLineIndex = signal.sdp_m_line_index if isinstance(signal.sdp_m_line_index, int) else None
            await link.addIceCandidate(candidate)

    async def _say(self, to: int, kind: SignalKind, link: RTCPeerConnection) -> bool:
        sdp = link.localDescription.sdp
        signal = SendSignal(visit=self._visit, call_id=self.call_id, to=to, kind=kind, sdp=sdp)
        outcome = await self._hub.ask("SendSignal", signal, answer=Done)
        if isinstance(outcome, Failure):
            self.refused.append(outcome.error.code)
            return False
        return True

    async def _anew(self, peer: int) -> RTCPeerConnection:
        old = self._links.get(peer)
        if old is not None:
            await self._drop(peer, old)
        link = self._links[peer] = new_peer(self._servers, relay_only=self._relay_only)
        link.on("track", lambda track: self._spawn(self._count(peer, track)))
        return link

    async def _drop(self, peer: int, link: RTCPeerConnection) -> None:
        if self._links.get(peer) is link:
            del self._links[peer]
        await link.close()

    async def _count(self, peer: int, track: MediaStreamTrack) -> None:
        with suppress(MediaStreamError):
            while True:
                frame = await track.recv()
                self.frames[peer] = self.frames.get(peer, 0) + 1
                if track.kind == "video":
                    self.pictures[peer] = self.pictures.get(peer, 0) + 1
                elif isinstance(frame, AudioFrame) and is_loud(frame.to_ndarray().tobytes()):
                    self.loud[peer] = self.loud.get(peer, 0) + 1

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


class CallEnd:
    """Calls over one hub connection in one visit. ``on_news`` hears of them as they come.

    ``relay_only``: media go over TURN servers alone, which is slower and tells the others no address.
    """

    def __init__(
        self,
        hub: HubClient,
        visit: str,
        tracks: Tracks,
        *,
        on_news: Callable[[CallNews], None] = lambda _: None,
        relay_only: bool = False,
    ) -> None:
        self.talk: Talk | None = None
        self._hub = hub
        self._visit = visit
        self._tracks = tracks
        self._on_news = on_news
        self._relay_only = relay_only
        # What a peer says before the answer to our own call has come.
        self._early: list[Signal] = []
        hub.on("Signal", self._signal, Signal)
        hub.on("IncomingCall", self._news, IncomingCall)
        hub.on("AnsweredElsewhere", self._news, AnsweredElsewhere)
        hub.on("CallChanged", self._changed, CallChanged)
        hub.on("CallEnded", self._ended, CallEnded)

    async def start(
        self, media: Media = "audio", *, invite: tuple[str, ...] = (), backend: CallBackend | UnsetType = UNSET
    ) -> Talk | Failure:
        """Ring the others, or join the call that goes on."""
        request = StartCall(visit=self._visit, media=media, invite=invite or UNSET, backend=backend)
        return await self._join(await self._hub.ask("StartCall", request, answer=CallAnswer))

    async def answer(self, call_id: str) -> Talk | Failure:
        """Take part in a call that rings, or come back to it."""
        request = AnswerCall(visit=self._visit, call_id=call_id)
        return await self._join(await self._hub.ask("AnswerCall", request, answer=CallAnswer))

    async def wish_for_relay(self) -> CallAnswer | Failure:
        """Say that the others cannot be reached: media go through the server once all of them say so."""
        request = StartCall(visit=self._visit, media="audio", backend="relay")
        return await self._hub.ask("StartCall", request, answer=CallAnswer)

    async def ask_recording(self) -> Done | Failure:
        """Ask everybody whether the sound of the call may be recorded."""
        request = AskRecording(visit=self._visit, call_id=self._call_id())
        return await self._hub.ask("AskRecording", request, answer=Done)

    async def answer_recording(self, *, agrees: bool) -> Done | Failure:
        """Yes or no to that, at any time."""
        request = AnswerRecording(visit=self._visit, call_id=self._call_id(), agrees=agrees)
        return await self._hub.ask("AnswerRecording", request, answer=Done)

    async def decline(self, call_id: str) -> Done | Failure:
        """Not now."""
        return await self._hub.ask("DeclineCall", DeclineCall(visit=self._visit, call_id=call_id), answer=Done)

    async def hang_up(self, *, for_all: bool = False) -> None:
        """Leave the call, or end it for all."""
        talk, self.talk = self.talk, None
        if talk is not None:
            request = EndCall(visit=self._visit, call_id=talk.call_id, for_all=for_all)
            await self._hub.ask("EndCall", request, answer=Done)
            await talk.close()

    async def close(self) -> None:
        """Let go of everybody without a word."""
        talk, self.talk = self.talk, None
        if talk is not None:
            await talk.close()

    async def _join(self, answer: CallAnswer | Failure) -> Talk | Failure:
        if isinstance(answer, Failure):
            return answer
        await self.close()
        talk = self.talk = Talk(self._hub, self._visit, answer, self._tracks, relay_only=self._relay_only)
        early, self._early = self._early, []
        for signal in early:
            self._signal(signal)
        for peer in answer.offer_to:
            await talk.offer(peer)
        return talk

    def _signal(self, signal: Signal) -> None:
        if self.talk is None:
            self._early = [*self._early[-_MAX_WAITING:], signal]
        elif signal.call_id == self.talk.call_id:
            self.talk.heard(signal)

    def _news(self, news: CallNews) -> None:
        self._on_news(news)

    def _call_id(self) -> str:
        return "" if self.talk is None else self.talk.call_id

    async def _changed(self, news: CallChanged) -> None:
        talk = self.talk
        if talk is not None and talk.call_id == news.call_id and news.backend == "relay" != talk.backend:
            await talk.through_server()
        self._on_news(news)

    async def _ended(self, news: CallEnded) -> None:
        if self.talk is not None and self.talk.call_id == news.call_id:
            await self.close()
        self._on_news(news)
