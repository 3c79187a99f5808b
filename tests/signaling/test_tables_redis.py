"""Tables in Redis: what they hold, and that whoever asks never waits for a server that is away."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Iterator

import pytest

from signaling.bus.tables_redis import AWAY
from tests.bus_tables import PodTables, TablePods, table_pods
from tests.eventually import eventually, eventually_asked
from tests.redis_server import PROGRAMS, RedisServer, redis_cluster, redis_server

KINDS = (*PROGRAMS, "cluster")


@pytest.fixture(params=KINDS)
def servers(request: pytest.FixtureRequest) -> Iterator[list[RedisServer]]:
    if request.param == "cluster":
        with redis_cluster() as cluster:
            yield cluster
    else:
        with redis_server(program=request.param) as server:
            yield [server]


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with redis_server() as server:
        yield server


@pytest.fixture
async def pods(server: RedisServer) -> AsyncIterator[TablePods]:
    async with table_pods(server.url) as pods:
        yield pods


async def test_every_verb_does_what_it_says_wherever_the_key_is(servers: list[RedisServer]) -> None:
    async with table_pods(servers[0].url) as pods:
        one, two = (await pods.join()).tables, (await pods.join()).tables
        for key in ("a", "b", "c", "d", "e\0ü\ud800"):
            assert await one.get(key) is None
            assert await one.claim(key, b"first", ttl_s=60) == b"first"
            assert await two.claim(key, b"second", ttl_s=60) == b"first"
            assert await two.get(key) == b"first"
            assert await one.put(key, b"third", ttl_s=60) is None
            assert await two.get(key) == b"third"
            assert await two.delete(key) is None
            assert await one.get(key) is None
        assert await one.change("h", {b"x": b"1", b"y": b"\0"}, ttl_s=60) is False
        assert await two.change("h", {b"z": b""}, (b"x", b"w"), ttl_s=60) is True
        assert await one.fields("h") == {b"y": b"\0", b"z": b""}
        assert await one.field("h", b"x", b"y") == (None, b"\0")
        assert await one.change("h", {}, (b"y", b"z"), ttl_s=60) is True
        assert await one.change("h", {}, ttl_s=60) is False
        assert await one.fields("h") == {}
        assert await one.members("{s}", add=b"m", ttl_s=60) == (frozenset((b"m",)), False)
        assert await two.members("{s}", add=b"n", ttl_s=60) == (frozenset((b"m", b"n")), False)
        assert await two.leave("{s}", b"m", b"o") is None
        assert await one.members("{s}", add=b"n", ttl_s=60) == (frozenset((b"n",)), True)
        assert await one.put("{s}:1", b"v", ttl_s=60) is None
        assert await one.values("{s}:1", "{s}:2") == (b"v", None)


async def test_what_nobody_keeps_ends(pods: TablePods) -> None:
    tables = (await pods.join()).tables
    await tables.put("k", b"v", ttl_s=0.05)
    await tables.change("h", {b"x": b"1"}, ttl_s=0.05)

    async def is_gone() -> bool:
        return await tables.get("k") is None and await tables.fields("h") == {}

    await eventually_asked(is_gone)


async def test_keys_begin_with_the_prefix(server: RedisServer, pods: TablePods) -> None:
    tables = (await pods.join(redis_prefix="north:1")).tables
    await tables.put("k", b"v", ttl_s=60)
    assert server.ask("GET", "north:1:t:k") == b"$1\r\nv\r\n"


async def test_a_server_that_was_never_there_costs_nobody_any_time_but_the_first(server: RedisServer) -> None:
    server.kill()
    async with table_pods(server.url) as pods:
        pod = await pods.join()
        assert await pod.tables.get("k") is AWAY
        assert not pod.tables.is_up
        assert '"event": "tables_away"' in pod.log.getvalue()
        server.start()
        await eventually(lambda: pod.tables.is_up)
        assert await pod.tables.get("k") is None
        await eventually(lambda: '"event": "tables_connected"' in pod.log.getvalue())


async def test_a_server_that_is_killed_is_away_and_is_found_again(server: RedisServer, pods: TablePods) -> None:
    pod = await pods.join()
    await pod.tables.put("k", b"v", ttl_s=60)
    server.kill()
    await eventually(lambda: not pod.tables.is_up)
    assert await pod.tables.get("k") is AWAY
    assert await pod.tables.change("h", {b"x": b"1"}, ttl_s=60, patient=True) is AWAY
    server.start()
    await eventually(lambda: pod.tables.is_up)
    assert await pod.tables.get("k") is None


async def test_a_server_that_says_nothing_is_asked_three_times_and_then_left_alone(
    server: RedisServer, pods: TablePods
) -> None:
    pod = await pods.join(table_answer_s=0.02, bus_timeout_s=60)
    assert await pod.tables.get("k") in {None, AWAY}
    server.signal(signal.SIGSTOP)
    try:
        began_s = time.monotonic()
        for _ in range(500):
            assert await pod.tables.get("k") is AWAY
        # Ten seconds if each of them had waited.
        assert time.monotonic() - began_s < 5
        assert pod.metric("auricle_bound_reached_total", bound="table_answer_s") >= 3
        assert pod.metric("auricle_tables_calls_total", outcome="away") > 400
        assert not pod.tables.is_up
    finally:
        server.signal(signal.SIGCONT)
    await eventually_asked(lambda: answers(pod))
    assert pod.tables.is_up


async def until_left_alone(pod: PodTables) -> None:
    """A server that says nothing is not asked for a while."""
    while pod.tables.is_up:
        await pod.tables.get("k")


async def tried(pod: PodTables) -> "asyncio.Task[object]":
    """The question that is to find out whether it answers again; it waits for its answer."""
    while True:
        asking = asyncio.get_running_loop().create_task(pod.tables.get("k"))
        await asyncio.sleep(0)  # it has been asked, or is over
        if not asking.done():
            return asking


async def test_a_question_that_is_given_up_does_not_keep_others_from_finding_out(
    server: RedisServer, pods: TablePods
) -> None:
    pod = await pods.join(table_answer_s=0.1, bus_timeout_s=60)
    await eventually(lambda: pod.tables.is_up)
    server.signal(signal.SIGSTOP)
    try:
        await until_left_alone(pod)
        (asking := await tried(pod)).cancel()
        await asyncio.wait([asking])
    finally:
        server.signal(signal.SIGCONT)
    await eventually_asked(lambda: answers(pod))


async def test_a_question_for_which_there_is_no_room_finds_nothing_out(server: RedisServer, pods: TablePods) -> None:
    pod = await pods.join(table_answer_s=0.1, bus_timeout_s=60, max_table_calls=3)
    await eventually(lambda: pod.tables.is_up)
    server.signal(signal.SIGSTOP)
    try:
        await until_left_alone(pod)
        full = pod.metric("auricle_tables_calls_total", outcome="full")
        while pod.metric("auricle_tables_calls_total", outcome="full") == full:
            assert await pod.tables.get("k") is AWAY
    finally:
        server.signal(signal.SIGCONT)
    await eventually_asked(lambda: answers(pod))


async def answers(pod: PodTables) -> bool:
    return await pod.tables.get("k") is None


async def test_a_server_that_never_answers_again_is_given_up(server: RedisServer, pods: TablePods) -> None:
    pod = await pods.join(bus_timeout_s=0.2, table_answer_s=0.02)
    await eventually(lambda: pod.tables.is_up)
    server.signal(signal.SIGSTOP)
    try:
        assert await pod.tables.get("k") is AWAY
        await eventually(lambda: '"cause": "timeout"' in pod.log.getvalue())
        assert pod.metric("auricle_bound_reached_total", bound="bus_timeout_s") >= 1
    finally:
        server.signal(signal.SIGCONT)
    await eventually(lambda: pod.tables.is_up)


async def test_no_more_answers_are_waited_for_than_may_be(server: RedisServer, pods: TablePods) -> None:
    pod = await pods.join(max_table_calls=4, table_answer_s=5)
    await eventually(lambda: pod.tables.is_up)
    found = await asyncio.gather(*(pod.tables.get("k") for _ in range(6)))
    assert found == [None] * 4 + [AWAY] * 2
    assert pod.metric("auricle_bound_reached_total", bound="max_table_calls") == 2
    assert await pod.tables.get("k") is None


async def test_who_gives_up_waiting_leaves_the_answers_in_order(pods: TablePods) -> None:
    tables = (await pods.join()).tables
    await tables.put("a", b"A", ttl_s=60)
    await tables.put("b", b"B", ttl_s=60)
    for _ in range(50):
        gone = asyncio.get_running_loop().create_task(tables.get("a"))
        await asyncio.sleep(0)  # it has asked
        gone.cancel()
        assert await tables.get("b") == b"B"


async def test_a_user_who_may_do_too_little_is_told_and_not_asked_all_the_time(
    server: RedisServer, pods: TablePods
) -> None:
    server.ask("ACL", "SETUSER", "default", "-get")
    pod = await pods.join()
    assert await pod.tables.get("k") is AWAY
    await eventually(lambda: '"cause": "NOPERM"' in pod.log.getvalue())
    server.ask("ACL", "SETUSER", "default", "+get")

    async def answers() -> bool:
        return await pod.tables.get("k") is None

    await eventually_asked(answers)


async def test_one_that_has_no_room_left_is_away_until_it_has(server: RedisServer, pods: TablePods) -> None:
    pod = await pods.join()
    await eventually(lambda: pod.tables.is_up)
    server.ask("CONFIG", "SET", "maxmemory", "1")
    assert await pod.tables.put("k", b"v", ttl_s=60) is AWAY
    connected = pod.log.getvalue().count('"tables_connected"')
    for _ in range(5):
        # It answers, but what counts it does not do.
        await eventually_asked(lambda: answers(pod))
        assert not pod.tables.is_up
        assert await pod.tables.put("k", b"v", ttl_s=60) is AWAY
    assert pod.log.getvalue().count('"tables_away"') == 1
    assert pod.log.getvalue().count('"tables_connected"') == connected
    server.ask("CONFIG", "SET", "maxmemory", "0")

    async def is_put() -> bool:
        return await pod.tables.put("k", b"v", ttl_s=60) is None

    await eventually_asked(is_put)
    assert pod.tables.is_up
    await eventually(lambda: pod.log.getvalue().count('"tables_connected"') == connected + 1)


async def test_one_that_comes_and_goes_all_the_time_is_told_of_once(server: RedisServer, pods: TablePods) -> None:
    pod = await pods.join()
    await eventually(lambda: pod.tables.is_up)
    for _ in range(6):
        life = pod.tables.life
        server.ask("CLIENT", "KILL", "TYPE", "normal")
        await eventually(lambda life=life: pod.tables.life > life)  # type: ignore[misc]  # mypy cannot infer a lambda with a default
    assert pod.log.getvalue().count('"tables_away"') == 1
    assert pod.log.getvalue().count('"tables_connected"') == 0
    await eventually(lambda: pod.log.getvalue().count('"tables_connected"') == 1)


async def test_a_claim_without_its_witness_is_none(server: RedisServer, pods: TablePods) -> None:
    pod = await pods.join()
    tables, forgot = pod.tables, list[None]()
    tables.on_forgot = lambda: forgot.append(None)
    assert await tables.put("w", b"v", ttl_s=60, patient=True) is None
    assert await tables.claim("k", b"one", ttl_s=60, witness="w") == b"one"
    life = tables.life
    server.ask("FLUSHALL")
    assert await tables.claim("k", b"two", ttl_s=60, witness="w") is AWAY
    assert (tables.life, forgot) == (life + 1, [None])
    # It leaves nothing that is not so.
    assert await tables.get("k") is None
