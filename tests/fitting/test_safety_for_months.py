"""Nobody winds a fitting up: sessions, saves and packages for months, and the bounds hold after every one.

The bounds are computed here by hand, from what the aids held, not by the code under test.
"""

from dataclasses import dataclass, field
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from fitting.audiogram import STANDARD_AUDIOGRAMS
from fitting.budgets import Held, budgets
from fitting.model import apply_patch
from fitting.safety import Change, Kernel, SafetyContext
from protocol.contract.fitting import BAND_PATHS, Content, EarProgram, Mode, Patch, PatchOp
from tests.fitting.contents import REF10, content, flat

DAY_S = 24 * 3600.0
GAINS = BAND_PATHS[:3]
N3 = STANDARD_AUDIOGRAMS["N3"]


@dataclass
class Patient:
    """One right aid, and everybody who fits it in turn."""

    ram: Content = field(default_factory=lambda: content(right=flat()))
    now_s: float = 0.0
    session: list[Held] = field(default_factory=list)
    active: list[Held] = field(default_factory=list)
    accepted: int = 0

    def __post_init__(self) -> None:
        self.active.append(Held(0.0, self.ram))
        self.open()

    def open(self) -> None:
        """A new session: RAM is what NVM holds."""
        self.ram = self.active[-1].content
        self.session = [Held(self.now_s, self.ram)]

    def ask(self, candidate: Content, mode: Mode) -> None:
        known = budgets(self.now_s, session=self.session if mode == "advanced" else (), active=self.active)
        stable = {(1, "right"): (400,) * 10}
        context = SafetyContext("too soft", known, N3, max_stable_gain_ddb=stable)  # type: ignore[arg-type]  # a literal key
        base = self.ram if mode == "advanced" else self.active[-1].content
        change = Change(base, candidate, {"right": REF10}, "fitting", mode, context=context)
        if not Kernel().check(change).accepted:
            return
        self.accepted += 1
        if mode == "advanced":
            self.ram = candidate
            self.session.append(Held(self.now_s, candidate))
        else:
            self.active.append(Held(self.now_s, candidate))
            # A package is not installed into a session.
            self.open()

    def save(self) -> None:
        """What RAM holds goes to NVM, which the kernel passes: it let RAM become so."""
        known = budgets(self.now_s, session=self.session, active=self.active)
        stable = {(1, "right"): (400,) * 10}
        context = SafetyContext("keep it", known, N3, max_stable_gain_ddb=stable, in_ram=True)  # type: ignore[arg-type]  # a literal key
        change = Change(self.active[-1].content, self.ram, {"right": REF10}, "fitting", "advanced", context=context)
        assert Kernel().check(change).accepted
        self.active.append(Held(self.now_s, self.ram))

    def check_bounds(self) -> None:
        for held in (self.ram, self.active[-1].content):
            for path, band, value in levels(held):
                if path == "mpoDdb":
                    # N3 prescribes 101.5 dB SPL.
                    assert 800 <= value <= 1_015 + 120
                else:
                    assert 0 <= value <= 370
                assert value % 10 == 0
                assert value - self.lowest_active(path, band) <= (60 if path == "mpoDdb" else 120)

    def lowest_active(self, path: str, band: int) -> int:
        """By hand: every value that NVM held at any moment of the last 7 days."""
        since_s = self.now_s - 7 * DAY_S
        ends = [*(held.at_s for held in self.active[1:]), self.now_s]
        known = [
            held for held, end_s in zip(self.active, ends, strict=True) if end_s > since_s or held is self.active[-1]
        ]
        return min(value for held in known for p, b, value in levels(held.content) if (p, b) == (path, band))


def levels(held: Content) -> list[tuple[str, int, int]]:
    part = held.programs[0].right
    assert isinstance(part, EarProgram)
    by_path = {"g50Ddb": part.g50_ddb, "g65Ddb": part.g65_ddb, "g80Ddb": part.g80_ddb, "mpoDdb": part.mpo_ddb}
    return [(path, band, value) for path, values in by_path.items() for band, value in enumerate(values)]


EVERY = tuple(range(10))
RAISE_GAIN = st.tuples(st.just(GAINS), st.sampled_from([(4,), (0, 1), EVERY]), st.sampled_from([10, 20, 30, 50]))
RAISE_MPO = st.tuples(st.just(("mpoDdb",)), st.sampled_from([(4,), EVERY]), st.sampled_from([10, 30]))
LOWER = st.tuples(st.just(GAINS), st.just(EVERY), st.just(-50))
ACTS = st.one_of(
    st.tuples(st.just("live"), RAISE_GAIN | RAISE_MPO | LOWER),
    st.tuples(st.just("package"), RAISE_GAIN | RAISE_MPO | LOWER),
    st.tuples(st.sampled_from(["save", "open", "wait", "wait_days"]), st.none()),
)


def do(patient: Patient, act: tuple[str, Any]) -> None:
    name, what = act
    match name:
        case "live" | "package":
            paths, bands, by = what
            base = patient.ram if name == "live" else patient.active[-1].content
            ops = tuple(PatchOp(op="add", ear="right", path=p, band=b, value=by) for p in paths for b in bands)
            patient.ask(apply_patch(base, Patch(slot=1, ops=ops)), "advanced" if name == "live" else "standard")
        case "save":
            patient.save()
        case "open":
            patient.open()
        case "wait":
            patient.now_s += 11
        case _:
            patient.now_s += 3 * DAY_S


@settings(max_examples=60, deadline=None)
@given(st.lists(ACTS, max_size=60))
def test_no_sequence_of_sessions_saves_and_packages_breaks_a_bound_or_ratchets(acts: list[tuple[str, Any]]) -> None:
    patient = Patient()
    for act in acts:
        patient.now_s += 1
        do(patient, act)
        patient.check_bounds()


def test_the_most_eager_fitter_gets_12_db_in_a_week_and_then_no_further() -> None:
    patient = Patient()
    heights = []
    for _ in range(5):
        for _ in range(20):
            patient.now_s += 11
            do(patient, ("live", (GAINS, EVERY, 20)))
        do(patient, ("save", None))
        do(patient, ("open", None))
        patient.check_bounds()
        heights.append(patient.ram.programs[0].right.g50_ddb[0])  # type: ignore[union-attr]  # a right ear is worn
    assert heights == [320] * 5
    patient.now_s += 8 * DAY_S
    for _ in range(20):
        patient.now_s += 11
        do(patient, ("live", (GAINS, EVERY, 20)))
    # Now the feedback measurement is what stops it: 40 dB were stable.
    assert patient.ram.programs[0].right.g50_ddb[0] == 360  # type: ignore[union-attr]  # a right ear is worn
