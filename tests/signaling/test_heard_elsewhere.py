"""Whoever is told that it is connected, or in a group, is reached by other pods from then on, if there is a bus."""

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace

import pytest

from signaling.config import MEMORY, Config
from tests.chaos.proxy import proxy
from tests.eventually import eventually
from tests.redis_server import RedisServer, redis_server
from tests.signaling.by_hand import HELLO, HUB, Socket, call, negotiate, socket
from tests.signaling.conftest import House, running_house
from tests.signaling.pods import is_connected

# Each way, so that a subscription is there long after whoever asked for it could have been told.
DELAY_S = 0.2


@pytest.fixture
def bus() -> Iterator[RedisServer]:
    with redis_server(tcp=True) as server:
        yield server


@asynccontextmanager
async def pod(url: str, **changes: float) -> AsyncIterator[House]:
    # A server is not given up, however slow it is.
    given = {"bus_flush_s": 60.0, "bus_timeout_s": 60.0, "table_answer_s": 1.0, "bus_confirm_s": 60.0} | changes
    config = Config(conformance=True, dev=True, sweep_s=3_600, database_url=MEMORY, redis_url=url)
    config = replace(config, **given)  # type: ignore[arg-type]  # a test's own words
    async with running_house(config, None) as house:
        await eventually(lambda: is_connected(house))
        yield house


@pytest.fixture
async def near_and_far(bus: RedisServer) -> AsyncIterator[tuple[House, House]]:
    """Two pods, and the way from the second one to the bus is long."""
    async with AsyncExitStack() as stack:
        link = await stack.enter_async_context(proxy(bus.url))
        near = await stack.enter_async_context(pod(bus.url))
        far = await stack.enter_async_context(pod(link.url.replace("http", "redis")))
        link.delay_s = DELAY_S
        yield near, far


async def news_of(one: Socket) -> object:
    [message] = await one.messages(1)
    return message.get("arguments")


async def test_a_group_that_was_joined_is_heard_on_other_pods(near_and_far: tuple[House, House]) -> None:
    near, far = near_and_far
    ann, bob = await socket(near), await socket(far, "bob")
    await bob.send(call("JoinGroup", "g", id_="join"))
    await bob.until("join")
    await ann.send(call("ToGroup", "g", "news", "now"))
    assert await news_of(bob) == ["now"]


async def test_a_connection_that_is_open_is_reached_by_its_user_from_other_pods(
    near_and_far: tuple[House, House],
) -> None:
    near, far = near_and_far
    ann, bob = await socket(near), await socket(far, "bob")
    await ann.send(call("ToUser", "bob", "news", "now"))
    assert await news_of(bob) == ["now"]


async def test_a_group_that_another_member_has_joined_but_not_heard_yet_is_waited_for_too(
    near_and_far: tuple[House, House],
) -> None:
    near, far = near_and_far
    ann, bob, cat = await socket(near), await socket(far, "bob"), await socket(far, "cat")
    for one in (bob, cat):
        await one.send(call("JoinGroup", "g", id_="join"))
    await cat.until("join")
    await ann.send(call("ToGroup", "g", "news", "now"))
    assert await news_of(cat) == ["now"]


async def unopened(house: House, who: str) -> Socket:
    """A socket that has said hello and waits for the answer."""
    client = Socket(house, await negotiate(house, who), HUB, (who,))
    client.frames = await house.socket(house.url + client.path, headers=client.headers)
    await client.send(HELLO)
    return client


async def test_a_bus_that_says_nothing_is_waited_for_a_while_and_counted(bus: RedisServer) -> None:
    async with pod(bus.url, bus_confirm_s=0.1) as house:
        bob = await socket(house, "bob")
        # A busy machine may have been late with that already.
        before = house.metric("auricle_bound_reached_total", bound="bus_confirm_s")
        bus.signal(signal.SIGSTOP)
        await bob.send(call("JoinGroup", "g", id_="join"))
        await bob.until("join")
        await socket(house, "cat")
        assert house.metric("auricle_bound_reached_total", bound="bus_confirm_s") == before + 2
        bus.signal(signal.SIGCONT)


async def test_nobody_waits_for_a_bus_that_has_gone(bus: RedisServer) -> None:
    async with pod(bus.url) as house:
        bus.signal(signal.SIGSTOP)
        bob = await unopened(house, "bob")
        more = asyncio.ensure_future(bob.more())
        await eventually(house.parts.hubs[-1].lifetime.links)
        assert not more.done()
        bus.kill()
        await more
        assert bob.inbox == [{}]
        await eventually(lambda: not is_connected(house))
        cat = await socket(house, "cat")
        await cat.send(call("JoinGroup", "g", id_="join"))
        await cat.until("join")


async def test_a_goodbye_does_not_wait(bus: RedisServer) -> None:
    async with pod(bus.url) as house:
        bus.signal(signal.SIGSTOP)
        bob = await unopened(house, "bob")
        await eventually(house.parts.hubs[-1].lifetime.links)
        bob.session.close("app_shutdown", "The server is shutting down.", allow_reconnect=True)
        said, code = await bob.rest()
        assert said[0] == {}
        assert (said[1]["type"], said[1]["allowReconnect"], code) == (7, True, 1000)
        bus.signal(signal.SIGCONT)
