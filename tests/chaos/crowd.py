"""Connections that do nothing but be there, so that it is seen what becomes of many when all are cut at once."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import aiohttp

from clients.hub_client import HubClient
from clients.reconnect import Link
from tests.chaos.patience import OPTIONS, RECONNECT_FROM_START
from tests.chaos.proxy import Proxy

__all__ = ["Crowd", "crowd"]


class Crowd:
    """``link`` is what all of them go through."""

    def __init__(self, link: Proxy, hubs: list[HubClient]) -> None:
        self.link, self._hubs = link, hubs

    @property
    def is_here(self) -> bool:
        """Whether every one of them has a connection."""
        return all(hub.state is Link.CONNECTED for hub in self._hubs)


@asynccontextmanager
async def crowd(link: Proxy, token: str, count: int) -> AsyncIterator[Crowd]:
    """So many, trying to be there within the block."""
    async with AsyncExitStack() as stack:
        # One session of HTTP for all would have them share connections between negotiation and upgrade.
        session = await stack.enter_async_context(
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0, force_close=True))
        )
        url, policy = f"{link.url}/hub", RECONNECT_FROM_START
        made = (HubClient(url, token=token, reconnect=policy, options=OPTIONS, session=session) for _ in range(count))
        hubs = [await stack.enter_async_context(hub) for hub in made]
        yield Crowd(link, hubs)
