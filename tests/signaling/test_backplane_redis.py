"""A bus that fails in every way that we know: nobody waits for it, nothing grows, and it comes back by itself."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Iterator

import pytest

from signaling.backplane import BusState
from signaling.lifetime import LifetimeManager
from tests.bus_pods import BusPods, Pod, bus_pods, settled
from tests.chaos.proxy import proxy
from tests.eventually import eventually
from tests.redis_server import PROGRAMS, RedisServer, redis_server
from tests.signaling.test_lifetime import RecordingLink

CHANNELS = [f"channel {number}" for number in range(1_000)]


@pytest.fixture(params=PROGRAMS)
def server(request: pytest.FixtureRequest) -> Iterator[RedisServer]:
    with redis_server(program=request.param, tcp=True) as server:
        yield server


@pytest.fixture
async def pods(server: RedisServer) -> AsyncIterator[BusPods]:
    async with bus_pods(server.url) as pods:
        yield pods


def never() -> bytes:
    raise AssertionError("what cannot be sent must not be encoded")


def events(pod: Pod, event: str) -> list[dict[str, object]]:
    lines = map(json.loads, pod.log.getvalue().splitlines())
    return [line for line in lines if line["event"] == event]


def listened_to(server: RedisServer) -> int:
    """How many channels somebody listens to, as the server says."""
    answer = server.ask("PUBSUB", "SHARDCHANNELS", "auricle:c:*")
    return int(answer[1 : answer.index(b"\r")])


async def hears(one: Pod, two: Pod, *, channel: str = "c") -> None:
    """Whatever there was before: what one publishes now the other one hears."""
    heard: list[bytes] = []
    two.backplane.subscribe(channel, heard.append)
    await settled(one.backplane, two.backplane)
    one.backplane.publish(channel, lambda: b"now")
    await eventually(lambda: heard == [b"now"])


async def publishes(pod: Pod, count: int, *, over_s: float) -> None:
    """Publish all the time, a little at a time; no call waits, for none can."""
    for _ in range(count):
        pod.backplane.publish("c", lambda: b"x" * 1_000)
        await asyncio.sleep(over_s / count)


async def test_a_server_that_is_not_there_yet_is_waited_for(server: RedisServer, pods: BusPods) -> None:
    server.kill()
    one, two = await pods.join(), await pods.join()
    heard: list[bytes] = []
    two.backplane.subscribe("c", heard.append)
    await eventually(lambda: one.metric("auricle_backplane_lost_total") >= 5)
    one.backplane.publish("c", never)
    assert one.backplane.state is BusState.DEGRADED
    assert [line["server"] for line in events(one, "backplane_away")] == [server.url]
    server.start()
    await settled(one.backplane, two.backplane)
    one.backplane.publish("c", lambda: b"x")
    await eventually(lambda: heard == [b"x"])
    assert one.metric("auricle_backplane_connected") == 1
    await eventually(lambda: len(events(one, "backplane_connected")) == 1)


async def test_a_killed_server_that_comes_back_empty_is_told_everything_again(
    server: RedisServer, pods: BusPods
) -> None:
    one, two = await pods.connected(), await pods.connected()
    for channel in CHANNELS:
        two.backplane.subscribe(channel, lambda _: None)
    await settled(one.backplane, two.backplane)
    before = len(one.missed), len(two.missed)
    server.kill()
    await eventually(lambda: not one.is_up and not two.is_up)
    one.backplane.publish("c", never)
    assert one.metric("auricle_backplane_dropped_total", reason="away") >= 1
    two.backplane.unsubscribe(CHANNELS[0])
    two.backplane.subscribe("while it was away", lambda _: None)
    server.start()
    await settled(one.backplane, two.backplane)
    assert listened_to(server) == len(CHANNELS)
    await eventually(lambda: len(one.missed) > before[0] and len(two.missed) > before[1])
    await hears(one, two)


async def test_listeners_that_are_cut_again_and_again_listen_again(server: RedisServer, pods: BusPods) -> None:
    one, two = await pods.connected(), await pods.connected()
    for turn in range(5):
        missed = len(two.missed)
        server.ask("CLIENT", "KILL", "TYPE", "pubsub")
        # Also the one who was not cut himself would do, since whoever was says so.
        await eventually(lambda missed=missed: two.is_up and len(two.missed) > missed)  # type: ignore[misc]  # mypy cannot infer a lambda with a default
        await hears(one, two, channel=f"turn {turn}")


async def test_one_that_comes_and_goes_all_the_time_is_told_of_once(
    server: RedisServer, pods: BusPods, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = await pods.connected()

    async def comes_and_goes() -> None:
        back = len(one.missed)
        server.ask("CLIENT", "KILL", "TYPE", "pubsub")
        # It may be away for less than a moment.
        await eventually(lambda: len(one.missed) > back)

    # However long a busy machine takes for it, it comes and goes.
    monkeypatch.setattr("signaling.bus.telling.STEADY_S", 3_600.0)
    for _ in range(6):
        await comes_and_goes()
    assert [len(events(one, event)) for event in ("backplane_connected", "backplane_away")] == [1, 1]
    monkeypatch.setattr("signaling.bus.telling.STEADY_S", 0.01)
    await comes_and_goes()
    await eventually(lambda: len(events(one, "backplane_connected")) == 2)
    assert len(events(one, "backplane_away")) == 1


@pytest.mark.parametrize("how", ["client_pause", "stop_signal", "debug_sleep"])
async def test_a_server_that_stalls_is_left_alone_and_not_let_go(server: RedisServer, pods: BusPods, how: str) -> None:
    # It is late soon, and given up so late that no busy machine takes it for lost.
    one, two = await pods.connected(bus_flush_s=0.2, bus_timeout_s=60.0), await pods.connected()
    await hears(one, two)
    lost = one.metric("auricle_backplane_lost_total")
    if how == "client_pause":
        # Of those who write: whoever ends the pause is heard.
        server.ask("CLIENT", "PAUSE", "60000", "WRITE")
    elif how == "stop_signal":
        server.signal(signal.SIGSTOP)
    else:
        # It cannot be woken: long enough to be noticed.
        asleep = asyncio.get_running_loop().run_in_executor(None, server.ask, "DEBUG", "SLEEP", "3")

    def is_left_alone() -> bool:
        one.backplane.publish("c", lambda: b"late")
        return not one.is_up

    await eventually(is_left_alone)
    assert events(one, "backplane_away")[-1]["cause"] == "late"
    for _ in range(10_000):
        one.backplane.publish("c", never)
    assert one.metric("auricle_backplane_waiting_bytes") == 0
    assert one.metric("auricle_bound_reached_total", bound="bus_flush_s") >= 3
    if how == "client_pause":
        assert server.ask("CLIENT", "UNPAUSE") == b"+OK\r\n"
    elif how == "stop_signal":
        server.signal(signal.SIGCONT)
    await eventually(lambda: one.is_up)
    # The connections are the ones from before: nothing had to be subscribed anew.
    assert one.metric("auricle_backplane_lost_total") == lost
    await hears(one, two)
    if how == "debug_sleep":
        assert await asleep == b"+OK\r\n"


async def test_a_link_that_swallows_everything_is_given_up(server: RedisServer) -> None:
    async with proxy(server.url) as link, bus_pods(link.url.replace("http", "redis")) as pods:
        hasty = {"bus_flush_s": 0.2, "bus_timeout_s": 1.0, "bus_ping_s": 0.2}
        one, two = await pods.connected(**hasty), await pods.connected()
        link.black_hole()
        # Nobody says anything, and it shows all the same.
        await eventually(lambda: one.metric("auricle_bound_reached_total", bound="bus_timeout_s") >= 1)
        await publishes(one, 300, over_s=0.3)
        assert one.backplane.state is BusState.DEGRADED
        assert one.metric("auricle_backplane_waiting_bytes") == 0
        link.heal()
        await eventually(lambda: one.is_up and two.is_up)
        await hears(one, two)


async def test_a_slow_link_is_no_bus_until_it_is_quicker(server: RedisServer) -> None:
    async with proxy(server.url) as link, bus_pods(link.url.replace("http", "redis")) as pods:
        one, two = await pods.connected(bus_flush_s=0.1), await pods.connected()
        # Each way: three times late, and more.
        link.delay_s = 0.5
        await publishes(one, 300, over_s=0.6)
        assert one.backplane.state is BusState.DEGRADED
        assert one.metric("auricle_backplane_waiting_bytes") == 0
        assert link.connected <= 2 * 3  # two of each pod, and one that asks what there is
        link.heal()
        await eventually(lambda: one.is_up and two.is_up)
        await hears(one, two)


async def test_what_waits_is_bounded_by_count_and_by_bytes(pods: BusPods) -> None:
    # Patient: a busy machine must not look like a bus that is away.
    one = await pods.connected(max_bus_messages=10, max_bus_bytes=10_000, bus_flush_s=5.0, bus_timeout_s=10.0)
    # What it has to tell the others in the beginning is told.
    await eventually(lambda: one.backplane.is_settled)
    for number in range(25):
        one.backplane.publish("c", lambda number=number: b"%d" % number)  # type: ignore[misc]  # mypy cannot infer a lambda with a default
    assert one.metric("auricle_bound_reached_total", bound="max_bus_messages") == 15
    await eventually(lambda: one.backplane.is_settled)
    for _ in range(5):
        one.backplane.publish("c", lambda: b"x" * 3_000)
    assert one.metric("auricle_bound_reached_total", bound="max_bus_bytes") == 2
    assert one.metric("auricle_backplane_waiting_bytes") <= 10_000
    assert one.metric("auricle_backplane_dropped_total", reason="full") == 17
    await eventually(lambda: one.metric("auricle_backplane_waiting_bytes") == 0)


async def test_what_was_dropped_for_newer_messages_is_looked_for_by_the_others(pods: BusPods) -> None:
    one = await pods.connected(max_bus_messages=10, bus_flush_s=5.0, bus_timeout_s=10.0)
    two = await pods.connected()
    heard: list[bytes] = []
    two.backplane.subscribe("c", heard.append)
    await eventually(lambda: one.backplane.is_settled and two.backplane.is_settled)
    # Behind what it has to tell the others in the beginning.
    one.backplane.publish("c", lambda: b"first")
    await eventually(lambda: heard)
    missed = len(two.missed)
    for _ in range(11):
        one.backplane.publish("c", lambda: b"x")
    assert one.metric("auricle_backplane_dropped_total", reason="full") == 1
    await eventually(lambda: len(two.missed) == missed + 1)


async def test_after_ten_thousand_comings_and_goings_no_channel_is_left(server: RedisServer, pods: BusPods) -> None:
    pod = await pods.connected()
    for number in range(10_000):
        channel = f"channel {number}"
        pod.backplane.subscribe(channel, lambda _: None)
        if number >= 100:
            pod.backplane.unsubscribe(f"channel {number - 100}")
        if number % 500 == 0:
            await eventually(lambda: pod.backplane.is_settled)
            assert listened_to(server) == min(number + 1, 100)
    for number in range(9_900, 10_000):
        pod.backplane.unsubscribe(f"channel {number}")
    await eventually(lambda: pod.backplane.is_settled)
    assert listened_to(server) == 0
    assert pod.metric("auricle_backplane_channels") == 1  # that of the pods themselves


async def test_after_ten_thousand_joins_and_leaves_no_channel_is_left(server: RedisServer, pods: BusPods) -> None:
    pod = await pods.connected()
    lifetime = LifetimeManager("care", pod.backplane, max_groups=100, reached=lambda _: None)
    for number in range(1_000):
        link = RecordingLink(f"{number}", user=f"user {number % 7}")
        lifetime.add(link)
        for group in range(10):
            lifetime.add_to_group(link.connection_id, f"group {number % 13} {group}")
        if number % 3 == 0:
            await asyncio.sleep(0)
        lifetime.remove(link)
    await eventually(lambda: pod.backplane.is_settled)
    assert listened_to(server) == 0


async def test_comings_and_goings_while_the_bus_is_away_are_not_kept(server: RedisServer, pods: BusPods) -> None:
    pod = await pods.connected()
    server.kill()
    await eventually(lambda: not pod.is_up)
    for number in range(10_000):
        pod.backplane.subscribe(f"channel {number}", lambda _: None)
        pod.backplane.unsubscribe(f"channel {number}")
    ((shard, _),) = pod.backplane._shards.values()
    assert len(shard.wanted.changed) == 0
    assert len(shard.wanted.channels) == pod.backplane.channels == 1
    server.start()
    await eventually(lambda: pod.backplane.is_settled)
    assert listened_to(server) == 0


async def test_an_error_of_one_handler_ends_nothing(pods: BusPods) -> None:
    one, two = await pods.connected(), await pods.connected()

    def fails(_: bytes) -> None:
        raise RuntimeError("secret-of-a-handler")

    two.backplane.subscribe("bad", fails)
    await settled(one.backplane, two.backplane)
    one.backplane.publish("bad", lambda: b"x")
    await eventually(lambda: events(two, "task_failed"))
    assert "secret-of-a-handler" not in two.log.getvalue()
    await hears(one, two)
    assert len(two.missed) <= 2


async def test_who_begins_to_listen_late_is_told_so(pods: BusPods) -> None:
    pod = await pods.connected()
    late: list[str] = []
    pod.backplane.subscribe("c", lambda _: None, on_late=lambda: late.append("c"))
    pod.backplane.subscribe("gone", lambda _: None, on_late=lambda: late.append("gone"))
    pod.backplane.unsubscribe("gone")
    await eventually(lambda: pod.backplane.is_settled)
    assert late == ["c"]


async def test_a_pod_that_was_away_says_so_to_the_others(server: RedisServer, pods: BusPods) -> None:
    there = await pods.connected()
    async with proxy(server.url) as link, bus_pods(link.url.replace("http", "redis")) as others:
        await others.connected()
        await eventually(lambda: len(there.missed) >= 1)
        missed = len(there.missed)
        link.reset()
        await eventually(lambda: len(there.missed) > missed)
        assert events(there, "backplane_away") == []


async def test_what_waits_when_a_pod_leaves_is_still_sent(pods: BusPods) -> None:
    one, two = await pods.connected(), await pods.connected()
    heard: list[bytes] = []
    two.backplane.subscribe("c", heard.append)
    await settled(one.backplane, two.backplane)
    one.backplane.publish("c", lambda: b"goodbye")
    await one.backplane.close()
    await eventually(lambda: heard == [b"goodbye"])
