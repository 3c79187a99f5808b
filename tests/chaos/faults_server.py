"""What happens to the server and to what it keeps its log in. Each function says whether the fault has landed."""

import asyncio
import signal
from collections.abc import Callable

from tests.chaos.database import PostgresDatabase
from tests.chaos.profile import Fault
from tests.chaos.stage import Stage
from tests.chaos.waiting import LANDS_S, holds_within

__all__ = [
    "database_freeze",
    "database_kill",
    "disk_full",
    "freeze",
    "server_freeze",
    "server_kill",
    "server_kill_at",
    "server_terminate",
]

FULL_DISK_BYTES = 4_096
SPREADS = 3


async def server_kill_at(stage: Stage, fault: Fault) -> bool:
    """The server dies by its own hand at a point, in a life that was told to; the one before may have been told."""
    server, point = stage.fleet.pods[fault.lane], fault.value
    await server.life_after(server.life - 1)
    if server.armed != point and not server.died_at[point]:
        server.kill_point = point
        await server.death_after(await server.strike(signal.SIGKILL), LANDS_S)
        await server.life_after(server.life - 1)
    landed = False
    for _ in range(SPREADS):
        if not landed and stage.plan.pods > 1:
            # To where nobody has been since it came up nobody may come for long.
            stage.spread()
        landed = landed or await holds_within(LANDS_S / SPREADS, lambda: server.died_at[point])
    server.died_at[point] -= landed
    return landed


async def server_kill(stage: Stage, fault: Fault) -> bool:
    """At any moment."""
    server = stage.fleet.pods[fault.lane]
    return await server.death_after(await server.strike(signal.SIGKILL), LANDS_S)


async def server_terminate(stage: Stage, fault: Fault) -> bool:
    """An orderly goodbye under load."""
    server = stage.fleet.pods[fault.lane]
    deaths = await server.strike(signal.SIGTERM)
    return await server.death_after(deaths, LANDS_S) and server.exit_code == 0


async def server_freeze(stage: Stage, fault: Fault) -> bool:
    """A pause as long as the longest collection of garbage."""
    return await freeze(stage.fleet.pods[fault.lane].signal, fault.length_s)


async def freeze(send: Callable[[int], None], length_s: float) -> bool:
    """Stop a process, and let it go on after a while."""
    send(signal.SIGSTOP)
    await asyncio.sleep(length_s)
    send(signal.SIGCONT)
    return True


async def disk_full(stage: Stage, fault: Fault) -> bool:
    """No file of the server grows any more, for a while; it may say no, but it may not die of it."""
    server = stage.fleet.pods[fault.lane]
    deaths = server.deaths
    server.limit_files(FULL_DISK_BYTES)
    await asyncio.sleep(fault.length_s)
    server.limit_files(None)
    return server.deaths == deaths


async def database_kill(stage: Stage, fault: Fault) -> bool:
    """All of PostgreSQL at once, and up again after a while."""
    assert isinstance(stage.fleet.database, PostgresDatabase)
    await stage.fleet.database.kill(fault.length_s)
    return True


async def database_freeze(stage: Stage, fault: Fault) -> bool:
    """Connections stay open, and nobody answers."""
    assert isinstance(stage.fleet.database, PostgresDatabase)
    async with stage.fleet.database.frozen():
        await asyncio.sleep(fault.length_s)
    return True
