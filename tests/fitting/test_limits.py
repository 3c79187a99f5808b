"""A clinic tightens the numbers of the kernel; it never loosens them."""

from dataclasses import fields
from typing import Any

import pytest

from fitting.limits import KERNEL_LIMITS, ClinicLimits, decibel, mpo_ceiling_ddb, mpo_ceiling_name
from protocol.errors import BadArgument
from tests.fitting.contents import OTC6, REF10

NAMES = [field.name for field in fields(ClinicLimits)]


@pytest.mark.parametrize("name", NAMES)
def test_every_number_can_be_tightened_by_one_and_none_loosened_by_one(name: str) -> None:
    own = getattr(KERNEL_LIMITS, name)
    tighter, looser = (own + 1, own - 1) if name == "feedback_margin_ddb" else (own - 1, own + 1)
    assert getattr(ClinicLimits(**{name: own}), name) == own
    limits = ClinicLimits(**{name: tighter})
    assert limits.source(name, "regulation") == "clinic policy"
    assert KERNEL_LIMITS.source(name, "regulation") == "regulation"
    with pytest.raises(BadArgument, match=f"^{name}: a clinic may only tighten, at (most|least) {own}, not {looser}$"):
        ClinicLimits(**{name: looser})


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", [True, 20.0, float("nan"), "20", None, -1])
def test_a_limit_is_a_whole_number_that_is_not_negative(name: str, value: Any) -> None:
    with pytest.raises(BadArgument, match=f"^{name}: "):
        ClinicLimits(**{name: value})


def test_a_clinic_may_forbid_rises_altogether_but_no_ratio_is_below_one() -> None:
    assert ClinicLimits(live_rise_ddb=0, session_rise_ddb=0, package_rise_ddb=0).live_rise_ddb == 0
    assert ClinicLimits(max_ratio_tenths=10).max_ratio_fall_ddb == 0
    with pytest.raises(BadArgument, match="max_ratio_tenths"):
        ClinicLimits(max_ratio_tenths=9)


def test_a_ratio_is_a_fall_of_gain_over_15_db() -> None:
    assert (KERNEL_LIMITS.max_ratio_fall_ddb, KERNEL_LIMITS.warn_ratio_fall_ddb) == (112, 100)
    assert ClinicLimits(max_ratio_tenths=20).max_ratio_fall_ddb == 75


def test_the_ceiling_follows_the_class_of_the_aid_and_the_clinic() -> None:
    assert (mpo_ceiling_ddb(REF10), mpo_ceiling_ddb(OTC6)) == (1_320, 1_110)
    assert mpo_ceiling_ddb(REF10, ClinicLimits(mpo_ceiling_ddb=1_200)) == 1_200
    assert mpo_ceiling_ddb(OTC6, ClinicLimits(mpo_ceiling_ddb=1_000)) == 1_110
    assert (mpo_ceiling_name(REF10), mpo_ceiling_name(OTC6)) == ("mpo_ceiling_ddb", "otc_ceiling_ddb")


def test_tenths_are_shown_as_decibels() -> None:
    assert [decibel(v) for v in (0, 5, -5, 185, -1_205)] == ["0.0", "0.5", "-0.5", "18.5", "-120.5"]
