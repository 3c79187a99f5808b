"""Splits sound into the bands of an aid, as complex signals whose magnitude is the envelope.

Each band is a long linear-phase FIR band-pass for positive frequencies only, so the magnitude of a steady
tone is steady: the compressor behind it sees no ripple. All bands share one Kaiser window, so their real
parts add up to the input, delayed. Knows no gain and no hearing loss. Read ``AnalyticFilterBank`` first.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["AnalyticFilterBank", "ComplexBands", "Samples"]

Samples = NDArray[np.float64]
ComplexBands = NDArray[np.complex128]

_FFT_LENGTH = 2_048


class AnalyticFilterBank:
    """Complementary analytic band split by overlap-save; ``latency_samples`` is its group delay.

    Crossovers are the arithmetic means of neighbouring centres: every centre then keeps half a spacing
    from its crossovers, which gives the whole spacing to the transition. At 24 kHz with 250 Hz between the
    closest centres and 344 samples of delay, a tone at a centre is more than 100 dB down in other bands.

    Raises ValueError for a grid that does not rise or does not lie below half the sampling rate.
    """

    def __init__(self, bands_hz: Sequence[int], rate_hz: int, latency_samples: int) -> None:
        centres = np.asarray(bands_hz, dtype=np.float64)
        if np.any(np.diff(centres) <= 0) or centres[0] <= 0 or centres[-1] >= rate_hz / 2:
            raise ValueError(f"band centres must rise and lie below {rate_hz / 2:g} Hz: {tuple(bands_hz)}")
        self.latency_samples = latency_samples
        self.max_block = _FFT_LENGTH - 2 * latency_samples
        if self.max_block <= 0:
            raise ValueError(f"a latency of {latency_samples} samples needs a longer transform")
        taps = _band_filters(centres, rate_hz, latency_samples)
        self._responses: ComplexBands = np.fft.fft(taps, _FFT_LENGTH, axis=1)
        self._history: Samples = np.zeros(2 * latency_samples)

    def process(self, block: Samples) -> ComplexBands:
        """Filter up to ``max_block`` samples: shape (bands, samples), continuing from the last block."""
        history = len(self._history)
        segment = np.concatenate((self._history, block))
        self._history = segment[len(segment) - history :]
        spectrum = np.fft.fft(segment, _FFT_LENGTH)
        filtered = np.fft.ifft(self._responses * spectrum, axis=1)
        # The first 2 x latency samples are wrapped around: overlap-save throws them away.
        return filtered[:, history : len(segment)]


def _band_filters(centres_hz: Samples, rate_hz: int, latency_samples: int) -> ComplexBands:
    crossovers = (centres_hz[:-1] + centres_hz[1:]) / 2
    edges = np.concatenate(([0.0], crossovers, [rate_hz / 2])) / rate_hz
    offset = np.arange(-latency_samples, latency_samples + 1)
    spacing = min(float(np.min(np.diff(centres_hz), initial=rate_hz)), 2 * float(centres_hz[0]))
    # Kaiser 1974: attenuation that a window of this length reaches across one spacing.
    attenuation_db = 2.285 * 2 * np.pi * spacing / rate_hz * 2 * latency_samples + 8
    window = np.kaiser(len(offset), 0.1102 * (min(attenuation_db, 120.0) - 8.7))
    low_passes = np.exp(2j * np.pi * edges[:, np.newaxis] * offset)
    ideal = np.diff(low_passes, axis=0)
    ideal /= np.where(offset == 0, 1, 1j * np.pi * offset)
    ideal[:, latency_samples] = 2 * np.diff(edges)
    filters: ComplexBands = ideal * window
    return filters
