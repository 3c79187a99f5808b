"""One process of clients: ``python -m loadtest.reconnect_generator`` reads a ``Plan``, connects, and says ``ready``.

At a line on its input all their connections are cut at once, and each comes back by itself: after a wait anywhere
within ``jitter_s``, and after a failure with full jitter that doubles. Then it prints an ``Outcome``. It must not know
where its servers run. Read ``run`` first.
"""

import asyncio
import random
import resource
import sys
import time
from collections import Counter
from collections.abc import Iterable
from typing import Final

import msgspec

from clients.reconnect import ReconnectPolicy

from .bare import loop_factory
from .dev_tokens import mint
from .reconnect_client import Client, Refused, open_client

__all__ = ["Outcome", "Plan", "run"]

_CONNECTING: Final = 64
_KEEP_ALIVE_S: Final = 15.0
_AGAIN: Final = ReconnectPolicy(base_s=2.0, cap_s=30.0)


class Plan(msgspec.Struct, frozen=True, rename="camel"):
    """Clients ``first``, ``first + step``, ... below ``clients``, spread over ``urls``.

    Each try has ``patience_s``, each client ``give_up_s`` from the cut on.
    """

    urls: tuple[str, ...]
    key: str
    clinic: str
    first: int
    step: int
    clients: int
    jitter_s: float
    patience_s: float
    give_up_s: float
    seed: int


class Outcome(msgspec.Struct, rename="camel"):
    """Seconds from the cut, and from the beginning of the try that led to it, until each client was back.

    ``lost``: how many never were. ``refused``: tries that came to nothing, by reason. ``cut_again``: clients whose
    connection ended once more afterwards.
    """

    back_s: list[float] = msgspec.field(default_factory=list)
    connect_s: list[float] = msgspec.field(default_factory=list)
    lost: int = 0
    refused: dict[str, int] = msgspec.field(default_factory=dict)
    cut_again: int = 0
    cpu_s: float = 0.0


class _Crowd:
    """The clients of a plan."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._chance = random.Random(plan.seed)
        self._numbers = range(plan.first, plan.clients, plan.step)
        self._tokens = {number: self._token(number) for number in self._numbers}
        self._open: dict[int, Client] = {}
        self._refused: Counter[str] = Counter()
        self.outcome = Outcome()

    async def connect(self) -> None:
        """Let all of them in, a few at a time. Raises Refused."""
        todo = iter(self._numbers)

        async def some(left: Iterable[int]) -> None:
            for number in left:
                self._open[number] = await self._try(number, 0)

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(_CONNECTING):
                    group.create_task(some(todo))
        except* Refused as refusals:
            raise Refused(str(refusals.exceptions[0])) from None

    async def storm(self) -> Outcome:
        """Cut them all, and return when each is back or given up."""
        cut_s, busy_s = time.monotonic(), _cpu_s()
        clients, self._open = self._open, {}
        for client in clients.values():
            client.cut()
        clients.clear()
        async with asyncio.TaskGroup() as group:
            for number in self._numbers:
                group.create_task(self._come_back(number, cut_s))
        outcome = self.outcome
        outcome.refused, outcome.cpu_s = dict(self._refused), _cpu_s() - busy_s
        outcome.cut_again = sum(client.was_lost for client in self._open.values())
        return outcome

    async def stay(self) -> None:
        """Show that they live, until cancelled."""
        while True:
            await asyncio.sleep(_KEEP_ALIVE_S)  # sleep: the pace is what is set
            for client in tuple(self._open.values()):
                client.show_life()

    async def _come_back(self, number: int, cut_s: float) -> None:
        wait_s, attempt = self._chance.uniform(0.0, self._plan.jitter_s), 0
        while True:
            await asyncio.sleep(wait_s)  # sleep: what spreads the storm
            attempt += 1
            began_s = time.monotonic()
            try:
                self._open[number] = await self._try(number, attempt)
            except Refused as refused:
                self._refused[str(refused)] += 1
                wait_s = refused.wait_s + _AGAIN.delay_s(attempt - 1, self._chance.uniform)
                if time.monotonic() + wait_s - cut_s > self._plan.give_up_s:
                    self.outcome.lost += 1
                    return
                continue
            now_s = time.monotonic()
            self.outcome.back_s.append(now_s - cut_s)
            self.outcome.connect_s.append(now_s - began_s)
            return

    async def _try(self, number: int, attempt: int) -> Client:
        """One try, at another server than the last one, as a balancer may do. Raises Refused."""
        urls = self._plan.urls
        url = urls[(number // self._plan.step + attempt) % len(urls)]
        return await open_client(url, self._tokens[number], _user(number), patience_s=self._plan.patience_s)

    def _token(self, number: int) -> str:
        key, clinic = self._plan.key.encode(), self._plan.clinic
        return mint(key, user=_user(number), clinic=clinic, roles=("patient",), now_s=time.time())


def _user(number: int) -> str:
    return f"storm-{number}"


def _cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


async def run(plan: Plan) -> Outcome:
    """Connect, tell, wait for the word, and let it come. Raises Refused when somebody cannot connect before it."""
    crowd = _Crowd(plan)
    await crowd.connect()
    staying = asyncio.get_running_loop().create_task(crowd.stay())
    try:
        _say(b"ready")
        word = await asyncio.to_thread(sys.stdin.buffer.readline)
        if not word:
            raise Refused("nobody waits for the outcome any more")
        return await crowd.storm()
    finally:
        staying.cancel()


def _say(line: bytes) -> None:
    sys.stdout.buffer.write(line + b"\n")
    sys.stdout.buffer.flush()


def main() -> int:
    """Run the command."""
    plan = msgspec.json.decode(sys.stdin.buffer.readline(), type=Plan)
    try:
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            outcome = runner.run(run(plan))
    except Refused as refused:
        print(f"reconnect: a client could not connect: {refused}", file=sys.stderr)
        return 1
    _say(msgspec.json.encode(outcome))
    return 0


if __name__ == "__main__":
    sys.exit(main())
