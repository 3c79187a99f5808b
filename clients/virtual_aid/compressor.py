"""The sound of one program: wide dynamic range compression and output limiting, band by band.

Input and output are sound pressures in pascal. Follows the usual aid: level per band, gain by straight
lines through the gains for 50, 65 and 80 dB SPL, attack and release, then a limiter at the maximum power
output of the band. Noise reduction and microphone modes are not modelled. Knows no memory, no slot and
no digest. Read ``Compressor.process`` first.
"""

from dataclasses import dataclass

import numpy as np

from clients.virtual_aid.filterbank import AnalyticFilterBank, ComplexBands, Samples

__all__ = ["BandProgram", "Compressor", "DspConfig"]

REFERENCE_PA = 20e-6
_SILENCE_PA = 1e-12


@dataclass(frozen=True, slots=True)
class DspConfig:
    """The ``..._s`` of attack and release are time constants; ``latency_s`` bounds the whole delay of the sound.

    15 ms is the most that 21 CFR 800.30 allows. ``frame`` is how many samples share one gain decision.
    """

    rate_hz: int = 24_000
    attack_s: float = 0.005
    release_s: float = 0.050
    limiter_release_s: float = 0.020
    latency_s: float = 0.015
    frame: int = 8


@dataclass(frozen=True, slots=True)
class BandProgram:
    """Gains in dB for 50, 65 and 80 dB SPL and the maximum power output in dB SPL, one value per band."""

    g50_db: Samples
    g65_db: Samples
    g80_db: Samples
    mpo_db_spl: Samples

    def gain_db(self, level_db_spl: Samples) -> Samples:
        """Gain for levels of shape (bands, n): straight lines between the three points, constant outside.

        Below 20 dB SPL it falls again, dB for dB and by 20 dB at most. Such expansion keeps the noise of
        microphones quiet; here it also stops the gain for soft sounds from raising what a very loud tone in
        the next band leaks.
        """
        low = np.clip((level_db_spl - 50) / 15, 0, 1)
        high = np.clip((level_db_spl - 65) / 15, 0, 1)
        rise_low, rise_high = self.g65_db - self.g50_db, self.g80_db - self.g65_db
        expansion = np.clip(20 - level_db_spl, 0, 20)
        gain: Samples = (
            self.g50_db[:, np.newaxis] + low * rise_low[:, np.newaxis] + high * rise_high[:, np.newaxis] - expansion
        )
        return gain


class Compressor:
    """Streaming: the output does not depend on how the input is cut into blocks.

    The gain, not the level, is smoothed: a changed program is then faded in like a changed level, and no
    write clicks. The limiter looks one frame ahead and acts at once, so bands keep to their maximum power
    output in the attack time too.
    """

    def __init__(self, bands_hz: tuple[int, ...], program: BandProgram, config: DspConfig) -> None:
        self.program = program
        frame, bands = config.frame, len(bands_hz)
        look_ahead = 2 * frame - 1
        self._bank = AnalyticFilterBank(bands_hz, config.rate_hz, int(config.latency_s * config.rate_hz) - look_ahead)
        self.latency_samples = self._bank.latency_samples + look_ahead
        frame_s = frame / config.rate_hz
        self._frame = frame
        self._ramp = np.arange(frame) / frame
        self._attack = 1 - np.exp(-frame_s / config.attack_s)
        self._release = 1 - np.exp(-frame_s / config.release_s)
        self._peak_fall_db = 20 * np.log10(np.e) * frame_s / config.limiter_release_s
        self._smoothed_db = program.gain_db(np.zeros((bands, 1)))[:, 0]
        self._peak_db: Samples = np.full(bands, _decibels(np.array(_SILENCE_PA)))
        self._gain: Samples = 10 ** (self._smoothed_db / 20)
        # One silent frame is under way before the first sample: every later frame is treated alike.
        self._held: ComplexBands = np.zeros((bands, frame), dtype=np.complex128)
        self._ready: Samples = np.zeros(frame - 1)

    def process(self, samples: Samples) -> Samples:
        """As many samples out as in, ``latency_samples`` later, both in pascal."""
        step = self._bank.max_block
        parts = [self._ready]
        parts += [self._advance(samples[start : start + step]) for start in range(0, len(samples), step)]
        made = np.concatenate(parts)
        self._ready = made[len(samples) :]
        return made[: len(samples)]

    def _advance(self, block: Samples) -> Samples:
        """Take a block in, give all frames out whose next frame is known."""
        held = np.concatenate((self._held, self._bank.process(block)), axis=1)
        bands, frame = len(held), self._frame
        count = held.shape[1] // frame - 1
        split = count * frame
        self._held = held[:, split:]
        if count == 0:
            return np.zeros(0)
        incoming = held[:, frame : frame + split].reshape(bands, count, frame)
        outgoing = held[:, :split].reshape(bands, count, frame)
        gains = np.column_stack((self._gain, self._frame_gains(incoming)))
        self._gain = gains[:, -1]
        # From the gain of a frame to that of the next: a limit is reached before the frame that needs it.
        slope = np.diff(gains, axis=1)[:, :, np.newaxis]
        gain = gains[:, :-1, np.newaxis] + slope * self._ramp
        sound: Samples = np.einsum("bfk,bfk->fk", gain, outgoing.real).reshape(-1)
        return sound

    def _frame_gains(self, frames: ComplexBands) -> Samples:
        """Linear gain per band and frame from (bands, frames, samples), limited."""
        power = frames.real**2 + frames.imag**2
        rms = np.sqrt(np.mean(power, axis=2) / 2)
        peak = np.sqrt(np.max(power, axis=2) / 2)
        gain = 10 ** (self._smooth(self.program.gain_db(_decibels(rms))) / 20)
        return self._limit(gain, self._follow_peaks(_decibels(peak)))

    def _smooth(self, wanted_db: Samples) -> Samples:
        smoothed = self._smoothed_db
        result = np.empty_like(wanted_db)
        for index in range(wanted_db.shape[1]):
            change = wanted_db[:, index] - smoothed
            smoothed = smoothed + change * np.where(change < 0, self._attack, self._release)
            result[:, index] = smoothed
        self._smoothed_db = smoothed
        return result

    def _follow_peaks(self, peak_db: Samples) -> Samples:
        """Up at once, down by a constant slope: a running maximum over peaks that are raised with time."""
        fall = self._peak_fall_db * np.arange(peak_db.shape[1] + 1)
        raised = np.column_stack((self._peak_db, peak_db)) + fall
        held: Samples = (np.maximum.accumulate(raised, axis=1) - fall)[:, 1:]
        self._peak_db = held[:, -1]
        return 10 ** (held / 20) * REFERENCE_PA

    def _limit(self, gain: Samples, peak_pa: Samples) -> Samples:
        mpo_pa = (10 ** (self.program.mpo_db_spl / 20) * REFERENCE_PA)[:, np.newaxis]
        limited = np.minimum(gain, mpo_pa / peak_pa)
        # A tone between two centres is in both bands, in phase: together they may not exceed the higher limit.
        output = limited * peak_pa
        allowed = np.maximum(mpo_pa[:-1], mpo_pa[1:]) / (output[:-1] + output[1:])
        share = np.ones_like(limited)
        share[:-1] = np.minimum(share[:-1], allowed)
        share[1:] = np.minimum(share[1:], allowed)
        return limited * share


def _decibels(pressure_pa: Samples) -> Samples:
    level: Samples = 20 * np.log10(np.maximum(pressure_pa, _SILENCE_PA) / REFERENCE_PA)
    return level
