"""What the nemesis can tell a phone through a file: where to die, and what its aids get wrong next."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

import msgspec

from clients.device_driver import AidRefused, VendorData
from clients.file_journal import FileJournal
from clients.journal import JournalRecord
from clients.virtual_aid.aid import VirtualAid
from protocol.contract.devices import SlotImage

__all__ = ["POISON_NR_DDB", "DyingJournal", "FaultyAid", "Orders"]

POISON_NR_DDB: Final = 110
"""Noise reduction of 11 dB: valid by the sheet, and no aid of these phones takes it."""


class Orders(msgspec.Struct, frozen=True, kw_only=True):
    """One order, carried out once. ``phase`` and ``when``: die before or after the journal is saved in that phase.

    ``faults``: fields of ``clients.virtual_aid.faults.Faults`` for the aid that is written next.
    """

    phase: str = ""
    when: str = "after"
    faults: dict[str, int] = {}

    def give(self, path: Path) -> None:
        """Put it where the phone looks."""
        new = path.with_suffix(".new")
        new.write_bytes(msgspec.json.encode(self))
        new.replace(path)

    @classmethod
    def read(cls, path: Path) -> "Orders":
        """What is ordered now; an empty order for nothing."""
        try:
            return msgspec.json.decode(path.read_bytes(), type=cls)
        except FileNotFoundError:
            return cls()


class DyingJournal(FileJournal):
    """A journal whose process dies before or after a save, where it was told to."""

    def __init__(self, path: Path, *, orders: Path) -> None:
        super().__init__(path)
        self._orders = orders

    def save(self, record: JournalRecord) -> None:
        """Save, and die if it is time."""
        with self._dying(record):
            super().save(record)

    @contextmanager
    def _dying(self, record: JournalRecord) -> Iterator[None]:
        entry = record.in_flight
        phase = entry.phase if entry is not None else "ended" if record.ended else ""
        orders = Orders.read(self._orders)
        if orders.phase == phase != "" and orders.when == "before":
            self._die()
        yield
        if orders.phase == phase != "":
            self._die()

    def _die(self) -> None:
        self._orders.unlink()
        os.kill(os.getpid(), signal.SIGKILL)


class FaultyAid(VirtualAid):
    """An aid that takes no poison, ever, and gets wrong what it was told to get wrong."""

    orders: Path

    async def write_trial(self, slots: tuple[SlotImage, ...], vendor: VendorData | None = None) -> None:
        """As the interface says."""
        if any(slot.program.nr_ddb == POISON_NR_DDB for slot in slots):
            raise AidRefused("this aid does not take that")
        faults = Orders.read(self.orders).faults
        if faults:
            self.orders.unlink()
            self.faults = replace(self.faults, **faults)  # type: ignore[arg-type]  # the fields that orders name are numbers
        await super().write_trial(slots, vendor)
