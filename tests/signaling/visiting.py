"""Visits for tests of the hub: one that is scheduled, and people who come to it."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from clients.hub_client import HubClient
from media.visit import Participant, Visit
from protocol.contract.base import Answer, Failure
from protocol.contract.chat import MessageSent, SendMessage
from protocol.contract.visits import AdmitToVisit, Invited, JoinVisit, JoinVisitAnswer
from signaling.flows.chat import ChatFlow
from signaling.flows.visits import VisitFlow
from signaling.hubs.care_hub import CareHub
from tests.databases import lent_postgres
from tests.eventually import eventually
from tests.media.visits import visit_of
from tests.postgres import PostgresServer
from tests.redis_server import RedisServer, redis_server
from tests.signaling.conftest import House
from tests.signaling.pods import connected, two_pods
from tests.signaling.rest.desk import register
from tests.signaling.visit import Told

__all__ = [
    "KIM",
    "MIA",
    "Scene",
    "admitted",
    "apart",
    "chat_of",
    "flow_of",
    "guest_of",
    "join",
    "let_in",
    "live",
    "said",
    "say",
    "scheduled",
]

A = TypeVar("A", bound=Answer)
# People without an account.
MIA = Participant("p3", "caregiver", name="Mia")
KIM = Participant("p4", "interpreter", name="Kim")


def flow_of(house: House) -> VisitFlow:
    """The visits of a pod."""
    hub = house.parts.hubs[0].hub
    assert isinstance(hub, CareHub)
    return hub._visits


async def scheduled(house: House, *others: Participant, **changes: Any) -> Visit:
    """The visit ``v1`` of pat with ann, now."""
    visit = visit_of(*others, **changes)
    assert await flow_of(house).visits.create(visit)
    return visit


async def join(client: HubClient, visit: str = "v1", **options: Any) -> JoinVisitAnswer | Failure:
    return await client.ask("JoinVisit", JoinVisit(visit=visit, **options), answer=JoinVisitAnswer)


async def admitted(ann: HubClient, participant: str) -> Invited | Failure:
    return await ann.ask("AdmitToVisit", AdmitToVisit(visit="v1", participant=participant), answer=Invited)


async def guest_of(house: House, participant: str, told: Told | None = None, visit: str = "v1") -> HubClient:
    """Somebody without an account, over a token as a redeemed link gives it."""
    from signaling.visit_tokens import VisitTokens
    from tests.signaling.conftest import KEY

    tokens = VisitTokens(KEY, house.wall)
    token = tokens.mint(
        clinic="c1", visit=visit, participant=participant, name="n", expires_at_s=house.wall.now_s + 3_600
    )
    client = HubClient(f"{house.url}/hub", token=token, protocol="json", reconnect=None)
    if told is not None:
        told.listen(client)
    await client.start()
    return client


def chat_of(house: House) -> ChatFlow:
    hub = house.parts.hubs[0].hub
    assert isinstance(hub, CareHub)
    return hub._chat


async def say(who: HubClient, text: str, client_id: str = "c1", **more: Any) -> MessageSent | Failure:
    wanted = SendMessage(visit="v1", client_id=client_id, text=text, **more)
    return await who.ask("SendMessage", wanted, answer=MessageSent)


async def said(who: HubClient, text: str, client_id: str = "c1", **more: Any) -> MessageSent:
    answer = await say(who, text, client_id, **more)
    assert isinstance(answer, MessageSent), answer
    return answer


@dataclass
class Scene:
    """Ann and Pat in a live visit."""

    house: House
    ann: HubClient
    pat: HubClient
    ann_told: Told
    pat_told: Told

    async def ask(self, who: HubClient, method: str, payload: object, answer: type[A]) -> A:
        given = await who.ask(method, payload, answer=answer)
        assert isinstance(given, answer), given
        return given


async def live(house: House, connect: Any, *others: Participant) -> Scene:
    """Ann is there, Pat waits and is let in."""
    await scheduled(house, *others)
    ann_told, pat_told = Told(), Told()
    ann = await connect("ann", "clinician", heard=ann_told)
    pat = await connect("pat", "patient", heard=pat_told)
    for one in (ann, pat):
        assert isinstance(await join(one), JoinVisitAnswer)
    answer = await admitted(ann, "p2")
    assert isinstance(answer, Invited), answer
    await eventually(lambda: pat_told.heard["ParticipantChanged"])
    return Scene(house, ann, pat, ann_told, pat_told)


@asynccontextmanager
async def apart(
    postgres: PostgresServer, told: Told
) -> AsyncIterator[tuple[RedisServer, House, House, HubClient, HubClient]]:
    """The bus, the pod of Ann, the pod of Pat, who waits there for her, and both; ``told`` is what he hears."""
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(lent_postgres(postgres))
        bus = stack.enter_context(redis_server())
        east, west = await stack.enter_async_context(two_pods(url, bus.url))
        await register(east)
        await scheduled(east)
        ann = await stack.enter_async_context(connected(east, "ann", "clinician"))
        pat = await stack.enter_async_context(connected(west, "pat", "patient", heard=told))
        for one in (ann, pat):
            assert isinstance(await join(one), JoinVisitAnswer)
        yield bus, east, west, ann, pat


async def let_in(ann: HubClient, told: Told) -> None:
    """Pat is let in, and has heard of it."""
    assert isinstance(await admitted(ann, "p2"), Invited)
    await eventually(lambda: told.heard["ParticipantChanged"])
