"""What a hub client does when its link dies, hangs, breaks or is closed."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from typing import Any

import aiohttp
import pytest
from msgspec import Struct

from clients.hub_client import HubClient, HubOptions, ReconnectPolicy
from clients.hub_errors import HubRefused, LinkLost, NotConnected
from clients.reconnect import Link as State
from protocol.signalr.endpoint import HubLimits
from protocol.signalr.messages import Invocation
from tests.clients.hub_double import SOON_S, HubDouble, until

AT_ONCE = ReconnectPolicy(base_s=0.0)


class Point(Struct, frozen=True):
    x: int


@pytest.fixture
async def double() -> AsyncIterator[HubDouble]:
    async with HubDouble().running() as hub:
        yield hub


def client_of(
    double: HubDouble, reconnect: ReconnectPolicy | None = AT_ONCE, *, token: Any = "secret", **options: Any
) -> HubClient:
    return HubClient(double.url, token=token, reconnect=reconnect, options=HubOptions(**options))


async def test_a_call_whose_link_dies_is_lost_and_never_repeated_by_itself(double: HubDouble) -> None:
    async with client_of(double) as hub:
        with pytest.raises(LinkLost):
            await hub.invoke("Drop", result=int)
        await hub.connected()
        assert await hub.invoke("Echo", 1, result=int) == 1
        assert hub.connection_id == "id-2"
    assert double.calls == ["Drop", "Echo"]


async def test_a_call_without_a_link_is_refused_before_it_is_sent(double: HubDouble) -> None:
    never = asyncio.Event()

    async def wait_for_ever(_: float) -> None:
        await never.wait()

    hub = HubClient(double.url, token="secret", reconnect=AT_ONCE, sleep=wait_for_ever)
    async with hub:
        double.links[0].drop()
        await until(lambda: hub.state is State.RECONNECTING)
        with pytest.raises(NotConnected, match="reconnecting"):
            await hub.invoke("Echo", 1, result=int)
    assert hub.state is State.CLOSED
    assert double.calls == []


async def test_listeners_hear_of_a_new_link_before_anything_that_it_brings(double: HubDouble) -> None:
    heard: list[object] = []
    async with client_of(double) as hub:
        hub.on("Moved", heard.append, Point)
        hub.on_reconnected(lambda: heard.append("reconnected"))
        await double.links[0].send(Invocation("Moved", (Point(1),)))
        await until(lambda: heard)
        double.links[0].drop()
        await until(lambda: len(double.links) == 2 and double.links[1].connection.state.name == "OPEN")
        await double.links[1].send(Invocation("Moved", (Point(2),)))
        await until(lambda: len(heard) == 3)
    assert heard == [Point(1), "reconnected", Point(2)]


async def test_a_token_function_is_asked_at_every_connect(double: HubDouble) -> None:
    given = iter(["first", "second"])

    async def token() -> str:
        return next(given)

    async with client_of(double, token=token) as hub:
        double.links[0].drop()
        await until(lambda: len(double.links) == 2)
        await hub.connected()
    assert double.tokens == ["Bearer first", "Bearer second"]


async def test_a_token_function_that_fails_at_a_reconnect_closes_the_client_and_is_heard_at_stop(
    double: HubDouble,
) -> None:
    given = iter(["first"])
    closed = asyncio.Event()

    async def token() -> str:
        try:
            return next(given)
        except StopIteration:
            raise LookupError("no more tokens") from None

    hub = client_of(double, token=token)
    hub.on_closed(closed.set)
    await hub.start()
    double.links[0].drop()
    async with asyncio.timeout(SOON_S):
        await closed.wait()
    with pytest.raises(ExceptionGroup) as raised:
        await hub.stop()
    assert raised.group_contains(LookupError)


async def test_delays_double_up_to_their_bound_while_the_server_stays_away(double: HubDouble) -> None:
    slept: list[float] = []

    async def sleep(delay_s: float) -> None:
        slept.append(delay_s)
        if len(slept) == 5:
            double.refuse_with = 0

    hub = HubClient(
        double.url,
        token="secret",
        reconnect=ReconnectPolicy(base_s=1.0, cap_s=6.0),
        uniform=lambda _, high: high,
        sleep=sleep,
    )
    async with hub:
        double.refuse_with = 503
        double.links[0].drop()
        await until(lambda: len(double.links) == 2)
    assert slept == [1.0, 2.0, 4.0, 6.0, 6.0]


async def test_a_start_that_waits_for_no_link_gets_one_when_the_server_is_there(double: HubDouble) -> None:
    tries, told = 0, asyncio.Event()

    async def sleep(_: float) -> None:
        nonlocal tries
        tries += 1
        if tries == 3:
            double.refuse_with = 0

    double.refuse_with = 503
    policy = ReconnectPolicy(base_s=0.0, from_start=True)
    hub = HubClient(double.url, token="secret", reconnect=policy, sleep=sleep)
    hub.on_reconnected(told.set)
    async with hub:
        assert hub.state is State.RECONNECTING
        with pytest.raises(NotConnected):
            await hub.invoke("Echo", 1, result=int)
        await hub.connected()
        assert await hub.invoke("Echo", 1, result=int) == 1
        await told.wait()
    assert (tries, hub.state) == (3, State.CLOSED)


async def test_a_start_that_waits_for_no_link_can_be_stopped_before_there_is_one(double: HubDouble) -> None:
    double.refuse_with = 503
    async with client_of(double, ReconnectPolicy(base_s=0.0, max_attempts=2, from_start=True)) as hub:
        with pytest.raises(NotConnected):
            await hub.connected()
    double.refuse_with = 0
    states = []
    async with client_of(double, ReconnectPolicy(base_s=60.0, from_start=True)) as hub:
        states.append(hub.state)
    assert [*states, hub.state] == [State.RECONNECTING, State.CLOSED]


async def test_a_client_gives_up_after_its_last_try_and_wakes_who_waits(double: HubDouble) -> None:
    closed, gate = asyncio.Event(), asyncio.Event()

    async def sleep(_: float) -> None:
        await gate.wait()

    policy = ReconnectPolicy(max_attempts=3)
    hub = HubClient(double.url, token="secret", reconnect=policy, sleep=sleep)
    hub.on_closed(closed.set)
    async with hub, asyncio.TaskGroup() as tasks:
        double.refuse_with = 503
        double.links[0].drop()
        await until(lambda: hub.state is State.RECONNECTING)
        waiting = tasks.create_task(outcome_of(hub.connected()))
        gate.set()
        async with asyncio.timeout(SOON_S):
            await closed.wait()
            assert isinstance(await waiting, NotConnected)
    assert len(double.tokens) == 4


async def test_without_a_policy_the_first_lost_link_is_the_end(double: HubDouble) -> None:
    closed = asyncio.Event()
    hub = client_of(double, None)
    hub.on_closed(closed.set)
    async with hub, asyncio.timeout(SOON_S):
        double.links[0].drop()
        await closed.wait()
    assert hub.end is not None
    assert hub.end.cause == "lost"
    assert len(double.links) == 1


@pytest.mark.parametrize("allowed", [True, False])
async def test_a_goodbye_is_followed_by_a_reconnect_only_if_the_server_allows_it(
    double: HubDouble, allowed: bool
) -> None:
    async with client_of(double) as hub:
        with pytest.raises(LinkLost):
            await hub.invoke("Goodbye", allowed, result=int)
        if allowed:
            await hub.connected()
        else:
            await until(lambda: hub.state is State.CLOSED)
        assert hub.end is not None
        assert hub.end.error == "going away"
    assert len(double.links) == (2 if allowed else 1)


async def test_a_silent_server_is_left_after_its_time(double: HubDouble) -> None:
    limits = HubLimits(client_timeout_s=0.05)
    async with client_of(double, limits=limits, tick_s=0.01, close_timeout_s=0.01) as hub:
        with pytest.raises(LinkLost):
            await hub.invoke("Hang", result=int)
        assert hub.end is not None
        assert hub.end.cause == "timed_out"
        await hub.connected()


async def test_a_quiet_client_shows_that_it_lives(double: HubDouble) -> None:
    async with client_of(double, limits=HubLimits(keep_alive_s=0.02), tick_s=0.01):
        await until(lambda: double.links[0].pings >= 3)


async def test_a_link_that_breaks_the_protocol_is_replaced(double: HubDouble) -> None:
    async with client_of(double) as hub:
        await double.links[0].write(b"this is no message\x1e", binary=False)
        await until(lambda: len(double.links) == 2)
        await hub.connected()
        assert hub.end is not None
        assert hub.end.cause == "broken"


async def test_a_message_over_the_bound_ends_the_link(double: HubDouble) -> None:
    async with client_of(double, limits=HubLimits(max_message_bytes=1_000)) as hub:
        with pytest.raises(LinkLost):
            await hub.invoke("Blob", 2_000, result=str)
        assert hub.end is not None
        assert hub.end.cause == "broken"


async def test_a_flood_of_pushes_over_the_bound_ends_the_link_and_not_the_memory(double: HubDouble) -> None:
    gate = asyncio.Event()

    async def slow(_: Point) -> None:
        await gate.wait()

    async with client_of(double, max_queued_events=10) as hub:
        hub.on("Moved", slow, Point)
        await double.links[0].send_many(*[Invocation("Moved", (Point(n),)) for n in range(100)])
        await until(lambda: hub.end is not None)
        assert hub.end is not None
        assert hub.end.cause == "overloaded"
        gate.set()
        await hub.connected()
        assert await hub.invoke("Echo", 1, result=int) == 1


async def test_a_start_that_gets_no_answer_ends_in_its_time(double: HubDouble) -> None:
    double.hangs = True
    with pytest.raises(HubRefused, match=r"within 0\.05 s"):
        await client_of(double, connect_timeout_s=0.05).start()


async def test_a_handshake_that_is_never_answered_ends_in_its_time_and_leaves_no_socket(double: HubDouble) -> None:
    double.ignores_handshakes = True
    async with aiohttp.ClientSession() as session:
        # Long enough to come as far as that.
        options = HubOptions(connect_timeout_s=1.0)
        hub = HubClient(double.url, token="secret", options=options, session=session)
        with pytest.raises(HubRefused, match=r"within 1 s"):
            await hub.start()
        await until(lambda: double.links[0].closed)


async def test_a_refused_handshake_is_told(double: HubDouble) -> None:
    double.handshake_error = "not today"
    with pytest.raises(HubRefused, match="not today"):
        await client_of(double).start()


async def test_stopping_leaves_no_task_behind(double: HubDouble) -> None:
    before = asyncio.all_tasks()
    async with client_of(double) as hub:
        double.links[0].drop()
        await until(lambda: len(double.links) == 2)
        await hub.connected()
    double_tasks = {task for task in asyncio.all_tasks() if "aiohttp" in repr(task.get_coro())}
    assert asyncio.all_tasks() - before - double_tasks == set()


async def outcome_of(work: Awaitable[None]) -> BaseException | None:
    try:
        await work
    except ConnectionError as error:
        return error
    return None


@pytest.mark.parametrize("error", [TimeoutError("slow"), aiohttp.ClientError("away"), OSError("no route")])
async def test_a_token_function_with_no_network_is_asked_again(double: HubDouble, error: Exception) -> None:
    tries = 0

    async def token() -> str:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise error
        return "second"

    async with client_of(double, ReconnectPolicy(base_s=0.01, from_start=True), token=token) as hub:
        async with asyncio.timeout(5):
            await hub.connected()
    assert double.tokens == ["Bearer second"]
