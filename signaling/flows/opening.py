"""Live work begins once packages that wait for their wearer have given way: their phone has to say so.

This module must not know a lease, nor who has agreed to what. Read ``open_session`` first.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from fitting.log import DeviceLog
from fitting.log_values import LiveSession
from protocol.contract.base import Refusal
from signaling.flows.delivery import DeliveryFlow

__all__ = ["open_session"]

_LOOK_EVERY_S: Final = 0.05


async def open_session(
    log: DeviceLog,
    delivery: DeliveryFlow,
    device: str,
    *,
    fence: int,
    holder: str,
    patience_s: float,
    reached: Callable[[str], None],
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> LiveSession | Refusal:
    """``DeviceLog.open_session``, after at most ``patience_s`` for packages that the phone is asked back."""
    looks = int(patience_s / _LOOK_EVERY_S)
    while True:
        given = await log.make_way(device, fence=fence, holder=holder)
        if isinstance(given, Refusal):
            return given
        if given:
            delivery.withdrawn(device, given)
        opened = await log.open_session(device, fence=fence, holder=holder)
        if not isinstance(opened, Refusal) or all(one.mode != "standard" for one in await log.pending(device)):
            return opened
        if looks <= 0:
            reached("make_way_s")
            return opened
        looks -= 1
        await sleep(_LOOK_EVERY_S)
