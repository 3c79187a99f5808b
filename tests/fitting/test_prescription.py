"""First fits against published test vectors, and every standard audiogram through the kernel."""

import pytest

from fitting.audiogram import STANDARD_AUDIOGRAMS, Audiogram, EarThresholds
from fitting.capability import SHEETS
from fitting.limits import ClinicLimits
from fitting.model import band_values, ear_program
from fitting.prescription import Rationale, camfit, nal_r, prescribe, sspl_3fa_db
from fitting.safety import Kernel
from protocol.contract.base import EARS
from protocol.contract.fitting import BAND_PATHS, EarProgram
from protocol.errors import BadArgument
from tests.fitting.changes import change_of
from tests.fitting.contents import BOTH, OTC6, REF10, content, flat

SIX = (250, 500, 1000, 2000, 4000, 6000)
NAL_HZ = (250, 500, 1000, 1500, 2000, 3000, 4000, 6000)

# Own recomputation of NAL-R/NAL-RP for the ten standard audiograms, then SSPL from the three-frequency average.
NAL_RP = {
    "N1": ((0, 0, 5.8, 5.8, 5.4, 6.0, 9.1, 12.2), 92.5),
    "N2": ((0, 2.2, 12.8, 14.3, 13.8, 14.4, 15.9, 17.5), 97.0),
    "N3": ((0.1, 9.1, 19.6, 21.2, 20.8, 21.3, 22.9, 24.4), 101.5),
    "N4": ((8.8, 17.8, 26.8, 28.4, 27.9, 28.4, 30.0, 31.5), 106.5),
    "N5": ((17.4, 28.0, 38.5, 40.0, 38.0, 37.0, 37.0, 37.0), 114.8),
    "N6": ((24.0, 34.5, 45.1, 46.6, 44.6, 45.2, 46.8, 46.8), 120.1),
    "N7": ((42.5, 50.0, 57.1, 54.1, 50.1, 49.1, 49.1, 49.1), 128.9),
    "S1": ((0, 0, 5.8, 5.8, 5.4, 9.1, 16.8, 21.4), 92.5),
    "S2": ((0, 3.2, 13.8, 16.9, 21.1, 26.2, 32.5, 32.5), 99.0),
    "S3": ((0.8, 11.4, 28.1, 31.2, 30.8, 31.3, 31.3, 32.9), 106.0),
}
# CAMFIT on six bands, g50 | g65 | g80; an independent open implementation gives the same to 0.1 dB.
CAMFIT = {
    "N2": (
        (2.4, 1.0, 10.7, 17.8, 20.0, 20.1),
        (0, 1.0, 10.7, 16.1, 15.6, 10.3),
        (0, 1.0, 10.7, 14.5, 11.1, 0.5),
    ),
    "N3": (
        (11.6, 11.0, 20.0, 24.9, 26.1, 34.8),
        (5.2, 8.1, 17.4, 20.2, 18.6, 25.0),
        (0, 5.3, 14.9, 15.5, 11.1, 15.1),
    ),
    "N4": (
        (25.5, 23.7, 28.2, 32.1, 34.4, 49.8),
        (15.7, 16.7, 22.5, 24.3, 24.5, 35.0),
        (5.8, 9.8, 16.9, 16.5, 14.7, 20.0),
    ),
    "S2": (
        (2.4, 1.0, 10.7, 27.3, 50.0, 50.0),
        (0, 1.0, 10.7, 21.6, 35.0, 35.0),
        (0, 1.0, 10.7, 15.8, 20.0, 20.0),
    ),
}
RATIONALES: tuple[Rationale, ...] = ("camfit", "nal_rp")


def right(name: str) -> EarThresholds:
    return STANDARD_AUDIOGRAMS[name].ears["right"]


@pytest.mark.parametrize("name", NAL_RP)
def test_nal_rp_and_the_output_limit_reproduce_the_vectors(name: str) -> None:
    gains, sspl = NAL_RP[name]
    assert nal_r(right(name), NAL_HZ) == pytest.approx(gains, abs=0.0501)
    assert sspl_3fa_db(right(name)) == pytest.approx(sspl, abs=0.0501)


@pytest.mark.parametrize("name", CAMFIT)
def test_camfit_reproduces_the_vectors(name: str) -> None:
    gains = camfit(right(name), SIX)
    for found, wanted in zip((gains.g50_db, gains.g65_db, gains.g80_db), CAMFIT[name], strict=True):
        assert found == pytest.approx(wanted, abs=0.0501)


def test_nal_r_between_and_beyond_its_frequencies_follows_its_neighbours() -> None:
    gains = dict(zip(REF10.bands_hz, nal_r(right("N3"), REF10.bands_hz), strict=True))
    assert gains[500] < gains[750] < gains[1000]
    # N3 has no threshold above 6000 Hz: that one holds, with the same constant.
    assert gains[8000] == pytest.approx(gains[6000])


def test_the_severe_loss_terms_hold_beyond_their_table() -> None:
    deepest = ((500, 1_200), (1000, 1_200), (2000, 1_200), (4000, 1_200))
    common = 0.15 * 120 + 0.2 * 60
    assert nal_r(deepest, (2000,)) == pytest.approx((common + 0.31 * 120 - 1 - 9,))


@pytest.mark.parametrize("rationale", RATIONALES)
@pytest.mark.parametrize("model", SHEETS)
@pytest.mark.parametrize("name", STANDARD_AUDIOGRAMS)
def test_every_standard_audiogram_passes_the_kernel_after_trimming(name: str, model: str, rationale: Rationale) -> None:
    sheets = dict.fromkeys(EARS, SHEETS[model])
    made = prescribe(STANDARD_AUDIOGRAMS[name], sheets, rationale)
    silent = flat(SHEETS[model], g50_ddb=0, g65_ddb=0, g80_ddb=0)
    factory = content(SHEETS[model], right=silent, left=silent)
    known = change_of(
        made.content, factory, sheet=SHEETS[model], origin="first_fit", audiogram=STANDARD_AUDIOGRAMS[name]
    )
    report = Kernel().check(known)
    assert report.refusals == ()
    (program,) = made.content.programs
    assert (program.slot, program.name, made.rationale) == (1, "Universal", rationale)
    lowered = set()
    for ear in EARS:
        part = ear_program(program, ear)
        assert part is not None
        for path in BAND_PATHS:
            target, given = band_values(made.targets[ear], path), band_values(part, path)
            for band, (wanted, got) in enumerate(zip(target, given, strict=True)):
                assert got <= wanted
                if got < wanted:
                    lowered.add((ear, band, wanted, got))
    assert {(t.ear, t.band, t.value, t.limit) for t in made.trims} == lowered
    assert all(trim.severity == "trim" and trim.rule in ("K1", "K2", "K4") for trim in made.trims)


def test_targets_are_the_rounded_prescription() -> None:
    made = prescribe(STANDARD_AUDIOGRAMS["N3"], {"right": OTC6})
    target = made.targets["right"]
    assert target.g65_ddb == (50, 80, 170, 200, 190, 250)
    # 101.5 dB SPL: an MPO is a ceiling, so it is rounded down.
    assert target.mpo_ddb == (1_010,) * 6
    assert list(made.targets) == ["right"]
    assert made.content.programs[0].right == target
    assert made.trims == ()


def test_a_trim_names_its_rule_its_place_and_both_numbers() -> None:
    made = prescribe(STANDARD_AUDIOGRAMS["N7"], {"left": REF10})
    first = next(trim for trim in made.trims if trim.rule == "K1")
    assert (first.ear, first.band, first.value, first.limit) == ("left", 0, 1_280, 1_240)
    assert first.message == "K1: left 250 Hz mpoDdb trimmed from 128.0 to 124.0 dB (capability sheet ref10)"


def test_ears_and_aids_must_fit_the_audiogram() -> None:
    one = Audiogram(ears={"left": right("N2")})
    assert (
        prescribe(one, {"left": REF10}).content.programs[0].left
        == prescribe(STANDARD_AUDIOGRAMS["N2"], BOTH).content.programs[0].left
    )
    with pytest.raises(BadArgument, match="at least one ear"):
        prescribe(one, {})
    with pytest.raises(BadArgument, match="no thresholds for the right ear"):
        prescribe(one, {"right": REF10})
    with pytest.raises(BadArgument, match="different bands"):
        prescribe(STANDARD_AUDIOGRAMS["N2"], {"right": REF10, "left": OTC6})


@pytest.mark.parametrize("model", SHEETS)
@pytest.mark.parametrize("right_ear", STANDARD_AUDIOGRAMS)
@pytest.mark.parametrize("left_ear", STANDARD_AUDIOGRAMS)
def test_any_two_ears_pass_the_kernel_after_trimming_however_unlike(right_ear: str, left_ear: str, model: str) -> None:
    sheet = SHEETS[model]
    pair = Audiogram({"right": right(right_ear), "left": right(left_ear)})
    silent = flat(sheet, g50_ddb=0, g65_ddb=0, g80_ddb=0)
    for rationale in RATIONALES:
        made = prescribe(pair, dict.fromkeys(EARS, sheet), rationale)
        factory = content(sheet, right=silent, left=silent)
        known = change_of(made.content, factory, sheet=sheet, origin="first_fit", audiogram=pair)
        assert Kernel().check(known).refusals == ()


def test_what_was_measured_and_the_clinics_limits_go_into_a_prescription() -> None:
    made = prescribe(
        STANDARD_AUDIOGRAMS["N3"],
        dict.fromkeys(EARS, OTC6),
        limits=ClinicLimits(otc_ceiling_ddb=1_000),
        loudness_ddb={"left": (900,) * 6},
        max_stable_gain_ddb={"right": (150,) * 6},
    )
    program = made.content.programs[0]
    assert isinstance(program.right, EarProgram)
    assert isinstance(program.left, EarProgram)
    assert (program.right.mpo_ddb, program.left.mpo_ddb) == ((1_000,) * 6, (900,) * 6)
    assert max(program.right.g50_ddb) == 120
    assert max(program.left.g50_ddb) > 120
    assert {t.rule for t in made.trims} == {"K2", "K3", "K6"}
