"""What a storm measured, and how it is shown. Pure. Read ``StormResult`` first."""

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from .storm_generator import Outcome
from .submit_report import Commits, Quantiles, grown, samples

__all__ = ["WAITING", "Memory", "StormResult", "counted_between", "joined", "storm_table"]

# What the log says of a package that is still to be had.
WAITING: Final = frozenset({"accepted at 1", "offered at 1", "received at 1", "awaiting_install at 1"})
_MIB = 1_048_576
_CACHE = "auricle_log_cache_total"
_BOUNDS = "auricle_bound_reached_total"


class Memory(msgspec.Struct, frozen=True, rename="camel"):
    """Resident bytes of the server: before the first phone, at most, and when all had gone."""

    before: int
    peak: int
    after: int


class Counted(msgspec.Struct, frozen=True, rename="camel"):
    """What the server counted: device logs that it had to read, those at hand, and the bounds that it has reached."""

    misses: int
    hits: int
    bounds: dict[str, int]


class StormResult(msgspec.Struct, frozen=True, rename="camel"):
    """One storm. Quantiles are from ``AttachDevice``, from connecting, and from when the phone was due.

    ``late`` phones could not begin when they were due, the latest by ``latest_s``; ``most`` were on the line at a time.
    ``put_off``: how often one was told to attach later, with nothing done for it. ``waiting``: devices whose packages
    wait in the log, and their phones gave up; those of the ``lost`` ones do not. ``wall_s`` is from the first phone's
    time to the last one's leaving. CPU is in milliseconds a device, ``busy`` in shares of one core; the generators' is
    that of all of them.
    """

    database: str
    protocol: str
    devices: int
    within_s: float
    wall_s: float
    attach: Quantiles | None
    connect: Quantiles | None
    due: Quantiles | None
    late: int
    latest_s: float
    most: int
    failed: dict[str, int]
    put_off: int
    lost: Sequence[str]
    waiting: Sequence[str]
    wrong: Sequence[str]
    states: dict[str, int]
    memory: Memory
    server_ms: float
    server_busy: float
    generator_ms: float
    generator_busy: float
    generators: int
    counted: Counted
    commits: Commits | None

    @property
    def is_whole(self) -> bool:
        """Whether every device has got its package and no other, by its phone and by the log."""
        return not self.faults and not self.misplaced

    @property
    def faults(self) -> list[str]:
        """What is not as it should be, by device."""
        lost = [f"the package of {device} is lost" for device in self.lost]
        return [
            *self.wrong,
            *lost,
            *(f"{device}: package waits in the log, its phone gave up" for device in self.waiting),
        ]

    @property
    def misplaced(self) -> dict[str, int]:
        """What the log says of packages that do not wait for their wearers."""
        return {state: count for state, count in self.states.items() if state != "awaiting_install at 1"}


def joined(outcomes: Iterable[Outcome]) -> Outcome:
    """What became of the phones of all processes."""
    whole = Outcome()
    for one in outcomes:
        whole.attach += one.attach
        whole.connect += one.connect
        whole.due += one.due
        whole.late += one.late
        whole.latest_s = max(whole.latest_s, one.latest_s)
        whole.given_up += one.given_up
        whole.put_off += one.put_off
        whole.wrong += one.wrong
        for reason, count in one.failed.items():
            whole.failed[reason] = whole.failed.get(reason, 0) + count
        whole.most += one.most
        whole.ended_s = max(whole.ended_s, one.ended_s)
        whole.cpu_s += one.cpu_s
    return whole


def counted_between(before: str, after: str) -> Counted:
    """What the server has counted between two looks at ``/metrics``."""
    old, new = samples(before), samples(after)
    prefix = f'{_BOUNDS}{{bound="'
    names = [name for name in new if name.startswith(prefix)]
    bounds = {name.removeprefix(prefix).removesuffix('"}'): int(grown(old, new, name)) for name in names}
    return Counted(
        misses=int(grown(old, new, f'{_CACHE}{{outcome="miss"}}')),
        hits=int(grown(old, new, f'{_CACHE}{{outcome="hit"}}')),
        bounds={bound: count for bound, count in bounds.items() if count},
    )


def storm_table(result: StormResult) -> str:
    """The result as text."""
    lines = [f"{'to the offer, ms':<24} {'p50':>9} {'p99':>9} {'p99.9':>9} {'phones':>8}"]
    for name, found in (
        ("from AttachDevice", result.attach),
        ("from connecting", result.connect),
        ("from due", result.due),
    ):
        if found is not None:
            cells = f"{found.p50_ms:>9.1f} {found.p99_ms:>9.1f} {found.p999_ms:>9.1f} {found.count:>8}"
            lines.append(f"{name:<24} {cells}")
    return "\n".join((*lines, *_facts(result)))


def _facts(result: StormResult) -> list[str]:
    memory, counted, commits = result.memory, result.counted, result.commits
    facts = [
        f"{result.devices} devices on {result.database} ({result.protocol}), due within {result.within_s:g} s, "
        f"gone after {result.wall_s:.1f} s; at most {result.most} on the line",
        f"late starts: {result.late}, the latest by {result.latest_s:.1f} s; told to attach later: {result.put_off}; "
        f"visits that failed and were made again: {sum(result.failed.values())} {result.failed or ''}".rstrip(),
        f"server CPU {result.server_ms:.2f} ms a device, {result.server_busy:.2f} of a core; {result.generators} "
        f"generators {result.generator_ms:.2f} ms a device, {result.generator_busy:.2f} of a core",
        f"server memory: {memory.before / _MIB:.0f} MiB before, {memory.peak / _MIB:.0f} at most, "
        f"{memory.after / _MIB:.0f} after",
        f"device logs read: {counted.misses}, at hand: {counted.hits}; bounds reached: {counted.bounds or 'none'}",
    ]
    if commits is not None:
        facts.append(
            f"log: {commits.count} commits of {commits.writes / commits.count:.1f} writes, mean {commits.mean_ms:.2f} "
            f"ms, p50 <= {commits.p50_ms:g} ms, p99 <= {commits.p99_ms:g} ms"
        )
    asked = sum(result.states.values())
    facts.append(
        f"packages: {result.devices - len(result.faults)} arrived, {len(result.lost)} lost, {len(result.wrong)} wrong, "
        f"{len(result.waiting)} wait in the log and their phones gave up; asked of the log: {asked}, not as they "
        f"should be: {result.misplaced or 'none'}"
    )
    return facts
