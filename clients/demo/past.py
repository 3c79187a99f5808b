"""The history of a device as lines for people: who changed what by how many decibels. Pure. Read ``line`` first."""

from collections import defaultdict
from collections.abc import Iterable

from msgspec import UNSET

from protocol.contract.history import Difference, RevisionView

__all__ = ["line", "summary"]

_FEW = 3


def line(view: RevisionView) -> str:
    """One revision."""
    return f"{view.author or '(the aids)':<15} {view.origin:<10} {summary(view.changes):<42} {view.reason}"


def summary(changes: Iterable[Difference]) -> str:
    """What differs from the revision before: by how much, at which frequencies, on which ears."""
    moved: dict[int, set[int]] = defaultdict(set)
    ears: set[str] = set()
    count = 0
    for change in changes:
        count += 1
        if change.ear is not UNSET:
            ears.add(change.ear)
        if change.ddb is not UNSET and change.band_hz is not UNSET:
            moved[change.ddb].add(change.band_hz)
    if not count:
        return "nothing"
    side = "both ears" if len(ears) == 2 else f"the {next(iter(ears))} ear" if ears else "the program"
    if not moved or len(moved) > _FEW:
        span = f", {min(moved) / 10:+g} to {max(moved) / 10:+g} dB" if moved else ""
        return f"{count} values of {side}{span}"
    parts = [f"{ddb / 10:+g} dB at {', '.join(map(str, sorted(bands)))} Hz" for ddb, bands in sorted(moved.items())]
    return f"{'; '.join(parts)}, {side}"
