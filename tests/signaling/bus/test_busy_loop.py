"""A loop that was busy has not read what a server has answered long ago: that server is not late."""

import asyncio
import socket
import time

import uvloop

from tests.bus_pods import bus_pods, settled
from tests.redis_server import redis_server

ROUNDS = 6
BUSY_S = 0.2


class _Slow(asyncio.Protocol):
    """A connection of which each message takes its time."""

    def data_received(self, data: bytes) -> None:
        time.sleep(BUSY_S)  # this is the work


async def _busy() -> tuple[float, bool]:
    """How often the server was late, and whether the bus is still there."""
    near, far = socket.socketpair()
    loop = asyncio.get_running_loop()
    await loop.create_connection(_Slow, sock=near)
    with far, redis_server(tcp=True) as server:
        async with bus_pods(server.url) as pods:
            one = await pods.connected(bus_flush_s=BUSY_S / 2, bus_timeout_s=60.0)
            two = await pods.connected(bus_flush_s=60.0, bus_timeout_s=60.0)
            heard = asyncio.Event()
            two.backplane.subscribe("c", lambda _: heard.set())
            await settled(two.backplane)
            for _ in range(ROUNDS):
                heard.clear()
                one.backplane.publish("c", bytes)
                # Behind what is sent at the end of this turn: the answer comes while something else takes its time.
                loop.call_soon(far.send, b"work")
                await heard.wait()
            return one.metric("auricle_bound_reached_total", bound="bus_flush_s"), one.is_up


def test_a_busy_loop_takes_no_server_for_late() -> None:
    # The loop of the product: asyncio's own reads before it looks at timers.
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        late, is_up = runner.run(_busy())
    assert is_up
    assert late < ROUNDS / 2
