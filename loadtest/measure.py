"""The CPU time of servers per delivered message, taken in windows that alternate between all that are compared.

What a window counts is checked traffic; a server that loses a message ends the run. It must not know which servers
there are. Read ``one_round`` first.
"""

import os
import platform
import time
from dataclasses import dataclass
from importlib import metadata
from typing import Final, Protocol

from .bare import loop_factory
from .bench_websocket import BenchFailed
from .report import Machine, Sample, Settings, joined
from .traffic import Load, Tally, Target, open_crowd

__all__ = ["Measured", "Worker", "machine", "one_round"]

MICROSECONDS: Final = 1e6
MAX_LOOKS: Final = 20
TURNS: Final = 5


class Worker(Protocol):
    """Whatever uses CPU time that is measured: a process, or several."""

    @property
    def cpu_s(self) -> float:
        """User and system time so far. Raises BenchFailed if it ended."""
        ...


@dataclass(frozen=True, slots=True)
class Measured:
    """A way to speak to a running server; ``beside`` works for it and is counted apart, None for nobody."""

    target: Target
    process: Worker
    beside: Worker | None = None


async def one_round(measured: list[Measured], load: Load, settings: Settings, number: int) -> list[Sample]:
    """One sample of each server, of several short windows in turn: a neighbour who comes and goes meets them all."""
    turns = TURNS if load.connections <= settings.connections else 1
    windows: list[list[Sample]] = [[] for _ in measured]
    for turn in range(turns):
        in_turn = list(zip(measured, windows, strict=True))
        # Forwards, then backwards: a drift favours nobody.
        for one, samples in in_turn if (number + turn) % 2 == 0 else reversed(in_turn):
            samples.append(await _measure(one, load, settings, number, settings.seconds / turns))
    return [joined(samples) for samples in windows]


async def _measure(one: Measured, load: Load, settings: Settings, number: int, seconds: float) -> Sample:
    name = one.target.dialect.name
    try:
        async with open_crowd(one.target, load) as crowd:
            crowd.start()
            await crowd.tally.hold(min(settings.warm_up_s, seconds / 4))
            before, after = await _window(one, crowd.tally, seconds)
            await crowd.tally.drain()
            sent, delivered = crowd.tally.sent, crowd.tally.delivered
    except BenchFailed as error:
        raise BenchFailed(f"{name}, {load.workload} x{load.in_flight}: {error}") from None
    messages = after.delivered - before.delivered
    wall_s = after.wall_s - before.wall_s
    server_s = after.server_s - before.server_s
    return Sample(
        round=number,
        workload=load.workload,
        in_flight=load.in_flight,
        server=name,
        messages=messages,
        sent=sent,
        delivered=delivered,
        wall_s=wall_s,
        server_us=server_s / messages * MICROSECONDS,
        generator_us=(after.generator_s - before.generator_s) / messages * MICROSECONDS,
        server_busy=server_s / wall_s,
        beside_us=(after.beside_s - before.beside_s) / messages * MICROSECONDS,
    )


async def _window(one: Measured, tally: Tally, seconds: float) -> "tuple[_Instant, _Instant]":
    """Two instants at least ``seconds`` apart, with something between them: some CPU clocks tick 100 times a second."""
    before = _Instant.now(one, tally.delivered)
    for _ in range(MAX_LOOKS):
        await tally.hold(seconds)
        after = _Instant.now(one, tally.delivered)
        if after.delivered > before.delivered and after.server_s > before.server_s:
            return before, after
    if after.delivered > before.delivered:
        raise BenchFailed("messages arrived, and the process that is measured has done nothing")
    raise BenchFailed(f"nothing arrived in {MAX_LOOKS * seconds:g} s")


@dataclass(frozen=True, slots=True)
class _Instant:
    delivered: int
    wall_s: float
    server_s: float
    generator_s: float
    beside_s: float

    @classmethod
    def now(cls, one: Measured, delivered: int) -> "_Instant":
        beside_s = 0.0 if one.beside is None else one.beside.cpu_s
        return cls(delivered, time.perf_counter(), one.process.cpu_s, time.process_time(), beside_s)


def machine() -> Machine:
    """What this runs on."""
    uvloop = metadata.version("uvloop") if loop_factory() else None
    return Machine(
        python=platform.python_version(),
        aiohttp=metadata.version("aiohttp"),
        uvloop=uvloop,
        cores=os.cpu_count() or 1,
        platform=platform.platform(),
    )
