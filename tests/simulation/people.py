"""Two fitters with scripts: what they do is drawn, what comes of it is not.

A fitter does what fitting software does: takes the device, goes live, changes a gain, asks again when the link has died
under a call. Refusals are part of the work. Must not know what the server or the phone holds inside. Read
``Fitter.run`` first.
"""

import asyncio
import random
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, Literal, TypeVar

import msgspec
from msgspec import UNSET, UnsetType

from clients.hub_client import HubClient
from clients.hub_errors import HubCallError
from clients.reconnect import Link as State
from protocol.contract.base import EARS, Answer, Ear, Failure
from protocol.contract.devices import (
    AcquireLease,
    DeliveryAnswer,
    DeliveryChanged,
    DeliveryQuery,
    DeviceAnswer,
    DeviceQuery,
    LeaseAnswer,
)
from protocol.contract.fitting import BAND_PATHS, BandPath, Base, Patch, PatchOp, Submit, SubmitAnswer
from protocol.contract.sessions import (
    Cancel,
    DeviceHeld,
    Done,
    ExpectedDigests,
    Heartbeat,
    Hold,
    LeaseRenewed,
    ModeAnswer,
    ModeChanged,
    Relayed,
    ReleaseLease,
    Revert,
    Save,
    SetMode,
    StealLease,
)

from .handset import DEVICE, make_hub
from .links import Network
from .loop import Process
from .plan import Step

__all__ = ["ENDS", "GAINS", "Fitter", "Heard"]

A = TypeVar("A", bound=Answer)
Heard = Callable[..., None]
GAINS: Final[tuple[BandPath, ...]] = BAND_PATHS[:3]
ENDS: Final = frozenset(
    {"confirmed", "active", "rejected", "declined", "superseded", "expired", "cancelled", "rolled_back", "failed"}
)
_UNSETTLED: Final = frozenset({"unknown_outcome", "unavailable"})


class Fitter:
    """One fitting station. ``heard(what, **facts)`` is told of every answer."""

    def __init__(self, name: str, network: Network, chance: random.Random, heard: Heard) -> None:
        self.name = name
        self.process = Process(name)
        self._network, self._chance, self._heard = network, chance, heard
        self._lives = 0
        self._keys = 0
        self.hub: HubClient | None = None
        self.fence = 0
        self.session = ""
        self.is_silent = False
        self.head: Any = None
        self.seqs: list[SubmitAnswer] = []
        self.revisions: list[str] = []
        self._states: dict[int, str] = {}
        self._saves: set[int] = set()
        self._news = asyncio.Event()
        self._last: Submit | None = None
        self.draft = ""
        self.call: Literal["on", "ended"] | UnsetType = UNSET

    def start(self, steps: list[Step]) -> asyncio.Task[Any]:
        """Come to work."""
        self.process.spawn(self._keep_up())
        return self.process.spawn(self.run(steps))

    async def run(self, steps: list[Step]) -> None:
        """Do one thing after the other, whatever comes of it."""
        for step in steps:
            await asyncio.sleep(step.at_s)
            with suppress(ConnectionError, TimeoutError):
                try:
                    await getattr(self, f"do_{step.what}")(step)
                except HubCallError as error:
                    self._heard("call_error", fitter=self.name, what=step.what, code=error.code)

    async def connected(self) -> HubClient:
        """The hub, anew when it was given up."""
        while self.hub is None or self.hub.state is State.CLOSED:
            hub = make_hub(self._network, self.name, self.process, self._chance)
            hub.on("DeliveryChanged", self._delivery_changed, DeliveryChanged)
            hub.on("ModeChanged", self._mode_changed, ModeChanged)
            try:
                await hub.start()
            except ConnectionError:
                await asyncio.sleep(1.0)
            else:
                self.hub = hub
        await self.hub.connected()
        return self.hub

    async def ask(self, target: str, payload: object, answer: type[A]) -> A | Failure:
        """One call; what became of it may stay unknown. Raises as the hub client does."""
        hub = await self.connected()
        self._heard("asked", target=target, payload=payload)
        got = await hub.ask(target, payload, answer=answer)
        self._heard("answered", fitter=self.name, target=target, payload=payload, answer=got)
        return got

    async def ask_again(self, target: str, payload: object, answer: type[A]) -> A | Failure:
        """A call with a key: asked until its fate is known."""
        for _ in range(12):
            try:
                got = await self.ask(target, payload, answer)
            except (ConnectionError, TimeoutError):
                pass
            except HubCallError as error:
                if error.code not in _UNSETTLED:
                    raise
            else:
                if not isinstance(got, Failure) or got.error.code not in _UNSETTLED:
                    return got
            await asyncio.sleep(0.3 + self._chance.random())
        raise TimeoutError

    # What the script may say

    async def do_live(self, _: Step) -> None:
        """Take the device and begin live work; insist for a while."""
        for _attempt in range(6):
            if await self._hold() and await self._go_live():
                return
            await asyncio.sleep(1.0 + self._chance.random() * 3.0)

    async def do_up(self, step: Step) -> None:
        await self._change(step, EARS, GAINS, 10)
        await self._wait(self._chance.random() * 3.0)

    async def do_down(self, step: Step) -> None:
        await self._change(step, EARS, GAINS, -10)
        await self._wait(self._chance.random() * 3.0)

    async def do_one_ear(self, step: Step) -> None:
        ears: tuple[Ear, ...] = (step.ear,)
        await self._change(step, ears, GAINS, 10 if step.amount % 2 else -10)

    async def do_burst(self, step: Step) -> None:
        for _ in range(1 + step.amount // 2):
            await self._change(step, EARS, GAINS, self._chance.choice((10, -10)))
            await asyncio.sleep(self._chance.random() * 0.3)

    async def do_mpo_up(self, step: Step) -> None:
        await self._change(step, EARS, ("mpoDdb",), 10)
        await self._wait(12.0)

    async def do_save(self, step: Step) -> None:
        await self._save(self.fence)
        if step.amount % 2:
            await self._wait(15.0)

    async def _save(self, fence: int) -> None:
        await self._wait(20.0)
        found = await self.ask("GetDevice", DeviceQuery(device=DEVICE), DeviceAnswer)
        if isinstance(found, Failure) or found.head is UNSET:
            return
        self.head = found.head
        held = {ear: truth.ram for ear in EARS if (truth := getattr(found.in_aid, ear)) is not UNSET}
        request = Save(
            device=DEVICE,
            fence=fence,
            expect=ExpectedDigests(**held),
            reason="good so",
            idempotency_key=self._key(),
        )
        answer = await self.ask_again("Save", request, SubmitAnswer)
        if isinstance(answer, SubmitAnswer):
            self._saves.add(answer.seq)
            self._took(answer)

    async def do_revert(self, _: Step) -> None:
        await self.ask("Revert", Revert(device=DEVICE, fence=self.fence), Relayed)

    async def do_undo(self, _: Step) -> None:
        await self.ask("Undo", Revert(device=DEVICE), Relayed)

    async def do_stop(self, _: Step) -> None:
        await self.ask("Stop", Revert(device=DEVICE), Relayed)

    async def do_cancel(self, _: Step) -> None:
        if self.seqs:
            last = self.seqs[-1]
            await self.ask("Cancel", Cancel(device=DEVICE, epoch=last.epoch, seq=last.seq), DeliveryAnswer)

    async def do_repeat(self, _: Step) -> None:
        """The same request with the same key, long after its answer."""
        if self._last is not None:
            await self.ask_again("Submit", self._last, SubmitAnswer)

    async def do_conflict(self, _: Step) -> None:
        """Another request with the same key."""
        if self._last is not None:
            other = msgspec.structs.replace(self._last, reason="something else")
            await self.ask_again("Submit", other, SubmitAnswer)

    async def do_stale(self, step: Step) -> None:
        """A request from before somebody else took the device. Whether a save is that, only the log looks at."""
        if step.amount % 2 and self.fence:
            await self._save(self.fence - 1)
        elif self._last is not None and isinstance(self._last.fence, int):
            old = msgspec.structs.replace(self._last, fence=max(0, self._last.fence - 1), idempotency_key=self._key())
            await self.ask_again("Submit", old, SubmitAnswer)

    async def do_earlier(self, step: Step) -> None:
        """Back to a revision of before."""
        if len(self.revisions) > 1 and self.head is not None:
            earlier = self.revisions[step.amount % (len(self.revisions) - 1)]
            await self._submit(revision=earlier)

    async def do_silence(self, step: Step) -> None:
        self.is_silent = True
        await asyncio.sleep(step.length_s)
        self.is_silent = False

    async def do_leave(self, step: Step) -> None:
        request = SetMode(device=DEVICE, mode="standard", reason="done", fence=self.fence, discard=step.amount % 3 > 0)
        await self.ask("SetMode", request, ModeAnswer)
        if step.amount % 2:
            await self.do_live(step)

    async def do_release(self, step: Step) -> None:
        request = ReleaseLease(device=DEVICE, session=self.session, fence=self.fence, discard=step.amount % 3 > 0)
        if isinstance(await self.ask("ReleaseLease", request, Done), Done):
            self.fence = 0

    async def do_steal(self, step: Step) -> None:
        await self._hold(steal=True)
        await self._go_live()

    async def do_read_back(self, _: Step) -> None:
        await self.ask("ReadBack", DeviceHeld(device=DEVICE), Relayed)

    # Within

    async def _keep_up(self) -> None:
        """Renew, and show that somebody is there."""
        while True:
            await asyncio.sleep(5.0)
            if self.fence and not self.is_silent and self.hub is not None and self.hub.connection_id:
                with suppress(ConnectionError, TimeoutError, HubCallError):
                    hold = Hold(device=DEVICE, session=self.session, fence=self.fence)
                    if isinstance(await self.ask("RenewLease", hold, LeaseRenewed), Failure):
                        self.fence = 0
                    await self.ask("Heartbeat", Heartbeat(device=DEVICE, call=self.call), Done)

    async def _hold(self, *, steal: bool = False) -> bool:
        self._lives += not self.session or (not self.fence and self._chance.random() < 0.3)
        self.session = f"{self.name}-{self._lives}"
        if steal:
            taken = StealLease(device=DEVICE, session=self.session, reason="an emergency", idempotency_key=self._key())
            lease = await self.ask("StealLease", taken, LeaseAnswer)
        else:
            lease = await self.ask("AcquireLease", AcquireLease(device=DEVICE, session=self.session), LeaseAnswer)
        if isinstance(lease, Failure):
            return False
        self.fence = lease.fence
        if lease.head is not UNSET:
            self._know(lease.head)
        return True

    async def _go_live(self) -> bool:
        request = SetMode(device=DEVICE, mode="advanced", reason="a visit", fence=self.fence)
        return isinstance(await self.ask("SetMode", request, ModeAnswer), ModeAnswer)

    async def _change(self, step: Step, ears: tuple[Ear, ...], paths: tuple[BandPath, ...], by_ddb: int) -> None:
        band = self._chance.randrange(10)
        ops = tuple(PatchOp(op="add", ear=ear, path=path, band=band, value=by_ddb) for ear in ears for path in paths)
        if self.head is None:
            await self._look()
        if self.head is not None:
            await self._submit(patch=Patch(slot=1, ops=ops), lowers=by_ddb < 0)

    async def _submit(self, *, lowers: bool = False, **wanted: Any) -> None:
        request = Submit(
            device=DEVICE,
            kind="volatile",
            mode="advanced",
            base=Base(revision=self.head.revision),
            reason="a test",
            idempotency_key=self._key(),
            fence=self.fence,
            **wanted,
        )
        answer = await self.ask_again("Submit", request, SubmitAnswer)
        self._heard("submitted", fitter=self.name, request=request, answer=answer, lowers=lowers)
        if isinstance(answer, SubmitAnswer):
            self._last = request
            self._took(answer)
        elif answer.error.code in ("base_mismatch", "not_live", "lease_lost", "fence_stale"):
            await self._look()

    def _took(self, answer: SubmitAnswer) -> None:
        self.seqs.append(answer)
        self.revisions.append(answer.revision_id)
        self.head = msgspec.structs.replace(self.head, revision=answer.revision_id, digests=answer.digests)

    async def _look(self) -> None:
        found = await self.ask("GetDevice", DeviceQuery(device=DEVICE), DeviceAnswer)
        if isinstance(found, DeviceAnswer) and found.head is not UNSET:
            self._know(found.head)

    def _know(self, head: Any) -> None:
        self.head = head
        if head.revision not in self.revisions:
            self.revisions.append(head.revision)

    async def _wait(self, patience_s: float) -> None:
        """Until the last change has an end, as long as that."""
        if not self.seqs:
            return
        last = self.seqs[-1]
        with suppress(TimeoutError):
            async with asyncio.timeout(patience_s):
                while self._states.get(last.seq) not in (ENDS - {"confirmed"} if last.seq in self._saves else ENDS):
                    await self._news.wait()

    async def settled(self, patience_s: float) -> str:
        """The state of the last change after waiting, asked for."""
        await self._wait(patience_s)
        last = self.seqs[-1]
        answer = await self.ask(
            "GetDelivery", DeliveryQuery(device=DEVICE, epoch=last.epoch, seq=last.seq), DeliveryAnswer
        )
        return answer.error.code if isinstance(answer, Failure) else answer.state

    def _delivery_changed(self, change: DeliveryChanged) -> None:
        if change.ear is UNSET:
            self._states[change.seq] = change.state
            self._news.set()
            self._news.clear()

    def _mode_changed(self, told: ModeChanged) -> None:
        if isinstance(told.draft, str):
            self.draft = told.draft

    def _key(self) -> str:
        self._keys += 1
        return f"{self.name}-key-{self._keys}"
