"""A process that begins opens its port when it knows the others and they can find it, or when that takes too long."""

import asyncio
import os
import signal
import sys
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import pytest

from tests.chaos.proxy import proxy
from tests.eventually import eventually
from tests.ports import free_port
from tests.redis_server import redis_server
from tests.running import Server, server

INSIDE = {"AURICLE_INTERNAL_LISTEN": "127.0.0.1:0", "AURICLE_DEV_SIGNING_KEY": "one key of all pods, of 32 bytes"}


async def metrics(running: Server) -> str:
    async with aiohttp.ClientSession() as http, http.get(f"{running.url}/metrics") as answer:
        return await answer.text()


async def degraded(running: Server) -> list[str]:
    async with aiohttp.ClientSession() as http, http.get(f"{running.url}/readyz") as answer:
        found: list[str] = (await answer.json())["degraded"]
        return found


async def test_whoever_can_be_asked_can_be_found(tmp_path: Path) -> None:
    with redis_server(tcp=True) as bus:
        async with proxy(bus.url.replace("redis", "http")) as slow:
            slow.delay_s = 0.2
            url = f"redis://{urlsplit(slow.url).netloc}"
            patient = {"AURICLE_JOIN_S": "30", "AURICLE_BUS_FLUSH_S": "5", "AURICLE_BUS_TIMEOUT_S": "10"}
            async with server(tmp_path, AURICLE_REDIS_URL=url, **patient, **INSIDE) as running:
                assert await degraded(running) == []
                (name,) = [one for one in bus.ask("SMEMBERS", "auricle:t:{pods}").split() if len(one) == 16]
                assert b"http://127.0.0.1:" in bus.ask("GET", f"auricle:t:{{pods}}:{name.decode()}")
                assert 'bound="join_s"' not in await metrics(running)


async def test_without_redis_it_goes_on_alone(tmp_path: Path) -> None:
    url = f"redis://127.0.0.1:{free_port()}"
    async with server(tmp_path, AURICLE_REDIS_URL=url, AURICLE_JOIN_S="0.2", **INSIDE) as running:
        assert 'auricle_bound_reached_total{bound="join_s"} 1.0' in await metrics(running)
        assert await degraded(running) == ["redis"]


async def test_who_can_be_found_and_hears_nothing_has_not_joined(tmp_path: Path) -> None:
    with redis_server() as bus:
        bus.ask("ACL", "SETUSER", "default", "-ssubscribe")
        async with server(tmp_path, AURICLE_REDIS_URL=bus.url, AURICLE_JOIN_S="2", **INSIDE) as running:
            # It does not wait for what takes longer than that.
            await eventually(lambda: bus.ask("EXISTS", "auricle:t:{pods}") == b":1\r\n")
            assert 'auricle_bound_reached_total{bound="join_s"} 1.0' in await metrics(running)
            assert await degraded(running) == ["redis"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_who_ends_it_while_it_waits_for_the_others_is_obeyed_at_once(
    tmp_path: Path, number: signal.Signals
) -> None:
    environ = {"AURICLE_REDIS_URL": f"redis://127.0.0.1:{free_port()}", "AURICLE_JOIN_S": "1000", **INSIDE}
    command = (sys.executable, "-m", "signaling", "serve", "--dev", "--port", "0", "--data", str(tmp_path))
    process = await asyncio.create_subprocess_exec(*command, env=os.environ | environ, stderr=asyncio.subprocess.PIPE)
    assert process.stderr is not None
    async with asyncio.timeout(60):
        while b"backplane_away" not in await process.stderr.readline():
            pass
        process.send_signal(number)
        _, told = await process.communicate()
    assert process.returncode == 0
    assert b'"stopped"' in told
    assert b"Traceback" not in told
