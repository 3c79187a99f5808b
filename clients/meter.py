"""A sound meter: plays calibrated tones into anything that processes sound, and measures what comes out.

It is the independent witness of the demo and the tests, so it must share no code with the virtual aid and
must not know how a gain is made. Sound is pressure in pascal. Read ``measure_gain_db`` first.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Measurement", "Process", "level_db_spl", "measure_gain_db", "sweep", "tone"]

Pressure = NDArray[np.float64]
Process = Callable[[Pressure], Pressure]

_REFERENCE_PA = 20e-6  # 0 dB SPL, ISO 1683


@dataclass(frozen=True, slots=True)
class Measurement:
    """One tone. ``output_db_spl`` is the level at the tone's frequency, ``total_db_spl`` of all that came out.

    The two differ by noise and distortion.
    """

    frequency_hz: float
    input_db_spl: float
    output_db_spl: float
    total_db_spl: float

    @property
    def gain_db(self) -> float:
        """Output over input at the frequency of the tone."""
        return self.output_db_spl - self.input_db_spl


def tone(frequency_hz: float, level: float, seconds: float, rate_hz: int) -> Pressure:
    """A sine of ``level`` dB SPL (root mean square), in pascal."""
    time_s = np.arange(round(seconds * rate_hz)) / rate_hz
    amplitude_pa = np.sqrt(2) * _REFERENCE_PA * 10 ** (level / 20)
    wave: Pressure = amplitude_pa * np.sin(2 * np.pi * frequency_hz * time_s)
    return wave


def level_db_spl(sound_pa: Pressure) -> float:
    """Root-mean-square level; silence reads -200."""
    rms_pa = float(np.sqrt(np.mean(np.square(sound_pa))))
    return 20 * float(np.log10(max(rms_pa, _REFERENCE_PA * 1e-10) / _REFERENCE_PA))


def measure_gain_db(
    process: Process,
    frequency_hz: float,
    level_db_spl_in: float,
    rate_hz: int,
    *,
    settle_s: float = 0.4,
    measure_s: float = 0.1,
) -> Measurement:
    """Play one steady tone through ``process`` and measure it after ``settle_s``.

    The level at the frequency is that of the sine that fits best in the sense of least squares, over the
    last ``measure_s``, shortened to whole cycles where the rate allows.
    """
    played = tone(frequency_hz, level_db_spl_in, settle_s + measure_s, rate_hz)
    heard = process(played)
    if heard.shape != played.shape or not np.all(np.isfinite(heard)):
        raise ValueError("what is measured must give one finite sample for each that it gets")
    cycles = max(1, int(measure_s * frequency_hz))
    window = heard[-round(cycles / frequency_hz * rate_hz) :]
    phase = 2 * np.pi * frequency_hz * np.arange(len(window)) / rate_hz
    basis = np.column_stack((np.sin(phase), np.cos(phase)))
    weights = np.linalg.lstsq(basis, window, rcond=None)[0]
    return Measurement(
        frequency_hz=frequency_hz,
        input_db_spl=level_db_spl_in,
        # The mean square of a sine is that of its two weights, whether or not the window holds whole cycles.
        output_db_spl=level_db_spl(weights),
        total_db_spl=level_db_spl(window),
    )


def sweep(
    process: Process, frequencies_hz: Iterable[float], levels: Iterable[float], rate_hz: int
) -> tuple[Measurement, ...]:
    """Measure every frequency at every level in dB SPL, frequency by frequency."""
    levels = tuple(levels)
    return tuple(
        measure_gain_db(process, frequency, level, rate_hz) for frequency in frequencies_hz for level in levels
    )
