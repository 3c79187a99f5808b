"""A fitter whose time stands still until a test moves it on, and what it has heard."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from msgspec import UNSET

from clients.fitter import Change, Fitter, FitterNews
from clients.hub_client import HubClient
from protocol.contract.base import Failure
from protocol.contract.devices import LeaseAnswer
from protocol.contract.fitting import Base, SubmitAnswer
from protocol.contract.sessions import ModeAnswer
from tests.clients.care_bench import DEVICE, CareBench, raise_of
from tests.clients.hub_double import until

__all__ = ["SESSION", "Ticks", "base_of", "fitter_of", "live", "tried"]

SESSION = "session-1"


class Ticks:
    """A clock and its sleep; ``pass_s`` wakes whoever has slept long enough."""

    def __init__(self) -> None:
        self.now_s = 1_000.0
        self._moved = asyncio.Event()
        self.sleeping = 0

    def clock(self) -> float:
        return self.now_s

    async def sleep(self, seconds: float) -> None:
        wakes_at_s = self.now_s + seconds
        self.sleeping += 1
        try:
            while self.now_s < wakes_at_s:
                await self._moved.wait()
        finally:
            self.sleeping -= 1

    async def pass_s(self, seconds: float) -> None:
        """Whoever is to wake at that time must be asleep by now."""
        await until(lambda: self.sleeping)
        self.now_s += seconds
        self._moved.set()
        self._moved.clear()


@asynccontextmanager
async def fitter_of(
    bench: CareBench, user: str = "ann", *, hub: HubClient | None = None, ticks: Ticks | None = None
) -> AsyncIterator[tuple[Fitter, list[FitterNews]]]:
    """A connected fitter and its news."""
    ticks, hub, news = ticks or Ticks(), hub or bench.fitter_hub(user), list[FitterNews]()
    fitter = Fitter(hub, sleep=ticks.sleep, clock=ticks.clock, on_news=news.append)
    async with hub:
        yield fitter, news


async def live(fitter: Fitter, session: str = SESSION) -> LeaseAnswer:
    """A lease, and live work under it."""
    granted = await fitter.acquire_lease(DEVICE, session)
    assert isinstance(granted, LeaseAnswer)
    assert isinstance(await fitter.go_live(DEVICE, granted.fence), ModeAnswer)
    return granted


async def tried(fitter: Fitter, granted: LeaseAnswer, by_ddb: int = 20) -> SubmitAnswer:
    """A live change that was confirmed."""
    answer = await fitter.submit(raise_of(granted, by_ddb))
    assert isinstance(answer, SubmitAnswer)
    assert await fitter.wait_until(DEVICE, answer) == "confirmed"
    return answer


def base_of(answer: SubmitAnswer) -> Base:
    """The next change is thought of on this one."""
    return Base(revision=answer.revision_id, left=answer.digests.left, right=answer.digests.right)


def back_to(granted: LeaseAnswer, on: SubmitAnswer, revision: str) -> Change:
    assert granted.head is not UNSET
    return Change(DEVICE, granted.fence, base_of(on), "it was better before", revision=revision)


def code_of(answer: object) -> str:
    """The code of a refusal."""
    assert isinstance(answer, Failure), answer
    return answer.error.code
