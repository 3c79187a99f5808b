"""One hearing aid without the hardware: two memories, a slow link, faults, and sound.

The reference ``DeviceDriver``. The sound always follows what RAM holds for the active slot, in the middle of a write
too. The aid knows neither server nor delivery; it does what the phone asks. Read ``VirtualAid.write_trial`` first.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Final, Literal

import msgspec
import numpy as np
from msgspec.structs import replace as struct_replace

from clients.device_driver import (
    AidBusy,
    AidIdentity,
    AidRebooted,
    AidRefused,
    BatteryLow,
    CommitFailed,
    LinkLost,
    LinkUnavailable,
    Memory,
    VendorData,
)
from clients.virtual_aid.compressor import BandProgram, Compressor, DspConfig
from clients.virtual_aid.faults import Faults
from clients.virtual_aid.filterbank import Samples
from clients.virtual_aid.memory import CHUNKS, after_chunk, factory_image, with_slots
from clients.virtual_aid.store import AidStore
from fitting.capability import SHEETS, CapabilitySheet
from fitting.digest import ear_digest
from protocol.contract.base import Ear
from protocol.contract.devices import EarImage, SlotImage
from protocol.contract.fitting import EarProgram

__all__ = ["VENDOR_FORMAT", "AidChange", "VendorSlots", "VirtualAid"]

VENDOR_FORMAT: Final = "auricle.virtual/1"
_COMMIT_NEEDS_PERCENT: Final = 20
_VOLUME_DDB: Final = range(-200, 61)


class VendorSlots(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a vendor payload of the format ``auricle.virtual/1`` holds, as JSON: the slots to write, by ear."""

    left: tuple[SlotImage, ...] = ()
    right: tuple[SlotImage, ...] = ()


@dataclass(frozen=True, slots=True)
class AidChange:
    """Something has happened to a memory: a chunk came, a write or a restore is through, NVM changed, a restart."""

    what: Literal["chunk", "written", "restored", "committed", "rebooted"]
    ear: Ear
    memory: Memory
    image: EarImage
    chunk: int = CHUNKS


class VirtualAid:
    """A virtual aid of a capability sheet. ``sleep`` is awaited for every delay, in seconds.

    ``writes_completed`` counts how often a write or a restore has brought RAM to what it was to hold. With a ``store``
    its memories outlive the process. ``on_change`` hears of every change of a memory when it has happened.
    """

    vendor_formats: Final = frozenset({VENDOR_FORMAT})

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
        store: AidStore | None = None,
        on_change: Callable[[AidChange], None] = lambda _: None,
    ) -> None:
        self.ear: Ear = ear
        self.sheet: CapabilitySheet = SHEETS[model]
        self._faults = faults
        self.writes_completed = self.commits_completed = self.boots = 0
        self.connected = True
        self._serial, self._model, self._firmware = serial, model, firmware
        self._sleep, self._store, self._on_change = sleep, store, on_change
        self._news = asyncio.Event()
        self._ram = self._nvm = image or factory_image(ear, self.sheet.bands_hz)
        if self._ram.ear != ear:
            raise AidRefused(f"an image of the {self._ram.ear} ear does not go into the {ear} aid")
        self._check(self._ram.slots)
        self._wake_up(store)
        self._active_slot = self._ram.slots[0].slot
        self._volume_ddb, self._muted = 0, False
        self.rate_hz = dsp.rate_hz
        self._dsp = dsp
        self._compressor: Compressor | None = None

    @property
    def faults(self) -> Faults:
        """What goes wrong; changing it is news, as it would be for a real aid."""
        return self._faults

    @faults.setter
    def faults(self, faults: Faults) -> None:
        self._faults = faults
        self._news.set()

    async def connect(self) -> None:
        """Bring the link up again. Raises LinkUnavailable while the aid is out of range."""
        if self._faults.refuse_connects:
            self._faults = replace(self._faults, refuse_connects=self._faults.refuse_connects - 1)
            raise LinkUnavailable(f"the {self.ear} aid does not answer")
        self.connected = True

    async def identify(self) -> AidIdentity:
        """As the interface says."""
        self._require_link()
        return AidIdentity(
            ear=self.ear,
            serial=f"{self._serial}-other" if self._faults.wrong_serial else self._serial,
            model=self._model,
            firmware=self._firmware,
            battery_percent=self._faults.battery_percent,
            busy=self._faults.busy,
            boots=self.boots,
            slot=self._active_slot,
            volume_ddb=self._volume_ddb,
            muted=self._muted,
        )

    async def capabilities(self) -> CapabilitySheet | None:
        """As the interface says."""
        self._require_link()
        return SHEETS.get(self._model)

    async def read(self, memory: Memory) -> EarImage:
        """As the interface says; the answer may be a lie when the faults say so."""
        image = self.read_image(memory)
        if memory == "ram" and self._faults.lie_readback:
            self._faults = replace(self._faults, lie_readback=self._faults.lie_readback - 1)
            return _one_value_wrong(image)
        return image

    def read_image(self, memory: Memory) -> EarImage:
        """What a memory truly holds. Raises LinkUnavailable."""
        self._require_link()
        return self._ram if memory == "ram" else self._nvm

    def read_digest(self, memory: Memory) -> str:
        """The digest of what a memory truly holds. Raises LinkUnavailable."""
        return ear_digest(self.read_image(memory))

    async def write_trial(self, slots: tuple[SlotImage, ...], vendor: VendorData | None = None) -> None:
        """As the interface says. A vendor payload is what is written then, whatever its projection says."""
        self._require_link()
        written = slots if vendor is None else self._unpacked(vendor)
        self._check(written)
        await self._write(with_slots(self._ram, written), "written")

    async def restore(self, image: EarImage) -> None:
        """As the interface says."""
        self._require_link()
        self._check(image.slots)
        await self._write(image, "restored")

    async def commit(self) -> None:
        """As the interface says. NVM has two banks: a copy that does not come to its end is forgotten."""
        self._require_link()
        self._require_free()
        if self._faults.battery_percent < _COMMIT_NEEDS_PERCENT:
            raise BatteryLow(f"the {self.ear} aid has {self._faults.battery_percent} % left")
        image, boots = self._ram, self.boots
        for chunk in range(1, CHUNKS + 1):
            await self._sleep(self.sheet.commit_ms / 1_000 / CHUNKS * self._faults.time_scale)
            if self.boots != boots:
                raise AidRebooted(f"the {self.ear} aid restarted")
            if self._store is not None:
                self._store.stage(image, chunk)
            if self._faults.drop_link_in_commit == chunk and chunk < CHUNKS:
                self._drop_in_commit()
        if self._faults.nvm_failures:
            self._faults = replace(self._faults, nvm_failures=self._faults.nvm_failures - 1)
            raise CommitFailed(f"the {self.ear} aid did not keep what it was given")
        self._nvm = image
        self.commits_completed += 1
        self._keep_nvm()
        self._on_change(AidChange("committed", self.ear, "nvm", image))
        if self._faults.drop_link_in_commit == CHUNKS:
            self._drop_in_commit()

    async def changed(self) -> None:
        """As the interface says; for one listener."""
        await self._news.wait()
        self._news.clear()

    def reboot(self) -> None:
        """Restart: RAM becomes a copy of NVM, and the link is gone."""
        self.boots += 1
        self._hold(self._nvm)
        self._keep_ram()
        self.connected = False
        self._on_change(AidChange("rebooted", self.ear, "ram", self._ram))
        self._news.set()

    def write_by_another_app(self, slots: tuple[SlotImage, ...]) -> None:
        """What the phone does not hear of: another app, or a clinic, writes to RAM."""
        self._check(slots)
        self._hold(with_slots(self._ram, slots))
        self._keep_ram()

    def save_by_another_app(self, slots: tuple[SlotImage, ...]) -> None:
        """The same, and it is kept: both memories hold it."""
        self.write_by_another_app(slots)
        self._nvm = with_slots(self._nvm, slots)
        self._keep_nvm()

    def select_slot(self, slot: int) -> None:
        """Press the program button. Raises AidRefused for an empty slot."""
        if slot not in {held.slot for held in self._ram.slots}:
            raise AidRefused(f"slot {slot} is empty")
        self._active_slot = slot
        self._sound()
        self._news.set()

    def turn_volume(self, volume_ddb: int, *, muted: bool = False) -> None:
        """Turn the volume to so many tenths of a decibel above the fitting's. Raises AidRefused beyond -20 to +6 dB."""
        if volume_ddb not in _VOLUME_DDB:
            raise AidRefused("the volume goes from -20 to +6 dB")
        self._volume_ddb, self._muted = volume_ddb, muted
        self._sound()
        self._news.set()

    def process(self, samples: Samples) -> Samples:
        """Sound pressure in pascal at ``rate_hz`` through the active program, at most 15 ms later."""
        if self._compressor is None:
            # An aid that nobody listens to needs none, and it takes a while to make.
            self._compressor = Compressor(self.sheet.bands_hz, self._audible(), self._dsp)
        heard = self._compressor.process(samples)
        return np.zeros_like(heard) if self._muted else heard

    async def _write(self, target: EarImage, what: Literal["written", "restored"]) -> None:
        self._require_free()
        if self._faults.corrupt_digest:
            self._faults = replace(self._faults, corrupt_digest=self._faults.corrupt_digest - 1)
            target = _one_value_wrong(target)
        before, reached = self._ram, False
        delay_s = self.sheet.write_trial_ms / 1_000 / CHUNKS * self._faults.time_scale * self._faults.slow_link
        self._strike(0)
        for chunk in range(1, CHUNKS + 1):
            await self._sleep(delay_s)
            image = after_chunk(before, target, chunk)
            if not reached and image == target:
                reached = True
                self.writes_completed += 1
            self._hold(image)
            self._keep_ram(chunk, committed=False)
            self._on_change(AidChange("chunk", self.ear, "ram", image, chunk))
            if chunk == CHUNKS:
                self._keep_ram()
                self._on_change(AidChange(what, self.ear, "ram", image))
            self._strike(chunk)

    def _strike(self, chunk: int) -> None:
        """Let the faults of this chunk happen, each once."""
        if self._faults.drop_link_after_chunk == chunk:
            self._faults = replace(self._faults, drop_link_after_chunk=None)
            self.connected = False
            self._news.set()
        if self._faults.reboot_after_chunk == chunk:
            self._faults = replace(self._faults, reboot_after_chunk=None)
            self.reboot()
            raise AidRebooted(f"the {self.ear} aid restarted")
        if not self.connected:
            raise LinkLost(f"link to the {self.ear} aid lost")

    def _drop_in_commit(self) -> None:
        self._faults = replace(self._faults, drop_link_in_commit=None)
        self.connected = False
        self._news.set()
        raise LinkLost(f"link to the {self.ear} aid lost")

    def _hold(self, image: EarImage) -> None:
        self._ram = image
        if self._active_slot not in {slot.slot for slot in image.slots}:
            self._active_slot = image.slots[0].slot
        self._sound()

    def _wake_up(self, store: AidStore | None) -> None:
        """Take up what the store has kept, and let it keep what is new to it."""
        if store is None:
            return
        ram, nvm = store.load("ram"), store.load("nvm")
        if nvm is not None:
            self._nvm, self.commits_completed = nvm.image, nvm.done
            self._ram = self._nvm
        if ram is not None:
            self._ram, self.writes_completed, self.boots = ram.image, ram.done, ram.boots
        if nvm is None:
            self._keep_nvm()
        if ram is None:
            self._keep_ram()

    def _keep_ram(self, chunk: int = CHUNKS, *, committed: bool = True) -> None:
        if self._store is not None:
            done, boots = self.writes_completed, self.boots
            self._store.save("ram", self._ram, chunk=chunk, committed=committed, done=done, boots=boots)

    def _keep_nvm(self) -> None:
        if self._store is not None:
            self._store.save("nvm", self._nvm, done=self.commits_completed)

    def _sound(self) -> None:
        if self._compressor is not None:
            self._compressor.program = self._audible()

    def _audible(self) -> BandProgram:
        program = next(slot.program for slot in self._ram.slots if slot.slot == self._active_slot)
        volume_db = self._volume_ddb / 10
        return BandProgram(
            g50_db=np.asarray(program.g50_ddb) / 10 + volume_db,
            g65_db=np.asarray(program.g65_ddb) / 10 + volume_db,
            g80_db=np.asarray(program.g80_ddb) / 10 + volume_db,
            mpo_db_spl=np.asarray(program.mpo_ddb) / 10,
        )

    def _unpacked(self, vendor: VendorData) -> tuple[SlotImage, ...]:
        if vendor.format not in self.vendor_formats:
            raise AidRefused(f"this aid does not understand {vendor.format}")
        try:
            slots = msgspec.json.decode(vendor.data, type=VendorSlots)
        except msgspec.DecodeError:
            raise AidRefused(f"this is not {vendor.format}") from None
        return slots.right if self.ear == "right" else slots.left

    def _require_link(self) -> None:
        if not self.connected:
            raise LinkUnavailable(f"no link to the {self.ear} aid")

    def _require_free(self) -> None:
        if self._faults.busy:
            raise AidBusy(f"the {self.ear} aid is busy")

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
