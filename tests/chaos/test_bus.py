"""The bus of a run does what its faults need of it: it dies and is empty, and another one takes over what it held."""

import asyncio

from tests.chaos.bus import bus
from tests.redis_server import RedisServer


async def _ask(server: RedisServer, *command: str) -> bytes:
    return await asyncio.to_thread(server.ask, *command)


async def test_a_bus_that_was_killed_is_empty() -> None:
    with bus() as found:
        await _ask(found.server, "SET", "k", "v")
        await found.kill()
        await found.start()
        assert await _ask(found.server, "GET", "k") == b"$-1\r\n"


async def test_what_follows_it_takes_over_and_the_dead_one_follows_another_time() -> None:
    with bus() as found:
        await _ask(found.server, "SET", "k", "v")
        urls = [found.url]
        for _ in range(2):
            assert await found.follow()
            await found.fail_over()
            urls.append(found.url)
            assert await _ask(found.server, "GET", "k") == b"$1\r\nv\r\n"
        assert urls[0] == urls[2] != urls[1]
