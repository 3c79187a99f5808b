"""Requests that come to another pod than the one that has their connection: it is as if there were one pod."""

import asyncio
import io
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from protocol.signalr.codec import ProtocolName
from signaling.config import MEMORY, Config
from signaling.transports.forward import CONNECTION, hub_route
from tests.eventually import eventually
from tests.redis_server import redis_server
from tests.signaling.by_hand import (
    HELLO,
    HUB,
    EventReader,
    Poller,
    call,
    event_reader,
    frame,
    negotiate,
    poller,
    request,
    socket,
)
from tests.signaling.conftest import House, running_house
from tests.signaling.pods_around import Around, around, forwarded, len_of
from tests.signaling.pods_inside import certificates, inside, internal_of, shown_by
from tests.signaling.raw_websocket import dial, upgrade
from tests.signaling.returning import answer_to, returning

PROTOCOLS: tuple[ProtocolName, ...] = ("json", "messagepack")


@pytest.fixture(params=["clear", "tls"])
async def scene(
    request: pytest.FixtureRequest, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> AsyncIterator[Around]:
    async with around(**(certificates(tmp_path) if request.param == "tls" else {})) as scene:
        yield scene
    # What the event loop has to complain of is no line of ours.
    assert [one.getMessage() for one in caplog.get_records("call") if one.name == "asyncio"] == []


async def test_a_connection_belongs_to_the_pod_that_its_token_came_to_first(scene: Around) -> None:
    client = Poller(scene.east, await negotiate(scene.east))
    client.house = scene.west
    assert (await client.poll()).status == 200
    await client.shake()
    assert (scene.east.app_sessions(), scene.west.app_sessions()) == (0, 1)
    assert all(forwarded(pod, "poll") + forwarded(pod, "post") == 0 for pod in scene.pods)


async def test_polls_and_posts_come_to_any_pod(scene: Around) -> None:
    client = await poller(scene.east)
    for number in range(6):
        client.house = scene.pods[number % 2]
        await client.send(call("Echo", number, id_=str(number)))
        client.house = scene.pods[(number // 2) % 2]
        assert (await client.messages(1))[0]["result"] == number
    assert (scene.east.app_sessions(), scene.west.app_sessions()) == (1, 0)
    assert (forwarded(scene.west, "post"), forwarded(scene.west, "poll")) == (3, 2)
    client.house = scene.west
    assert (await client.ask("DELETE")).status == 202
    await eventually(lambda: scene.east.app_sessions() == 0)
    assert (await client.poll()).status == 404
    assert (await client.ask("POST", data=call("Echo", 1))).status == 404


async def test_posts_of_an_event_stream_come_to_any_pod(scene: Around) -> None:
    async with event_reader(scene.east) as client:
        client.house = scene.west
        await client.send(call("Echo", "a", id_="1"), call("Echo", "b", id_="2"))
        assert [one["result"] for one in await client.messages(2)] == ["a", "b"]
        # A second stream is refused by the one that has the first.
        headers = client.headers | {"Accept": "text/event-stream"}
        assert (await client.ask("GET", headers=headers)).status == 409
        assert (await client.ask("GET")).status == 400
        assert (await client.ask("DELETE")).status == 400


async def test_what_was_posted_before_a_connection_opens_elsewhere_comes_first(scene: Around) -> None:
    client = EventReader(scene.east, await negotiate(scene.east))
    assert await client.post(HELLO + call("Echo", 1, id_="1")) == 200
    assert await client.post(call("Echo", 2, id_="2")) == 200
    client.house = scene.west
    headers = client.headers | {"Accept": "text/event-stream"}
    async with scene.west.http.get(scene.west.url + client.path, headers=headers) as response:
        client.response = response
        assert await client.event() == b":\r\n\r\n"
        assert await client.post(call("Echo", 3, id_="3")) == 200
        assert [one.get("result") for one in await client.messages(4)] == [None, 1, 2, 3]
        assert (scene.east.app_sessions(), forwarded(scene.west, "events")) == (1, 1)
    # Its client has left, and so has what was carried for it.
    await scene.until(lambda: len_of(scene.west) == scene.east.app_sessions() == 0)


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_a_stateful_connection_comes_back_over_another_pod(scene: Around, protocol: ProtocolName) -> None:
    client = await returning(scene.east, protocol=protocol)
    for number in range(1, 7):
        await client.call("Echo", f"{number}", id_=str(number))
        client.lose()
        client.house = scene.pods[number % 2]
        await client.resume()
        await client.call("Echo", f"{number} again", id_=f"{number} again")
        assert await client.result(str(number)) == f"{number}"
        assert await client.result(f"{number} again") == f"{number} again"
    assert (scene.east.app_sessions(), scene.west.app_sessions()) == (1, 0)
    assert forwarded(scene.west, "socket") == 3
    # Nothing stays behind of what was carried.
    client.lose()
    await eventually(lambda: len_of(scene.west) == 0)


async def test_a_second_socket_is_refused_as_by_the_pod_that_has_the_first(scene: Around) -> None:
    client = await socket(scene.east)
    probe = await returning(scene.west)
    probe.path, probe.house = client.path, scene.west
    assert await answer_to(probe) == 409
    await client.frames.close()
    await eventually(lambda: scene.east.app_sessions() == 0)
    assert await answer_to(probe) == 404


async def test_a_token_opens_one_connection_once(scene: Around) -> None:
    ticket = await negotiate(scene.east)
    clients = [Poller(pod, ticket) for pod in scene.pods * 4]
    polls = [asyncio.ensure_future(client.poll()) for client in clients]
    # The first one is answered at once, and newer ones send older ones home.
    await eventually(lambda: sum(poll.done() for poll in polls) == len(polls) - 1)
    assert scene.east.app_sessions() + scene.west.app_sessions() == 1
    assert await clients[0].post(HELLO) == 200
    answers = [await poll for poll in polls]
    assert {answer.status for answer in answers} == {200, 204}
    assert [answer.body for answer in answers if answer.body] == [b"{}\x1e"]


async def test_nobody_elses_connection_is_reached(scene: Around) -> None:
    client = await poller(scene.east)
    client.house = scene.west
    for method in ("GET", "POST", "DELETE"):
        assert (await client.ask(method, "bob")).status == 404
        assert (await client.ask(method, headers={"Authorization": "Bearer x"})).status == 401
    assert forwarded(scene.west, "poll") + forwarded(scene.west, "post") + forwarded(scene.west, "delete") == 0


async def test_a_new_token_is_shown_over_any_pod(scene: Around) -> None:
    client = await poller(scene.east)
    before_s = client.session.principal.expires_at_s
    session = client.session
    answer = await request(
        scene.west,
        "POST",
        f"{HUB}/refresh?id={client.ticket.token}",
        headers=scene.west.bearer(expires_in_s=7_200),
    )
    assert answer.status == 200
    assert session.principal.expires_at_s == before_s + 3_600


@pytest.mark.parametrize(
    ("method", "path", "options"),
    [
        ("GET", "", {}),
        ("GET", "", {"headers": {"Accept": "text/event-stream"}}),
        ("POST", "", {"data": b""}),
        ("POST", "", {"data": b"x", "headers": {"Content-Encoding": "gzip"}}),
        pytest.param("POST", "", {"data": io.BytesIO(b"y" * 3_000)}, id="POST--from a file"),
        ("DELETE", "", {}),
        ("POST", "/refresh", {}),
    ],
    ids=str,
)
async def test_answers_are_those_of_the_pod_that_has_the_connection(
    scene: Around, method: str, path: str, options: dict[str, object]
) -> None:
    client = await socket(scene.east)
    target = f"{HUB}{path}?id={client.ticket.token}"
    found = []
    for pod in scene.pods:
        given = dict(options)
        given["headers"] = {**client.headers, **given.get("headers", {})}  # type: ignore[dict-item]  # a test's own words
        answer = await request(pod, method, target, **given)
        answer.headers.pop("Date")
        found.append(answer)
    assert found[0] == found[1]


async def test_what_was_carried_is_never_carried_on_and_its_caller_is_looked_at_again(scene: Around) -> None:
    client = await poller(scene.east)
    await client.send(call("Echo", 1, id_="1"))
    route = hub_route("conformance")
    async with inside(scene.west) as pod:

        async def status(house: House, headers: dict[str, str]) -> int:
            assert house.parts.pods is not None
            internal = house.parts.pods.internal
            given = {CONNECTION: client.ticket.token} | headers
            to = house.parts.pods.pod
            async with pod.ask(internal.address, "GET", route, to=to, timeout_s=5, headers=given) as answer:
                return answer.status

        assert await status(scene.west, client.headers) == 404
        assert forwarded(scene.west, "poll") == 0
        assert await status(scene.east, {}) == 401
        assert await status(scene.east, {"Authorization": "Bearer x"}) == 401
        assert await status(scene.east, scene.east.bearer("bob")) == 404
        assert await status(scene.east, client.headers) == 200
    # Who has no key is told nothing, whatever he knows.
    given = {CONNECTION: client.ticket.token} | client.headers
    url, tls = f"{internal_of(scene.east).address}/internal{route}", shown_by(scene.east)
    async with scene.east.http.get(url, headers=given, ssl=tls) as answer:
        assert (answer.status, await answer.read()) == (401, b"")


async def test_an_upgrade_that_is_none_is_refused_as_by_the_pod_that_has_the_connection(scene: Around) -> None:
    client = await returning(scene.east)
    client.lose()
    found = []
    for pod in scene.pods:
        whole = upgrade(pod, client.path)
        for broken in (b"Sec-WebSocket-Key", b"Sec-WebSocket-Version", b"Host"):
            wire = await dial(pod)
            wire.send(whole.replace(broken, b"X-Other", 1))
            found.append((pod is scene.east, broken, (await wire.reader.readline()).split()[1]))
    here = [one[1:] for one in found if one[0]]
    assert here == [one[1:] for one in found if not one[0]]
    assert {status for _, status in here} == {b"400", b"426"}


@pytest.mark.parametrize("size", [65_535, 65_536, 65_537, 300_000])
async def test_bodies_of_any_size_arrive_whole(scene: Around, size: int) -> None:
    client = await poller(scene.east)
    client.house = scene.west
    calls = [call("Echo", "x" * 20_000, id_=str(number)) for number in range(size // 21_000)]
    body = b"".join(calls)
    body += frame(type=6, padding="p" * (size - len(body) - len(frame(type=6, padding=""))))
    assert len(body) == size
    assert await client.post(body) == 200
    client.house = scene.east
    answers = await client.messages(len(calls))
    assert [(one["invocationId"], len(one["result"])) for one in answers] == [
        (str(n), 20_000) for n in range(len(calls))
    ]
    # An answer that is too long to be signed for comes over the other pod, too.
    await client.send(*(call("Echo", "y" * 20_000, id_=f"{n}") for n in range(5)))
    client.house = scene.west
    answer = await client.poll()
    assert (len(answer.body) > 100_000, answer.headers["Content-Length"]) == (True, str(len(answer.body)))


async def test_a_client_that_leaves_ends_what_was_carried_for_it(scene: Around) -> None:
    client = await poller(scene.east)
    client.house = scene.west
    polling = asyncio.ensure_future(client.poll())
    await eventually(lambda: len_of(scene.west) == 1)
    polling.cancel()
    await scene.until(lambda: len_of(scene.west) == 0)
    assert forwarded(scene.west, "poll", "left") == 1
    await client.send(call("Echo", 1, id_="1"))
    # What waits is for the poll that comes, not for the one that nobody hears.
    scene.east.sweep()
    assert (await client.messages(1))[0]["result"] == 1


async def test_a_pod_that_is_nowhere_reached_says_so_and_keeps_to_its_own() -> None:
    with redis_server() as bus:
        config = Config(conformance=True, dev=True, sweep_s=3_600, database_url=MEMORY, redis_url=bus.url)
        async with running_house(config, None) as alone:
            assert alone.log.getvalue().count('"event": "internal_listener_off"') == 1
            client = await poller(alone)
            await client.send(call("Echo", 1, id_="1"))
            assert (await client.messages(1))[0]["result"] == 1
