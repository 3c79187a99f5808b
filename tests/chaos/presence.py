"""Asks every pod, again and again, whether the phone of each device is there, and writes down what it said.

Whether that is so is for the judge. Read ``ask_whether_here`` first.
"""

import asyncio
import time
from collections.abc import Sequence
from typing import Final

from clients.hub_client import HubClient
from clients.hub_errors import HubCallError
from protocol.contract.devices import DeviceAnswer, DeviceQuery
from tests.chaos.history import HistoryFile
from tests.chaos.patience import OPTIONS, RECONNECT_FROM_START

__all__ = ["ask_whether_here"]

EVERY_S: Final = 1.0


async def ask_whether_here(url: str, token: str, pod: str, devices: Sequence[str], history: HistoryFile) -> None:
    """For ever; ``url`` leads to that pod. Without an answer nothing was said."""
    async with HubClient(f"{url}/hub", token=token, reconnect=RECONNECT_FROM_START, options=OPTIONS) as hub:
        while True:
            await asyncio.sleep(EVERY_S)
            for device in devices:
                asked_s = time.monotonic()
                try:
                    held = await hub.invoke("GetDevice", DeviceQuery(device=device), result=DeviceAnswer)
                except (ConnectionError, TimeoutError, HubCallError):
                    break
                took_ms = round((time.monotonic() - asked_s) * 1_000)
                history.write("ok", "presence", device, pod=pod, online=held.phone.online, took_ms=took_ms)
