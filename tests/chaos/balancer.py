"""Which pod a new connection goes to: any that is up, in turn, with no memory of who went where.

A pod is up from the moment that it is ready until its process has ended or ``/readyz`` says otherwise, as any balancer
would ask it. It must not know who connects, nor why. Read ``Balancer.route`` first.
"""

import asyncio
import random
from collections.abc import Callable, Sequence
from typing import Final

import aiohttp

from tests.chaos.proxy import Route
from tests.chaos.waiting import PATIENCE

__all__ = ["Balancer"]

ASKS_EVERY_S: Final = 0.25
LATE_S: Final = 0.2
ASKS_FOR: Final = aiohttp.ClientTimeout(total=0.75 * PATIENCE)


class Balancer:
    """``pods`` by name. ``on_late`` is told when one has not answered at once, and how many ms it took at least."""

    def __init__(self, pods: Sequence[str], rng: random.Random) -> None:
        self.pods = tuple(pods)
        self.on_late: Callable[[str, int], None] = lambda _pod, _ms: None
        self._urls: dict[str, str] = {}
        self._pod_at: dict[str, str] = {}
        self._up: set[str] = set()
        self._turn = rng.randrange(len(self.pods))

    def came(self, pod: str, url: str) -> None:
        """A pod is ready there."""
        self._urls[pod], self._pod_at[url] = url, pod
        self._set(pod, is_up=True)

    def went(self, pod: str) -> None:
        """Its process has ended."""
        self._set(pod, is_up=False)

    def pod_at(self, url: str) -> str:
        """The pod that is, or once was, reached there."""
        return self._pod_at[url]

    def url_of(self, pod: str) -> str:
        """Where a pod is, or was last."""
        return self._urls[pod]

    def is_up(self, pod: str) -> bool:
        """Whether new connections go there."""
        return pod in self._up

    def route(self) -> Route:
        """Where connections of one client go."""
        return self._urls_in_turn

    def fixed(self, pod: str) -> Route:
        """To one pod, wherever it is then."""
        return lambda: (self._urls[pod],)

    async def watch(self) -> None:
        """Ask every pod for ever whether it may get traffic."""
        async with aiohttp.ClientSession(timeout=ASKS_FOR) as session, asyncio.TaskGroup() as tasks:
            for pod in self.pods:
                tasks.create_task(self._watch(session, pod))

    async def _watch(self, session: aiohttp.ClientSession, pod: str) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(ASKS_EVERY_S)
            url, asked_s = self._urls[pod], loop.time()
            try:
                async with session.get(f"{url}/readyz") as answer:
                    is_up = answer.status == 200
            except (aiohttp.ClientError, TimeoutError):
                is_up = False
            if url == self._urls[pod]:
                self._set(pod, is_up=is_up)
            if (took_s := loop.time() - asked_s) >= LATE_S:
                self.on_late(pod, round(took_s * 1_000))

    def _set(self, pod: str, *, is_up: bool) -> None:
        (self._up.add if is_up else self._up.discard)(pod)

    def _urls_in_turn(self) -> list[str]:
        self._turn += 1
        count = len(self.pods)
        turned = [self.pods[(self._turn + place) % count] for place in range(count)]
        # One that is down is no target: what answers at its old address, if anything, is not asked.
        return [self._urls[pod] for pod in turned if pod in self._up]
