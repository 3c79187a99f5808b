"""The device log of the product, with somebody who hears of every answer. Changes nothing."""

from collections.abc import Callable
from typing import Any

from fitting.delivery import is_end
from fitting.log_over_store import LogStore, StoredDeviceLog
from fitting.log_packages import TAKEN_BACK
from fitting.log_values import Accepted, Delivery, LiveSession, SessionEnded
from protocol.contract.base import Refusal
from protocol.contract.devices import AttachDevice, Report
from protocol.contract.sessions import ReportDevice

from .checks import Checks
from .package_checks import PackageChecks

__all__ = ["Note", "WatchedLog"]

Note = Callable[..., None]


class WatchedLog(StoredDeviceLog):
    """See ``StoredDeviceLog``."""

    def __init__(
        self, store: LogStore, new_id: Callable[[], str], checks: Checks, packages: PackageChecks, note: Note
    ) -> None:
        super().__init__(store, new_id)
        self._checks, self._packages, self._note = checks, packages, note

    async def acquire(self, device: str, *, session: str, holder: str) -> Any:
        outcome = await super().acquire(device, session=session, holder=holder)
        self._checks.granted(outcome)
        self._note("acquire", holder=holder, session=session, outcome=outcome)
        return outcome

    async def steal(self, device: str, *, session: str, holder: str, reason: str, **more: Any) -> Any:
        outcome = await super().steal(device, session=session, holder=holder, reason=reason, **more)
        self._checks.granted(outcome)
        self._over(getattr(outcome, "session", None))
        self._note("steal", holder=holder, session=session, outcome=_short(outcome))
        return outcome

    async def release(self, device: str, **more: Any) -> Any:
        outcome = await super().release(device, **more)
        self._over(getattr(outcome, "session", None))
        self._note("release", outcome=_short(outcome))
        return outcome

    async def open_session(self, device: str, *, fence: int, holder: str) -> Any:
        outcome = await super().open_session(device, fence=fence, holder=holder)
        self._checks.is_live |= isinstance(outcome, LiveSession)
        self._note("open_session", fence=fence, holder=holder, outcome=_short(outcome))
        return outcome

    async def end_session(self, device: str, **more: Any) -> Any:
        outcome = await super().end_session(device, **more)
        self._over(outcome)
        self._note("end_session", **more, outcome=_short(outcome))
        for one in getattr(outcome, "ended", ()):
            self._delivery(one.delivery)
        return outcome

    async def lapsed(self) -> Any:
        outcome = await super().lapsed()
        for _, ended in outcome:
            self._over(ended)
            self._note("lapsed", outcome=_short(ended))
            for one in ended.ended:
                self._delivery(one.delivery)
        return outcome

    async def append(self, proposal: Any) -> Any:
        # Before it is asked for: a server that is killed right after the commit never hears the answer.
        self._checks.pairs.add((str(proposal.digests.right), str(proposal.digests.left)))
        outcome = await super().append(proposal)
        what = {"kind": proposal.kind, "mode": proposal.mode, "fence": proposal.fence, "author": proposal.author}
        self._note("append", **what, outcome=_short(outcome))
        if isinstance(outcome, Accepted):
            self._packages.accepted(proposal, outcome)
            for one in outcome.ended:
                self._delivery(one.delivery)
        return outcome

    async def make_way(self, device: str, *, fence: int, holder: str) -> Any:
        outcome = await super().make_way(device, fence=fence, holder=holder)
        given = () if isinstance(outcome, Refusal) else outcome
        if given:
            self._note("make_way", seqs=[one.delivery.seq for one in given])
        for one in given:
            self._delivery(one.delivery)
        return outcome

    async def take_back_rises(self, device: str) -> Any:
        outcome = await super().take_back_rises(device)
        for one in outcome:
            self._delivery(one.delivery)
        return outcome

    async def ask_question(self, device: str, seq: int) -> Any:
        outcome = await super().ask_question(device, seq)
        is_asked = not isinstance(outcome, Refusal)
        self._note("question", seq=seq, asked=is_asked)
        if is_asked:
            self._packages.asked(seq)
        return outcome

    async def answer_question(
        self, device: str, seq: int, *, state: str, actor: str, text: str | None = None, wish: int | None = None
    ) -> Any:
        outcome = await super().answer_question(device, seq, state=state, actor=actor, text=text, wish=wish)
        self._note("answer", seq=seq, state=state, taken=outcome is not None)
        if outcome is not None and state == TAKEN_BACK:
            self._packages.taken_back(seq)
        return outcome

    async def attach(self, claim: AttachDevice) -> Any:
        outcome = await super().attach(claim)
        self._checks.attached(getattr(outcome, "generation", 0))
        told = {"epoch": claim.epoch, "last_terminal": claim.last_terminal, "trial": claim.trial}
        self._note("attach", **told, in_flight=claim.in_flight, outcome=_short(outcome))
        return outcome

    async def next_offer(self, device: str, generation: int) -> Delivery | None:
        offered = await super().next_offer(device, generation)
        self._checks.offered(offered, generation)
        if offered is not None:
            self._note("offer", seq=offered.seq, attempt=offered.attempt, withdrawn=offered.withdrawn)
        return offered

    async def reoffer(self, device: str, generation: int, *, older_than_s: float) -> Delivery | None:
        offered = await super().reoffer(device, generation, older_than_s=older_than_s)
        self._checks.offered(offered, generation)
        if offered is not None:
            self._note("reoffer", seq=offered.seq, attempt=offered.attempt, withdrawn=offered.withdrawn)
        return offered

    async def expire(self) -> Any:
        outcome = await super().expire()
        for one in outcome:
            self._note("expire", seq=one.delivery.seq)
            self._delivery(one.delivery)
        return outcome

    async def cancel(self, device: str, seq: int, **more: Any) -> Any:
        outcome = await super().cancel(device, seq, **more)
        self._note("cancel", seq=seq, outcome=_short(outcome))
        for one in () if isinstance(outcome, Refusal) else outcome:
            self._delivery(one.delivery)
        return outcome

    async def report_device(self, told: ReportDevice, *, generation: int | None = None) -> Any:
        outcome = await super().report_device(told, generation=generation)
        self._over(getattr(outcome, "session", None))
        self._note("report_device", cause=told.cause, outcome=_short(outcome))
        session = getattr(outcome, "session", None)
        for one in (*getattr(outcome, "ended", ()), *getattr(session, "ended", ())):
            self._delivery(one.delivery)
        return outcome

    async def report(self, report: Report, *, generation: int) -> Any:
        outcome = await super().report(report, generation=generation)
        what = {"seq": report.seq, "n": report.n, "state": report.state, "ear": report.ear, "code": report.code}
        self._note("report", **what, outcome=_short(outcome))
        if not isinstance(outcome, Refusal):
            self._packages.reported(report, outcome.delivery)
            self._delivery(outcome.delivery)
            for one in outcome.others:
                self._delivery(one.delivery)
        return outcome

    def _over(self, ended: object) -> None:
        if isinstance(ended, SessionEnded):
            self._checks.is_live = False
            self._checks.session_ends[ended.cause] += 1

    def _delivery(self, delivery: Delivery) -> None:
        end = is_end(delivery.kind, delivery.state)
        self._checks.moved(delivery.epoch, delivery.seq, delivery.state, is_end=end)
        if end:
            self._packages.ended(delivery)


def _short(outcome: Any) -> Any:
    """Enough to follow a run by."""
    if isinstance(outcome, Refusal):
        return f"refused {outcome.code}"
    names = ("seq", "fence", "cause", "restore", "resume", "generation", "from_seq", "changed", "ended", "repeated")
    found = {name: getattr(outcome, name) for name in names if hasattr(outcome, name)}
    delivery = getattr(outcome, "delivery", None)
    if delivery is not None:
        found["state"], found["ears"] = delivery.state, dict(delivery.ears)
    if isinstance(found.get("ended"), tuple):
        found["ended"] = [one.delivery.seq for one in found["ended"]]
    return found
