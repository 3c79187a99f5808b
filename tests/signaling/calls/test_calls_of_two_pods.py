"""Calls whose people are on different pods: what has ended on one of them has ended on the other one."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from clients.hub_client import HubClient
from protocol.contract.calls import AnswerCall, CallAnswer, CallEnded, EndCall, IncomingCall, SetCallMedia, StartCall
from protocol.contract.sessions import Done
from protocol.contract.visits import Invited, JoinVisitAnswer
from tests.databases import lent_postgres
from tests.eventually import eventually
from tests.postgres import PostgresServer
from tests.redis_server import redis_server
from tests.signaling.pods import connected, two_pods
from tests.signaling.visit import Told
from tests.signaling.visiting import admitted, join, scheduled

Ends = tuple[tuple[HubClient, Told], tuple[HubClient, Told]]


@pytest.fixture
async def ends(postgres: PostgresServer) -> AsyncIterator[Ends]:
    """Ann and Pat in a visit, and what they hear."""
    async with lent_postgres(postgres) as url, AsyncExitStack() as stack:
        bus = stack.enter_context(redis_server())
        east, west = await stack.enter_async_context(two_pods(url, bus.url))
        await scheduled(east)
        hers, his = Told(), Told()
        ann = await stack.enter_async_context(connected(east, "ann", "clinician", heard=hers))
        pat = await stack.enter_async_context(connected(west, "pat", "patient", heard=his))
        for one in (ann, pat):
            assert isinstance(await join(one), JoinVisitAnswer)
        assert isinstance(await admitted(ann, "p2"), Invited)
        yield (ann, hers), (pat, his)


async def test_after_a_call_that_ended_on_another_pod_there_is_another_call(ends: Ends) -> None:
    (ann, hers), (pat, his) = ends
    for turn in range(3):
        begun = await ann.ask("StartCall", StartCall(visit="v1", media="audio"), answer=CallAnswer)
        assert isinstance(begun, CallAnswer)
        assert begun.state == "ringing"
        assert (await his.first(IncomingCall, turn)).call_id == begun.call_id
        call_id = begun.call_id
        assert isinstance(
            await pat.ask("AnswerCall", AnswerCall(visit="v1", call_id=call_id), answer=CallAnswer), CallAnswer
        )
        # The pod of Ann knows the call as it is now.
        assert isinstance(
            await ann.ask("SetCallMedia", SetCallMedia(visit="v1", call_id=call_id, muted=True), answer=Done), Done
        )
        assert isinstance(await pat.ask("EndCall", EndCall(visit="v1", call_id=call_id), answer=Done), Done)
        await eventually(lambda turn=turn: len(hers.of(CallEnded)) == turn + 1)  # type: ignore[misc]  # mypy cannot infer a lambda with defaults
        assert hers.of(CallEnded)[-1].reason == "hung_up"
