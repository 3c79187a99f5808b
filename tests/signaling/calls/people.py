"""People who call each other with aiortc over the hub, on one pod or on two."""

from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

from aiortc import MediaStreamTrack

from clients.calling import CallEnd, CallNews, Talk
from clients.hub_client import HubClient
from clients.tone import ToneTrack
from media.visit import Participant
from protocol.contract.calls import CallEnded, IncomingCall
from protocol.contract.visits import Invited, JoinVisitAnswer
from signaling.calls.build import CallHouse
from signaling.visit_tokens import VisitTokens
from tests.eventually import eventually
from tests.signaling.conftest import KEY, House
from tests.signaling.pods import hub_of
from tests.signaling.visiting import admitted, join, scheduled

__all__ = ["Apart", "Person", "calls_of", "flows", "guest", "met", "person"]


@dataclass
class Person:
    """Somebody in the visit, and what he has heard of calls."""

    hub: HubClient
    end: CallEnd
    news: list[CallNews] = field(default_factory=list)

    def has(self, kind: type[CallNews]) -> bool:
        return any(isinstance(one, kind) for one in self.news)

    async def rung(self) -> str:
        await eventually(lambda: self.has(IncomingCall))
        return next(one.call_id for one in self.news if isinstance(one, IncomingCall))

    async def over(self) -> str:
        """Why the call has ended."""
        await eventually(lambda: self.has(CallEnded))
        return next(one.reason for one in self.news if isinstance(one, CallEnded))


@dataclass
class Apart:
    """Ann on one pod and Pat on another, both let into the visit."""

    east: House
    west: House
    ann: Person
    pat: Person

    async def talk(self, **options: Any) -> tuple[Talk, Talk]:
        hers = await self.ann.end.start(**options)
        assert isinstance(hers, Talk), hers
        his = await self.pat.end.answer(await self.pat.rung())
        assert isinstance(his, Talk), his
        return hers, his


async def person(
    stack: AsyncExitStack,
    house: House,
    user: str,
    *roles: str,
    tracks: Callable[[], list[MediaStreamTrack]] = lambda: [ToneTrack(440)],
    **options: bool,
) -> Person:
    hub = HubClient(f"{house.url}/hub", token=house.token(user, *roles), protocol="messagepack", reconnect=None)
    return await person_over(stack, hub, tracks, **options)


async def person_over(
    stack: AsyncExitStack, hub: HubClient, tracks: Callable[[], list[MediaStreamTrack]], **options: bool
) -> Person:
    news: list[CallNews] = []
    end = CallEnd(hub, "v1", tracks, on_news=news.append, **options)
    await hub.start()
    stack.push_async_callback(hub.stop)
    stack.push_async_callback(end.close)
    return Person(hub, end, news)


async def guest(stack: AsyncExitStack, house: House, participant: str) -> Person:
    """Somebody without an account who takes part in the visit."""
    expires_at_s = house.wall.now_s + 3_600
    token = VisitTokens(KEY, house.wall).mint(
        clinic="c1", visit="v1", participant=participant, name="n", expires_at_s=expires_at_s
    )
    hub = HubClient(f"{house.url}/hub", token=token, protocol="json", reconnect=None)
    return await person_over(stack, hub, lambda: [ToneTrack(880)])


async def met(stack: AsyncExitStack, east: House, west: House, *others: Participant, **options: Any) -> Apart:
    await scheduled(east, *others)
    ann = await person(stack, east, "ann", "clinician", **options)
    pat = await person(stack, west, "pat", "patient", **options)
    for one in (ann, pat):
        assert isinstance(await join(one.hub), JoinVisitAnswer)
    assert isinstance(await admitted(ann.hub, "p2"), Invited)
    return Apart(east, west, ann, pat)


def flows(hers: Talk, his: Talk, frames: int = 20, *, her_peer: int = 1, his_peer: int = 0) -> Callable[[], bool]:
    """Whether sound was decoded at both ends, not only promised. ``her_peer``: whom she hears."""
    return lambda: hers.frames.get(her_peer, 0) >= frames and his.frames.get(his_peer, 0) >= frames


def calls_of(house: House) -> CallHouse:
    """The calls of a pod."""
    return hub_of(house)._calls
