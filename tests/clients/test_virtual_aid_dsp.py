"""The sound of the virtual aid, measured by a meter that shares no code with it."""

import itertools
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from clients.meter import Measurement, level_db_spl, measure_gain_db, sweep, tone
from clients.virtual_aid.compressor import BandProgram, Compressor, DspConfig
from clients.virtual_aid.filterbank import AnalyticFilterBank
from fitting.capability import SHEETS

Values = NDArray[np.float64]

RATE_HZ = 24_000
LEVELS = (50.0, 65.0, 80.0, 90.0, 100.0)
GRIDS = {model: sheet.bands_hz for model, sheet in SHEETS.items()}


def flat(value: float, bands: int = 10) -> Values:
    return np.full(bands, value)


def program(g50: Values, g65: Values, g80: Values, mpo: Values) -> BandProgram:
    return BandProgram(g50_db=g50, g65_db=g65, g80_db=g80, mpo_db_spl=mpo)


def aid_of(chosen: BandProgram, bands_hz: tuple[int, ...] = GRIDS["ref10"]) -> Compressor:
    return Compressor(bands_hz, chosen, DspConfig(rate_hz=RATE_HZ))


def wanted_db_spl(chosen: BandProgram, band: int, level: float) -> float:
    """The table, worked out here with numpy's own interpolation."""
    points = [chosen.g50_db[band], chosen.g65_db[band], chosen.g80_db[band]]
    gain = float(np.interp(level, [50, 65, 80], points))
    return min(level + gain, float(chosen.mpo_db_spl[band]))


def measured(chosen: BandProgram, bands_hz: tuple[int, ...]) -> tuple[float, float]:
    """The largest distance from the table, and the largest total output above the band's MPO, in dB."""
    aid = aid_of(chosen, bands_hz)
    worst, above = 0.0, -np.inf
    for reading in sweep(aid.process, bands_hz, LEVELS, RATE_HZ):
        band = bands_hz.index(int(reading.frequency_hz))
        worst = max(worst, abs(reading.output_db_spl - wanted_db_spl(chosen, band, reading.input_db_spl)))
        above = max(above, reading.total_db_spl - float(chosen.mpo_db_spl[band]))
    return worst, above


def programs(bands: int, first_high: int) -> dict[str, BandProgram]:
    saw = np.asarray(20.0 * ((np.arange(bands) + first_high) % 2), dtype=np.float64)
    return {
        "neighbours 20 dB apart in gain": program(saw + 30, saw + 15, saw, flat(111, bands)),
        "neighbours 20 dB apart in MPO": program(flat(30, bands), flat(20, bands), flat(10, bands), saw + 90),
        "apart in both": program(saw + 40, saw + 40, saw + 40, saw + 80),
    }


@pytest.mark.parametrize("first_high", [0, 1])
@pytest.mark.parametrize("model", sorted(GRIDS))
def test_every_band_and_level_is_within_half_a_decibel_of_the_table_and_never_above_mpo(
    model: str, first_high: int
) -> None:
    bands_hz = GRIDS[model]
    for name, chosen in programs(len(bands_hz), first_high).items():
        worst, above = measured(chosen, bands_hz)
        print(f"{model}, {name}: worst {worst:.3f} dB from the table, {above:+.3f} dB from the MPO")
        assert worst <= 0.5, name
        assert above <= 0.5, name


def test_any_program_of_the_sheet_keeps_to_its_table() -> None:
    random = np.random.default_rng(20_261)
    for _ in range(3):
        g80 = random.uniform(0, 30, 10)
        g65 = g80 + random.uniform(0, 15, 10)
        g50 = g65 + random.uniform(0, 15, 10)
        worst, above = measured(program(g50, g65, g80, np.asarray(random.uniform(80, 124, 10))), GRIDS["ref10"])
        assert max(worst, above) <= 0.5


def test_a_tone_between_two_bands_does_not_add_up_above_the_mpo() -> None:
    aid = aid_of(program(flat(40), flat(40), flat(40), flat(100)))
    centres = GRIDS["ref10"]
    between = [(low + high) / 2 for low, high in itertools.pairwise(centres)]
    for reading in sweep(aid.process, between, (50.0, 80.0, 100.0), RATE_HZ):
        assert reading.total_db_spl <= min(reading.input_db_spl + 40, 100) + 0.5


def test_the_limit_holds_in_the_attack_time_too() -> None:
    limit_pa = np.sqrt(2) * 20e-6 * 10 ** (100 / 20)
    for frequency_hz in GRIDS["ref10"]:
        aid = aid_of(program(flat(40), flat(40), flat(40), flat(100)))
        sound = tone(frequency_hz, 100, 0.2, RATE_HZ)
        # Swelling for 20 ms: a sudden start would be a click, which is sound in all bands at once.
        sound[:480] *= np.sin(np.linspace(0, np.pi / 2, 480)) ** 2
        heard = aid.process(sound)
        assert np.max(np.abs(heard)) <= limit_pa * 10 ** (0.5 / 20), frequency_hz


def test_a_sudden_tone_keeps_the_limit_after_its_click() -> None:
    limit_pa = np.sqrt(2) * 20e-6 * 10 ** (100 / 20)
    for frequency_hz in GRIDS["ref10"]:
        aid = aid_of(program(flat(40), flat(30), flat(30), flat(100)))
        heard = aid.process(tone(frequency_hz, 100, 0.2, RATE_HZ))
        settled = heard[2 * aid.latency_samples + RATE_HZ // 100 :]
        assert np.max(np.abs(settled)) <= limit_pa * 10 ** (0.5 / 20), frequency_hz


@given(cuts=st.lists(st.integers(0, 4_000), max_size=12), seed=st.integers(0, 2**32 - 1))
@settings(max_examples=25, deadline=None)
def test_any_split_into_blocks_gives_the_same_sound(cuts: list[int], seed: int) -> None:
    chosen = program(flat(40), flat(25), flat(10), flat(90))
    sound = np.random.default_rng(seed).normal(0, 0.05, 4_000)
    whole = aid_of(chosen).process(sound)
    streaming = aid_of(chosen)
    parts = [streaming.process(part) for part in np.split(sound, sorted(cuts))]
    np.testing.assert_allclose(np.concatenate(parts), whole, rtol=0, atol=1e-11)


def test_one_sample_at_a_time_gives_the_same_sound() -> None:
    chosen = program(flat(20), flat(10), flat(0), flat(90))
    sound = np.random.default_rng(5).normal(0, 0.05, 400)
    streaming = aid_of(chosen)
    singly = np.concatenate([streaming.process(sample) for sample in np.split(sound, len(sound))])
    np.testing.assert_allclose(singly, aid_of(chosen).process(sound), rtol=0, atol=1e-11)


def test_without_gain_the_bands_add_up_to_the_input_at_most_15_ms_late() -> None:
    aid = aid_of(program(flat(0), flat(0), flat(0), flat(132)))
    sound = np.random.default_rng(7).normal(0, 0.1, 12_000)
    heard = aid.process(sound)
    assert aid.latency_samples / RATE_HZ <= 0.015
    late = sound[: -aid.latency_samples]
    # From the second tenth of a second on: at first the expansion still lets go.
    settled = slice(RATE_HZ // 4, None)
    error = heard[aid.latency_samples :][settled] - late[settled]
    assert level_db_spl(error) < level_db_spl(late) - 40


def test_a_changed_program_is_heard_in_the_next_blocks_without_a_click() -> None:
    aid = aid_of(program(flat(10), flat(10), flat(10), flat(120)))
    before = measure_gain_db(aid.process, 1_000, 65, RATE_HZ)
    sound = tone(1_000, 65, 1.0, RATE_HZ)
    aid.process(sound[:12_000])
    aid.program = program(flat(16), flat(16), flat(16), flat(120))
    heard = aid.process(sound[12_000:])
    peak_pa = np.sqrt(2) * 20e-6 * 10 ** (81 / 20)
    assert np.max(np.abs(np.diff(heard))) <= peak_pa * 2 * np.pi * 1_000 / RATE_HZ * 1.02
    after = measure_gain_db(aid.process, 1_000, 65, RATE_HZ)
    assert after.gain_db - before.gain_db == pytest.approx(6, abs=0.02)


def test_a_gain_that_moves_quickly_does_not_crackle() -> None:
    aid = aid_of(program(flat(40), flat(20), flat(0), flat(90)))
    swell = 10 ** (-30 / 20) + (1 - 10 ** (-30 / 20)) * np.sin(np.linspace(0, np.pi / 2, 480)) ** 2
    loudness = np.concatenate((np.full(12_000, swell[0]), swell, np.ones(6_000)))
    heard = aid.process(tone(1_000, 85, len(loudness) / RATE_HZ, RATE_HZ) * loudness)[11_000:]
    power = np.abs(np.fft.rfft(heard * np.hanning(len(heard)))) ** 2
    elsewhere = np.fft.rfftfreq(len(heard), 1 / RATE_HZ) > 2_500
    assert 10 * np.log10(power[elsewhere].sum() / power.sum()) < -65


def test_attack_and_release_take_their_time_constants() -> None:
    aid = aid_of(program(flat(30), flat(20), flat(0), flat(120)))
    quiet, loud = tone(1_000, 50, 0.5, RATE_HZ), tone(1_000, 80, 0.5, RATE_HZ)
    heard = aid.process(np.concatenate((quiet, loud, quiet)))[aid.latency_samples :]
    window = RATE_HZ // 1_000 * 2

    def gain_db(at_s: float, level: float) -> float:
        start = round(at_s * RATE_HZ)
        return level_db_spl(heard[start : start + window]) - level

    # 30 dB of change: 1/e of it, 11 dB, is left after one time constant.
    assert gain_db(0.504, 80) == pytest.approx(30 / np.e, abs=4)
    assert gain_db(0.525, 80) < 1
    assert gain_db(1.049, 50) == pytest.approx(30 - 30 / np.e, abs=4)
    assert gain_db(1.40, 50) > 29.5


def test_a_tone_at_a_centre_is_100_db_down_in_every_other_band() -> None:
    for bands_hz in GRIDS.values():
        for index, frequency_hz in enumerate(bands_hz):
            bank = AnalyticFilterBank(bands_hz, RATE_HZ, 345)
            sound = tone(frequency_hz, 94, 0.05, RATE_HZ)
            bands = np.hstack([bank.process(part) for part in np.split(sound, [600])])[:, 800:]
            level = 20 * np.log10(np.max(np.abs(bands), axis=1))
            assert np.all(np.delete(level, index) < level[index] - 100)


@pytest.mark.parametrize("bands_hz", [(500, 250), (0, 250), (250, 12_000), (250, 250)])
def test_a_grid_that_does_not_rise_below_half_the_rate_is_refused(bands_hz: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="must rise"):
        AnalyticFilterBank(bands_hz, RATE_HZ, 345)


def test_a_filter_longer_than_the_transform_is_refused() -> None:
    with pytest.raises(ValueError, match="longer transform"):
        AnalyticFilterBank((250, 500), RATE_HZ, 1_024)


def test_an_aid_of_one_band_works_too() -> None:
    aid = aid_of(program(flat(20, 1), flat(10, 1), flat(0, 1), flat(100, 1)), (1_000,))
    readings: tuple[Measurement, ...] = sweep(aid.process, (1_000,), (50, 65, 80), RATE_HZ)
    assert [round(reading.gain_db, 1) for reading in readings] == [20.0, 10.0, 0.0]


def test_a_sweep_of_both_ears_is_quick_enough_for_a_demo() -> None:
    aids = [aid_of(program(flat(40), flat(25), flat(10), flat(100))) for _ in range(2)]
    started = time.process_time()
    for aid in aids:
        sweep(aid.process, GRIDS["ref10"], (50.0, 65.0, 80.0), RATE_HZ)
    seconds = time.process_time() - started
    print(f"10 bands x 3 levels x 2 ears: {seconds:.2f} s of CPU for 30 s of sound")
    # Aimed at 2 s; the bound leaves room for a machine that is busy with other tests.
    assert seconds < 6
