"""K7 to K9: how far gain and output may rise, and from where that is counted."""

from fitting.limits import decibel
from fitting.safety import Kernel, k7
from tests.fitting.changes import change, change_of, check, named, only
from tests.fitting.contents import content, flat, with_band

NOTICED = "(noticeable difference, Caswell-Midwinter and Whitmer 2019)"


def test_one_band_may_rise_by_3_db_at_once() -> None:
    assert check(with_band(flat(), 3, g50_ddb=230), flat()).accepted
    finding = only(check(with_band(flat(), 3, g50_ddb=260), flat()).refusals)
    assert finding.message == "K7: right 1000 Hz gain may rise by at most 3.0 dB at once, asked for 6.0 dB " + NOTICED
    assert named(finding) == ("K7", "right", 3, 60, 30)


def test_every_band_may_rise_by_2_db_at_once() -> None:
    assert check(flat(g50_ddb=220, g65_ddb=170, g80_ddb=120), flat()).accepted
    refusals = check(flat(g50_ddb=230, g65_ddb=180, g80_ddb=130), flat()).refusals
    assert [f.band for f in refusals] == list(range(10))
    assert refusals[0].message == (
        "K7: right 250 Hz gain may rise by at most 2.0 dB at once when all bands move, asked for 3.0 dB " + NOTICED
    )
    but_one = with_band(flat(g50_ddb=230, g65_ddb=180, g80_ddb=130), 0, g50_ddb=200, g65_ddb=150, g80_ddb=100)
    assert check(but_one, flat()).accepted


def test_the_mpo_may_rise_by_3_db_at_once() -> None:
    assert check(flat(mpo_ddb=1_030), flat()).accepted
    finding = check(with_band(flat(), 1, mpo_ddb=1_040), flat()).refusals
    assert named(only(finding)) == ("K7", "right", 1, 40, 30)
    assert "maximum output may rise by at most 3.0 dB at once, asked for 4.0 dB" in finding[0].message


def test_a_first_fit_may_rise_further() -> None:
    assert check(flat(g50_ddb=300, g65_ddb=250, g80_ddb=200), flat(), origin="first_fit").accepted


def test_without_a_read_back_only_a_first_fit_may_be_made() -> None:
    finding = only(k7(change(flat())))
    assert finding.message == (
        "K7: right holds nothing that a rise could be measured from: begin with a first fit (nothing read back)"
    )
    assert check(flat(), origin="first_fit").accepted
    added = Kernel().check(change_of(content(), content(right=flat())))
    assert [(f.rule, f.ear) for f in added.refusals] == [("K7", "left"), ("K8", "left")]


def test_lowering_is_not_bounded_by_k7() -> None:
    silent = flat(g50_ddb=0, g65_ddb=0, g80_ddb=0, mpo_ddb=800)
    assert check(silent, flat()).accepted
    assert k7(change(silent, flat())) == ()


def test_tenths_are_shown_as_decibels() -> None:
    assert [decibel(v) for v in (0, 5, -5, 185, -1_205)] == ["0.0", "0.5", "-0.5", "18.5", "-120.5"]
