"""What a check found, and how it is told: a line for people, one object for programs.

``ok``: as it should be. ``warn``: works, and somebody should look. ``fail``: does not work. ``skip``: was not looked
at, and why. It must not know how anything is checked. Read ``Finding`` first.
"""

from collections.abc import Sequence
from typing import Final, Literal

import msgspec

__all__ = ["Finding", "Outcome", "ProbeReport", "Trouble", "Verdict", "fail", "line", "ok", "skip", "warn"]

Outcome = Literal["ok", "warn", "fail", "skip"]
_SHOWN: Final = {"ok": "ok", "warn": "warn", "fail": "FAIL", "skip": "skip"}
_NAME_CHARS: Final = 24


class Trouble(Exception):
    """Something did not work; the message is what is shown, so it holds no token and quotes no answer."""


class Verdict(msgspec.Struct, frozen=True):
    """What one check says."""

    outcome: Outcome
    what: str


class Finding(msgspec.Struct, frozen=True):
    """One line of the report. ``ms``: what the check took, 0 for one that was skipped."""

    name: str
    outcome: Outcome
    what: str
    ms: int


class ProbeReport(msgspec.Struct, frozen=True):
    """All of it. ``ok``: nothing failed."""

    url: str
    ok: bool
    checks: Sequence[Finding]


def ok(what: str) -> Verdict:
    """As it should be."""
    return Verdict("ok", what)


def warn(what: str) -> Verdict:
    """It works, and somebody should look."""
    return Verdict("warn", what)


def fail(what: str) -> Verdict:
    """It does not work."""
    return Verdict("fail", what)


def skip(why: str) -> Verdict:
    """It was not looked at."""
    return Verdict("skip", why)


def line(finding: Finding) -> str:
    """A finding for people."""
    took = "" if finding.outcome == "skip" else f"  ({finding.ms} ms)"
    return f"{_SHOWN[finding.outcome]:<4}  {finding.name:<{_NAME_CHARS}}  {finding.what}{took}"
