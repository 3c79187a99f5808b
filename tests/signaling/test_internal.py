"""The internal listener: it answers those who have the key, and shows them that it has it too."""

import asyncio
import socket
import stat
import sys
from contextlib import ExitStack
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from signaling.config import Config, ConfigError
from signaling.config_workers import MAX_WORKERS
from signaling.pods.internal_client import PodGone, PodRefused, PodSilent, PodUnasked
from signaling.pods.signature import ANY_POD, digest_of
from tests.signaling.conftest import House, OpenHouse
from tests.signaling.pods_inside import inside, internal_of, signer

LISTEN = "127.0.0.1:0"
REFUSED = "auricle_internal_refused_total"


@pytest.fixture
async def pod(open_house: OpenHouse) -> House:
    return await open_house(internal_listen=LISTEN)


async def test_numbers_and_readiness_are_told_to_who_has_the_key(pod: House) -> None:
    address = internal_of(pod).address
    async with inside(pod) as client:
        page = await client.fetch(address, "/metrics", timeout_s=5)
        assert b"auricle_internal_refused_total" in page
        assert b'"ready"' in await client.fetch(address, "/readyz", timeout_s=5)
        with pytest.raises(PodRefused):
            await client.fetch(address, "/nothing", timeout_s=5)


async def test_it_is_not_there_unless_it_is_asked_for(house: House) -> None:
    assert internal_of(house).address == ""


async def test_it_listens_on_a_socket_that_only_its_user_may_open(open_house: OpenHouse, tmp_path: Path) -> None:
    listen = f"unix:{tmp_path}/i"
    pod = await open_house(internal_listen=listen)
    assert internal_of(pod).address == listen
    assert stat.S_IMODE((tmp_path / "i").stat().st_mode) == 0o600
    async with inside(pod) as client:
        assert await client.fetch(listen, "/readyz", timeout_s=5)
        await internal_of(pod).close()
        assert not (tmp_path / "i").exists()
        with pytest.raises(PodGone):
            await client.fetch(listen, "/readyz", timeout_s=5)


async def test_what_others_are_told_may_be_another_address(open_house: OpenHouse) -> None:
    pod = await open_house(internal_listen=LISTEN, internal_address="http://10.0.0.7:8081")
    assert internal_of(pod).address == "http://10.0.0.7:8081"


async def test_without_the_key_nobody_is_answered(pod: House) -> None:
    url = f"{internal_of(pod).address}/internal/metrics"
    async with pod.http.get(url) as answer:
        assert (answer.status, await answer.read()) == (401, b"")
    async with inside(pod, key=b"x" * 32) as stranger:
        with pytest.raises(PodRefused):
            await stranger.fetch(internal_of(pod).address, "/metrics", timeout_s=5)
    # Nor told whether there is something else.
    async with pod.http.get(f"{internal_of(pod).address}/internal/nothing") as answer:
        assert answer.status == 401
    assert pod.metric(REFUSED, reason="forged") == 3


async def test_what_was_signed_is_good_once_there_and_now(pod: House) -> None:
    address = internal_of(pod).address
    sign = signer(pod).sign

    async def status(fields: dict[str, str], path: str = "/metrics", **request: object) -> int:
        options = {"method": "GET", "headers": fields} | request
        async with pod.http.request(url=f"{address}/internal{path}", **options) as answer:  # type: ignore[arg-type]  # a test's own words
            return answer.status

    def signed(to: str = ANY_POD, method: str = "GET", path: str = "/metrics") -> dict[str, str]:
        return sign(method, f"/internal{path}", {}, to=to, digest=digest_of(b""))

    fields = signed()
    assert await status(fields) == 200
    assert await status(fields) == 401
    assert pod.metric(REFUSED, reason="replayed") == 1
    assert await status(signed(path="/readyz")) == 401
    assert await status(signed(), method="POST") == 401
    assert await status(signed() | {"Auricle-To": "another"}) == 401
    assert await status(signed() | {"Authorization": "Bearer somebody"}) == 401
    assert await status(signed(), data=b"a body") == 401
    assert pod.metric(REFUSED, reason="forged") == 5
    assert await status(signed(to="another pod")) == 401
    assert await status(signed(path="/nothing"), path="/nothing") == 401
    assert pod.metric(REFUSED, reason="misdirected") == 2
    fields = signed()
    pod.wall.now_s += 301
    assert await status(fields) == 401
    assert pod.metric(REFUSED, reason="stale") == 1


async def test_who_cannot_sign_an_answer_is_not_believed(pod: House) -> None:
    async def answer(request: web.Request) -> web.Response:
        # Also not with what another pod has answered to somebody else.
        async with aiohttp.ClientSession() as http, http.get(told, headers=other) as real:
            return web.Response(body=await real.read(), headers={"Auricle-Answer": real.headers["Auricle-Answer"]})

    told = f"{internal_of(pod).address}/internal/readyz"
    other = signer(pod, pod="other").sign("GET", "/internal/readyz", {}, to=ANY_POD, digest=digest_of(b""))
    app = web.Application()
    app.router.add_get("/internal/readyz", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        async with inside(pod) as client:
            with pytest.raises(PodRefused):
                await client.fetch(f"http://127.0.0.1:{runner.addresses[0][1]}", "/readyz", timeout_s=5)
    finally:
        await runner.cleanup()


async def test_who_does_not_answer_is_waited_for_no_longer_than_is_said(pod: House) -> None:
    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    listener = await asyncio.start_server(hang, "127.0.0.1", 0)
    async with listener:
        address = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
        async with inside(pod) as client:
            with pytest.raises(PodSilent):
                await client.fetch(address, "/readyz", timeout_s=0.05)
    async with inside(pod) as client:
        with pytest.raises(PodGone):
            await client.fetch(address, "/readyz", timeout_s=5)


async def test_many_may_ask_at_once(open_house: OpenHouse, tmp_path: Path) -> None:
    # More than wait at a listener that says nothing of how many may.
    asking = 300
    pod = await open_house(internal_listen=f"unix:{tmp_path}/i")
    async with inside(pod) as client, asyncio.TaskGroup() as group:
        asked = [
            group.create_task(client.fetch(internal_of(pod).address, "/readyz", timeout_s=60)) for _ in range(asking)
        ]
    assert sum(b'"ready"' in one.result() for one in asked) == asking


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a full queue is told as if nobody were there")
async def test_one_that_has_no_room_for_more_is_not_gone(pod: House, tmp_path: Path) -> None:
    with ExitStack() as stack:
        full = stack.enter_context(socket.socket(socket.AF_UNIX))
        full.bind(f"{tmp_path}/full")
        full.listen(0)
        for _ in range(2):
            waiting = stack.enter_context(socket.socket(socket.AF_UNIX))
            waiting.setblocking(False)
            waiting.connect_ex(f"{tmp_path}/full")
        async with inside(pod) as client:
            with pytest.raises(PodUnasked):
                await client.fetch(f"unix:{tmp_path}/full", "/readyz", timeout_s=5)


async def test_all_workers_that_there_may_be_are_asked_at_once(pod: House, tmp_path: Path) -> None:
    asked = asyncio.Event()

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        asked.set()
        await reader.read()
        writer.close()

    listener = await asyncio.start_unix_server(hang, f"{tmp_path}/0")
    async with listener, inside(pod) as client:
        waiting = asyncio.ensure_future(client.fetch(f"unix:{tmp_path}/0", "/readyz", timeout_s=60))
        await asked.wait()
        for number in range(1, MAX_WORKERS):
            with pytest.raises(PodGone):
                await client.fetch(f"unix:{tmp_path}/{number}", "/readyz", timeout_s=5)
        assert not waiting.done()
        waiting.cancel()
        await asyncio.wait([waiting])


@pytest.mark.parametrize(
    "given",
    [
        {"internal_listen": "127.0.0.1"},
        {"internal_listen": "127.0.0.1:70000"},
        {"internal_listen": "unix:relative"},
        {"internal_listen": f"unix:/{'x' * 200}"},
        {"internal_listen": "0.0.0.0:8081"},
        {"internal_listen": "[::]:8081"},
        {"internal_address": "http://10.0.0.7:8081"},
        {"internal_listen": LISTEN, "internal_address": "https://10.0.0.7:8081"},
        {"internal_listen": LISTEN, "internal_address": "http://10.0.0.7"},
        {"internal_listen": LISTEN, "internal_address": "http://10.0.0.7:8081/path"},
    ],
    ids=str,
)
def test_an_address_that_cannot_be_is_refused(given: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="internal_"):
        Config(**given)  # type: ignore[arg-type]  # a test's own words


def test_owners_are_known_for_longer_than_a_token_is_good() -> None:
    with pytest.raises(ConfigError, match="owner_ttl_s"):
        Config(owner_ttl_s=315, connection_token_ttl_s=15, bus_skew_s=300)
    with pytest.raises(ConfigError, match="owner_ttl_s"):
        Config(owner_ttl_s=615, connection_token_ttl_s=15, bus_skew_s=300, redis_url="redis://h")


async def test_an_address_that_is_taken_is_refused(pod: House, open_house: OpenHouse) -> None:
    place = internal_of(pod).address.removeprefix("http://")
    with pytest.raises(ConfigError, match="internal_listen: cannot listen on"):
        await open_house(internal_listen=place)
