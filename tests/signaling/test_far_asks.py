"""A client that hangs on another pod is asked as one of this pod: over a real bus, in its format, within the bounds."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace

import pytest

from clients.hub_client import HubClient
from protocol.errors import HubException, Overloaded, Unavailable
from signaling.config import MEMORY, Config
from tests.eventually import eventually
from tests.redis_server import redis_server
from tests.signaling.conftest import House, running_house
from tests.signaling.party import Party
from tests.signaling.pods import PATIENT, is_connected

PROTOCOLS = ("json", "messagepack")


@dataclass
class Two:
    """Two pods, and the hub of each."""

    east: House
    west: House
    asking: Party
    stack: AsyncExitStack = field(repr=False)
    hubs: list[HubClient] = field(default_factory=list)

    async def guest(self, house: House, user: str, protocol: str) -> HubClient:
        client = HubClient(f"{house.url}/hubs/party", token=house.token(user), protocol=protocol, reconnect=None)  # type: ignore[arg-type]  # one of PROTOCOLS
        self.stack.push_async_callback(client.stop)
        return client

    async def ask(self, client: HubClient, what: object = 1) -> int:
        """The hub in the east asks."""
        return await self.asking.clients.connection(client.connection_id).ask("howMany", what, result=int)


@pytest.fixture
async def two(request: pytest.FixtureRequest) -> AsyncIterator[Two]:
    changes = getattr(request, "param", {})
    async with AsyncExitStack() as stack:
        bus = stack.enter_context(redis_server())
        patient = Config(dev=True, sweep_s=3_600, database_url=MEMORY, redis_url=bus.url, pod_ask_s=20, **PATIENT)
        config = replace(patient, **changes)
        parties = [Party([]), Party([])]
        pods = [await stack.enter_async_context(running_house(config, None, hubs=[party])) for party in parties]
        await eventually(lambda: all(map(is_connected, pods)))
        east, west = pods
        yield Two(east, west, parties[0], stack)


async def started(client: HubClient) -> HubClient:
    await client.start()
    return client


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_it_answers_in_its_own_format(two: Two, protocol: str) -> None:
    bob = await two.guest(two.west, "bob", protocol)
    heard: list[object] = []

    async def how_many(what: dict[str, list[int | None]]) -> int:
        heard.append(what)
        return 41

    bob.on("howMany", how_many, dict[str, list[int | None]])
    await bob.start()
    assert await two.ask(bob, {"what": [1, None]}) == 41
    assert heard == [{"what": [1, None]}]


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("other", PROTOCOLS)
async def test_a_caller_asks_with_what_it_was_given(two: Two, protocol: str, other: str) -> None:
    ann, bob = await two.guest(two.east, "ann", protocol), await two.guest(two.west, "bob", other)

    async def how_many(what: list[int]) -> int:
        return sum(what)

    bob.on("howMany", how_many, list[int])
    await ann.start()
    await bob.start()
    assert await ann.invoke("AskOne", bob.connection_id, [1, 2, 3], result=int) == 7


async def test_its_errors_are_told_as_they_are(two: Two) -> None:
    bob = await started(await two.guest(two.west, "bob", "json"))
    with pytest.raises(HubException):
        await two.ask(bob)  # it has no such method

    async def how_many(_: int) -> str:
        return "many"

    bob.on("howMany", how_many, int)
    with pytest.raises(HubException, match="does not fit"):
        await two.ask(bob)


@pytest.mark.parametrize("two", [{"pod_ask_s": 0.2, "client_result_timeout_s": 60.0}], indirect=True)
async def test_one_that_is_nowhere_is_not_waited_for(two: Two) -> None:
    bob = await started(await two.guest(two.west, "bob", "json"))
    await bob.stop()
    await eventually(lambda: not two.west.parts.hubs[-1].lifetime.links())
    async with asyncio.timeout(20):
        with pytest.raises(Unavailable):
            await two.ask(bob)


@pytest.mark.parametrize("two", [{"client_result_timeout_s": 0.2}], indirect=True)
async def test_one_that_does_not_answer_has_its_time(two: Two) -> None:
    bob = await two.guest(two.west, "bob", "json")
    never = asyncio.Event()

    async def how_many(_: int) -> int:
        await never.wait()
        return 0

    bob.on("howMany", how_many, int)
    await bob.start()
    with pytest.raises(Unavailable, match="did not answer in time"):
        await two.ask(bob)
    assert two.west.metric("auricle_bound_reached_total", bound="client_result_timeout_s") == 1


@pytest.mark.parametrize("two", [{"max_pending_results": 1}], indirect=True)
async def test_it_owes_no_more_answers_than_it_may_and_ends_with_its_connection(two: Two) -> None:
    bob = await two.guest(two.west, "bob", "json")
    asked = asyncio.Event()

    async def how_many(_: int) -> int:
        asked.set()
        await asyncio.Event().wait()
        return 0

    bob.on("howMany", how_many, int)
    await bob.start()
    first = asyncio.ensure_future(two.ask(bob))
    await asked.wait()
    with pytest.raises(Overloaded):
        await two.ask(bob)
    await bob.stop()
    with pytest.raises(Unavailable, match="disconnected"):
        await first


@pytest.mark.parametrize("two", [{"max_pod_asks": 1}], indirect=True)
async def test_a_pod_waits_for_no_more_answers_than_it_may(two: Two) -> None:
    bob = await started(await two.guest(two.west, "bob", "json"))
    with pytest.raises(Unavailable):
        await two.ask(bob)  # takes two places: for the word that it is there, and for its answer
    assert two.east.metric("auricle_bound_reached_total", bound="max_pod_asks") == 1
