"""A virtual aid's memories as files, so that it goes on playing while its phone is killed and started again.

A file per memory, replaced whole at every chunk: a killed process leaves the memory as the last chunk left it. The
file of RAM says how much of a write has arrived; that of NVM changes only with the commit byte. Survives processes,
not power cuts. It must not know what is written. Read ``AidStore`` first.
"""

import os
from pathlib import Path
from typing import Final, Literal

import msgspec
from msgspec.structs import replace

from clients.device_driver import AidRefused, Memory
from fitting.digest import ear_digest
from protocol.contract.base import Ear
from protocol.contract.devices import EarImage

__all__ = ["AidStore", "StoredMemory"]

_FORMAT: Final = "auricle-aid/1"


class StoredMemory(msgspec.Struct, frozen=True, kw_only=True):
    """One memory. ``committed`` false: a write has stopped after ``chunk`` of its 8 chunks, the image is a mixture.

    ``done`` counts how often the memory was brought to what it was to hold, ``boots`` the restarts of the aid.
    """

    format: Literal["auricle-aid/1"] = "auricle-aid/1"
    ear: Ear
    serial: str
    memory: Memory
    image: EarImage
    digest: str
    chunk: int = 8
    committed: bool = True
    done: int = 0
    boots: int = 0


class AidStore:
    """The files ``EAR.ram.json`` and ``EAR.nvm.json`` of one aid in ``folder``, and ``EAR.nvm.new`` while copying."""

    def __init__(self, folder: Path, ear: Ear, serial: str) -> None:
        self._folder, self._ear, self._serial = folder, ear, serial

    def load(self, memory: Memory) -> StoredMemory | None:
        """What was kept, None for an aid that is new here. Raises AidRefused for another aid's file."""
        path = self._path(memory)
        try:
            stored = msgspec.json.decode(path.read_bytes(), type=StoredMemory)
        except FileNotFoundError:
            return None
        except msgspec.DecodeError:
            raise AidRefused(f"{path.name} holds no memory of a virtual aid ({_FORMAT})") from None
        if (stored.ear, stored.serial, stored.memory) != (self._ear, self._serial, memory):
            raise AidRefused(f"{path.name} is of another aid: its serial is not the one that was asked for")
        return stored

    def save(
        self, memory: Memory, image: EarImage, *, chunk: int = 8, committed: bool = True, done: int = 0, boots: int = 0
    ) -> None:
        """Put a memory in place of the old one, in one step."""
        new = self._folder / f"{self._ear}.{memory}.new"
        stored = self._stored(memory, image, chunk, committed)
        new.write_bytes(msgspec.json.encode(replace(stored, done=done, boots=boots)))
        os.replace(new, self._path(memory))

    def stage(self, image: EarImage, chunk: int) -> None:
        """A chunk of a copy to NVM has arrived in the other bank; NVM is what it was."""
        staged = self._stored("nvm", image, chunk, committed=False)
        (self._folder / f"{self._ear}.nvm.new").write_bytes(msgspec.json.encode(staged))

    def _path(self, memory: Memory) -> Path:
        return self._folder / f"{self._ear}.{memory}.json"

    def _stored(self, memory: Memory, image: EarImage, chunk: int, committed: bool) -> StoredMemory:
        return StoredMemory(
            ear=self._ear,
            serial=self._serial,
            memory=memory,
            image=image,
            digest=ear_digest(image),
            chunk=chunk,
            committed=committed,
        )
