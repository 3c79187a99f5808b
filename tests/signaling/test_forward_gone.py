"""A pod that is gone for the directory, or not in it yet: what is carried to it ends, what would be is counted."""

import asyncio
import contextlib
import signal

from signaling.pods.directory_redis import RedisDirectory
from tests.signaling.by_hand import call, poller
from tests.signaling.pods_around import around, len_of
from tests.signaling.returning import returning


async def test_a_socket_that_is_carried_to_a_pod_that_is_gone_ends() -> None:
    async with around() as scene:
        client = await returning(scene.east)
        client.lose()
        client.house = scene.west
        await client.resume()
        await client.call("Echo", 1, id_="1")
        assert await client.result("1") == 1
        assert len_of(scene.west) == 1
        # Nothing is closed, as when a machine is switched off.
        assert scene.east.parts.pods is not None
        await scene.east.parts.pods.joined.directory.close()
        await scene.until(lambda: len_of(scene.west) == 0)
        with contextlib.suppress(ConnectionResetError):
            await client.wire.ended()


async def test_those_whose_pod_is_being_looked_up_are_on_their_way_too() -> None:
    async with around(max_forwards=1, bus_timeout_s=2) as scene:
        client = await poller(scene.east)
        client.house = scene.west
        await client.send(call("Echo", 1, id_="1"))
        assert scene.west.parts.pods is not None
        directory = scene.west.parts.pods.joined.directory
        assert isinstance(directory, RedisDirectory)
        scene.bus.signal(signal.SIGSTOP)
        try:
            directory._known.clear()
            answers = await asyncio.gather(*(client.ask("DELETE") for _ in range(3)))
        finally:
            scene.bus.signal(signal.SIGCONT)
        assert [answer.status for answer in answers] == [503, 503, 503]
        # The first had to be looked for, and Redis did not tell.
        assert scene.west.metric("auricle_forwarded_total", kind="delete", outcome="unknown") == 1
        assert scene.west.metric("auricle_bound_reached_total", bound="max_forwards") == 2
