"""K2 to K6 at their limits, just beyond them, and in what they let be."""

from dataclasses import replace

import msgspec
import pytest

from fitting.safety import k2, k4
from tests.fitting.changes import change, check, named, only
from tests.fitting.contents import OTC6, REF10, flat, with_band


def test_no_aid_may_put_out_more_than_132_db_spl() -> None:
    loud = replace(REF10, mpo_max_ddb=1_400)
    at, above = flat(mpo_ddb=1_320), with_band(flat(mpo_ddb=1_320), 2, mpo_ddb=1_330)
    assert k2(change(at, sheet=loud)) == ()
    finding = only(k2(change(above, above, sheet=loud)))
    assert named(finding) == ("K2", "right", 2, 1_330, 1_320)
    assert finding.message == (
        "K2: right 750 Hz maximum output must not be above 132.0 dB SPL, asked for 133.0 dB SPL (21 CFR 801.422)"
    )


@pytest.mark.parametrize(("compressing", "limit"), [(False, 1_110), (True, 1_170)])
def test_an_over_the_counter_aid_is_held_to_its_own_ceiling(compressing: bool, limit: int) -> None:
    sheet = replace(OTC6, mpo_max_ddb=1_400, input_controlled_compression=compressing)
    assert k2(change(flat(OTC6, mpo_ddb=limit), sheet=sheet)) == ()
    finding = k2(change(flat(OTC6, mpo_ddb=limit + 10), sheet=sheet))[0]
    assert (finding.value, finding.limit) == (limit + 10, limit)


@pytest.mark.parametrize(
    ("values", "value", "limit", "said"),
    [
        ({"g65_ddb": 210}, 10, 0, "gain must not rise from 50 to 65 dB SPL, here by 1.0 dB"),
        ({"g80_ddb": 160}, 10, 0, "gain must not rise from 65 to 80 dB SPL, here by 1.0 dB"),
        (
            {"g50_ddb": 310},
            160,
            150,
            "gain may fall by at most 15.0 dB from 50 to 65 dB SPL, here 16.0 dB",
        ),
        ({"g50_ddb": 270}, 50, 40, "compression ratio from 50 to 65 dB SPL may be at most 4.0, here 5.0"),
        ({"g50_ddb": 263}, 41, 40, "compression ratio from 50 to 65 dB SPL may be at most 4.0, here 4.1"),
    ],
)
def test_a_bad_slope_is_refused(values: dict[str, int], value: int, limit: int, said: str) -> None:
    finding = next(f for f in k4(change(with_band(flat(), 3, **values))) if f.severity == "refuse")
    assert finding.message == f"K4: right 1000 Hz {said} ({finding.source})"
    assert named(finding) == ("K4", "right", 3, value, limit)


def test_an_output_that_stands_still_has_a_ratio_without_end() -> None:
    finding = only(k4(change(with_band(flat(), 3, g50_ddb=300))))
    assert finding.message.endswith("may be at most 4.0, here without end (engineering choice)")
    assert finding.value is msgspec.UNSET


def test_a_limiter_is_not_a_ratio() -> None:
    # Output 100 dB SPL at every level, 1 dB under the MPO: the limiter is at work.
    limited = flat(g50_ddb=500, g65_ddb=350, g80_ddb=200, mpo_ddb=1_010)
    assert k4(change(limited)) == ()
    assert len(k4(change(flat(g50_ddb=500, g65_ddb=350, g80_ddb=200, mpo_ddb=1_020)))) == 20


def test_a_high_ratio_is_a_warning() -> None:
    for fall, ratio in ((101, 31), (110, 38), (112, 40)):
        finding = only(k4(change(with_band(flat(), 3, g50_ddb=150 + fall))))
        assert (finding.severity, finding.value, finding.limit) == ("warn", ratio, 30)
    assert k4(change(with_band(flat(), 3, g50_ddb=250))) == ()


def test_neighbouring_bands_may_differ_by_20_db_at_each_level() -> None:
    at = with_band(flat(), 4, g50_ddb=400, g65_ddb=350, g80_ddb=300)
    assert k4(change(at)) == ()
    above = with_band(flat(), 4, g50_ddb=400, g65_ddb=350, g80_ddb=310)
    findings = k4(change(above))
    assert [named(f) for f in findings] == [("K4", "right", 4, 210, 200)] * 2
    assert findings[0].message == (
        "K4: right 1500 Hz gain at 80 dB SPL may differ from its neighbour's by at most 20.0 dB, here 21.0 dB "
        "(engineering choice)"
    )


def test_what_the_base_breaks_already_is_refused_only_when_it_gets_worse() -> None:
    close = flat(g80_ddb=150)
    broken, worse, better = (with_band(close, 3, g65_ddb=value) for value in (230, 240, 220))
    assert [f.severity for f in k4(change(broken, broken))] == ["warn"]
    assert [f.severity for f in k4(change(better, broken))] == ["warn"]
    assert [f.severity for f in k4(change(worse, broken))] == ["refuse"]


def test_lowering_a_band_as_a_whole_is_never_refused() -> None:
    # 20 dB below its neighbours, then further down; and a limited band that gets a ratio by falling.
    low = with_band(flat(), 4, g50_ddb=0, g65_ddb=0, g80_ddb=0)
    deep = flat(g50_ddb=400, g65_ddb=350, g80_ddb=300)
    assert [f.severity for f in k4(change(with_band(deep, 4, g50_ddb=0, g65_ddb=0, g80_ddb=0), deep))] == (["warn"] * 6)
    assert check(low, flat()).accepted
    limited = flat(g50_ddb=500, g65_ddb=350, g80_ddb=200, mpo_ddb=1_010)
    lowered = with_band(limited, 3, g50_ddb=490, g65_ddb=340, g80_ddb=190)
    assert check(lowered, limited).accepted
    assert check(with_band(limited, 3, mpo_ddb=800), limited).accepted


def test_lowering_only_some_gains_of_a_band_is_held_to_the_rule() -> None:
    assert not check(with_band(flat(), 3, g80_ddb=0, g65_ddb=150), flat(g80_ddb=150)).accepted
    # The neighbours: only the gain for loud sounds is taken away, so the difference is the patch's doing.
    deep = flat(g50_ddb=250, g65_ddb=250, g80_ddb=250)
    assert not check(with_band(deep, 4, g80_ddb=40), deep).accepted


def test_lowering_one_band_does_not_excuse_raising_its_neighbour() -> None:
    old = flat(g50_ddb=300, g65_ddb=250, g80_ddb=200)
    new = with_band(with_band(old, 3, g50_ddb=110, g65_ddb=60, g80_ddb=10), 4, g50_ddb=320)
    refused = check(new, old).refusals
    assert {(f.rule, f.band, f.value) for f in refused} == {("K4", 4, 210)}


def test_raising_the_mpo_does_not_pass_as_lowering() -> None:
    limited = flat(g50_ddb=500, g65_ddb=350, g80_ddb=200, mpo_ddb=1_010)
    new = with_band(limited, 3, g50_ddb=490, g65_ddb=340, g80_ddb=190, mpo_ddb=1_030)
    assert {f.rule for f in check(new, limited).refusals} == {"K4"}
