"""Audiograms are read exactly or refused with one line."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fitting.audiogram import (
    FREQUENCIES_HZ,
    STANDARD_AUDIOGRAMS,
    AudiogramError,
    parse_audiogram,
    threshold_db,
)

GOOD = {"250": 35, "500": 35, "1000": 40, "2000": 50, "4000": 60}


def parse(document: Any) -> Any:
    return parse_audiogram(json.dumps(document).encode())


def test_both_ears_are_read_into_tenths_and_sorted() -> None:
    audiogram = parse({"name": "A", "left": {**GOOD, "125": 12.5}, "right": GOOD})
    assert audiogram.name == "A"
    assert list(audiogram.ears) == ["right", "left"]
    assert audiogram.ears["left"][:2] == ((125, 125), (250, 350))


def test_one_ear_is_enough() -> None:
    assert list(parse({"left": GOOD}).ears) == ["left"]


def test_a_file_with_a_byte_order_mark_is_read() -> None:
    assert parse_audiogram(b"\xef\xbb\xbf" + json.dumps({"right": GOOD}).encode()).ears


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ({}, "the audiogram is empty"),
        ({"name": "A"}, "the audiogram is empty"),
        ([], "must be an object"),
        (5, "must be an object"),
        ({"right": GOOD, "rigth": GOOD}, 'unknown key "rigth"'),
        ({"right": GOOD, "name": 5}, "name must be text"),
        ({"right": GOOD, "name": "x" * 201}, "name must be text"),
        ({"right": {}}, "right: thresholds must be an object"),
        ({"right": [35, 35]}, "right: thresholds must be an object"),
        ({"right": None}, "right: thresholds must be an object"),
        ({"right": {**GOOD, "700": 5}}, 'right: unknown frequency "700"'),
        ({"right": {**GOOD, "0500": 5}}, 'right: unknown frequency "0500"'),
        ({"right": {**GOOD, "500 Hz": 5}}, 'right: unknown frequency "500 Hz"'),
        ({"right": {**GOOD, "500": "35"}}, "right 500 Hz: the threshold must be a number"),
        ({"right": {**GOOD, "500": True}}, "right 500 Hz: the threshold must be a number"),
        ({"right": {**GOOD, "500": None}}, "right 500 Hz: the threshold must be a number"),
        ({"right": {**GOOD, "500": float("nan")}}, "right 500 Hz: the threshold must be from -10 to 120"),
        ({"right": {**GOOD, "500": float("inf")}}, "right 500 Hz: the threshold must be from -10 to 120"),
        ({"right": {**GOOD, "500": 120.1}}, "right 500 Hz: the threshold must be from -10 to 120"),
        ({"right": {**GOOD, "500": -10.1}}, "right 500 Hz: the threshold must be from -10 to 120"),
        ({"right": {**GOOD, "500": 10**400}}, "right 500 Hz: the threshold must be from -10 to 120"),
        ({"right": {**GOOD, "500": 35.05}}, "right 500 Hz: the threshold must be a multiple of 0.1"),
        ({"right": {"500": 1, "1000": 1, "2000": 1}}, "right: too few frequencies, 4000 Hz missing"),
        ({"right": {"250": 1, "750": 1, "1000": 1, "4000": 1}}, "500, 2000 Hz missing"),
        ({"right": GOOD, "left": {"500": 1}}, "left: too few frequencies"),
    ],
)
def test_a_bad_audiogram_gets_one_clear_line(document: Any, said: str) -> None:
    with pytest.raises(AudiogramError) as caught:
        parse(document)
    assert said in caught.value.public_message
    assert "\n" not in caught.value.public_message
    assert caught.value.code == "bad_audiogram"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[" * 60_000, "not JSON"),
        (b'{"right": ' + b"9" * 10_000 + b"}", "not JSON"),
        (b" " * 65_537, "larger than 65536 bytes"),
        (b'{"right": {"500": 1, "500": 2}}', 'the key "500" is there twice'),
        (b'{"right": {}, "right": {}}', 'the key "right" is there twice'),
    ],
)
def test_bad_bytes_get_one_clear_line(data: bytes, said: str) -> None:
    with pytest.raises(AudiogramError, match=said):
        parse_audiogram(data)


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        audiogram = parse_audiogram(data)
    except AudiogramError:
        return
    assert audiogram.ears


@given(st.dictionaries(st.sampled_from([str(f) for f in FREQUENCIES_HZ]), st.integers(-100, 1_200)))
def test_every_threshold_on_the_grid_survives(points: dict[str, int]) -> None:
    full = dict.fromkeys(("500", "1000", "2000", "4000"), 0) | points
    audiogram = parse({"right": {key: tenths / 10 for key, tenths in full.items()}})
    assert dict(audiogram.ears["right"]) == {int(key): tenths for key, tenths in full.items()}


def test_thresholds_between_frequencies_lie_on_a_line_over_log_frequency() -> None:
    thresholds = ((250, 100), (1000, 300))
    assert threshold_db(thresholds, 500) == pytest.approx(20.0)
    assert threshold_db(thresholds, 125) == 10.0
    assert threshold_db(thresholds, 250) == 10.0
    assert threshold_db(thresholds, 1000) == 30.0
    assert threshold_db(thresholds, 8000) == 30.0


def test_the_ten_standard_audiograms_are_those_of_iec_60118_15() -> None:
    assert list(STANDARD_AUDIOGRAMS) == ["N1", "N2", "N3", "N4", "N5", "N6", "N7", "S1", "S2", "S3"]
    # One number per audiogram that would notice a slipped column: thresholds at 250, 750, 2000 and 6000 Hz.
    corners = {
        "N1": (10, 10, 15, 40),
        "N2": (20, 22.5, 35, 50),
        "N3": (35, 35, 50, 65),
        "N4": (55, 55, 65, 80),
        "N5": (65, 72.5, 80, 80),
        "N6": (75, 82.5, 90, 100),
        "N7": (90, 100, 105, 105),
        "S1": (10, 10, 15, 70),
        "S2": (20, 22.5, 55, 95),
        "S3": (30, 47.5, 75, 85),
    }
    for name, audiogram in STANDARD_AUDIOGRAMS.items():
        assert audiogram.name == name
        assert audiogram.ears["right"] == audiogram.ears["left"]
        points = audiogram.ears["right"]
        assert tuple(threshold_db(points, f) for f in (250, 750, 2000, 6000)) == corners[name]
