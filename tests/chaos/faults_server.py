"""What happens to the server and to what it keeps its log in. Each function says whether the fault has landed."""

import asyncio
import signal
from collections.abc import Callable

from tests.chaos.database import PostgresDatabase
from tests.chaos.plan import Fault
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


async def server_kill_at(stage: Stage, fault: Fault) -> bool:
    """The server dies by its own hand at a point, in a life that was told to; the one before may have been told."""
    server, point = stage.server, fault.value
    await server.life_after(server.life - 1)
    if server.armed != point and not server.died_at[point]:
        server.kill_point = point
        await server.death_after(await server.strike(signal.SIGKILL), LANDS_S)
    landed = await holds_within(LANDS_S, lambda: server.died_at[point])
    server.died_at[point] -= landed
    return landed


async def server_kill(stage: Stage, _: Fault) -> bool:
    """At any moment."""
    return await stage.server.death_after(await stage.server.strike(signal.SIGKILL), LANDS_S)


async def server_terminate(stage: Stage, _: Fault) -> bool:
    """An orderly goodbye under load."""
    deaths = await stage.server.strike(signal.SIGTERM)
    return await stage.server.death_after(deaths, LANDS_S) and stage.server.exit_code == 0


async def server_freeze(stage: Stage, fault: Fault) -> bool:
    """A pause as long as the longest collection of garbage."""
    return await freeze(stage.server.signal, fault.length_s)


async def freeze(send: Callable[[int], None], length_s: float) -> bool:
    """Stop a process, and let it go on after a while."""
    send(signal.SIGSTOP)
    await asyncio.sleep(length_s)
    send(signal.SIGCONT)
    return True


async def disk_full(stage: Stage, fault: Fault) -> bool:
    """No file of the server grows any more, for a while; it may say no, but it may not die of it."""
    deaths = stage.server.deaths
    stage.server.limit_files(FULL_DISK_BYTES)
    await asyncio.sleep(fault.length_s)
    stage.server.limit_files(None)
    return stage.server.deaths == deaths


async def database_kill(stage: Stage, fault: Fault) -> bool:
    """All of PostgreSQL at once, and up again after a while."""
    assert isinstance(stage.database, PostgresDatabase)
    await stage.database.kill(fault.length_s)
    return True


async def database_freeze(stage: Stage, fault: Fault) -> bool:
    """Connections stay open, and nobody answers."""
    assert isinstance(stage.database, PostgresDatabase)
    async with stage.database.frozen():
        await asyncio.sleep(fault.length_s)
    return True
