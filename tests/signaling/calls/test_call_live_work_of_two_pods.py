"""The fitter on one pod and the phone on another: what becomes of their call reaches live work all the same."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass

import pytest

from clients.hub_client import HubClient
from protocol.contract.base import Failure
from protocol.contract.calls import AnswerCall, CallAnswer, CallChanged, EndCall, ReportQuality, StartCall
from protocol.contract.devices import Offer
from protocol.contract.sessions import Done, Hold, LeaseRenewed, ModeChanged, RevertNow
from tests.databases import lent_postgres
from tests.eventually import eventually
from tests.postgres import PostgresServer
from tests.signaling.care import change, lease, louder, submit
from tests.signaling.pods import Apart, apart, hub_of
from tests.signaling.visit import refused
from tests.signaling.visiting import admitted, join, scheduled


@dataclass
class Talking:
    """Live work that has tried something, and a call of both; ann is peer 0."""

    there: Apart
    call_id: str

    def wait(self, seconds: float) -> None:
        for house in (self.there.east, self.there.west):
            house.wall.now_s += seconds
            house.monotonic.now_s += seconds

    async def report(self, who: HubClient, to: int) -> None:
        self.wait(2)
        request = ReportQuality(visit="v1", call_id=self.call_id, to=to, loss_permille=0, jitter_ms=3, rtt_ms=1_200)
        assert isinstance(await who.ask("ReportQuality", request, answer=Done), Done)
        await self.look()

    async def look(self) -> None:
        """Both pods look; the lease is renewed, and the phone heard."""
        hold = Hold(device="d1", session="s1", fence=self.there.leased.fence)
        await self.there.ann.ask("RenewLease", hold, answer=LeaseRenewed)
        for house in (self.there.east, self.there.west):
            await house.sweep_care()

    async def over(self, reason: str) -> None:
        for told in (self.there.fitter, self.there.phone):
            await eventually(lambda told=told: told.of(ModeChanged)[-1].state == "none")  # type: ignore[misc]  # mypy cannot infer a lambda with a default
            assert told.of(ModeChanged)[-1].reason == reason
        # Once from memory, at once, and again when the log has it.
        assert {one.cause for one in self.there.phone.of(RevertNow)} == {"session_ended"}


@pytest.fixture
async def talking(postgres: PostgresServer) -> AsyncIterator[Talking]:
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(lent_postgres(postgres))
        there = await stack.enter_async_context(apart(url))
        await there.submit(change(there.leased))
        await there.confirm(await there.phone.first(Offer))
        await scheduled(there.east)
        for one in (there.ann, there.pat):
            await join(one)
        await admitted(there.ann, "p2")
        call = await there.ann.ask("StartCall", StartCall(visit="v1", media="audio"), answer=CallAnswer)
        assert isinstance(call, CallAnswer), call
        take = AnswerCall(visit="v1", call_id=call.call_id)
        assert isinstance(await there.pat.ask("AnswerCall", take, answer=CallAnswer), CallAnswer)
        await there.fitter.first(CallChanged)
        yield Talking(there, call.call_id)


@pytest.mark.parametrize("who", ["ann", "pat"])
async def test_a_hang_up_on_either_pod_ends_it_for_both(talking: Talking, who: str) -> None:
    hub: HubClient = getattr(talking.there, who)
    end = EndCall(visit="v1", call_id=talking.call_id)
    assert isinstance(await hub.ask("EndCall", end, answer=Done), Done)
    await talking.over("call_ended")


async def test_a_call_too_bad_for_the_fitter_freezes_what_he_may_do_on_his_pod(talking: Talking) -> None:
    there = talking.there
    for _ in range(2):
        await talking.report(there.ann, 1)
    await eventually(lambda: there.fitter.of(ModeChanged)[-1].reason == "freeze")
    leased = await lease(there.ann)
    assert refused(await submit(there.ann, change(leased, *louder(10), key="k7"))).code == "frozen"
    assert not isinstance(await submit(there.ann, change(leased, *louder(-10), key="k8")), Failure)


async def test_a_pod_that_ends_a_call_and_dies_over_that_leaves_the_rest_to_the_other(talking: Talking) -> None:
    there = talking.there
    west = hub_of(there.west)._calls.flow
    # The other one has seen both in it. This one ends it, and tells nobody.
    await talking.report(there.ann, 1)
    west.on_made.clear()
    end = EndCall(visit="v1", call_id=talking.call_id)
    assert isinstance(await there.pat.ask("EndCall", end, answer=Done), Done)
    # The other one finds out when it looks, or when another call begins there.
    again = await there.ann.ask("StartCall", StartCall(visit="v1", media="audio"), answer=CallAnswer)
    assert isinstance(again, CallAnswer)
    assert again.call_id != talking.call_id
    await talking.over("call_ended")
