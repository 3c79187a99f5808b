"""What the submit benchmark measured, and how it is shown. Pure. Read ``Result`` first, then ``commits_between``."""

import math
from collections.abc import Sequence

import msgspec

__all__ = ["Commits", "Quantiles", "Result", "commits_between", "grown", "samples", "table"]

_COMMITS = "auricle_database_commit_seconds"
_WRITES = "auricle_database_commit_writes_sum"
_MS = 1_000.0


class Quantiles(msgspec.Struct, frozen=True, rename="camel"):
    """Milliseconds."""

    count: int
    p50_ms: float
    p99_ms: float
    p999_ms: float
    mean_ms: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> "Quantiles":
        """Of at least one value: the smallest value that so many are not above."""
        ordered = sorted(seconds)

        def at(share: float) -> float:
            return ordered[max(0, math.ceil(share * len(ordered)) - 1)] * _MS

        return cls(len(ordered), at(0.5), at(0.99), at(0.999), sum(ordered) / len(ordered) * _MS)


class Commits(msgspec.Struct, frozen=True, rename="camel"):
    """The commits of the database as the server counts them; quantiles are upper bounds of their buckets."""

    count: int
    writes: int
    mean_ms: float
    p50_ms: float
    p99_ms: float


class Result(msgspec.Struct, frozen=True, rename="camel"):
    """One run on one database. ``late``: changes that were due while the one before was on its way.

    ``server_ms`` and ``generator_ms`` are CPU time of each change, ``server_busy`` the share of one core in use.
    """

    database: str
    sessions: int
    rate: float
    wall_s: float
    late: int
    offer: Quantiles
    answer: Quantiles
    confirmed: Quantiles
    commits: Commits | None
    server_ms: float
    server_busy: float
    generator_ms: float

    @property
    def append_share(self) -> float | None:
        """How much of the mean time from Submit to Offer one commit of the log takes, None without a database."""
        return None if self.commits is None else self.commits.mean_ms / self.offer.mean_ms


def commits_between(before: str, after: str) -> Commits | None:
    """The commits between two looks at ``/metrics``, None when there were none."""
    old, new = samples(before), samples(after)
    count = int(grown(old, new, f"{_COMMITS}_count"))
    if not count:
        return None
    prefix = f'{_COMMITS}_bucket{{le="'
    buckets = sorted(
        (math.inf if bound == "+Inf" else float(bound), new[name] - old.get(name, 0.0))
        for name in new
        if name.startswith(prefix)
        for bound in [name.removeprefix(prefix).removesuffix('"}')]
    )

    def at(share: float) -> float:
        return next(bound for bound, below in buckets if below >= share * count) * _MS

    total_ms = grown(old, new, f"{_COMMITS}_sum") * _MS
    return Commits(count, int(grown(old, new, _WRITES)), total_ms / count, at(0.5), at(0.99))


def table(results: Sequence[Result]) -> str:
    """The results as text."""
    lines = [
        f"{'':<12} {'from Submit to':<12} {'p50 ms':>8} {'p99 ms':>8} {'p99.9 ms':>9} {'mean ms':>8} {'changes':>8}",
    ]
    for result in results:
        rows = (("Offer", result.offer), ("its answer", result.answer), ("confirmed", result.confirmed))
        for name, found in rows:
            first = result.database if name == "Offer" else ""
            lines.append(
                f"{first:<12} {name:<12} {found.p50_ms:>8.2f} {found.p99_ms:>8.2f} "
                f"{found.p999_ms:>9.2f} {found.mean_ms:>8.2f} {found.count:>8}"
            )
        lines += [f"{'':<12} {text}" for text in _facts(result)]
    return "\n".join(lines)


def _facts(result: Result) -> list[str]:
    per_s = result.confirmed.count / result.wall_s
    asked = result.sessions * result.rate
    facts = [
        f"{result.sessions} sessions x {result.rate:g}/s: {per_s:.0f} of {asked:.0f} changes a second, "
        f"{result.late} not asked for because the one before was still on its way",
        f"server CPU {result.server_ms:.2f} ms a change, {result.server_busy:.2f} of a core; "
        f"generator {result.generator_ms:.2f} ms a change",
    ]
    commits = result.commits
    if commits is not None and result.append_share is not None:
        facts.append(
            f"log: {commits.count} commits of {commits.writes / commits.count:.1f} writes, "
            f"mean {commits.mean_ms:.2f} ms, "
            f"p50 <= {commits.p50_ms:g} ms, p99 <= {commits.p99_ms:g} ms; "
            f"one is {100 * result.append_share:.0f} % of Submit to Offer"
        )
    return facts


def samples(text: str) -> dict[str, float]:
    """The values of a page of ``/metrics``, by name and labels."""
    lines = (line.rpartition(" ") for line in text.splitlines() if line and not line.startswith("#"))
    return {name: float(value) for name, _, value in lines}


def grown(old: dict[str, float], new: dict[str, float], name: str) -> float:
    """By how much a value has grown between two pages."""
    return new.get(name, 0.0) - old.get(name, 0.0)
