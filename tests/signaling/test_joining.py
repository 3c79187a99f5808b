"""A process that begins opens its port when it knows the others and they can find it, or when that takes too long."""

from pathlib import Path
from urllib.parse import urlsplit

import aiohttp

from tests.chaos.proxy import proxy
from tests.ports import free_port
from tests.redis_server import redis_server
from tests.running import Server, server

INSIDE = {"AURICLE_INTERNAL_LISTEN": "127.0.0.1:0", "AURICLE_DEV_SIGNING_KEY": "one key of all pods, of 32 bytes"}


async def metrics(running: Server) -> str:
    async with aiohttp.ClientSession() as http, http.get(f"{running.url}/metrics") as answer:
        return await answer.text()


async def test_whoever_can_be_asked_can_be_found(tmp_path: Path) -> None:
    with redis_server(tcp=True) as bus:
        async with proxy(bus.url.replace("redis", "http")) as slow:
            slow.delay_s = 0.2
            url = f"redis://{urlsplit(slow.url).netloc}"
            async with server(tmp_path, AURICLE_REDIS_URL=url, AURICLE_JOIN_S="30", **INSIDE) as running:
                (name,) = [one for one in bus.ask("SMEMBERS", "auricle:t:{pods}").split() if len(one) == 16]
                assert b"http://127.0.0.1:" in bus.ask("GET", f"auricle:t:{{pods}}:{name.decode()}")
                assert 'bound="join_s"' not in await metrics(running)


async def test_without_redis_it_goes_on_alone(tmp_path: Path) -> None:
    url = f"redis://127.0.0.1:{free_port()}"
    async with server(tmp_path, AURICLE_REDIS_URL=url, AURICLE_JOIN_S="0.2", **INSIDE) as running:
        assert 'auricle_bound_reached_total{bound="join_s"} 1.0' in await metrics(running)
        async with aiohttp.ClientSession() as http, http.get(f"{running.url}/readyz") as answer:
            assert (await answer.json())["degraded"] == ["redis"]
