"""Two things that happen to one call at once, on two pods: both have read it before either changes it, in both orders.

Whoever is first is held back until the other has made its change of the same call too, so it is a race each time, on a
clock that the test sets. Everybody must hear one story of it, and of a call that is over one record is kept.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from itertools import combinations_with_replacement
from typing import Any

import pytest

from clients.hub_client import HubClient
from media.call import Call
from protocol.contract.calls import (
    AnswerCall,
    AnsweredElsewhere,
    CallAnswer,
    CallEnded,
    DeclineCall,
    EndCall,
    StartCall,
)
from protocol.contract.sessions import Done
from signaling.calls.flow import CallFlow
from signaling.calls.registry import CallRegistry
from tests.databases import lent_postgres
from tests.eventually import eventually, eventually_asked
from tests.postgres import PostgresServer
from tests.redis_server import redis_server
from tests.signaling.conftest import House
from tests.signaling.pods import connected, hub_of, two_pods
from tests.signaling.rest.desk import ask, register
from tests.signaling.visit import Told
from tests.signaling.visiting import admitted, join, scheduled

EAST, WEST = 0, 1
KINDS = ("answer", "decline", "cancel", "timeout", "disconnect")
# By what is first, then second: why the call has ended, or who is lost in the one that goes on.
OUTCOMES: dict[tuple[str, str], str | set[str]] = {
    ("answer", "answer"): set(),
    ("answer", "decline"): set(),
    ("answer", "cancel"): "hung_up",
    ("answer", "timeout"): set(),
    ("answer", "disconnect"): {"ann"},
    ("decline", "answer"): "declined",
    ("decline", "decline"): "declined",
    ("decline", "cancel"): "declined",
    ("decline", "timeout"): "declined",
    ("decline", "disconnect"): "declined",
    ("cancel", "answer"): "cancelled",
    ("cancel", "decline"): "cancelled",
    ("cancel", "cancel"): "cancelled",
    ("cancel", "timeout"): "cancelled",
    ("cancel", "disconnect"): "cancelled",
    ("timeout", "answer"): "no_answer",
    ("timeout", "decline"): "no_answer",
    ("timeout", "cancel"): "no_answer",
    ("timeout", "timeout"): "no_answer",
    ("timeout", "disconnect"): "no_answer",
    ("disconnect", "answer"): {"ann"},
    ("disconnect", "decline"): "declined",
    ("disconnect", "cancel"): "cancelled",
    ("disconnect", "timeout"): "no_answer",
    ("disconnect", "disconnect"): {"ann", "pat"},
}


@dataclass
class Gate:
    """Lets the first changes of two pods pass when both are made, that of ``first`` before the other."""

    first: int
    made: tuple[asyncio.Event, asyncio.Event] = field(default_factory=lambda: (asyncio.Event(), asyncio.Event()))
    passed: tuple[asyncio.Event, asyncio.Event] = field(default_factory=lambda: (asyncio.Event(), asyncio.Event()))

    async def enter(self, pod: int) -> None:
        self.made[pod].set()
        await self.made[1 - pod].wait()
        if pod != self.first:
            await self.passed[1 - pod].wait()

    def over(self, pod: int) -> None:
        """This one makes no change any more, or has made its own."""
        self.made[pod].set()
        self.passed[pod].set()


class Gated:
    """A registry whose first change waits for its turn."""

    def __init__(self, registry: CallRegistry, gate: Gate, pod: int) -> None:
        self._registry = registry
        self._gate = gate
        self._pod = pod

    def __getattr__(self, name: str) -> Any:
        return getattr(self._registry, name)

    async def swap(self, before: Call, after: Call) -> bool:
        if self._gate.made[self._pod].is_set():
            return await self._registry.swap(before, after)
        await self._gate.enter(self._pod)
        try:
            return await self._registry.swap(before, after)
        finally:
            self._gate.over(self._pod)


@dataclass
class Pods:
    """Two pods, and a visit into which Ann and Pat were let."""

    houses: tuple[House, House]

    def flow(self, pod: int) -> CallFlow:
        return hub_of(self.houses[pod])._calls.flow

    async def call(self) -> Call | None:
        """As both pods know it, once they do."""
        east, west = [await self.flow(pod).parts.registry.get("v1") for pod in (EAST, WEST)]
        assert east == west
        return east

    def wait(self, seconds: float) -> None:
        for house in self.houses:
            house.wall.now_s += seconds
            house.monotonic.now_s += seconds

    async def sweep(self) -> None:
        for pod in (EAST, WEST):
            await self.flow(pod).recent("v1")
            await self.flow(pod).sweep()


@pytest.fixture
async def pods(postgres: PostgresServer) -> AsyncIterator[Pods]:
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(lent_postgres(postgres))
        bus = stack.enter_context(redis_server())
        houses = await stack.enter_async_context(two_pods(url, bus.url))
        await register(houses[0])
        await scheduled(houses[0])
        async with connected(houses[0], "ann", "clinician") as ann, connected(houses[1], "pat", "patient") as pat:
            for one in (ann, pat):
                await join(one)
            await admitted(ann, "p2")
        yield Pods(houses)


@dataclass
class Party:
    """Both people over both pods, while a call rings; ``clients`` and ``told`` by person and pod."""

    pods: Pods
    clients: dict[tuple[str, int], HubClient]
    told: dict[tuple[str, int], Told]
    call_id: str = ""
    gone: set[tuple[str, int]] = field(default_factory=set)

    async def answer(self, pod: int) -> None:
        await self.clients["pat", pod].ask(
            "AnswerCall", AnswerCall(visit="v1", call_id=self.call_id), answer=CallAnswer
        )

    async def decline(self, pod: int) -> None:
        await self.clients["pat", pod].ask("DeclineCall", DeclineCall(visit="v1", call_id=self.call_id), answer=Done)

    async def cancel(self, pod: int) -> None:
        await self.clients["ann", pod].ask("EndCall", EndCall(visit="v1", call_id=self.call_id), answer=Done)

    async def timeout(self, pod: int) -> None:
        await self.pods.flow(pod).sweep()

    async def disconnect(self, pod: int) -> None:
        """Whoever takes part over that pod loses his connection."""
        call = await self.pods.flow(pod).parts.registry.get("v1")
        assert call is not None
        mine = next(leg for leg in call.legs if leg.pod == self.pods.flow(pod).parts.pod and leg.state == "joined")
        self.gone.add((mine.user, pod))
        await self.clients[mine.user, pod].stop()

        async def is_known() -> bool:
            now = await self.pods.flow(pod).parts.registry.get("v1")
            return now is None or now.legs[call.legs.index(mine)].state != "joined"

        await eventually_asked(is_known)

    def heard(self, kind: type[Any]) -> dict[tuple[str, int], list[Any]]:
        """What of this call those who are still there have heard."""
        return {
            who: [one for one in told.of(kind) if one.call_id == self.call_id]
            for who, told in self.told.items()
            if who not in self.gone
        }


async def rung(stack: AsyncExitStack, pods: Pods, starter: int, *, is_answered: bool) -> Party:
    party = Party(pods, {}, {})
    for who in (("ann", EAST), ("ann", WEST), ("pat", EAST), ("pat", WEST)):
        role = "clinician" if who[0] == "ann" else "patient"
        told = party.told[who] = Told()
        party.clients[who] = await stack.enter_async_context(connected(pods.houses[who[1]], who[0], role, heard=told))
    call = await party.clients["ann", starter].ask("StartCall", StartCall(visit="v1", media="audio"), answer=CallAnswer)
    assert isinstance(call, CallAnswer), call
    party.call_id = call.call_id
    if is_answered:
        await party.answer(1 - starter)
    for pod in (EAST, WEST):
        assert await pods.flow(pod).recent("v1") is not None
    return party


async def raced(pods: Pods, kinds: tuple[str, str], first: int) -> None:
    """``kinds``: what happens in the east and in the west; ``first``: which of the two counts first."""
    async with AsyncExitStack() as stack:
        starter = WEST if kinds[WEST] == "disconnect" and kinds[EAST] != "disconnect" else EAST
        party = await rung(stack, pods, starter, is_answered=kinds == ("disconnect", "disconnect"))
        if "timeout" in kinds:
            pods.wait(46)
        gate, plain = Gate(first), [pods.flow(pod)._registry for pod in (EAST, WEST)]
        for pod in (EAST, WEST):
            pods.flow(pod)._registry = Gated(plain[pod], gate, pod)

        async def act(pod: int) -> None:
            does: Callable[[int], Awaitable[None]] = getattr(party, kinds[pod])
            try:
                await does(pod)
            finally:
                gate.over(pod)

        async with asyncio.timeout(30):
            await asyncio.gather(act(EAST), act(WEST))
        for pod in (EAST, WEST):
            pods.flow(pod)._registry = plain[pod]
        expected = OUTCOMES[kinds[first], kinds[1 - first]]
        await (over(party, expected) if isinstance(expected, str) else goes_on(party, expected))
        await one_record(party)


async def over(party: Party, reason: str) -> None:
    """Everybody who is there has heard so, once, and of the same reason."""
    assert await party.pods.call() is None
    await eventually(lambda: all(party.heard(CallEnded).values()))
    assert {one.reason for heard in party.heard(CallEnded).values() for one in heard} == {reason}
    assert {len(heard) for heard in party.heard(CallEnded).values()} == {1}


async def goes_on(party: Party, lost: set[str]) -> None:
    """One connection of each has it, the others know; and it ends as it should for those who do not come back."""
    call = await party.pods.call()
    assert call is not None
    assert {leg.user for leg in call.legs if leg.state == "lost"} == lost
    assert {leg.user for leg in call.legs if leg.state == "joined"} == {"ann", "pat"} - lost
    assert not any(party.heard(CallEnded).values())
    if "pat" not in lost:
        holder = next(leg for leg in call.legs if leg.user == "pat")
        pod = EAST if holder.pod == party.pods.flow(EAST).parts.pod else WEST
        await eventually(lambda: party.heard(AnsweredElsewhere)["pat", 1 - pod])
    if lost:
        party.pods.wait(21)
        await party.pods.sweep()
        await over(party, "gone")
    else:
        await party.cancel(WEST)
        await over(party, "hung_up")


async def one_record(party: Party) -> None:
    async def kept() -> list[str]:
        said = await ask(party.pods.houses[EAST], "GET /visits/v1/calls")
        assert said.status == 200, said
        return [one["callId"] for one in said.body["items"] if one["callId"] == party.call_id]

    await eventually_asked(kept)
    assert len(await kept()) == 1


PAIRS = list(combinations_with_replacement(KINDS, 2))


@pytest.mark.parametrize("kinds", PAIRS, ids="-".join)
async def test_of_two_things_at_once_one_is_first_and_everybody_hears_one_story(
    pods: Pods, kinds: tuple[str, str]
) -> None:
    for first in (EAST, WEST):
        await raced(pods, kinds, first)


def test_each_pair_of_things_that_happen_is_there() -> None:
    assert {frozenset(pair) for pair in PAIRS} == {frozenset((a, b)) for a in KINDS for b in KINDS}
    assert OUTCOMES.keys() == {(a, b) for a in KINDS for b in KINDS}
