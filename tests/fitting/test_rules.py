"""The documentation's table of rules is the code's, and each rule in it is applied."""

from dataclasses import fields
from pathlib import Path
from typing import Any

from fitting.limits import ClinicLimits
from fitting.rules import rules, rules_table
from fitting.safety import Kernel
from tests.fitting.changes import change_of
from tests.fitting.contents import content

CONTRACT = Path(__file__).parents[2] / "docs" / "contract.md"


def test_the_table_in_the_documentation_is_the_one_of_the_code() -> None:
    assert rules_table() in CONTRACT.read_text(), "put the output of fitting.rules.rules_table() into docs/contract.md"


def test_every_rule_of_the_table_is_applied_and_no_other() -> None:
    modes: tuple[Any, ...] = ("advanced", "standard")
    applied = {name for mode in modes for name in Kernel().check(change_of(content(), content(), mode=mode)).rules}
    assert applied == {rule.name for rule in rules()} == {f"K{number}" for number in range(1, 13)}


def test_each_rule_has_its_numbers_and_its_source() -> None:
    by_name = {rule.name: rule for rule in rules()}
    for name, numbers in {
        "K2": ("132 dB SPL", "111 dB SPL", "117 dB SPL"),
        "K3": ("6 dB", "12 dB"),
        "K4": ("15 dB", "4:1", "3:1", "20 dB"),
        "K5": ("15 dB",),
        "K6": ("3 dB",),
        "K7": ("+3 dB per band", "+2 dB", "MPO +3 dB"),
        "K8": ("+6 dB per band in 10 s", "+12 dB", "MPO +6 dB", "+3 dB"),
        "K9": ("+5 dB per band", "+3 dB on average"),
        "K10": ("10 dB",),
        "K11": ("6 dB",),
    }.items():
        for number in numbers:
            assert number in by_name[name].says
    assert all(rule.source for rule in rules())


def test_every_number_that_a_clinic_may_tighten_stands_in_the_table() -> None:
    texts = [rule.says for rule in rules()]
    for entry in fields(ClinicLimits):
        own: int = getattr(ClinicLimits(), entry.name)
        other = ClinicLimits(**{entry.name: own + 1 if entry.name == "feedback_margin_ddb" else own - 1})
        assert [rule.says for rule in rules(other)] != texts, entry.name


def test_a_clinic_reads_its_own_numbers() -> None:
    by_name = {rule.name: rule.says for rule in rules(ClinicLimits(live_rise_ddb=15, max_ratio_tenths=25))}
    assert "gain at most +1.5 dB per band" in by_name["K7"]
    assert "at most 2.5:1" in by_name["K4"]
