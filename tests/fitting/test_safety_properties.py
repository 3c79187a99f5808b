"""What holds of the safety kernel whatever it is given."""

from dataclasses import fields, replace
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from fitting.audiogram import STANDARD_AUDIOGRAMS
from fitting.budgets import Budgets, levels_of
from fitting.limits import KERNEL_LIMITS, ClinicLimits
from fitting.model import apply_patch, ears_of
from fitting.safety import Change, Kernel, SafetyContext
from protocol.contract.base import EARS
from protocol.contract.fitting import BAND_PATHS, Content, EarProgram, Patch, PatchOp
from tests.fitting.changes import change_of
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
MODES = st.sampled_from(["advanced", "standard"])


@settings(deadline=None)
@given(GARBAGE, GARBAGE, st.sampled_from(["bands_hz", "programs", "refs"]), st.sampled_from(["right", "left"]), MODES)
def test_garbage_is_refused_and_never_raises(whole: Any, part: Any, field: str, ear: str, mode: Any) -> None:
    good = content()
    program = good.programs[0]
    for candidate in (
        whole,
        msgspec.structs.replace(good, **{field: part}),
        msgspec.structs.replace(good, programs=(msgspec.structs.replace(program, **{ear: part}),)),
        msgspec.structs.replace(good, programs=(msgspec.structs.replace(program, slot=part),)),
        content(right=with_band(flat(), 0, g65_ddb=part)),
        content(right=msgspec.structs.replace(flat(), max_stable_gain_ddb=part), left=flat()),
    ):
        for base in (None, good, candidate):
            report = Kernel().check(Change(base, candidate, BOTH, "fitting", mode))
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


@settings(deadline=None)
@given(PATCHES, MODES)
def test_every_refusal_names_rule_ear_limit_and_source_and_reads_as_a_sentence(patch: Patch, mode: Any) -> None:
    candidate = apply_patch(content(), patch)
    report = Kernel().check(change_of(candidate, content(), mode=mode, reason=""))
    for finding in report.refusals:
        assert finding.message.startswith(f"{finding.rule}: {finding.ear} ")
        assert finding.message.endswith(f" ({finding.source})")
        assert finding.rule in ("K9", "K11") or finding.band in range(10)
        assert (finding.slot, type(finding.limit)) == (1, int)
    assert ears_of(candidate) == EARS


GAINS = st.lists(st.integers(0, 60).map(lambda step: step * 10), min_size=10, max_size=10).map(tuple)
MPOS = st.lists(st.integers(80, 124).map(lambda step: step * 10), min_size=10, max_size=10).map(tuple)
STABLE = st.just(msgspec.UNSET) | GAINS
# Anything that an aid may be found to hold, however bad its shape.
PROGRAMS = st.builds(EarProgram, g50_ddb=GAINS, g65_ddb=GAINS, g80_ddb=GAINS, mpo_ddb=MPOS, max_stable_gain_ddb=STABLE)
PAIRS = st.builds(lambda right, left: content(right=right, left=left), PROGRAMS, PROGRAMS)
FALLS = st.lists(st.integers(0, 60).map(lambda step: step * 10), min_size=10, max_size=10)
PER_BAND = st.lists(st.none() | st.integers(0, 1_300), min_size=10, max_size=10).map(tuple)
LEVELS = st.none() | PAIRS.map(levels_of)
CLINICS = st.fixed_dictionaries(
    {
        field.name: st.integers(30, 90) if field.name == "feedback_margin_ddb" else st.integers(10, field.default)
        for field in fields(ClinicLimits)
        if isinstance(field.default, int)
    }
).map(lambda numbers: ClinicLimits(**numbers))
CONTEXTS = st.builds(
    SafetyContext,
    reason=st.sampled_from(["", "speech is too soft"]),
    budgets=st.builds(Budgets, session_base=LEVELS, lowest_10s=LEVELS, active=LEVELS, lowest_active_7d=LEVELS),
    audiogram=st.none() | st.sampled_from(list(STANDARD_AUDIOGRAMS.values())),
    loudness_ddb=st.dictionaries(st.sampled_from(EARS), PER_BAND),
    max_stable_gain_ddb=st.dictionaries(st.tuples(st.just(1), st.sampled_from(EARS)), PER_BAND),
    restores_active=st.booleans(),
    restores_pair=st.booleans(),
    in_ram=st.booleans(),
    red_flags=st.booleans(),
    limits=st.just(KERNEL_LIMITS) | CLINICS,
)
# Not far from each other, so that a good part of the changes is accepted.
STEPS = st.lists(st.integers(-3, 3).map(lambda step: step * 10), min_size=10, max_size=10)


def lower(program: EarProgram, gains: list[int], mpos: list[int]) -> EarProgram:
    """All three gains of each band down together, to no less than the aid has; and its MPO."""

    def less(levels: tuple[int, ...], falls: list[int], least: int) -> tuple[int, ...]:
        return tuple(max(least, level - fall) for level, fall in zip(levels, falls, strict=True))

    return msgspec.structs.replace(
        program,
        g50_ddb=less(program.g50_ddb, gains, 0),
        g65_ddb=less(program.g65_ddb, gains, 0),
        g80_ddb=less(program.g80_ddb, gains, 0),
        mpo_ddb=less(program.mpo_ddb, mpos, 800),
    )


@settings(max_examples=60, deadline=None)
@given(PAIRS, st.lists(FALLS, min_size=4, max_size=4), CONTEXTS, MODES)
def test_lowering_is_always_possible_whatever_is_known_and_whatever_the_clinic_says(
    held: Content, falls: list[list[int]], context: SafetyContext, mode: Any
) -> None:
    program = held.programs[0]
    assert isinstance(program.right, EarProgram)
    assert isinstance(program.left, EarProgram)
    softer = content(right=lower(program.right, *falls[:2]), left=lower(program.left, *falls[2:]))
    told = replace(context, reason="too loud")
    report = Kernel().check(Change(held, softer, BOTH, "fitting", mode, context=told))
    assert report.refusals == ()


def moved(held: Content, steps: list[list[int]]) -> Content:
    """Every level of both ears a little up or down, inside the ranges of the aid."""
    ears = {}
    for ear, by in zip(EARS, (steps[:4], steps[4:]), strict=True):
        part = getattr(held.programs[0], ear)
        levels = {}
        for name, change, low, high in zip(
            ("g50_ddb", "g65_ddb", "g80_ddb", "mpo_ddb"), by, (0, 0, 0, 800), (600, 600, 600, 1_240), strict=True
        ):
            pairs = zip(getattr(part, name), change, strict=True)
            levels[name] = tuple(min(max(level + step, low), high) for level, step in pairs)
        ears[ear] = msgspec.structs.replace(part, **levels)
    return content(**ears)


MOVES = st.lists(STEPS, min_size=8, max_size=8)


def stricter(context: SafetyContext) -> list[SafetyContext]:
    """The same with less known, or with a clinic that has tightened everything a little."""
    known, unaware = context.budgets, replace(context, restores_active=False, restores_pair=False)
    tight = {
        field.name: getattr(context.limits, field.name) + (1 if field.name == "feedback_margin_ddb" else -1)
        for field in fields(ClinicLimits)
        if getattr(context.limits, field.name) > 10
    }
    return [
        replace(context, audiogram=None),
        replace(context, reason=" "),
        replace(context, restores_active=False),
        replace(context, restores_pair=False),
        replace(context, in_ram=False),
        replace(context, red_flags=True),
        # Who does not know what was active cannot know either that it comes back.
        *(replace(unaware, budgets=replace(known, **{field.name: None})) for field in fields(Budgets)),
        replace(context, limits=ClinicLimits(**tight)),
    ]


@settings(max_examples=60, deadline=None)
@given(PAIRS | st.just(content()), MOVES, CONTEXTS, MODES)
def test_less_knowledge_and_a_tighter_clinic_never_let_more_pass(
    held: Content, moves: list[list[int]], context: SafetyContext, mode: Any
) -> None:
    change = Change(held, moved(held, moves), BOTH, "fitting", mode, context=context)
    kernel = Kernel()
    if kernel.check(change).accepted:
        assert kernel.check(replace(change, origin="first_fit")).accepted
        assert kernel.check(replace(change, context=replace(context, restores_active=True))).accepted
        return
    for less in stricter(context):
        assert not kernel.check(replace(change, context=less)).accepted


@settings(max_examples=60, deadline=None)
@given(PAIRS, CONTEXTS, MODES)
def test_asking_for_what_is_there_is_never_refused(held: Content, context: SafetyContext, mode: Any) -> None:
    assert Kernel().check(Change(held, held, BOTH, "fitting", mode, context=context)).accepted
