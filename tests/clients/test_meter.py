"""The sound meter against sounds whose level can be worked out by hand."""

import ast
from pathlib import Path

import numpy as np
import pytest

import clients.meter
from clients.meter import Pressure, level_db_spl, measure_gain_db, sweep, tone

RATE_HZ = 24_000


def test_one_pascal_is_94_db_spl() -> None:
    assert level_db_spl(np.ones(100)) == pytest.approx(93.979, abs=0.001)


@pytest.mark.parametrize("level", [0.0, 50.0, 65.0, 80.0, 120.0])
@pytest.mark.parametrize("frequency_hz", [250, 997, 8_000])
def test_a_tone_has_the_level_that_was_asked_for(frequency_hz: int, level: float) -> None:
    assert level_db_spl(tone(frequency_hz, level, 1.0, RATE_HZ)) == pytest.approx(level, abs=1e-6)


@pytest.mark.parametrize("factor", [0.1, 1.0, 10.0])
@pytest.mark.parametrize("frequency_hz", [250, 375, 997.3, 6_000, 11_000])
def test_a_plain_factor_is_measured_exactly(frequency_hz: float, factor: float) -> None:
    reading = measure_gain_db(lambda sound: factor * sound, frequency_hz, 65, RATE_HZ)
    assert reading.gain_db == pytest.approx(20 * np.log10(factor), abs=1e-6)
    assert reading.output_db_spl == pytest.approx(65 + 20 * np.log10(factor), abs=1e-6)


def test_a_delay_changes_nothing() -> None:
    def late(sound: Pressure) -> Pressure:
        return np.concatenate((np.zeros(360), sound))[: len(sound)]

    assert measure_gain_db(late, 750, 65, RATE_HZ).gain_db == pytest.approx(0, abs=1e-9)


def test_distortion_shows_in_the_total_and_not_at_the_frequency() -> None:
    def with_third_harmonic(sound: Pressure) -> Pressure:
        time_s = np.arange(len(sound)) / RATE_HZ
        return sound + np.max(sound) * np.sin(2 * np.pi * 3_000 * time_s)

    reading = measure_gain_db(with_third_harmonic, 1_000, 65, RATE_HZ)
    assert reading.gain_db == pytest.approx(0, abs=0.01)
    assert reading.total_db_spl - reading.output_db_spl == pytest.approx(3.01, abs=0.05)


def test_what_comes_before_it_has_settled_is_not_measured() -> None:
    def loud_at_first(sound: Pressure) -> Pressure:
        factor = np.ones(len(sound))
        factor[: RATE_HZ * 39 // 100] = 100
        return factor * sound

    assert measure_gain_db(loud_at_first, 1_000, 65, RATE_HZ).total_db_spl == pytest.approx(65, abs=1e-6)


def test_silence_has_a_number() -> None:
    assert measure_gain_db(np.zeros_like, 1_000, 65, RATE_HZ).output_db_spl == pytest.approx(-200)


@pytest.mark.parametrize("broken", [lambda sound: sound[:-1], lambda sound: sound * np.nan])
def test_what_does_not_answer_with_a_sound_is_refused(broken: clients.meter.Process) -> None:
    with pytest.raises(ValueError, match="finite sample"):
        measure_gain_db(broken, 1_000, 65, RATE_HZ)


def test_a_sweep_takes_each_frequency_at_each_level() -> None:
    readings = sweep(lambda sound: sound, (500, 1_000), (50.0, 80.0), RATE_HZ)
    assert [(r.frequency_hz, r.input_db_spl) for r in readings] == [
        (500, 50.0),
        (500, 80.0),
        (1_000, 50.0),
        (1_000, 80.0),
    ]


def test_the_meter_shares_no_code_with_what_it_measures() -> None:
    source = ast.parse(Path(clients.meter.__file__).read_text(encoding="utf-8"))
    imported = set()
    for node in ast.walk(source):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            imported.add((node.module or "").split(".")[0])
    assert imported == {"collections", "dataclasses", "numpy"}
