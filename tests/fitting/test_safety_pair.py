"""K10 to K12: what is taken away, how the ears stand to each other, and what is never done remotely."""

from dataclasses import replace
from typing import Any

import msgspec
import pytest

from fitting.audiogram import STANDARD_AUDIOGRAMS, Audiogram
from fitting.budgets import Budgets, levels_of
from fitting.digest import content_digests
from fitting.limits import ClinicLimits
from fitting.model import offer_body
from fitting.safety import Kernel, k10, k11, k12
from protocol.contract.fitting import Content, EarProgram, PatchOp, Program
from protocol.errors import BadArgument
from tests.fitting.changes import change, change_of, check, named, only, refused_by
from tests.fitting.contents import OTC6, REF10, content, flat, with_band

N2, N3, N4 = (STANDARD_AUDIOGRAMS[name].ears["right"] for name in ("N2", "N3", "N4"))
SYMMETRIC = Audiogram({"right": N3, "left": N3})
RIGHT_WORSE = Audiogram({"right": N4, "left": N2})


# K10


@pytest.mark.parametrize("path", ["g50_ddb", "g65_ddb", "g80_ddb"])
def test_more_than_10_db_less_needs_a_reason(path: str) -> None:
    high = flat(g50_ddb=300, g65_ddb=300, g80_ddb=300)
    for reason in ("", " \t"):
        assert k10(change(with_band(high, 3, **{path: 200}), high, reason=reason)) == ()
        finding = only(k10(change(with_band(high, 3, **{path: 190}), high, reason=reason)))
        assert named(finding) == ("K10", "right", 3, 110, 100)
        assert finding.severity == "refuse"
    told = only(k10(change(with_band(high, 3, **{path: 190}), high, reason="own voice booms")))
    assert told.severity == "warn"
    assert told.message == (
        "K10: right 1000 Hz gain is lowered by 11.0 dB; more than 10.0 dB needs a reason (engineering choice)"
    )


def test_with_a_reason_gain_may_go_to_the_least_that_the_aid_has() -> None:
    silent = flat(g50_ddb=0, g65_ddb=0, g80_ddb=0, mpo_ddb=800)
    for mode in ("advanced", "standard"):
        report = check(silent, flat(), mode=mode)
        assert report.accepted
        assert [(f.rule, f.severity, f.value) for f in report.findings] == [("K10", "warn", 200)]


def test_a_lower_mpo_a_first_read_back_and_a_new_program_take_nothing_away() -> None:
    assert k10(change(flat(mpo_ddb=800), flat(), reason="")) == ()
    assert k10(change(flat(g50_ddb=0, g65_ddb=0, g80_ddb=0), reason="", origin="first_fit")) == ()
    assert k10(change(flat(), flat(), reason="")) == ()


def test_a_clinic_may_ask_for_a_reason_earlier() -> None:
    finding = only(
        k10(change(with_band(flat(), 3, g50_ddb=150), flat(), reason="", limits=ClinicLimits(lowering_ddb=40)))
    )
    assert (finding.value, finding.limit, finding.source) == (50, 40, "clinic policy")


# K11


def ears(right_ddb: int, left_ddb: int) -> Content:
    """The gain for speech of each ear, the same in all bands."""
    right, left = (flat(g50_ddb=ddb, g65_ddb=ddb, g80_ddb=100) for ddb in (right_ddb, left_ddb))
    return content(right=right, left=left)


@pytest.mark.parametrize("base", [(200, 200), (240, 200), (150, 250)])
@pytest.mark.parametrize("louder", ["right", "left"])
def test_one_ear_may_get_6_db_more_than_the_other(base: tuple[int, int], louder: str) -> None:
    def moved(by: int, in_one_band: int = 0) -> Content:
        right, left = base
        whole = ears(right + by, left) if louder == "right" else ears(right, left + by)
        program = getattr(whole.programs[0], louder)
        raised = with_band(program, 4, g65_ddb=program.g65_ddb[4] + in_one_band)
        return msgspec.structs.replace(
            whole, programs=(msgspec.structs.replace(whole.programs[0], **{louder: raised}),)
        )

    assert k11(change_of(moved(60), ears(*base), audiogram=None)) == ()
    finding = only(k11(change_of(moved(60, 10), ears(*base), audiogram=None)))
    assert named(finding) == ("K11", louder, msgspec.UNSET, 61, 60)
    assert finding.severity == "refuse"
    assert finding.message == (
        f"K11: {louder} gain for speech moves by 6.1 dB on average against the other ear, at most 6.0 dB "
        "(engineering choice)"
    )


def test_lowering_one_ear_is_a_warning_however_far() -> None:
    finding = only(k11(change_of(ears(0, 200), ears(200, 200), audiogram=SYMMETRIC)))
    assert named(finding) == ("K11", "left", msgspec.UNSET, 200, 60)
    assert finding.severity == "warn"
    both = ears(100, 170)
    assert only(k11(change_of(both, ears(200, 200)))).severity == "warn"
    one_band_up = msgspec.structs.replace(
        both,
        programs=(
            msgspec.structs.replace(
                both.programs[0], left=with_band(flat(g50_ddb=170, g65_ddb=170, g80_ddb=100), 3, g65_ddb=210)
            ),
        ),
    )
    assert only(k11(change_of(one_band_up, ears(200, 200)))).severity == "refuse"


def test_a_pair_that_was_active_before_comes_back_however_far_one_ear_was_lowered() -> None:
    before, lowered = ears(200, 200), ears(50, 200)
    for known in ({}, {"mode": "standard"}):
        assert "K11" not in refused_by(Kernel().check(change_of(lowered, before, audiogram=None, **known)))  # type: ignore[arg-type]  # its mode
        back = change_of(before, lowered, audiogram=None, restores_active=True, **known)  # type: ignore[arg-type]  # ditto
        assert refused_by(Kernel().check(back)) == {"K11"}
        together = replace(back, context=replace(back.context, restores_pair=True))
        assert refused_by(Kernel().check(together)) == set()
        assert [finding.severity for finding in k11(together)] == ["warn"]


def test_a_worse_ear_explains_its_gain_as_far_as_it_is_worse() -> None:
    # N4 is 26.5 to 35 dB worse than N2, 31.3 dB on average over the bands of ref10.
    known: dict[str, Any] = {"audiogram": RIGHT_WORSE, "origin": "first_fit"}
    assert k11(change_of(ears(350, 100), ears(100, 100), **known)) == ()
    # So far and no further.
    assert k11(change_of(ears(410, 100), ears(100, 100), **known)) == ()
    assert only(k11(change_of(ears(420, 100), ears(100, 100), **known))).severity == "refuse"
    assert only(k11(change_of(ears(100, 350), ears(100, 100), **known))).ear == "left"
    # The other way round, for the other ear.
    mirrored = Audiogram({"right": N2, "left": N4})
    assert k11(change_of(ears(100, 350), ears(100, 100), origin="first_fit", audiogram=mirrored)) == ()
    assert k11(change_of(ears(350, 100), ears(100, 100), origin="first_fit", audiogram=mirrored)) != ()


def test_ears_that_become_equal_are_explained_by_any_audiogram_and_by_none_if_there_is_none() -> None:
    apart, equal = ears(300, 100), ears(300, 300)
    assert k11(change_of(equal, apart, audiogram=SYMMETRIC)) == ()
    assert only(k11(change_of(equal, apart, audiogram=None))).severity == "refuse"
    assert only(k11(change_of(equal, apart, audiogram=Audiogram({"right": N3})))).severity == "refuse"


def test_a_package_is_measured_from_what_is_active_a_live_change_from_the_base() -> None:
    base, active = ears(240, 200), levels_of(ears(200, 200))
    known: dict[str, Any] = {"budgets": Budgets(active=active, lowest_active_7d=active), "audiogram": None}
    wanted = ears(270, 200)
    assert k11(change_of(wanted, base, mode="advanced", **known)) == ()
    assert only(k11(change_of(wanted, base, mode="standard", **known))).value == 70
    assert k11(change_of(wanted, base, mode="standard", budgets=Budgets(), audiogram=None)) == ()


def test_where_an_ear_held_nothing_the_ears_count_as_equal() -> None:
    known: dict[str, Any] = {"origin": "first_fit", "audiogram": None}
    assert k11(change_of(ears(260, 200), None, **known)) == ()
    assert only(k11(change_of(ears(270, 200), None, **known))).value == 70
    assert only(k11(change_of(ears(270, 200), content(right=flat()), **known))).value == 70


def test_one_ear_alone_has_no_difference() -> None:
    assert k11(change(flat(g50_ddb=600, g65_ddb=600), flat())) == ()


def test_each_slot_is_looked_at_by_itself() -> None:
    def two(second: Content) -> Content:
        music = msgspec.structs.replace(second.programs[0], slot=2)
        return msgspec.structs.replace(second, programs=(*ears(200, 200).programs, music))

    finding = only(k11(change_of(two(ears(200, 280)), two(ears(200, 200)), audiogram=None)))
    assert (finding.slot, finding.ear, finding.value) == (2, "left", 80)


def test_a_clinic_may_keep_the_ears_closer() -> None:
    close = ClinicLimits(ear_difference_ddb=20)
    finding = only(k11(change_of(ears(230, 200), ears(200, 200), audiogram=None, limits=close)))
    assert (finding.value, finding.limit, finding.source) == (30, 20, "clinic policy")


# K12


def test_an_mpo_does_not_rise_to_where_the_aid_limits_nothing() -> None:
    # N4 prescribes 106.5 dB SPL, K3 lets 118.5 pass: the aid's 111 would be no limit any more.
    n4 = Audiogram({"right": N4})
    near = flat(OTC6, mpo_ddb=1_100)
    new = with_band(near, 2, mpo_ddb=1_110)
    finding = only(k12(change(new, near, sheet=OTC6, audiogram=n4)))
    assert named(finding) == ("K12", "right", 2, 1_110, 1_110)
    assert (finding.severity, finding.source) == ("refuse", "capability sheet otc6")
    assert refused_by(check(new, near, sheet=OTC6, audiogram=n4)) == {"K12"}
    assert k12(change(flat(OTC6, mpo_ddb=1_100), flat(OTC6, mpo_ddb=1_090), sheet=OTC6, audiogram=n4)) == ()
    at = flat(OTC6, mpo_ddb=1_110)
    assert k12(change(with_band(at, 0, g50_ddb=0), at, sheet=OTC6, audiogram=n4)) == ()


def test_an_aid_that_is_just_strong_enough_may_be_used_to_its_end() -> None:
    # N7 prescribes 128.9 dB SPL, more than ref10 has; N5 with 114.8 is more than the 111 of otc6.
    top = flat(mpo_ddb=1_240)
    assert k12(change(top, flat(), audiogram=STANDARD_AUDIOGRAMS["N7"])) == ()
    assert k12(change(flat(OTC6, mpo_ddb=1_110), flat(OTC6), sheet=OTC6)) == ()
    exact = replace(REF10, mpo_max_ddb=1_065)
    assert k12(change(flat(mpo_ddb=1_065), flat(), sheet=exact, audiogram=Audiogram({"right": N4}))) == ()
    stronger = replace(REF10, mpo_max_ddb=1_066)
    assert len(k12(change(flat(mpo_ddb=1_066), flat(), sheet=stronger, audiogram=Audiogram({"right": N4})))) == 10


def test_a_measured_loudness_level_says_whether_a_limit_is_wanted() -> None:
    measured = (1_240, 1_239, *(None,) * 8)
    known: dict[str, Any] = {"loudness_ddb": {"right": measured}, "audiogram": None}
    top = flat(mpo_ddb=1_240)
    assert [f.band for f in k12(change(top, flat(), **known))] == list(range(1, 10))
    assert len(k12(change(top, flat(), audiogram=None))) == 10


def programs(*categories: Any) -> Content:
    made = [
        Program(slot=slot, name=f"P{slot}", category=category, right=flat())
        for slot, category in enumerate(categories, 1)
    ]
    return msgspec.structs.replace(content(right=flat()), programs=tuple(made))


def test_the_last_universal_program_must_stay_one() -> None:
    finding = only(k12(change_of(programs("music", "noise"), programs("universal", "noise"))))
    assert finding.message == "K12: the last universal program must stay one (never remotely)"
    assert (finding.severity, finding.source) == ("refuse", "never remotely")
    assert k12(change_of(programs("music", "universal"), programs("universal", "noise"))) == ()
    assert k12(change_of(programs("noise", "universal"), programs("universal", "universal"))) == ()
    assert k12(change_of(programs("noise"), programs("music"))) == ()
    assert k12(change_of(programs("music"), None)) == ()


def test_no_program_can_be_taken_away_the_universal_one_neither() -> None:
    held = programs("universal", "music")
    for left_over in (held.programs[:1], held.programs[1:]):
        candidate = msgspec.structs.replace(held, programs=left_over)
        report = Kernel().check(change_of(candidate, held))
        assert "must not be left out" in only(report.refusals).message


def test_a_red_flag_lets_nothing_rise_in_standard_mode() -> None:
    for new in (
        with_band(flat(), 3, g50_ddb=210),
        with_band(flat(), 9, g80_ddb=110),
        with_band(flat(), 0, mpo_ddb=1_010),
    ):
        refused = only(k12(change(new, flat(), mode="standard", red_flags=True)))
        assert (refused.severity, refused.source) == ("refuse", "red flags on file")
        assert only(k12(change(new, flat(), mode="advanced", red_flags=True))).severity == "warn"
        assert k12(change(new, flat(), mode="standard")) == ()
    assert only(k12(change(flat(g50_ddb=190), flat(), mode="standard", red_flags=True))).severity == "warn"
    assert check(flat(g50_ddb=190), flat(), mode="standard", red_flags=True).accepted


FORBIDDEN = ("firmware", "receiver", "coupling", "limiter", "factoryReset", "delete", "serial")


@pytest.mark.parametrize("name", FORBIDDEN)
def test_what_is_never_done_remotely_cannot_even_be_said(name: str) -> None:
    """Not in a content, a program, an ear, nor as a path of a patch; nor can an offer take a slot away."""
    plain = msgspec.to_builtins(content())
    msgspec.convert(plain, Content)
    program = plain["programs"][0]
    for where in (plain, program, program["right"], plain["refs"]):
        where[name] = 1
        with pytest.raises(msgspec.ValidationError, match=f"unknown field `{name}`"):
            msgspec.convert(plain, Content)
        del where[name]
    with pytest.raises(msgspec.ValidationError, match="path"):
        msgspec.convert({"op": "set", "ear": "right", "path": name, "value": 0}, PatchOp)
    with pytest.raises(msgspec.ValidationError, match="op"):
        msgspec.convert({"op": name, "ear": "right", "path": "g50Ddb", "value": 0}, PatchOp)
    held = programs("universal", "music")
    with pytest.raises(BadArgument, match="cannot take away"):
        offer_body(held, programs("universal"), content_digests(held))


def test_a_limiter_cannot_be_left_out() -> None:
    plain = msgspec.to_builtins(flat())
    del plain["mpoDdb"]
    with pytest.raises(msgspec.ValidationError, match="mpoDdb"):
        msgspec.convert(plain, EarProgram)
