"""How good calls are: what their ends report is kept as a short series, and told to all of them when it has changed.

``media.call_quality`` judges. Each pod has the reports of its own people; what of them is kept when the call is over is
``CallQuality.take``. Nothing that is seen or heard comes here. Read ``CallQuality.report`` first.
"""

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from msgspec import UNSET, UnsetType

from media import call as calls
from media.call import Call
from media.call_quality import Tendency, Verdict, mean, middle, step, verdict_of
from media.call_relay import behind
from protocol.contract.base import Failure, Refusal
from protocol.contract.call_records import LinkQuality
from protocol.contract.calls import Grade, QualityChanged, ReportQuality
from protocol.contract.sessions import Done
from signaling.calls.flow import CallFlow
from signaling.hub import Caller
from signaling.pushes import push

__all__ = ["CallQuality", "QualityLimits"]

_NO_CALL = Refusal(code="no_call", message="there is no such call, or no part of yours in it")
_TOO_FAST = Refusal(
    code="too_many_reports", message="reports come too fast, wait a moment", retryable=True, retry_after_ms=1_000
)
# So many reports in a row without a picture.
_MISSED = 2
_ORDER: tuple[Grade, ...] = ("good", "fair", "bad")


@dataclass(frozen=True, slots=True)
class QualityLimits:
    """``max_reports`` of one way are kept, the newest; one ``every_s`` is taken."""

    max_reports: int
    every_s: float


@dataclass(slots=True)
class _Link:
    """What one end reports of the way from one peer. ``at_s``: Unix time of the last report."""

    connection: str
    series: deque[ReportQuality]
    at_s: float
    reports: int = 0
    tendency: Tendency = field(default_factory=Tendency)
    worst: Grade = "good"
    unseen: int = 0


class CallQuality:
    """The reports of this pod's people, for as long as their calls last.

    ``on_told`` hears of a call, the peer that reports, the one that it reports of, and what has just been told;
    ``on_seen`` of whether pictures come that should.
    """

    def __init__(self, flow: CallFlow, limits: QualityLimits) -> None:
        self._flow = flow
        self._limits = limits
        # By call, then by who reports of whom.
        self._links: dict[str, dict[tuple[int, int], _Link]] = {}
        self.on_told: list[Callable[[Call, int, int, Verdict], None]] = []
        self.on_seen: list[Callable[[Call, int, int, bool], None]] = []

    async def report(self, caller: Caller, request: ReportQuality) -> Done | Failure:
        """One end says how it was lately."""
        call = await self._flow.recent(request.visit)
        if call is None or call.call_id != request.call_id:
            return _refuse(_NO_CALL)
        sender = calls.may_send(call, caller.connection_id, request.to)
        if isinstance(sender, Refusal):
            return _refuse(sender)
        link = self._link(call.call_id, sender, request.to, caller.connection_id)
        now_s, metrics = self._flow.parts.now_s(), self._flow.parts.metrics
        if link.reports and now_s - link.at_s < self._limits.every_s:
            metrics.reached("quality_every_s")
            return _refuse(_TOO_FAST)
        if len(link.series) == self._limits.max_reports:
            metrics.reached("max_quality_reports")
        link.series.append(request)
        link.reports, link.at_s = link.reports + 1, now_s
        self._judge(call, sender, request, link)
        self._watch_picture(call, sender, request, link)
        return Done()

    def take(self, call_id: str) -> tuple[LinkQuality, ...]:
        """What is to be kept of a call that is over; nothing of it is known here afterwards."""
        links = self._links.pop(call_id, {})
        return tuple(_kept(peer, to, link) for (peer, to), link in links.items() if link.series)

    def _judge(self, call: Call, sender: int, request: ReportQuality, link: _Link) -> None:
        before, link.tendency = link.tendency, step(link.tendency, verdict_of(request))
        told = link.tendency.told
        if told == before.told:
            return
        link.worst = max(link.worst, told.grade, key=_ORDER.index)
        news = QualityChanged(
            visit=call.visit,
            call_id=call.call_id,
            peer=sender,
            to=request.to,
            grade=told.grade,
            advice=told.advice,
        )
        for leg in call.legs:
            if leg.state == "joined":
                push(self._flow.parts.clients.connection(leg.connection), news)
        for heard in self.on_told:
            heard(call, sender, request.to, told)

    def _watch_picture(self, call: Call, sender: int, request: ReportQuality, link: _Link) -> None:
        """One report without a single picture may be a hiccup. Whoever says that his camera is off misleads nobody."""
        before = link.unseen
        shown = any(call.legs[number].camera for number in behind(call, sender, request.to))
        is_missed = request.frames_per_s == 0 and shown
        link.unseen = min(before + 1, _MISSED) if is_missed else 0
        if (before == _MISSED) is not (link.unseen == _MISSED):
            for heard in self.on_seen:
                heard(call, sender, request.to, link.unseen < _MISSED)

    def _link(self, call_id: str, sender: int, to: int, connection: str) -> _Link:
        """Whoever comes back over another connection begins anew, but for what is kept in the end."""
        links = self._links.setdefault(call_id, {})
        link = links.get((sender, to))
        if link is None:
            link = links[sender, to] = _Link(connection, deque(maxlen=self._limits.max_reports), 0.0)
        elif link.connection != connection:
            link.connection, link.tendency, link.unseen = connection, Tendency(), 0
        return link


def _kept(peer: int, to: int, link: _Link) -> LinkQuality:
    series = link.series
    return LinkQuality(
        peer=peer,
        to=to,
        reports=link.reports,
        grade=link.tendency.told.grade,
        worst=link.worst,
        loss_permille=mean([one.loss_permille for one in series]) or 0,
        jitter_ms=middle([one.jitter_ms for one in series]) or 0,
        rtt_ms=_or_unset(middle(_known(one.rtt_ms for one in series))),
        in_kbps=_or_unset(mean(_known(one.in_kbps for one in series))),
        out_kbps=_or_unset(mean(_known(one.out_kbps for one in series))),
        frames_per_s=_or_unset(mean(_known(one.frames_per_s for one in series))),
        relayed=series[-1].relayed,
    )


def _known(values: Iterable[object]) -> list[int]:
    return [value for value in values if isinstance(value, int)]


def _or_unset(value: int | None) -> int | UnsetType:
    return UNSET if value is None else value


def _refuse(refusal: Refusal) -> Failure:
    return Failure(error=refusal, errors=(refusal,))
