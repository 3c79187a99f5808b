"""The push service between the server and a phone that is asleep: it loses pushes, repeats and throttles them.

What it is asked to do is noted with what it answered, for ``package_checks``. Must not know what a push is about. Read
``PushService.take`` first.
"""

import asyncio
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

from fitting.outbox import DueItem, Outbox
from fitting.push import Gone, Later, PushNote, PushOutcome, PushTarget, Refused, Sent
from protocol.contract.packages import RegisterPush
from signaling.stores.push_tokens import PushTokens

from .links import Point
from .loop import Process

__all__ = ["PushService", "Pushed", "SeenOutbox", "SeenTokens", "Trouble"]

Trouble = Literal["lose", "repeat", "throttle", "refuse", "kill_token"]
_RETRY_AFTER_S: Final = 120.0


@dataclass(frozen=True, slots=True)
class Pushed:
    """One push that a server has asked for, and what it was told."""

    at_s: float
    note: PushNote
    outcome: PushOutcome


class PushService:
    """``arrived`` is called when a push shows on the phone. ``trouble``: what becomes of the next ones, in turn."""

    def __init__(self, chance: random.Random, point: Point, now: Callable[[], float]) -> None:
        self._chance, self._point, self._now = chance, point, now
        self.trouble: deque[Trouble] = deque()
        self.pushed: list[Pushed] = []
        self.told: Callable[[Pushed], None] = lambda _: None
        self.arrived: Callable[[], None] = lambda: None
        self.is_calm = False
        self._tokens = 0
        self._dead: set[str] = set()

    def registration(self, device: str) -> RegisterPush:
        """How the app can be woken now: a token that has died is replaced when it starts."""
        if self._token in self._dead:
            self._tokens += 1
        return RegisterPush(device=device, platform="fcm", token=self._token)

    @property
    def _token(self) -> str:
        return f"token-{self._tokens}"

    def take(self, to: PushTarget, note: PushNote) -> PushOutcome:
        """What becomes of one push."""
        trouble = self.trouble.popleft() if self.trouble else None
        if trouble == "kill_token":
            self._dead.add(to.token)
        outcome: PushOutcome = Sent()
        if to.token in self._dead:
            outcome = Gone()
        elif trouble == "throttle":
            outcome = Later(_RETRY_AFTER_S)
        elif trouble == "refuse":
            outcome = Refused("bad_credential")
        elif trouble != "lose":
            self._deliver(2 if trouble == "repeat" else 1)
        pushed = Pushed(self._now(), note, outcome)
        self.pushed.append(pushed)
        self.told(pushed)
        return outcome

    def _deliver(self, times: int) -> None:
        if not self.is_calm and self._chance.random() < 0.1:
            return
        for _ in range(times):
            asyncio.get_running_loop().call_later(0.1 + self._chance.random() * 5.0, self.arrived)

    def for_server(self, process: Process) -> "_Notifier":
        """``PushNotifier`` of one process."""
        return _Notifier(self, process, self._chance, self._point)


class _Notifier:
    """A dead process sends nothing, and hears of nothing that it has sent."""

    def __init__(self, service: PushService, process: Process, chance: random.Random, point: Point) -> None:
        self._service, self._process, self._chance, self._point = service, process, chance, point

    async def send(self, to: PushTarget, note: PushNote) -> PushOutcome:
        await self._process.reach()
        await asyncio.sleep(0.01 + self._chance.random() ** 4)
        await self._process.reach()
        outcome = self._service.take(to, note)
        self._point("pushed")
        await self._process.reach()
        return outcome

    async def close(self) -> None:
        """There is nothing to let go of."""


class SeenOutbox:
    """An outbox, with somebody who sees what is taken from it; its process may be killed with it in hand."""

    def __init__(self, kept: Outbox, saw: Callable[[DueItem], None], process: Process, point: Point) -> None:
        self._kept, self._saw, self._process, self._point = kept, saw, process, point
        self.now_s = kept.now_s

    async def take(self, limit: int, *, hold_s: float) -> tuple[DueItem, ...]:
        taken = await self._kept.take(limit, hold_s=hold_s)
        for item in taken:
            self._saw(item)
            self._point("taken")
        await self._process.reach()
        return taken

    async def later(self, item: DueItem, due_at_s: float, *, tried: bool) -> None:
        await self._kept.later(item, due_at_s, tried=tried)

    async def done(self, item: DueItem) -> None:
        await self._kept.done(item)


class SeenTokens:
    """Push tokens, with somebody who hears when one is looked for that is not there."""

    def __init__(self, kept: PushTokens, missed: Callable[[], None]) -> None:
        self._kept, self._missed = kept, missed

    async def put(self, device: str, target: PushTarget, now_s: float) -> None:
        await self._kept.put(device, target, now_s)

    async def get(self, device: str) -> PushTarget | None:
        found = await self._kept.get(device)
        if found is None:
            self._missed()
        return found

    async def park(self, device: str, target: PushTarget, now_s: float) -> None:
        await self._kept.park(device, target, now_s)
