"""A professional at work: takes leases, steals them, changes, saves, sends packages, tries what is not allowed.

What is done is drawn from a seed; what comes back decides only how it goes on. Read ``FitterWorker.run`` first.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Final

from msgspec.structs import replace

from protocol.contract.base import EARS
from protocol.contract.fitting import BandPath, Content, Patch, PatchOp
from tests.chaos.desk import Desk, Known, Twist
from tests.chaos.orders import POISON_NR_DDB
from tests.chaos.packages import PackageDesk
from tests.chaos.waiting import PATIENCE
from tests.chaos.wire import Caller
from tests.chaos.wishes import Wish

__all__ = ["WORK", "FitterWorker"]

GAIN_PATHS: Final[tuple[BandPath, ...]] = ("g50Ddb", "g65Ddb", "g80Ddb")
STAYS: Final = 0.9
LOOKS_FOR_UNDONE: Final = 0.2
LOOKS_IN_THE_END: Final = 0.5
WORN_S: Final = 5.0 * PATIENCE
LOW_GAIN_DDB, HIGH_GAIN_DDB = 50, 200
Step = Callable[["FitterWorker", str, Known], Awaitable[None]]


class FitterWorker:
    """``pace_s`` is the mean pause between two steps."""

    def __init__(self, caller: Caller, devices: list[str], *, seed: str, pace_s: float = 0.03) -> None:
        self._devices, self._pace_s = devices, pace_s
        self._rng = random.Random(seed)
        self._desk = Desk(caller, self._rng)
        self._packages = PackageDesk(self._desk, self._rng)

    async def run(self, stop: asyncio.Event) -> None:
        """Work until told to stop."""
        while not stop.is_set():
            await asyncio.sleep(self._rng.expovariate(1 / self._pace_s))
            for device, known in tuple(self._desk.known.items()):
                await self._desk.renew(device, known)
            wish = self._desk.caller.tally.wishes.one(self._rng)
            device = self._device() if wish is None else wish.device
            held = self._desk.known.get(device)
            if held is None:
                await self._desk.take(device)
            elif held.is_live or await self._desk.go_live(device, held):
                await self._step(wish)(self, device, held)

    def _device(self) -> str:
        """Mostly on with what is held; now and then somebody else's."""
        mine = list(self._desk.known)
        return self._rng.choice(mine if mine and self._rng.random() < STAYS else self._devices)

    def _step(self, wish: Wish | None) -> Step:
        """What is wished; else one by its weight, every few and in the end every other one that nobody has done yet."""
        tally = self._desk.caller.tally
        if wish is not None:
            name = self._rng.choice(wish.steps)
            return next(step for other, step, _ in _STEPS if other == name)
        undone = [step for name, step, weight in _STEPS if weight and not tally.done[name]]
        if undone and self._rng.random() < (LOOKS_IN_THE_END if tally.is_ending else LOOKS_FOR_UNDONE):
            return self._rng.choice(undone)
        [(_, step, _)] = self._rng.choices(_STEPS, [weight for _, _, weight in _STEPS])
        return step

    async def _burst(self, device: str, known: Known) -> None:
        """Some changes in a row, faster than an aid takes them or each when the one before has come to its end."""
        waits = self._rng.random() < 0.5
        for _ in range(self._rng.choice((1, 1, 2, 5))):
            if not await self._desk.change(device, known, self._patch):
                return
            if waits and not await self._desk.has_settled(device):
                self._desk.forget(device)
                return

    async def _save(self, device: str, known: Known) -> None:
        await self._desk.save(device, known)

    async def _steal(self, device: str, _: Known) -> None:
        await self._desk.steal(device)

    async def _revert(self, device: str, known: Known) -> None:
        await self._desk.revert(device, known)

    async def _cancel(self, device: str, known: Known) -> None:
        if await self._desk.change(device, known, self._patch):
            await self._desk.cancel()

    async def _repeat(self, device: str, _: Known) -> None:
        if self._desk.requests:
            await self._desk.submit(self._rng.choice(self._desk.requests), 1)
            self._desk.caller.tally.done["repeat"] += 1

    async def _repeat_in_other_words(self, device: str, _: Known) -> None:
        if self._desk.requests:
            request = self._rng.choice(self._desk.requests)
            await self._desk.submit(replace(request, reason=f"{request.reason} again"), 1)
            self._desk.caller.tally.done["other words"] += 1

    async def _old_fence(self, device: str, known: Known) -> None:
        # One's own that was lost; else whoever's was granted before this one: each grant's fence is one above the last.
        fence = min(self._desk.lost.get(device, known.fence), known.fence - 1)
        if fence > 0:
            self._desk.caller.tally.done["old fence tried"] += 1
            await self._desk.change(device, known, self._patch, Twist("old fence taken", fence=fence))

    async def _expiring(self, device: str, known: Known) -> None:
        await self._desk.change(device, known, self._patch, Twist("expiring", expires_in_s=1))

    async def _poison(self, device: str, known: Known) -> None:
        await self._desk.change(device, known, self._poisoned, Twist("poison"))

    async def _package(self, device: str, known: Known) -> None:
        """One or two; then the fitter sees what becomes of it, or is gone."""
        for _ in range(self._rng.choice((1, 1, 2))):
            if await self._sends(device, known, "package") and self._rng.random() < 0.5:
                await self._desk.has_ended(device)
        self._desk.forget(device)

    async def _package_to_be_worn(self, device: str, known: Known) -> None:
        """Then nobody works on the device until its wearer has been asked whether to keep it."""
        if await self._sends(device, known, "package to be worn"):
            await self._desk.hold(device, known, WORN_S)
        self._desk.forget(device)

    async def _brief_package(self, device: str, known: Known) -> None:
        await self._sends(device, known, "brief package", expires_in_s=1)
        self._desk.forget(device)

    async def _package_taken_back(self, device: str, known: Known) -> None:
        if await self._sends(device, known, "package taken back"):
            await self._desk.cancel()
        self._desk.forget(device)

    async def _live_over_a_package(self, device: str, known: Known) -> None:
        if await self._sends(device, known, "live over a package"):
            await self._desk.go_live(device, known)
        self._desk.forget(device)

    async def _sends(self, device: str, known: Known, name: str, **more: int) -> bool:
        if known.is_live and not await self._packages.leave(device, known):
            return False
        is_sent = await self._packages.send(device, **more)
        self._desk.caller.tally.done[name] += is_sent
        self._desk.caller.tally.sent[name, device] += is_sent
        return is_sent

    def _patch(self, content: Content) -> Patch:
        """A small step up or down of one band of each chosen ear, within what the safety rules let pass mostly."""
        program, ops = content.programs[0], list[PatchOp]()
        for ear in self._rng.sample(EARS, self._rng.randint(1, len(EARS))):
            band = self._rng.randrange(len(content.bands_hz))
            gain_ddb = getattr(program, ear).g50_ddb[band]
            rises = gain_ddb < LOW_GAIN_DDB or (gain_ddb < HIGH_GAIN_DDB and self._rng.random() < 0.5)
            step_ddb = 10 * self._rng.randint(1, 2) * (1 if rises else -1)
            ops += [PatchOp(op="add", ear=ear, path=path, band=band, value=step_ddb) for path in GAIN_PATHS]
        ear = self._rng.choice(EARS)
        ops.append(PatchOp(op="set", ear=ear, path="nrDdb", value=10 * self._rng.randint(0, 6)))
        return Patch(slot=program.slot, ops=tuple(ops))

    def _poisoned(self, content: Content) -> Patch:
        ear = self._rng.choice(EARS)
        poison = PatchOp(op="set", ear=ear, path="nrDdb", value=POISON_NR_DDB)
        return Patch(slot=content.programs[0].slot, ops=(poison,))


_STEPS: Final[tuple[tuple[str, Step, int], ...]] = (
    ("change", FitterWorker._burst, 54),
    ("save", FitterWorker._save, 18),
    ("steal", FitterWorker._steal, 6),
    ("revert", FitterWorker._revert, 2),
    ("cancel", FitterWorker._cancel, 5),
    ("repeat", FitterWorker._repeat, 3),
    ("other words", FitterWorker._repeat_in_other_words, 2),
    ("old fence tried", FitterWorker._old_fence, 4),
    ("expiring", FitterWorker._expiring, 4),
    ("poison", FitterWorker._poison, 3),
    ("package", FitterWorker._package, 5),
    ("brief package", FitterWorker._brief_package, 2),
    ("package taken back", FitterWorker._package_taken_back, 2),
    ("live over a package", FitterWorker._live_over_a_package, 2),
    # Only when somebody waits for it.
    ("package to be worn", FitterWorker._package_to_be_worn, 0),
)
WORK: Final = frozenset(name for name, _, weight in _STEPS if weight)
"""What professionals do; a run in which one of these was never done proves too little."""
