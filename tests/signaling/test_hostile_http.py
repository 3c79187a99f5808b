"""HTTP as a stranger may speak it: slowly, half, or not at all. Each has its reaction in its time."""

import asyncio
import contextlib
import gc
from collections.abc import AsyncIterator
from dataclasses import dataclass
from urllib.parse import quote

import pytest

from tests.eventually import eventually
from tests.memory import resident_bytes
from tests.signaling.by_hand import HELLO, HUB, PATIENCE_S, call, negotiate, poller, request
from tests.signaling.conftest import House, OpenHouse
from tests.signaling.raw_websocket import Wire, dial, upgrade
from tests.signaling.rehearsal import Rehearsal
from tests.signaling.test_auth import BAD

CANARY = b"canary-51c9"
HEALTH = b"GET /healthz HTTP/1.1\r\nHost: here\r\n\r\n"


@dataclass
class Slow:
    """A house whose deadlines for HTTP a test can wait for."""

    house: House

    def reached(self, bound: str) -> float:
        return self.house.metric("auricle_bound_reached_total", bound=bound)


@pytest.fixture
async def slow(open_house: OpenHouse) -> Slow:
    return Slow(await open_house(request_timeout_s=1.0, idle_timeout_s=2.0))


async def answer(wire: Wire) -> bytes:
    """One answer with a body of known length."""
    async with asyncio.timeout(PATIENCE_S):
        head = await wire.reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        return head + await wire.reader.readexactly(length)


async def cut_off(wire: Wire) -> bytes:
    """What comes until the server ends the connection; it may forget what it said when we have said more meanwhile."""
    with contextlib.suppress(ConnectionResetError):
        return await wire.ended()
    return b""


async def drip(wire: Wire, data: bytes) -> None:
    """Byte by byte, so that every gap is short and the whole takes for ever."""
    with contextlib.suppress(ConnectionError):
        for index in range(len(data)):
            wire.send(data[index : index + 1])
            await wire.writer.drain()
            await asyncio.sleep(0.02)  # sleep: the slowness of the client is what is tested


@contextlib.asynccontextmanager
async def dripping(wire: Wire, data: bytes) -> AsyncIterator[None]:
    task = asyncio.create_task(drip(wire, data))
    try:
        yield
    finally:
        task.cancel()


async def test_a_head_that_comes_in_drops_is_cut_off(slow: Slow) -> None:
    wire = await dial(slow.house)
    async with dripping(wire, HEALTH.replace(b"here", b"h" * 200)):
        assert await cut_off(wire) == b""
    assert slow.reached("request_timeout_s") == 1


async def test_a_second_head_has_a_deadline_from_its_first_byte(open_house: OpenHouse) -> None:
    slow = Slow(await open_house(request_timeout_s=1.0))
    wire = await dial(slow.house)
    for _ in range(2):
        wire.send(HEALTH)
        assert (await answer(wire)).startswith(b"HTTP/1.1 200")
    async with dripping(wire, HEALTH.replace(b"here", b"h" * 200)):
        assert await cut_off(wire) == b""
    assert (slow.reached("request_timeout_s"), slow.reached("idle_timeout_s")) == (1, 0)


async def test_a_connection_on_which_nothing_more_is_asked_is_closed(slow: Slow) -> None:
    wire = await dial(slow.house)
    wire.send(HEALTH)
    assert (await answer(wire)).startswith(b"HTTP/1.1 200")
    assert await wire.ended() == b""
    assert (slow.reached("request_timeout_s"), slow.reached("idle_timeout_s")) == (0, 1)


async def test_a_connection_on_which_somebody_asks_again_and_again_is_kept(open_house: OpenHouse) -> None:
    # An idle one lives for far longer than the pauses, also those that a busy machine makes by itself.
    slow = Slow(await open_house(request_timeout_s=1.0, idle_timeout_s=3.0))
    wire, loop = await dial(slow.house), asyncio.get_running_loop()
    until_s = loop.time() + 3.5
    while loop.time() < until_s:
        wire.send(HEALTH)
        assert (await answer(wire)).startswith(b"HTTP/1.1 200")
        await asyncio.sleep(0.1)  # sleep: in the end it is longer than a first request may take, or an idle one lives
    assert slow.reached("request_timeout_s") == slow.reached("idle_timeout_s") == 0


def post(house: House, path: str, body: bytes, *more: str, length: int | None = None) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: here", f"Authorization: {house.bearer()['Authorization']}"]
    lines += ["Content-Type: application/json", *more]
    if not any(line.startswith("Transfer-Encoding") for line in more):
        lines.append(f"Content-Length: {len(body) if length is None else length}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


@pytest.mark.parametrize("how", ["length", "chunks", "drops"])
@pytest.mark.parametrize("what", ["open", "early", "rest"])
async def test_a_body_that_does_not_come_in_time_is_408_and_the_end(open_house: OpenHouse, what: str, how: str) -> None:
    # No other deadline: the connections of those who go on are used again.
    house = await open_house(body_timeout_s=0.5)
    slow = Slow(house)
    client = await poller(house)
    path = {"open": client.path, "early": f"{HUB}?id={(await negotiate(house)).token}", "rest": "/api/v1/devices"}[what]
    wire = await dial(house)
    if how == "chunks":
        wire.send(post(house, path, b"5\r\nhel", "Transfer-Encoding: chunked"))
    else:
        wire.send(post(house, path, b"", length=10_000))
    async with dripping(wire, b"x" * 10_000) if how == "drops" else contextlib.nullcontext():
        found = await cut_off(wire)
    if found or how != "drops":
        assert found.startswith(b"HTTP/1.1 408 ")
        assert b"\r\nConnection: close\r\n" in found
    assert slow.reached("body_timeout_s") == 1
    # Those behind it in the same connection's queue are not held up.
    await client.send(call("Echo", 1, id_="1"))
    assert (await client.messages(1))[0]["result"] == 1
    assert "failed" not in house.log.getvalue()


async def test_a_body_that_nobody_asks_for_is_not_waited_for_for_ever(open_house: OpenHouse) -> None:
    house = await open_house(body_timeout_s=0.2)
    for path, status in ((f"{HUB}?id=nobody", b"404"), ("/nothing", b"404"), (f"{HUB}/negotiate", b"200")):
        wire = await dial(house)
        wire.send(post(house, path, b"{", length=10_000))
        assert (await wire.ended()).split(b" ")[1] == status


async def test_a_post_that_waits_for_its_turn_is_not_called_slow(open_house: OpenHouse) -> None:
    hub = Rehearsal()
    house = await open_house(hub=hub, body_timeout_s=0.5, max_pending_calls=1)
    client = await poller(house, hub=hub.path)
    for number in range(2):
        await client.send(call("Wait", number, id_=str(number)))
    waits = asyncio.create_task(client.post(call("Wait", 2, id_="2")))
    assert (await asyncio.wait({waits}, timeout=0.8))[0] == set()
    hub.gate.set()
    assert await waits == 200
    assert house.metric("auricle_bound_reached_total", bound="body_timeout_s") == 0


async def test_upgrades_that_name_no_path_or_another_protocol(house: House) -> None:
    wire = await dial(house)
    wire.send(upgrade(house).replace(b"GET /", b"GET http://here/"))
    assert (await wire.ended()).startswith(b"HTTP/1.1 400 ")
    # What is no upgrade to a WebSocket is a plain request, as Java's client wishes for HTTP/2 with each of its own.
    ticket = await negotiate(house)
    wishes = house.bearer() | {"Connection": "Upgrade, HTTP2-Settings", "Upgrade": "h2c", "HTTP2-Settings": ""}
    poll = await request(house, "GET", f"{HUB}?id={ticket.token}", headers=wishes)
    assert (poll.status, poll.body) == (200, b"")
    posted = await request(house, "POST", f"{HUB}?id={ticket.token}", headers=wishes, data=HELLO)
    assert posted.status == 200


@pytest.mark.parametrize("name", BAD)
async def test_every_bad_token_gets_the_same_answer(house: House, name: str) -> None:
    good = await request(house, "POST", f"{HUB}/negotiate", headers={"Authorization": "Bearer none"})
    headers = {"Authorization": f"Bearer {BAD[name]}"}
    for method, path in (("POST", f"{HUB}/negotiate"), ("GET", HUB), ("POST", HUB), ("DELETE", HUB)):
        answer = await request(house, method, path, headers=headers)
        # What is larger than a header may be is refused before anybody looks for a token in it.
        big = len(BAD[name]) > 8_000
        assert (answer.status, answer.body) == ((400, b"Bad Request") if big else (401, good.body))
        assert big or answer.headers["WWW-Authenticate"] == "Bearer"
    assert BAD[name][:200] not in house.log.getvalue() or not BAD[name]
    in_query = await request(house, "GET", f"{HUB}?access_token={quote(BAD[name])[:8_000]}", headers={"X": ""})
    assert in_query.status in (400, 401)


async def test_a_hundred_rounds_of_slowness_leave_the_memory_flat(open_house: OpenHouse) -> None:
    house = await open_house(request_timeout_s=0.01, body_timeout_s=0.01, idle_timeout_s=0.01)
    # Over one that has time for it: a token opens a connection anywhere.
    ticket = await negotiate(await open_house())
    path = f"{HUB}?id={ticket.token}"
    requests = [HEALTH[:20], HEALTH, post(house, path, b"x" * 9_000, length=10_000), b"\x16\x03\x01" + CANARY]

    async def abuse() -> None:
        for data in requests:
            wire = await dial(house)
            wire.send(data)
            assert CANARY not in await cut_off(wire)
            wire.drop()
        house.drops.clear()

    for _ in range(20):
        await abuse()
    gc.collect()
    before = resident_bytes()
    for _ in range(100):
        await abuse()
    await eventually(lambda: house.http_connections() == 0)
    gc.collect()
    grown = resident_bytes() - before
    print(f"resident memory after 400 slow connections: {grown / 2**20:+.1f} MiB")
    assert grown < 5 * 2**20
    assert "crashed" not in house.log.getvalue()
