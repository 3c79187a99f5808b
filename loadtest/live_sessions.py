"""Live sessions that a benchmark opens, keeps alive and has changed at a steady rate, whatever the server does.

What goes wrong with one of them ends the run. It must not know what is measured. Read ``open_all`` first.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

import aiohttp
import msgspec

from .bench_websocket import BenchFailed
from .dev_tokens import mint
from .submit_session import SubmitSession, registration

__all__ = ["hold", "open_all", "tick", "together"]

CLINIC: Final = "bench"
FITTER: Final = "fitter"
STAY_S: Final = 5.0
OPENED_AT_ONCE: Final = 16


async def open_all(
    sessions: Sequence[SubmitSession], url: str, key: bytes, http: aiohttp.ClientSession, tasks: asyncio.TaskGroup
) -> None:
    """Open them a few at a time; each shows from its opening on that it is there."""
    fitter = _token(key, FITTER, "clinician")
    headers = {"Authorization": f"Bearer {fitter}", "Content-Type": "application/json"}
    turns = asyncio.Semaphore(OPENED_AT_ONCE)

    async def one(session: SubmitSession) -> None:
        async with turns:
            device = session.device
            body = msgspec.json.encode(registration(device, FITTER))
            async with http.post(f"{url}/api/v1/devices", data=body, headers=headers) as answer:
                if answer.status != 201:
                    raise BenchFailed(f"registering a device was answered with {answer.status}")
            await session.open(url, fitter, _token(key, f"patient-{device}", "patient", "device"))
            tasks.create_task(_stay(session))

    async with asyncio.TaskGroup() as opening:
        for session in sessions:
            opening.create_task(one(session))


@asynccontextmanager
async def together() -> AsyncIterator[asyncio.TaskGroup]:
    """Tasks that end with the block. The first thing that fails comes out by itself, whoever it was."""
    try:
        async with asyncio.TaskGroup() as tasks:
            yield tasks
            raise _Over
    except* _Over:
        pass
    except* BenchFailed as group:
        raise BenchFailed(_first_of(group)) from None


class _Over(Exception):
    """What ends the tasks that would go on for ever."""


def _first_of(error: BaseException) -> str:
    return _first_of(error.exceptions[0]) if isinstance(error, BaseExceptionGroup) else str(error)


async def tick(sessions: Sequence[SubmitSession], rate: float) -> None:
    """One session after the other, so that they never all move at once."""
    loop, step_s, number = asyncio.get_running_loop(), 1 / (rate * len(sessions)), 0
    next_s = loop.time()
    while True:
        next_s += step_s
        wait_s = next_s - loop.time()
        # A generator that is late asks for what is due, and still lets the loop run.
        await asyncio.sleep(max(0.0, wait_s))  # sleep: the pace is what is set
        sessions[number % len(sessions)].tick()
        number += 1


async def _stay(session: SubmitSession) -> None:
    while True:
        await asyncio.sleep(STAY_S)  # sleep: the pace is what is set
        try:
            await session.stay()
        except BenchFailed as error:
            session.fail(str(error))
            return


async def hold(over: "asyncio.Future[str]", seconds: float) -> None:
    """Let the time pass. Raises BenchFailed as soon as ``over`` says what went wrong."""
    await asyncio.wait({over}, timeout=seconds)
    if over.done():
        raise BenchFailed(over.result())


def _token(key: bytes, user: str, *roles: str) -> str:
    return mint(key, user=user, clinic=CLINIC, roles=roles, now_s=time.time())
