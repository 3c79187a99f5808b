"""The status codes of Microsoft's server, row by row: clients decide by them whether to retry, to fall back or to stop.

Each row is a request, its answer, and the connection on which it is made. A row that is missing fails the last test.
"""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import aiohttp
import pytest

from signaling.config import ConfigError, config_from
from tests.eventually import eventually
from tests.signaling.by_hand import (
    HELLO,
    HUB,
    Answer,
    Client,
    Poller,
    call,
    event_reader,
    negotiate,
    poller,
    request,
    socket,
)
from tests.signaling.conftest import House, OpenHouse
from tests.signaling.returning import answer_to, returning

EVENTS = {"Accept": "text/event-stream"}
UNKNOWN = "No Connection with that ID"
REQUIRED = "Connection ID required"
CHANGE = "Cannot change transports mid-connection"


class Row(NamedTuple):
    """``method`` WS is a GET that asks for a WebSocket, SSE one for an event stream."""

    connection: str
    method: str
    status: int
    text: str | None = None
    options: dict[str, Any] = {}  # noqa: RUF012  # nobody changes it


# ``{id}`` of each is the token of the connection.
ROWS = [
    *(Row("no id", method, 400, REQUIRED) for method in ("GET", "SSE", "POST", "DELETE")),
    *(Row("an empty id", method, 400, REQUIRED) for method in ("GET", "SSE", "POST", "DELETE")),
    Row("no id", "WS", 101),
    Row("an empty id", "WS", 101),
    *(Row("an unknown id", method, 404, UNKNOWN) for method in ("GET", "SSE", "POST", "DELETE")),
    Row("an unknown id", "WS", 404),
    *(Row("its public id", method, 404, UNKNOWN) for method in ("GET", "SSE", "POST", "DELETE")),
    Row("its public id", "WS", 404),
    Row("negotiated", "GET", 200, ""),
    Row("negotiated", "SSE", 200),
    Row("negotiated", "WS", 101),
    Row("negotiated", "POST", 200, ""),
    Row("negotiated", "DELETE", 400),
    Row("a WebSocket", "GET", 400, CHANGE),
    Row("a WebSocket", "SSE", 400, CHANGE),
    Row("a WebSocket", "WS", 409),
    Row("a WebSocket", "POST", 405),
    Row("a WebSocket", "DELETE", 400),
    Row("a stateful WebSocket", "GET", 400, CHANGE),
    Row("a stateful WebSocket", "SSE", 400, CHANGE),
    Row("a stateful WebSocket", "WS", 101),
    Row("a stateful WebSocket", "POST", 405),
    Row("a stateful WebSocket", "DELETE", 400),
    Row("an event stream", "GET", 400, CHANGE),
    Row("an event stream", "SSE", 409),
    Row("an event stream", "WS", 400),
    Row("an event stream", "POST", 200, ""),
    Row("an event stream", "POST", 415, options={"data": b"not gzip", "headers": {"Content-Encoding": "gzip"}}),
    Row("an event stream", "DELETE", 400),
    Row("a poll", "GET", 200),
    Row("a poll", "SSE", 400, CHANGE),
    Row("a poll", "WS", 400),
    Row("a poll", "POST", 200, ""),
    Row("a poll", "POST", 415, options={"data": b"not gzip", "headers": {"Content-Encoding": "gzip"}}),
    Row("a poll", "DELETE", 202, ""),
    *(Row("an ended one", method, 404, UNKNOWN) for method in ("GET", "SSE", "POST", "DELETE")),
    Row("an ended one", "WS", 404),
    Row("a poll told goodbye", "POST", 404, UNKNOWN),
]


@dataclass
class Scene:
    """A house, and the connection that a row speaks of."""

    house: House
    open: AsyncExitStack
    id: str | None = None
    client: Client | None = None
    headers: dict[str, str] = field(default_factory=dict)

    async def ask(self, method: str, options: dict[str, Any]) -> Answer:
        query = "" if self.id is None else f"?id={self.id}"
        headers = self.house.bearer() | self.headers | options.get("headers", {})
        if method == "WS":
            return await self._upgraded(HUB + query, headers)
        more = {"data": options.get("data", HELLO)} if method == "POST" else {}
        if method == "SSE":
            async with self.house.http.get(self.house.url + HUB + query, headers=headers | EVENTS) as response:
                streams = response.headers["Content-Type"] == "text/event-stream"
                body = b"" if streams else await response.read()
                return Answer(response.status, dict(response.headers), body)
        return await request(self.house, method, HUB + query, headers=headers, **more)

    async def _upgraded(self, path: str, headers: dict[str, str]) -> Answer:
        try:
            await self.house.socket(self.house.url + path, headers=headers)
        except aiohttp.WSServerHandshakeError as refused:
            return Answer(refused.status, {}, b"")
        return Answer(101, {}, b"")


@pytest.fixture
async def scene(open_house: OpenHouse) -> AsyncIterator[Scene]:
    async with AsyncExitStack() as streams:
        yield Scene(await open_house(poll_timeout_s=0.02), streams)


async def prepare(scene: Scene, connection: str) -> None:
    house = scene.house
    if connection == "no id":
        return
    if connection in ("an empty id", "an unknown id"):
        scene.id = {"an empty id": "", "an unknown id": "AAAAAAAAAAAAAAAAAAAAAA"}[connection]
        return
    if connection == "negotiated":
        scene.id = (await negotiate(house)).token
        return
    if connection == "a stateful WebSocket":
        scene.id = (await returning(house)).ticket.token
        return
    kinds: dict[str, Callable[[House], Awaitable[Client]]] = {
        "a WebSocket": socket,
        "its public id": socket,
        "an ended one": socket,
        "a poll": poller,
        "a poll told goodbye": poller,
    }
    if connection == "an event stream":
        scene.client = await scene.open.enter_async_context(event_reader(house))
    else:
        scene.client = await kinds[connection](house)
    ticket = scene.client.ticket
    scene.id = ticket.connection_id if connection == "its public id" else ticket.token
    if connection == "an ended one":
        await scene.client.frames.close()  # type: ignore[attr-defined]  # a WebSocket
        await eventually(lambda: house.app_sessions() == 0)
    if connection == "a poll told goodbye":
        await scene.client.send(call("Abort"))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.connection}-{row.method}-{row.status}")
async def test_a_row_of_the_table(scene: Scene, row: Row) -> None:
    await prepare(scene, row.connection)
    answer = await scene.ask(row.method, row.options)
    assert answer.status == row.status, answer
    if row.text is not None:
        assert answer.body.decode() == row.text
    if row.method in ("POST", "DELETE") or row.status >= 400:
        assert answer.headers.get("Content-Type", "text/plain").startswith("text/plain")


@pytest.mark.parametrize("connection", sorted({row.connection for row in ROWS}))
async def test_without_a_good_token_it_is_401_whatever_it_is(scene: Scene, connection: str) -> None:
    await prepare(scene, connection)
    for method in ("GET", "SSE", "WS", "POST", "DELETE"):
        for token in ("x", scene.house.token(expires_in_s=-1), ""):
            scene.headers = {"Authorization": f"Bearer {token}"}
            assert (await scene.ask(method, {})).status == 401, method


@pytest.mark.parametrize("connection", ["negotiated", "a WebSocket", "an event stream", "a poll"])
async def test_with_somebody_elses_token_it_is_404_whatever_it_is(scene: Scene, connection: str) -> None:
    await prepare(scene, connection)
    scene.headers = scene.house.bearer("bob")
    for method in ("GET", "SSE", "WS", "POST", "DELETE"):
        assert (await scene.ask(method, {})).status == 404, method


async def test_a_page_that_may_not_is_403_and_methods_that_nobody_has_are_405(house: House) -> None:
    evil = house.bearer() | {"Origin": "https://evil.example"}
    assert (await request(house, "GET", HUB, headers=evil)).status == 403
    for method in ("PUT", "PATCH", "HEAD", "OPTIONS", "TRACE"):
        assert (await request(house, method, HUB)).status == 405, method
    for path in ("negotiate", "refresh"):
        assert (await request(house, "GET", f"{HUB}/{path}")).status == 405
    assert (await request(house, "POST", f"{HUB}/elsewhere")).status == 404
    assert (await request(house, "GET", f"{HUB}/{house.token()}")).status == 404
    assert house.token() not in house.log.getvalue()


async def test_a_stateful_connection_is_taken_over_once_and_for_all(house: House) -> None:
    client = await returning(house)
    assert await answer_to(client) == 101
    assert await answer_to(client) == 101


@pytest.mark.parametrize("offered", ["WebSockets", "LongPolling,WebSockets", "ServerSentEvents"])
async def test_a_transport_that_is_off_is_404_and_not_offered(open_house: OpenHouse, offered: str) -> None:
    house = await open_house(transports=offered, poll_timeout_s=0.02)
    async with AsyncExitStack() as streams:
        for method, name in (("GET", "LongPolling"), ("SSE", "ServerSentEvents"), ("WS", "WebSockets")):
            scene = Scene(house, streams, (await negotiate(house)).token)
            answer = await scene.ask(method, {})
            assert answer.status == ((101 if method == "WS" else 200) if name in offered.split(",") else 404), name
        unnegotiated = await Scene(house, streams).ask("WS", {})
        assert unnegotiated.status == (101 if "WebSockets" in offered else 404)
    body = json.loads((await request(house, "POST", f"{HUB}/negotiate")).body)
    assert [entry["transport"] for entry in body["availableTransports"]] == offered.split(",")


@pytest.mark.parametrize("wrong", ["", "WebSocket", "websockets", "WebSockets,ForeverFrame"])
def test_a_transport_that_is_none_is_no_configuration(wrong: str) -> None:
    with pytest.raises(ConfigError, match="transports"):
        config_from({"AURICLE_TRANSPORTS": wrong})


@pytest.mark.parametrize(
    ("query", "version"),
    [("", 0), ("?negotiateVersion=0", 0), ("?NEGOTIATEVERSION=1", 1), ("?negotiateversion=9", 1), ("?x=1", 0)],
)
async def test_negotiation_answers_with_a_version_that_both_know(house: House, query: str, version: int) -> None:
    answer = await request(house, "POST", f"{HUB}/negotiate{query}")
    assert answer.headers["Content-Type"].startswith("application/json")
    assert answer.headers["Content-Length"] == str(len(answer.body))
    assert json.loads(answer.body)["negotiateVersion"] == version


@pytest.mark.parametrize("text", ["x", "-1", "1.5", "", "1,1", "0x1", "1" * 50])
async def test_a_version_that_is_none_is_an_error_with_status_200(house: House, text: str) -> None:
    answer = await request(house, "POST", f"{HUB}/negotiate?negotiateVersion={text}")
    assert (answer.status, list(json.loads(answer.body))) == (200, ["error"])


async def test_names_in_the_query_are_matched_without_case_and_paths_may_end_with_a_slash(house: House) -> None:
    answer = await request(house, "POST", f"{HUB}/negotiate?NegotiateVersion=1&USESTATEFULRECONNECT=True")
    body = json.loads(answer.body)
    assert body["useStatefulReconnect"] is True
    client = Poller(house, await negotiate(house))
    path = f"{HUB}/?ID={client.ticket.token}&Access_Token={house.token()}"
    async with house.http.get(house.url + path) as poll:
        assert poll.status == 200
    assert (await request(house, "POST", f"{HUB}/?Id={client.ticket.token}", data=HELLO)).status == 200
    assert await client.messages(1) == [{}]
    assert (await request(house, "DELETE", f"{HUB}/?iD={client.ticket.token}")).status == 202


def test_the_table_has_every_method_for_every_connection() -> None:
    asked: dict[str, set[str]] = {}
    for row in ROWS:
        asked.setdefault(row.connection, set()).add(row.method)
    assert asked.pop("a poll told goodbye") == {"POST"}
    assert all(methods == {"GET", "SSE", "WS", "POST", "DELETE"} for methods in asked.values())
