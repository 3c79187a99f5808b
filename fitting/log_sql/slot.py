"""One device in the memory of this process: its rows as they were last read or written, and what was told since.

A slot may be old at any time: other processes write to the same database. This module must not know how rows are read.
Read ``Slot`` from the top.
"""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from fitting.log_commands import revive
from fitting.log_rows import DeviceRows
from fitting.log_values import Revision
from protocol.contract.base import EARS, Ear
from protocol.contract.devices import EarTruth
from protocol.errors import AuricleError

from .packed import named
from .record import HeadRow

__all__ = ["Quiet", "Slot", "Told"]


@dataclass(frozen=True, slots=True)
class Told:
    """A step that was told and is not written down: on other rows it is taken again, at the time of then.

    ``ears`` is what was known of the aids before it.
    """

    step: Callable[[DeviceRows, float], Any]
    now_s: float
    ears: Mapping[Ear, EarTruth]

    def again(self, rows: DeviceRows) -> None:
        """Take it again; an aid of which others have learned something since is not read anew by what was told then."""
        now = rows.truth.ears
        rows.fresh.moved_on = frozenset(ear for ear in EARS if now.get(ear) != self.ears.get(ear))
        # What others have written since may leave no room for it; then theirs is what counts.
        with suppress(AuricleError):
            self.step(rows, self.now_s)
        rows.fresh.moved_on = frozenset()


@dataclass(slots=True)
class Quiet:
    """What is left of a slot whose phone is attached and has nothing to expect until somebody writes to the device."""

    version: int
    generation: int
    checked_s: float


@dataclass(slots=True)
class Slot:
    """``rows`` is None when they must be read first.

    ``carrier``: the process that attached the phone last. ``log_epoch``: the database's identity when the rows were
    read or written. ``known``: revisions that need not be read again.
    ``checked_s``: when the rows were last known to be the newest, on a clock that only rises. ``unwritten_s``: since
    when there is something that was told and not written; None when there is not. ``told`` is what can be told again.
    """

    device: str
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    rows: DeviceRows | None = None
    version: int = -1
    revisions: int = 0
    generation: int = 0
    carrier: str = ""
    log_epoch: str = ""
    known: dict[str, Revision] = field(default_factory=dict)
    checked_s: float = 0.0
    unwritten_s: float | None = None
    told: list[Told] = field(default_factory=list)

    def read(self, rows: DeviceRows, head: HeadRow, log_epoch: str, at_s: float) -> None:
        """Other rows take the place of those there were; what was told of those is taken again."""
        self.version, self.revisions, self.carrier = head.version, head.revisions, head.carrier
        self.generation, self.log_epoch = head.generation, log_epoch
        for told in self.told:
            told.again(rows)
        rows.fresh.is_soft = False
        self.rows, self.checked_s, self.known = rows, at_s, named(rows)

    def written(self, rows: DeviceRows, head: HeadRow, at_s: float) -> None:
        """All that the rows hold is written down."""
        self.version, self.revisions, self.carrier = head.version, head.revisions, head.carrier
        self.generation, self.log_epoch = head.generation, head.log_epoch
        self.rows, self.checked_s = rows, at_s
        self.unwritten_s = None
        self.told.clear()

    def doubt(self, name: str, now_s: float) -> None:
        """Before a step: unless this process carries the phone, another may have told what is not written down."""
        if self.rows is not None and self.carrier != name:
            revive(self.rows, now_s)

    def tell_later(self, at_s: float) -> None:
        """Something was told that is not written down."""
        if self.unwritten_s is None:
            self.unwritten_s = at_s

    @property
    def is_written(self) -> bool:
        """Whether it may be forgotten without losing anything."""
        return self.unwritten_s is None and not self.told
