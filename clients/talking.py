"""Tells the server that the wearer can be talked to beside a live session, for as long as that is so.

Live work needs somebody who hears the wearer: it ends with the talk, and when nobody tells of it any more. It must not
know what carries the talk. Read ``talking`` first.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Literal

from clients.hub_client import HubClient
from clients.hub_errors import HubCallError
from protocol.contract.sessions import Done, Heartbeat

__all__ = ["talking"]


@asynccontextmanager
async def talking(
    hub: HubClient,
    device: str,
    *,
    every_s: float = 5.0,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> AsyncIterator[None]:
    """Within the block the fitter and the wearer of ``device`` talk; leaving it ends live work, if there is any left.

    It counts once the lease was renewed, or live work begun, over the same link. So leave live work first.
    """
    telling = asyncio.get_running_loop().create_task(_keep_telling(hub, device, every_s, sleep))
    try:
        yield
    finally:
        telling.cancel()
        await asyncio.wait({telling})
        await _tell(hub, device, "ended")


async def _keep_telling(hub: HubClient, device: str, every_s: float, sleep: Callable[[float], Awaitable[None]]) -> None:
    while True:
        await _tell(hub, device, "on")
        await sleep(every_s)


async def _tell(hub: HubClient, device: str, call: Literal["on", "ended"]) -> None:
    # What could not be told is told the next time, and silence says it too.
    with suppress(ConnectionError, TimeoutError, HubCallError):
        await hub.ask("Heartbeat", Heartbeat(device=device, call=call), answer=Done)
