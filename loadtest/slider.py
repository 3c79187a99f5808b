"""What a hand at a slider does in a live session: when it moves, and which patch its moves come to.

Pure: the time is an argument. Moves come at a steady rate whatever the server does; those that could not be sent yet
are joined into the next patch, as fitting software does. Every band goes up by 1 dB and down again, one band after
the other, so that no limit on a change, on a session or on ten seconds is ever near. Read ``Slider.take`` and
``Sweep.patch`` first.
"""

from typing import Final

from fitting.limits import GAIN_PATHS
from fitting.model import band_values, ear_program, ears_of
from protocol.contract.base import Ear
from protocol.contract.fitting import Content, EarProgram, Patch, PatchOp, Program

__all__ = ["MAX_JOINED", "MAX_MOVES_PER_S", "Slider", "Sweep"]

MAX_JOINED: Final = 8
"""Moves in one patch; those beyond it are dropped."""
MAX_MOVES_PER_S: Final = 12.0
"""A device's log looks at 128 contents in the 10 s that budgets are counted over, and takes no more."""
STEP_DDB: Final = 10


class Slider:
    """When the hand moves: ``moves_per_s`` from ``start`` on. Raises ValueError for a rate that is out of range."""

    def __init__(self, moves_per_s: float) -> None:
        if not 0 < moves_per_s <= MAX_MOVES_PER_S:
            raise ValueError(f"moves per second must be above 0 and at most {MAX_MOVES_PER_S:g}")
        self._interval_s = 1 / moves_per_s
        self._next_s = 0.0

    def start(self, now_s: float, phase: float = 1.0) -> None:
        """The first move comes ``phase`` (0 to 1) of an interval from now, so that many hands need not move at once."""
        self._next_s = now_s + phase * self._interval_s

    def wait_s(self, now_s: float) -> float:
        """How long until the next move, 0 when it has been made already."""
        return max(0.0, self._next_s - now_s)

    def take(self, now_s: float) -> tuple[int, float]:
        """How many moves have been made since the last time, and when the first of them was; 0 for none yet."""
        first_s = self._next_s
        moves = int((now_s - first_s) // self._interval_s) + 1 if now_s >= first_s else 0
        self._next_s += moves * self._interval_s
        return moves, first_s


class Sweep:
    """Which gains the moves change: each move one band of one ear, between ``base`` and 1 dB above it."""

    def __init__(self, base: Content, *, step_ddb: int = STEP_DDB) -> None:
        self._program = base.programs[0]
        self._step_ddb = step_ddb
        self._places = [(ear, band) for ear in ears_of(base) for band in range(len(base.bands_hz))]
        self._at = 0

    def patch(self, held: Content, moves: int) -> Patch:
        """The patch that ``moves`` come to on what the aids hold."""
        ops: list[PatchOp] = []
        for _ in range(min(moves, MAX_JOINED, len(self._places))):
            ops += self._flip(held)
            self._at = (self._at + 1) % len(self._places)
        return Patch(slot=self._program.slot, ops=tuple(ops))

    def _flip(self, held: Content) -> list[PatchOp]:
        ear, band = self._places[self._at]
        base = _ear(self._program, ear)
        now = next(_ear(program, ear) for program in held.programs if program.slot == self._program.slot)
        # All three levels together, so that the compression stays what it is.
        rise = self._step_ddb if band_values(now, GAIN_PATHS[0])[band] == band_values(base, GAIN_PATHS[0])[band] else 0
        return [
            PatchOp(op="set", ear=ear, path=path, band=band, value=band_values(base, path)[band] + rise)
            for path in GAIN_PATHS
        ]


def _ear(program: Program, ear: Ear) -> EarProgram:
    part = ear_program(program, ear)
    assert part is not None  # the aids do not change during a session
    return part
