"""Hours and days, in which nobody does anything but wait: packages expire, pushes fall due, questions are asked.

All clocks go on at once, as when all machines sleep; whatever was due meanwhile is due then. Live work is not slept
through. Must not know what is due. Read ``pass_time`` first.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from fitting.outbox import DueItem

from .handset import DEVICE
from .plan import Step
from .world import World

__all__ = ["let_all_fall_due", "nights", "pass_time"]

_LOOK_S: Final = 2.0
_MOST_LOOKS: Final = 20
# Sweeps look once a second, and a push takes a moment.
_SETTLES_S: Final = 4.0
_MOST_THINGS_DUE: Final = 60
_FEW_THINGS_DUE: Final = 8
_LONG_S: Final = 21_600.0


async def nights(world: World, steps: list[Step]) -> None:
    """Carry out the steps of time, each at its awake second."""
    for step in sorted(steps, key=lambda step: step.at_s):
        await world.until_awake(step.at_s)
        world.note("NIGHT", length_s=step.length_s)
        await pass_time(world, step.length_s)


async def pass_time(world: World, seconds: float) -> None:
    """So much time passes, unless live work goes on for too long."""
    for _ in range(_MOST_LOOKS):
        if not world.checks.is_live and world.paper.record.in_flight is None:
            break
        await asyncio.sleep(_LOOK_S)
    else:
        if world.checks.is_live:
            return
    await world.packages.look(world.server, world.disk.due(), world.paper.record)
    world.skip(seconds)
    await asyncio.sleep(_SETTLES_S)


async def let_all_fall_due(world: World, settle: Callable[[World], Awaitable[None]]) -> None:
    """Time passes until nothing is due any more: every package has an end, and the outbox is empty."""
    for number in range(_MOST_THINGS_DUE):
        due_at_s = await _next_due(world)
        if due_at_s is None:
            return
        # A question that comes at a bad time is put off by an hour, for as long as a package waits behind it.
        at_least_s = 0.0 if number < _FEW_THINGS_DUE else _LONG_S
        await pass_time(world, max(at_least_s, due_at_s - world.unix_s()) + 1.0)
        await settle(world)
    world.checks.fail("outbox", f"there is no end to what falls due: {[_short(one) for one in world.disk.due()]}")


async def _next_due(world: World) -> float | None:
    assert world.server is not None
    pending = await world.server.log.pending(DEVICE)
    return min((*(one.expires_at_s for one in pending), *(one.due_at_s for one in world.disk.due())), default=None)


def _short(item: DueItem) -> str:
    return f"{item.kind} {item.seq}"
