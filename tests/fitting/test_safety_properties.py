"""What holds of the safety kernel whatever it is given."""

from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from fitting.model import apply_patch, ears_of
from fitting.safety import Change, Kernel
from protocol.contract.base import EARS
from protocol.contract.fitting import BAND_PATHS, BandPath, Content, EarProgram, Patch, PatchOp
from tests.fitting.changes import change_of, check
from tests.fitting.contents import BOTH, content, flat, with_band

GARBAGE = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.binary()
    | st.just(object())
    | st.builds(flat)
    | st.builds(content),
    lambda inner: st.lists(inner).map(tuple) | st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


@given(GARBAGE, GARBAGE, st.sampled_from(["bands_hz", "programs", "refs"]), st.sampled_from(["right", "left"]))
def test_garbage_is_refused_and_never_raises(whole: Any, part: Any, field: str, ear: str) -> None:
    good = content()
    program = good.programs[0]
    for candidate in (
        whole,
        msgspec.structs.replace(good, **{field: part}),
        msgspec.structs.replace(good, programs=(msgspec.structs.replace(program, **{ear: part}),)),
        msgspec.structs.replace(good, programs=(msgspec.structs.replace(program, slot=part),)),
        content(right=with_band(flat(), 0, g65_ddb=part)),
    ):
        for base in (None, good, candidate):
            report = Kernel().check(Change(base, candidate, BOTH, "fitting", "advanced"))
            assert all(f.rule.startswith("K") for f in report.findings)
            if report.accepted:
                assert msgspec.convert(msgspec.to_builtins(candidate), Content) == candidate


OPS = st.builds(
    PatchOp,
    op=st.sampled_from(["set", "add"]),
    ear=st.sampled_from(EARS),
    path=st.sampled_from(BAND_PATHS),
    value=st.integers(-4, 4).map(lambda step: step * 10) | st.integers(-2_000, 2_000),
    band=st.integers(0, 9),
)
PATCHES = st.lists(OPS, min_size=1, max_size=12).map(lambda ops: Patch(slot=1, ops=tuple(ops)))


@settings(max_examples=60)
@given(st.lists(PATCHES, max_size=12))
def test_no_sequence_of_accepted_changes_ever_breaks_k1_or_k2(patches: list[Patch]) -> None:
    held = content()
    for patch in patches:
        candidate = apply_patch(held, patch)
        if Kernel().check(change_of(candidate, held)).accepted:
            held = candidate
    for program in held.programs:
        for part in (program.right, program.left):
            assert isinstance(part, EarProgram)
            for path, low, high in (("g50_ddb", 0, 600), ("g65_ddb", 0, 600), ("g80_ddb", 0, 600)):
                assert all(low <= v <= high and v % 10 == 0 for v in getattr(part, path))
            assert all(800 <= v <= 1_240 and v % 10 == 0 for v in part.mpo_ddb)


LEVELS = st.lists(st.integers(0, 60).map(lambda step: step * 10), min_size=10, max_size=10).map(tuple)
MPOS = st.lists(st.integers(80, 124).map(lambda step: step * 10), min_size=10, max_size=10).map(tuple)
# Anything that an aid may be found to hold, however bad its shape.
PROGRAMS = st.builds(EarProgram, g50_ddb=LEVELS, g65_ddb=LEVELS, g80_ddb=LEVELS, mpo_ddb=MPOS)
FALLS = st.lists(st.integers(0, 60).map(lambda step: step * 10), min_size=10, max_size=10)


@settings(max_examples=100)
@given(PROGRAMS, FALLS, FALLS)
def test_lowering_is_always_possible(old: EarProgram, gains: list[int], mpos: list[int]) -> None:
    def less(path: BandPath, falls: list[int], least: int) -> tuple[int, ...]:
        values = {"g50Ddb": old.g50_ddb, "g65Ddb": old.g65_ddb, "g80Ddb": old.g80_ddb, "mpoDdb": old.mpo_ddb}
        return tuple(max(least, v - fall) for v, fall in zip(values[path], falls, strict=True))

    new = EarProgram(
        g50_ddb=less("g50Ddb", gains, 0),
        g65_ddb=less("g65Ddb", gains, 0),
        g80_ddb=less("g80Ddb", gains, 0),
        mpo_ddb=less("mpoDdb", mpos, 800),
    )
    assert check(new, old).refusals == ()


@given(PATCHES)
def test_every_refusal_names_rule_and_ear_and_reads_as_a_sentence(patch: Patch) -> None:
    candidate = apply_patch(content(), patch)
    report = Kernel().check(change_of(candidate, content()))
    for finding in report.refusals:
        assert finding.message.startswith(f"{finding.rule}: {finding.ear} ")
        assert finding.rule == "K11" or finding.band in range(10)
        assert finding.source
        assert isinstance(finding.limit, int)
    assert ears_of(candidate) == EARS
