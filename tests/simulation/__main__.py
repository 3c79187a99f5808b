"""``python -m tests.simulation``: many seeds, or one of them again with its trace, or the fewest steps that fail.

Read ``main``.
"""

import argparse
import logging
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final, get_args

from protocol.contract.sessions import EndReason

from .bugs import BUGS
from .plan import FAULTS, WEARING, Plan, drawn
from .run import Verdict, simulate
from .shrink import shrunk
from .world import Options

__all__ = ["PACKAGE_ENDS", "PUSHES", "SESSION_ENDS", "Tally", "main"]

PACKAGE_ENDS: Final = frozenset(
    {"active", "declined", "superseded", "expired", "cancelled", "rejected", "rolled_back", "failed"}
)
# All but an hour's, which no run has, and the phone's own dead-man, before which the server mostly finds out.
SESSION_ENDS: Final = frozenset(get_args(EndReason)) - {"time_up", "dead_man"}
PUSHES: Final = frozenset({"sent", "gone", "later", "refused"})
_BATCH = 20
_TELL_EVERY_S = 5.0
# From so many seeds on a run that tried less than everything proves less than it says.
_COMPLETE_FROM = 1_000
EPILOG = """exit codes: 0 nothing was found; 1 a check failed; 2 wrong arguments; 3 something was never tried"""


@dataclass
class Tally:
    """What many runs came to."""

    runs: int = 0
    failed: list[tuple[int, str]] = field(default_factory=list)
    ended: Counter[str] = field(default_factory=Counter)
    packages: Counter[str] = field(default_factory=Counter)
    sessions: Counter[str] = field(default_factory=Counter)
    pushes: Counter[str] = field(default_factory=Counter)
    struck: Counter[str] = field(default_factory=Counter)

    def add(self, other: "Tally") -> None:
        """One more batch."""
        self.runs += other.runs
        self.failed += other.failed
        self.ended += other.ended
        self.packages += other.packages
        self.sessions += other.sessions
        self.pushes += other.pushes
        self.struck += other.struck

    def take(self, verdict: Verdict) -> None:
        """One more run."""
        self.runs += 1
        self.ended.update(verdict.ended)
        self.packages.update(verdict.packages)
        self.sessions.update(verdict.sessions)
        self.pushes.update(verdict.pushes)
        self.struck.update(one.facts["fault"] for one in verdict.trace if one.what == "STRIKE")
        if verdict.violations:
            self.failed.append((verdict.plan.seed, str(verdict.violations[0])))

    @property
    def untried(self) -> list[str]:
        """Faults that no run had, and ends that no package and no session came to."""
        missing = (FAULTS.keys() | WEARING.keys()) - self.struck.keys()
        missing |= {f"a package that ends as {state}" for state in PACKAGE_ENDS - self.packages.keys()}
        missing |= {f"a session that ends by {reason}" for reason in SESSION_ENDS - self.sessions.keys()}
        missing |= {f"a push that is {outcome}" for outcome in PUSHES - self.pushes.keys()}
        return sorted(missing)


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    given = _parser().parse_args(argv)
    options = _options(given.log, given.bug)
    with _quiet():
        return _many(given) if given.seed is None else _one(drawn(given.seed), options, given)


@contextmanager
def _quiet() -> Iterator[None]:
    """A phone says what a server did not take; here that is part of every other run."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.simulation",
        description="Whole sessions of two fitters, a server, a phone and two aids under faults, in virtual time.",
        epilog=EPILOG,
    )
    parser.add_argument("--seeds", type=int, default=1_000, help="how many runs (default %(default)s)")
    parser.add_argument("--start", type=int, default=0, metavar="N", help="the first seed (default %(default)s)")
    parser.add_argument("--log", choices=("memory", "sqlite"), default="memory", help="the device log's store")
    parser.add_argument("--seed", type=int, metavar="N", help="run this one seed")
    parser.add_argument("--trace", action="store_true", help="with --seed: show all that happened")
    parser.add_argument("--shrink", action="store_true", help="with --seed: find the fewest steps that still fail")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes (default: one per core)")
    parser.add_argument("--bug", choices=sorted(BUGS), help="with a bug put in, to see it found")
    return parser


def _options(log: str, bug: str | None) -> Options:
    if bug is not None:
        return BUGS[bug]
    return Options(disk="sqlite" if log == "sqlite" else "memory")


def _one(plan: Plan, options: Options, given: argparse.Namespace) -> int:
    verdict = simulate(plan, options)
    if given.shrink and verdict.violations:
        rule = verdict.rules[0]
        plan = shrunk(plan, lambda fewer: rule in simulate(fewer, options).rules)
        verdict = simulate(plan, options)
    if given.trace:
        for line in verdict.trace:
            print(line)
    for step in verdict.plan.steps:
        print(f"step {step}")
    for violation in verdict.violations:
        print(f"FAILED {violation}")
    print(f"seed {plan.seed}: {'failed' if verdict.violations else 'nothing found'}")
    return 1 if verdict.violations else 0


def _many(given: argparse.Namespace) -> int:
    tally, began_s = Tally(), time.monotonic()
    told_s = began_s
    for batch in _batches(given):
        tally.add(batch)
        for seed, violation in batch.failed:
            print(f"seed {seed}: {violation}", flush=True)
        if time.monotonic() - told_s >= _TELL_EVERY_S:
            told_s = time.monotonic()
            _say(f"{tally.runs} of {given.seeds} runs, {len(tally.failed)} failed, {told_s - began_s:.0f} s")
    took_s = time.monotonic() - began_s
    print(f"{tally.runs} runs in {took_s:.0f} s ({given.log}), {len(tally.failed)} failed")
    print(f"deliveries by their end: {dict(sorted(tally.ended.items()))}")
    print(f"packages by their end: {dict(sorted(tally.packages.items()))}")
    print(f"sessions by why they ended: {dict(sorted(tally.sessions.items()))}")
    print(f"pushes by their outcome: {dict(sorted(tally.pushes.items()))}")
    print(f"struck: {dict(sorted(tally.struck.items()))}")
    if tally.failed:
        print(f"again: python -m tests.simulation --log {given.log} --seed {tally.failed[0][0]} --shrink --trace")
        return 1
    if given.seeds >= _COMPLETE_FROM and tally.untried:
        print(f"never tried: {', '.join(tally.untried)}")
        return 3
    return 0


def _batches(given: argparse.Namespace) -> Iterator[Tally]:
    end = given.start + given.seeds
    ranges = [range(first, min(end, first + _BATCH)) for first in range(given.start, end, _BATCH)]
    if given.jobs <= 1:
        yield from (_batch(seeds, given.log, given.bug) for seeds in ranges)
        return
    with ProcessPoolExecutor(given.jobs) as pool:
        running = [pool.submit(_batch, seeds, given.log, given.bug) for seeds in ranges]
        for done in as_completed(running):
            yield done.result()


def _batch(seeds: range, log: str, bug: str | None) -> Tally:
    tally = Tally()
    with _quiet():
        for seed in seeds:
            tally.take(simulate(drawn(seed), _options(log, bug)))
    return tally


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
