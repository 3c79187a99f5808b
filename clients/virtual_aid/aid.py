"""One hearing aid without the hardware: two memories, a slow link, faults, and sound.

The sound always follows what RAM holds for the active slot, in the middle of a write too. The aid knows
neither server nor delivery; it does what the phone asks. Read ``VirtualAid.write_trial`` first.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from msgspec.structs import replace as struct_replace

from clients.virtual_aid.compressor import BandProgram, Compressor, DspConfig
from clients.virtual_aid.faults import (
    AidRebooted,
    AidRefused,
    BatteryLow,
    CommitFailed,
    Faults,
    LinkLost,
    LinkUnavailable,
)
from clients.virtual_aid.filterbank import Samples
from clients.virtual_aid.memory import CHUNKS, after_chunk, factory_image, with_slots
from fitting.capability import SHEETS, CapabilitySheet
from fitting.digest import ear_digest
from protocol.contract.base import Ear
from protocol.contract.devices import EarImage, SlotImage
from protocol.contract.fitting import EarProgram

__all__ = ["AidIdentity", "Memory", "VirtualAid"]

Memory = Literal["ram", "nvm"]
_COMMIT_NEEDS_PERCENT = 20


@dataclass(frozen=True, slots=True)
class AidIdentity:
    """What an aid says of itself when it is asked over the link."""

    ear: Ear
    serial: str
    model: str
    firmware: str
    battery_percent: int


class VirtualAid:
    """A virtual aid of a capability sheet. ``sleep`` is awaited for every delay, in seconds.

    ``writes_completed`` counts how often a write or a restore has brought RAM to what it was to hold.
    """

    def __init__(
        self,
        ear: Ear,
        serial: str,
        model: str = "ref10",
        firmware: str = "2.3.1",
        *,
        faults: Faults = Faults(),  # noqa: B008  # frozen: a shared default cannot change
        image: EarImage | None = None,
        dsp: DspConfig = DspConfig(),  # noqa: B008  # frozen: a shared default cannot change
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self.ear: Ear = ear
        self.sheet: CapabilitySheet = SHEETS[model]
        self.faults = faults
        self.writes_completed = 0
        self.commits_completed = 0
        self.connected = True
        self._serial, self._model, self._firmware = serial, model, firmware
        self._sleep = sleep
        self._ram = self._nvm = image or factory_image(ear, self.sheet.bands_hz)
        if self._ram.ear != ear:
            raise AidRefused(f"an image of the {self._ram.ear} ear does not go into the {ear} aid")
        self._check(self._ram.slots)
        self._active_slot = self._ram.slots[0].slot
        self.rate_hz = dsp.rate_hz
        self._compressor = Compressor(self.sheet.bands_hz, self._audible(), dsp)

    async def connect(self) -> None:
        """Bring the link up again. Raises LinkUnavailable while the aid is out of range."""
        if self.faults.refuse_connects:
            self.faults = replace(self.faults, refuse_connects=self.faults.refuse_connects - 1)
            raise LinkUnavailable(f"the {self.ear} aid does not answer")
        self.connected = True

    def identify(self) -> AidIdentity:
        """Serial, model, firmware and battery, as the aid itself tells them. Raises LinkUnavailable."""
        self._require_link()
        serial = f"{self._serial}-other" if self.faults.wrong_serial else self._serial
        return AidIdentity(self.ear, serial, self._model, self._firmware, self.faults.battery_percent)

    def read_image(self, memory: Memory) -> EarImage:
        """Read a whole memory back. Raises LinkUnavailable."""
        self._require_link()
        return self._ram if memory == "ram" else self._nvm

    def read_digest(self, memory: Memory) -> str:
        """The digest of a memory as it is now. Raises LinkUnavailable."""
        return ear_digest(self.read_image(memory))

    async def write_trial(self, slots: tuple[SlotImage, ...]) -> None:
        """Write program slots to RAM, heard at once, lost at the next restart.

        Raises AidRefused (nothing written), LinkUnavailable (nothing written), LinkLost or AidRebooted
        (any part of it may be written).
        """
        self._require_link()
        self._check(slots)
        await self._write(with_slots(self._ram, slots))

    async def restore(self, image: EarImage) -> None:
        """Write a whole image to RAM, as ``write_trial`` does and with the same errors."""
        self._require_link()
        self._check(image.slots)
        await self._write(image)

    async def commit(self) -> None:
        """Copy RAM to NVM. Raises LinkUnavailable, BatteryLow or CommitFailed; NVM is then as it was."""
        self._require_link()
        if self.faults.battery_percent < _COMMIT_NEEDS_PERCENT:
            raise BatteryLow(f"the {self.ear} aid has {self.faults.battery_percent} % left")
        await self._sleep(self.sheet.commit_ms / 1_000 * self.faults.time_scale)
        if self.faults.nvm_verify_fails:
            raise CommitFailed(f"the {self.ear} aid did not keep what it was given")
        self._nvm = self._ram
        self.commits_completed += 1

    def reboot(self) -> None:
        """Restart: RAM becomes a copy of NVM, and the link is gone."""
        self._hold(self._nvm)
        self.connected = False

    def select_slot(self, slot: int) -> None:
        """Press the program button. Raises AidRefused for an empty slot."""
        if slot not in {held.slot for held in self._ram.slots}:
            raise AidRefused(f"slot {slot} is empty")
        self._active_slot = slot
        self._compressor.program = self._audible()

    def process(self, samples: Samples) -> Samples:
        """Sound pressure in pascal at ``rate_hz`` through the active program, at most 15 ms later."""
        return self._compressor.process(samples)

    async def _write(self, target: EarImage) -> None:
        if self.faults.corrupt_digest:
            self.faults = replace(self.faults, corrupt_digest=self.faults.corrupt_digest - 1)
            target = _one_value_wrong(target)
        before, reached = self._ram, False
        delay_s = self.sheet.write_trial_ms / 1_000 / CHUNKS * self.faults.time_scale * self.faults.slow_link
        self._strike(0)
        for chunk in range(1, CHUNKS + 1):
            await self._sleep(delay_s)
            self._hold(after_chunk(before, target, chunk))
            if not reached and self._ram == target:
                reached = True
                self.writes_completed += 1
            self._strike(chunk)

    def _strike(self, chunk: int) -> None:
        """Let the faults of this chunk happen, each once."""
        if self.faults.drop_link_after_chunk == chunk:
            self.faults = replace(self.faults, drop_link_after_chunk=None)
            self.connected = False
        if self.faults.reboot_after_chunk == chunk:
            self.faults = replace(self.faults, reboot_after_chunk=None)
            self.reboot()
            raise AidRebooted(f"the {self.ear} aid restarted")
        if not self.connected:
            raise LinkLost(f"link to the {self.ear} aid lost")

    def _hold(self, image: EarImage) -> None:
        self._ram = image
        if self._active_slot not in {slot.slot for slot in image.slots}:
            self._active_slot = image.slots[0].slot
        self._compressor.program = self._audible()

    def _audible(self) -> BandProgram:
        program = next(slot.program for slot in self._ram.slots if slot.slot == self._active_slot)
        return BandProgram(
            g50_db=np.asarray(program.g50_ddb) / 10,
            g65_db=np.asarray(program.g65_ddb) / 10,
            g80_db=np.asarray(program.g80_ddb) / 10,
            mpo_db_spl=np.asarray(program.mpo_ddb) / 10,
        )

    def _require_link(self) -> None:
        if not self.connected:
            raise LinkUnavailable(f"no link to the {self.ear} aid")

    def _check(self, slots: tuple[SlotImage, ...]) -> None:
        for slot in slots:
            _check_program(slot.program, self.sheet)


def _check_program(program: EarProgram, sheet: CapabilitySheet) -> None:
    bands = len(sheet.bands_hz)
    tables = (program.g50_ddb, program.g65_ddb, program.g80_ddb, program.mpo_ddb)
    if any(len(table) != bands for table in tables):
        raise AidRefused(f"this aid has {bands} bands")
    gains = program.g50_ddb + program.g65_ddb + program.g80_ddb
    if min(gains) < sheet.gain_min_ddb or max(gains) > sheet.gain_max_ddb:
        raise AidRefused("a gain is out of range")
    if min(program.mpo_ddb) < sheet.mpo_min_ddb or max(program.mpo_ddb) > sheet.mpo_max_ddb:
        raise AidRefused("a maximum power output is out of range")


def _one_value_wrong(image: EarImage) -> EarImage:
    """One bit of luck less: the output limit of the first band of the first slot is 1 dB low."""
    slot = image.slots[0]
    mpo = (slot.program.mpo_ddb[0] - 10, *slot.program.mpo_ddb[1:])
    wrong = struct_replace(slot, program=struct_replace(slot.program, mpo_ddb=mpo))
    return struct_replace(image, slots=(wrong, *image.slots[1:]))
