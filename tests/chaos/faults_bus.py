"""What happens to the bus, and on the edges of pods to it and to their database.

The bus carries nothing that must arrive, so whatever happens here may cost time and nothing else. Each function says
whether the fault has landed.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

from tests.chaos.bus import Bus
from tests.chaos.profile import Fault
from tests.chaos.proxy import Proxy
from tests.chaos.stage import Stage
from tests.chaos.waiting import LANDS_S, holds_within

__all__ = [
    "bus_black_hole",
    "bus_deaf",
    "bus_drop_subscribers",
    "bus_fail_over",
    "bus_freeze",
    "bus_kill",
    "bus_mute",
    "bus_slow",
    "edge_black_hole",
    "edge_cut_byte",
    "edge_delay",
    "edge_reset",
    "without_bus",
]

DELAY_S: Final = 0.2
DROPS_EVERY_S: Final = 1.0


def _bus(stage: Stage) -> Bus:
    assert stage.fleet.bus is not None
    return stage.fleet.bus


def _edges(stage: Stage) -> list[Proxy]:
    return [edges.bus for edges in stage.fleet.edges.values()]


@asynccontextmanager
async def without_bus(stage: Stage) -> AsyncIterator[None]:
    """It is dead within the block, and comes back empty."""
    bus = _bus(stage)
    async with bus.turn:
        await bus.kill()
        try:
            yield
        finally:
            await bus.start()


async def bus_kill(stage: Stage, fault: Fault) -> bool:
    """SIGKILL, and empty again after a while; landed when every pod is back on it."""
    links = _edges(stage)
    async with without_bus(stage):
        await asyncio.sleep(fault.length_s)
        before = [link.accepted for link in links]
    return await holds_within(LANDS_S, lambda: _have_come(links, before))


async def bus_freeze(stage: Stage, fault: Fault) -> bool:
    """Connections stay open, and nobody answers."""
    bus = _bus(stage)
    async with bus.turn, bus.frozen():
        await asyncio.sleep(fault.length_s)
    return True


async def bus_slow(stage: Stage, fault: Fault) -> bool:
    """Every answer is late, by more than a flush may take."""
    return await _for_a_while(stage, fault, lambda link: setattr(link, "delay_s", DELAY_S))


async def bus_black_hole(stage: Stage, fault: Fault) -> bool:
    """Half-open, for all pods."""
    return await _for_a_while(stage, fault, Proxy.black_hole)


async def bus_deaf(stage: Stage, fault: Fault) -> bool:
    """Pods say what they have to say and hear nothing."""
    return await _for_a_while(stage, fault, lambda link: link.black_hole(of_client=False))


async def bus_mute(stage: Stage, fault: Fault) -> bool:
    """Pods hear each other's last words, and what they say is lost."""
    return await _for_a_while(stage, fault, lambda link: link.black_hole(of_server=False))


async def _for_a_while(stage: Stage, fault: Fault, worse: Callable[[Proxy], None]) -> bool:
    async with _bus(stage).turn:
        links = _edges(stage)
        landed = await holds_within(LANDS_S, lambda: any(link.connected for link in links))
        for link in links:
            worse(link)
        await asyncio.sleep(fault.length_s)
        for link in links:
            link.heal()
    return landed


async def bus_drop_subscribers(stage: Stage, fault: Fault) -> bool:
    """Those that listen are cut off, again and again; those that publish go on."""
    bus, left_s, dropped = _bus(stage), fault.length_s, 0
    async with bus.turn:
        while left_s > 0:
            dropped += await bus.drop_subscribers()
            await asyncio.sleep(DROPS_EVERY_S)
            left_s -= DROPS_EVERY_S
    return dropped > 0


async def bus_fail_over(stage: Stage, _: Fault) -> bool:
    """The one in charge dies, and its replica is in charge."""
    bus, links = _bus(stage), _edges(stage)
    async with bus.turn:
        if not await bus.follow():
            return False
        before = [link.accepted for link in links]
        await bus.fail_over()
    return await holds_within(LANDS_S, lambda: _have_come(links, before))


def _have_come(links: list[Proxy], before: list[int]) -> bool:
    return all(link.accepted > count for link, count in zip(links, before, strict=True))


def _edge(stage: Stage, fault: Fault) -> Proxy:
    edge: Proxy = getattr(stage.fleet.edges[fault.lane], fault.value.partition(":")[0])
    return edge


async def edge_reset(stage: Stage, fault: Fault) -> bool:
    """RST on all connections of one pod to the database, or to the bus."""
    link = _edge(stage, fault)
    if not await holds_within(LANDS_S, lambda: link.connected):
        return False
    accepted = link.accepted
    link.reset()
    return await holds_within(LANDS_S, lambda: link.accepted > accepted)


async def edge_cut_byte(stage: Stage, fault: Fault) -> bool:
    """In the middle of a statement, or of a message."""
    link, cuts = _edge(stage, fault), _edge(stage, fault).cuts
    link.cut_after_bytes(int(fault.value.partition(":")[2]))
    landed = await holds_within(LANDS_S, lambda: link.cuts > cuts)
    link.cut_no_more()
    return landed


async def edge_black_hole(stage: Stage, fault: Fault) -> bool:
    """One pod alone is cut off, and nobody is told."""
    link = _edge(stage, fault)
    landed = await holds_within(LANDS_S, lambda: link.connected)
    link.black_hole()
    await asyncio.sleep(fault.length_s)
    link.heal()
    return landed


async def edge_delay(stage: Stage, fault: Fault) -> bool:
    """For one pod everything is late."""
    link = _edge(stage, fault)
    link.delay_s = DELAY_S
    await asyncio.sleep(fault.length_s)
    link.delay_s = 0.0
    return True
