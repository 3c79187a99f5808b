"""What a reconnect storm did, and how it is shown. Pure. Read ``ReconnectResult`` first."""

from collections import Counter
from collections.abc import Sequence
from typing import Final

import msgspec

from .reconnect_generator import Outcome
from .submit_report import Quantiles

__all__ = ["Live", "PodUse", "ReconnectResult", "joined", "table"]

AIM_S: Final = 25.0
AIM_P99_MS: Final = 150.0
_MIB: Final = 1_048_576


class Live(msgspec.Struct, frozen=True, rename="camel"):
    """The live sessions in one stretch of time: from ``Submit`` to the offer, and to its proof.

    None: not one change was made in it. ``late``: changes that were due while the one before was on its way.
    """

    offer: Quantiles | None
    confirmed: Quantiles | None
    late: int


class PodUse(msgspec.Struct, frozen=True, rename="camel"):
    """One server process: resident memory before anybody came, with everybody, at most, and at the end; CPU time."""

    rss_before: int
    rss_full: int
    rss_most: int
    rss_after: int
    cpu_s: float


class ReconnectResult(msgspec.Struct, frozen=True, rename="camel"):
    """A whole run. ``all_back_s``: from the cut until the last client was back. ``load``: load averages around it.

    ``broken``: what first went wrong with live sessions, by device.
    """

    clients: int
    jitter_s: float
    connected_s: float
    all_back_s: float
    back: Quantiles | None
    connect: Quantiles | None
    lost: int
    refused: dict[str, int]
    cut_again: int
    sessions: int
    rate: float
    broken: dict[str, str]
    calm: Live
    storm: Live
    pods: list[PodUse]
    generator_cpu_s: float
    load: tuple[float, float]

    @property
    def is_whole(self) -> bool:
        """Whether everybody is back, and no session broke."""
        return not self.lost and not self.cut_again and not self.broken


def joined(outcomes: Sequence[Outcome]) -> Outcome:
    """Those of several processes as one."""
    refused: Counter[str] = Counter()
    for one in outcomes:
        refused.update(one.refused)
    return Outcome(
        back_s=[seconds for one in outcomes for seconds in one.back_s],
        connect_s=[seconds for one in outcomes for seconds in one.connect_s],
        lost=sum(one.lost for one in outcomes),
        refused=dict(refused),
        cut_again=sum(one.cut_again for one in outcomes),
        cpu_s=sum(one.cpu_s for one in outcomes),
    )


def table(result: ReconnectResult) -> str:
    """The result as text."""
    refusals = ", ".join(f"{count} x {why}" for why, count in sorted(result.refused.items())) or "none"
    within = "yes" if not result.lost and result.all_back_s < AIM_S else "no"
    lines = [
        f"{result.clients} connections on {len(result.pods)} server processes, cut at once, back within "
        f"{result.jitter_s:g} s and however long it takes; load average {result.load[0]:.1f} before, "
        f"{result.load[1]:.1f} after.",
        "",
        f"connected in {result.connected_s:.1f} s; all back {result.all_back_s:.1f} s after the cut "
        f"(under {AIM_S:g} s: {within}), {result.lost} never, {result.cut_again} lost again",
        f"{'from the cut':<24} {_shown(result.back)}",
        f"{'from the try':<24} {_shown(result.connect)}",
        f"refused: {refusals}",
        "",
        f"{result.sessions} live sessions, {result.rate:g} changes a second each (p99 below {AIM_P99_MS:g} ms: "
        f"{_is_below(result.storm.offer)})",
        f"{'calm, to the offer':<24} {_shown(result.calm.offer)}",
        f"{'storm, to the offer':<24} {_shown(result.storm.offer)}",
        f"{'calm, to the proof':<24} {_shown(result.calm.confirmed)}",
        f"{'storm, to the proof':<24} {_shown(result.storm.confirmed)}",
        f"late: {result.calm.late} and {result.storm.late}; broken: {len(result.broken)}",
        *sorted(set(result.broken.values())),
        "",
    ]
    for number, pod in enumerate(result.pods):
        lines.append(
            f"process {number}: {pod.rss_before / _MIB:.0f} MiB before, {pod.rss_full / _MIB:.0f} with everybody, "
            f"{pod.rss_most / _MIB:.0f} at most, {pod.rss_after / _MIB:.0f} after; "
            f"{pod.cpu_s:.1f} s of CPU in the storm"
        )
    lines.append(f"clients: {result.generator_cpu_s:.1f} s of CPU in the storm")
    return "\n".join(lines)


def _shown(found: Quantiles | None) -> str:
    if found is None:
        return "nothing"
    return f"p50 {found.p50_ms:.0f} ms, p99 {found.p99_ms:.0f}, p99.9 {found.p999_ms:.0f}, {found.count} times"


def _is_below(found: Quantiles | None) -> str:
    return "yes" if found is not None and found.p99_ms < AIM_P99_MS else "no"
