"""What a model of hearing aid can be told: its grid, ranges, steps, slots and habits.

A configuration outside the sheet of its aid is refused (safety rule K1), never rounded on the way. This
module must not know what is safe for a person. Read ``CapabilitySheet`` first. The sheets here are of two
reference devices, ``ref10`` (prescription) and ``otc6`` (over the counter).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from protocol.contract.fitting import MicMode
from protocol.errors import NotFound

__all__ = ["SHEETS", "CapabilitySheet", "sheet"]


@dataclass(frozen=True, slots=True)
class CapabilitySheet:
    """One model's abilities. ``_ddb`` are tenths of a decibel, MPO in tenths of dB SPL, ``_ms`` per ear.

    ``otc``: sold over the counter, so the output limits of 21 CFR 800.30 hold.
    ``input_controlled_compression``: the aid lowers its gain as the input rises, always.
    ``volatile_write``: RAM can be written without touching NVM.
    ``reverts_on_link_loss``: without its phone the aid goes back to what NVM holds.
    """

    model: str
    bands_hz: tuple[int, ...]
    gain_min_ddb: int
    gain_max_ddb: int
    gain_step_ddb: int
    mpo_min_ddb: int
    mpo_max_ddb: int
    mpo_step_ddb: int
    slots: int
    otc: bool
    mics: tuple[MicMode, ...]
    nr_min_ddb: int = 0
    nr_max_ddb: int = 120
    nr_step_ddb: int = 10
    input_controlled_compression: bool = False
    volatile_write: bool = True
    reverts_on_link_loss: bool = True
    write_trial_ms: int = 400
    commit_ms: int = 1_500
    mutes_on_commit_ms: int = 250


SHEETS: Final[Mapping[str, CapabilitySheet]] = MappingProxyType(
    {
        "ref10": CapabilitySheet(
            model="ref10",
            bands_hz=(250, 500, 750, 1000, 1500, 2000, 3000, 4000, 6000, 8000),
            gain_min_ddb=0,
            gain_max_ddb=600,
            gain_step_ddb=10,
            mpo_min_ddb=800,
            mpo_max_ddb=1_240,
            mpo_step_ddb=10,
            slots=4,
            otc=False,
            mics=("omni", "pinna", "fixed_dir", "adaptive_dir"),
        ),
        "otc6": CapabilitySheet(
            model="otc6",
            bands_hz=(250, 500, 1000, 2000, 4000, 6000),
            gain_min_ddb=0,
            gain_max_ddb=350,
            gain_step_ddb=10,
            mpo_min_ddb=800,
            mpo_max_ddb=1_110,
            mpo_step_ddb=10,
            slots=2,
            otc=True,
            mics=("omni", "fixed_dir"),
            nr_max_ddb=60,
        ),
    }
)


def sheet(model: str) -> CapabilitySheet:
    """The sheet of a model. Raises NotFound for a model that is not known."""
    try:
        return SHEETS[model]
    except KeyError:
        raise NotFound(f"there is no capability sheet for the model {model[:40]!r}") from None
