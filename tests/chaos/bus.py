"""The bus of a run: one real Redis, which forgets everything when it is killed, and a second one to fail over to.

Pods reach it through an edge each, so that it can be away for one of them only. Read ``Bus`` first.
"""

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from typing import Final

from tests.chaos.waiting import LANDS_S, holds_within
from tests.redis_server import RedisServer, redis_server

__all__ = ["Bus", "bus"]

PUBSUB: Final = ("CLIENT", "KILL", "TYPE", "pubsub")


class Bus:
    """``url`` is where pods' edges lead. Nothing is kept: what comes up is empty.

    ``turn`` is held by whoever does something to it.
    """

    def __init__(self, servers: list[RedisServer]) -> None:
        self._servers = servers
        self.turn = asyncio.Lock()

    @property
    def url(self) -> str:
        """Of the server that is in charge now."""
        return self.server.url

    @property
    def server(self) -> RedisServer:
        """The one in charge."""
        return self._servers[0]

    async def kill(self) -> None:
        """SIGKILL."""
        await asyncio.to_thread(self.server.kill)

    async def start(self) -> None:
        """Again, and empty."""
        await asyncio.to_thread(self.server.start)

    async def drop_subscribers(self) -> int:
        """End the connections that listen, and no others; how many there were."""
        return int((await self._ask(*PUBSUB))[1:])

    async def follow(self) -> bool:
        """Have the other server take over what this one holds; whether it has caught up."""
        follower = self._servers[1]
        await asyncio.to_thread(follower.ask, "REPLICAOF", "127.0.0.1", str(self.server.port))

        def is_in_step() -> bool:
            return b"master_link_status:up" in follower.ask("INFO", "replication")

        return await holds_within(LANDS_S, is_in_step)

    async def fail_over(self) -> None:
        """The one in charge dies, the other one is in charge; the dead one comes back, empty, as the other."""
        await self.kill()
        self._servers.reverse()
        await self._ask("REPLICAOF", "NO", "ONE")
        await asyncio.to_thread(self._servers[1].start)

    @asynccontextmanager
    async def frozen(self) -> AsyncIterator[None]:
        """It takes connections and answers nothing within the block."""
        self.server.signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.server.signal(signal.SIGCONT)

    async def _ask(self, *command: str) -> bytes:
        return await asyncio.to_thread(self.server.ask, *command)


@contextmanager
def bus() -> Iterator[Bus]:
    """The servers, gone with the block."""
    with ExitStack() as stack:
        yield Bus([stack.enter_context(redis_server(tcp=True)) for _ in range(2)])
