"""Carries out on one aid what the table of its ear asks for, until the table wants nothing more of it.

Every operation has a limit, and the brake shortens it, except that of a copy to NVM: what has begun there finishes.
Must not know deliveries, sessions or the server. Read ``EarHands.run`` first.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Literal, TypeVar

from clients.brake import Brake
from clients.device_driver import (
    AidBusy,
    AidError,
    AidIdentity,
    AidPair,
    AidRebooted,
    AidRefused,
    BatteryLow,
    CommitFailed,
    DeviceDriver,
    LinkLost,
    LinkUnavailable,
    VendorData,
)
from clients.ear_reading import Sought, is_torn, read_event
from clients.ear_work import GOING_BACK, OPERATIONS, EarEvent, EarPhase, EarWork, Operation, step
from clients.gentle_rise import steps_up
from clients.journal import EarPlan
from clients.phone_book import Watch
from clients.phone_limits import PhoneLimits
from fitting.capability import CapabilitySheet
from fitting.digest import ear_digest
from protocol.contract.base import Ear
from protocol.contract.devices import EarImage, Images, SlotImage

__all__ = ["EarDone", "EarHands", "EarJob", "Reading", "TellStep", "for_each_ear"]

T = TypeVar("T")
_LOG: Final = logging.getLogger("auricle.clients")
TellStep = Callable[[Ear, Literal["writing", "indeterminate", "received"], str | None], Awaitable[None]]
_EVENTS: Final[tuple[tuple[type[Exception], EarEvent], ...]] = (
    (AidRebooted, EarEvent.REBOOTED),
    (AidRefused, EarEvent.REFUSED),
    (AidBusy, EarEvent.BUSY),
    (BatteryLow, EarEvent.LOW_BATTERY),
    (CommitFailed, EarEvent.NVM_FAILED),
    # Whatever else went wrong, the read-back will say what the aid holds.
    (AidError, EarEvent.LOST),
    (TimeoutError, EarEvent.TIMED_OUT),
)


@dataclass(frozen=True, slots=True)
class EarJob:
    """What is to be done to one ear: a plan, and what its target is written with.

    ``serial`` is that of the one aid that it is for: another in its place counts as away. ``owns_nvm``: see ``Sought``.
    ``may_begin`` is asked right before the first byte of a write. ``is_gentle``: what rises far does so in steps.
    """

    plan: EarPlan
    serial: str
    slots: tuple[SlotImage, ...] = ()
    vendor: VendorData | None = None
    owns_nvm: bool = False
    may_begin: Callable[[], bool] = lambda: True
    is_gentle: bool = False

    def on_the_way(self, reading: "Reading | None") -> tuple[tuple[SlotImage, ...], ...]:
        """What is written one after the other before the target, over what was read."""
        target, numbers = self.plan.target, {slot.slot for slot in self.slots}
        if not self.is_gentle or target is None or reading is None or reading.sheet is None:
            return ()
        images = steps_up(reading.images.image, target, reading.sheet)
        return tuple(tuple(slot for slot in image.slots if slot.slot in numbers) for image in images)

    def meaning(self, phase: EarPhase, reading: "Reading") -> EarEvent:
        """What a read-back of that aid is to the work."""
        plan, held = self.plan, reading.images
        sought = Sought(plan.before_digest, plan.target_digest, plan.nvm_digest, self.owns_nvm)
        before, target = plan.before_nvm, plan.target
        torn = before is not None and target is not None and is_torn(reading.nvm, before, target)
        return read_event(phase, held.ram, held.nvm, sought, is_torn=torn)


@dataclass(frozen=True, slots=True)
class Reading:
    """Everything that one aid was read to be, at one time."""

    identity: AidIdentity
    images: Images
    nvm: EarImage
    sheet: CapabilitySheet | None


@dataclass(frozen=True, slots=True)
class EarDone:
    """Where the work on an ear has come to, and what was read of the aid last."""

    work: EarWork
    held: Images | None


class EarHands:
    """The operations on a pair of aids. Callers see to it that one aid has one job at a time.

    ``readings`` are of the aids that were not written since, and could be reached when they were last looked at.
    """

    def __init__(
        self,
        pair: AidPair,
        limits: PhoneLimits,
        brake: Brake,
        watch: Watch,
        *,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._pair, self._limits, self._brake, self._watch, self._sleep = pair, limits, brake, watch, sleep
        self.readings: dict[Ear, Reading] = {}

    @property
    def ears(self) -> Collection[Ear]:
        """The ears that there is a driver of."""
        return self._pair.ears

    @property
    def held(self) -> dict[Ear, Images]:
        """What each of these aids was last read to hold."""
        return {ear: reading.images for ear, reading in self.readings.items()}

    async def run(self, job: EarJob, work: EarWork, tell: TellStep, *, heeds_brake: bool = True) -> EarDone:
        """Step the table from ``work`` on, to an end, to a wait, or until the brake is pulled."""
        ear, held, counts = job.plan.ear, None, dict.fromkeys(Operation, 0)
        if ear not in self.ears:
            # The app carries no such aid any more: as if it were out of reach.
            return EarDone(EarWork(EarPhase.PARKED, work.cause), None)
        aid = self._pair.aid(ear)
        while (operation := OPERATIONS.get(work.phase)) is not None:
            if operation is Operation.WRITE and not counts[operation] and not job.may_begin():
                # The phone slept between the word and the deed.
                work = EarWork(EarPhase.UNDOING, "E_EXPIRED")
                continue
            if heeds_brake and self._brake.is_on and operation is not Operation.COMMIT:
                break
            if operation is Operation.READ:
                reading = await self.read(aid, heeds_brake=heeds_brake)
                is_it = reading is not None and reading.images.serial == job.serial
                held = reading.images if reading is not None and is_it else None
                event = EarEvent.LOST if reading is None or not is_it else job.meaning(work.phase, reading)
            elif self._is_exhausted(operation, counts):
                event = EarEvent.EXHAUSTED
            else:
                counts[operation] += 1
                self._watch("operation", ear=ear, is_back=work.phase in GOING_BACK)
                event = await self._write(aid, operation, job, heeds_brake)
            if heeds_brake and self._brake.is_on and event in (EarEvent.LOST, EarEvent.TIMED_OUT):
                # Broken off by us: what it came to is for the one who pulled the brake to find out.
                break
            work, cell = step(work, event)
            if cell.report is not None:
                await tell(ear, cell.report, cell.cause)
        return EarDone(work, held)

    def may_hold(self, ear: Ear, serial: str) -> bool:
        """Whether that very aid is in reach, for all that is known."""
        if ear not in self._pair.ears or not self._pair.aid(ear).connected:
            return False
        return ear not in self.readings or self.readings[ear].images.serial == serial

    async def reach(self, aid: DeviceDriver) -> bool:
        """Bring the link to an aid up if it is down; whether it is up then."""
        for _ in range(self._limits.connect_tries):
            if aid.connected:
                break
            with contextlib.suppress(LinkUnavailable):
                async with _errors_as_lost():
                    await aid.connect()
        return aid.connected

    async def read(self, aid: DeviceDriver, *, heeds_brake: bool = False) -> Reading | None:
        """Read both memories, None when the aid cannot be reached.

        The digests are computed here, from what was read: an aid's word is no proof.
        """
        self.readings.pop(aid.ear, None)
        try:
            async with _errors_as_lost(), self._limit(heeds_brake):
                if await self.reach(aid):
                    self.readings[aid.ear] = await _read(aid)
        except (AidError, TimeoutError):
            pass
        return self.readings.get(aid.ear)

    def _is_exhausted(self, operation: Operation, counts: dict[Operation, int]) -> bool:
        if operation is Operation.COMMIT:
            return counts[operation] >= self._limits.max_commits
        writes = sum(counts.values()) - counts[Operation.COMMIT]
        return writes >= self._limits.max_writes

    async def _write(self, aid: DeviceDriver, operation: Operation, job: EarJob, heeds_brake: bool) -> EarEvent:
        reading = self.readings.pop(aid.ear, None)
        heeds_brake = heeds_brake and operation is not Operation.COMMIT
        if operation is Operation.COMMIT:
            return await self._attempt(aid.commit, heeds_brake)
        if operation is Operation.RESTORE:
            return await self._attempt(partial(aid.restore, job.plan.before), heeds_brake)
        if operation is Operation.RESTORE_NVM:
            return await self._attempt(partial(aid.restore, job.plan.before_nvm or job.plan.before), heeds_brake)
        for slots in job.on_the_way(reading):
            event = await self._attempt(partial(aid.write_trial, slots), heeds_brake)
            if event is EarEvent.WRITTEN and await self._is_stopped():
                event = EarEvent.TIMED_OUT
            if event is not EarEvent.WRITTEN:
                return event
        return await self._attempt(partial(aid.write_trial, job.slots, job.vendor), heeds_brake)

    async def _attempt(self, deed: Callable[[], Awaitable[None]], heeds_brake: bool) -> EarEvent:
        try:
            async with _errors_as_lost(), self._limit(heeds_brake):
                await deed()
        except (AidError, TimeoutError) as error:
            return next(event for kind, event in _EVENTS if isinstance(error, kind))
        return EarEvent.WRITTEN

    async def _is_stopped(self) -> bool:
        """Let a step be heard; whether somebody wants no further one."""
        try:
            async with self._brake.within(None, at_once=True):
                await self._sleep(self._limits.rise_pause_s)
        except TimeoutError:
            return True
        return False

    @asynccontextmanager
    async def _limit(self, heeds_brake: bool) -> AsyncIterator[None]:
        if heeds_brake:
            async with self._brake.within(self._limits.operation_s):
                yield
        else:
            async with asyncio.timeout(self._limits.operation_s):
                yield


async def for_each_ear(works: Mapping[Ear, Coroutine[Any, Any, T]]) -> dict[Ear, T]:
    """All at once: an aid that hangs must not hold up the other. What one of them raises comes out as it is."""
    try:
        async with asyncio.TaskGroup() as tasks:
            running = {ear: tasks.create_task(work) for ear, work in works.items()}
    except BaseExceptionGroup as failed:
        raise failed.exceptions[0] from None
    return {ear: task.result() for ear, task in running.items()}


@asynccontextmanager
async def _errors_as_lost() -> AsyncIterator[None]:
    """A maker's driver that fails in a way that nobody foresaw fails like a link: the read-back will tell."""
    try:
        yield
    except (AidError, TimeoutError):
        raise
    except Exception as error:
        _LOG.error("a driver failed: %s", type(error).__name__)
        raise LinkLost("the driver failed") from error


async def _read(aid: DeviceDriver) -> Reading:
    identity, ram, nvm = await aid.identify(), await aid.read("ram"), await aid.read("nvm")
    images = Images(
        serial=identity.serial,
        firmware=identity.firmware,
        ram=ear_digest(ram),
        nvm=ear_digest(nvm),
        image=ram,
        battery=identity.battery_percent,
    )
    return Reading(identity, images, nvm, await aid.capabilities())
