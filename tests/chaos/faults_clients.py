"""What other clients than phones and fitters go through, or put pods through. Each says whether it has landed."""

import asyncio
import re
import time
from dataclasses import replace
from typing import Final

import aiohttp

from clients.hub_client import HubClient
from tests.chaos.faults_bus import without_bus
from tests.chaos.patience import LIMITS, OPTIONS
from tests.chaos.profile import Fault
from tests.chaos.resumer import Resumer
from tests.chaos.stage import Stage
from tests.chaos.waiting import LANDS_S, holds_within

__all__ = ["resume_bus_kill", "resume_cut", "slow_reader", "storm"]

BLOB_CHARS: Final = 100_000
BLOBS: Final = 200
_MET: Final = re.compile(r'^auricle_bound_reached_total\{bound="max_send_queue_bytes"\} (\S+)', re.MULTILINE)
TRIES: Final = 4
RETRY_S: Final = 0.2
# It hears nothing for long, and is not to give up by itself.
SLOW: Final = replace(
    OPTIONS, limits=replace(LIMITS, client_timeout_s=2 * LANDS_S), call_timeout_s=LANDS_S, close_timeout_s=0.1
)


async def storm(stage: Stage, _: Fault) -> bool:
    """Every client is cut in the same instant; landed when all of the crowd are back."""
    crowd = stage.crowd
    assert crowd is not None
    if not await holds_within(LANDS_S, lambda: crowd.is_here):
        return False
    accepted, count = crowd.link.accepted, crowd.link.connected
    for link in stage.proxies.values():
        link.reset()
    return await holds_within(LANDS_S, lambda: crowd.link.accepted >= accepted + count and crowd.is_here)


async def slow_reader(stage: Stage, fault: Fault) -> bool:
    """Somebody asks for megabytes and reads none of them: a pod keeps so much for him, and then he is gone.

    Landed when the pod says that it was this bound.
    """
    link, token = stage.proxies[fault.lane], stage.tokens.mint("slow", "clinician")
    hub = await _connected(f"{link.url}/hubs/conformance", token)
    if hub is None or not link.targets:
        return False
    pod = link.targets[0]
    before = await _met(pod)
    try:
        # What comes is left where it is, so that in the end no buffer of the way takes any more.
        link.rate_bytes_s = 1
        asked = (hub.invoke("Blob", BLOB_CHARS, result=str) for _ in range(BLOBS))
        await asyncio.gather(*asked, return_exceptions=True)
        return await _met(pod) > before
    finally:
        link.rate_bytes_s = 0
        await hub.stop()


async def _met(url: str) -> float:
    """How often a pod has met the bound of what it keeps for a reader; never, of one that does not answer."""
    try:
        async with aiohttp.ClientSession() as session, session.get(f"{url}/metrics") as answer:
            found = _MET.search(await answer.text())
    except aiohttp.ClientError:
        return 0.0
    return 0.0 if found is None else float(found[1])


async def _connected(url: str, token: str) -> HubClient | None:
    end = time.monotonic() + LANDS_S
    while time.monotonic() < end:
        hub = HubClient(url, token=token, reconnect=None, options=SLOW)
        try:
            await hub.start()
        except ConnectionError:
            await asyncio.sleep(RETRY_S)  # a pod that has just gone is no bound
        else:
            return hub
    return None


async def resume_cut(stage: Stage, fault: Fault) -> bool:
    """The socket of a connection that can be resumed is gone."""
    return await _is_resumed(stage.resumers[fault.lane])


async def resume_bus_kill(stage: Stage, fault: Fault) -> bool:
    """The same while the bus is away."""
    async with without_bus(stage):
        await asyncio.sleep(fault.length_s)
        return await _is_resumed(stage.resumers[fault.lane])


async def _is_resumed(resumer: Resumer) -> bool:
    """Cut it until it has come back on the same connection: what dies of something else has another one."""
    for _ in range(TRIES):
        if not await holds_within(LANDS_S / TRIES, lambda: resumer.is_open and resumer.link.connected):
            continue
        resumed = resumer.resumed
        resumer.link.reset()
        if await holds_within(LANDS_S / TRIES, lambda: resumer.resumed > resumed):  # noqa: B023  # asked within this turn
            return True
    return False
