"""The device log over any store of rows: each call is a step on one device, run by the store as a whole or not.

The steps are ``log_commands``; what a store must do is ``LogStore``, which is all that differs between a log in memory
and one in SQL. This module must not know how rows are kept. Read ``LogStore`` first.
"""

from collections.abc import Callable, Collection, Mapping
from typing import Final, Literal, Protocol, TypeVar

from protocol.contract.base import MAX_SAFE_INTEGER, Ear, Refusal
from protocol.contract.devices import AttachDevice, RegisteredAid, Report
from protocol.contract.fitting import Content
from protocol.contract.sessions import EndReason, ReportDevice
from protocol.errors import Unavailable, Unreadable

from . import log_attaching, log_commands, log_packages, log_sessions
from .delivery import is_end
from .log_rows import DeviceRows
from .log_values import (
    Accepted,
    Attached,
    Delivery,
    DeviceHead,
    EventKind,
    Learned,
    LeaseGranted,
    LiveSession,
    LogEvent,
    Proposal,
    Recorded,
    Released,
    Revision,
    SessionEnded,
    Stolen,
    Withdrawn,
)

__all__ = ["LogStore", "Step", "StoredDeviceLog"]

T = TypeVar("T")
Step = Callable[[DeviceRows, float], T]
Look = Literal["lapsed", "expired"]
# So many devices in a row that cannot be reached mean that none can.
_AWAY_AFTER: Final = 3


class LogStore(Protocol):
    """Keeps the rows of all devices and runs steps on them, one at a time per device.

    A step is pure and may be run again: on rows that turn out to be old it is run anew on the current ones. What a
    refusal says is always true of current rows. Once ``run`` has returned, whatever the step made hard (``Fresh``)
    survives the end of the process. Errors of the storage raise ``protocol.errors.Unavailable``; the step may or may
    not have happened then, and its idempotency key tells.
    """

    async def create(self, device: str, aids: Mapping[Ear, RegisteredAid]) -> bool:
        """Rows of a new device; False when there are some."""
        ...

    async def run(self, device: str, step: Step[T], *, key: str | None = None) -> T | Refusal:
        """Take one step at the store's own time. Refused: ``not_found``.

        ``key`` is the idempotency key that the step is about: when the store knows it, the rows do so too.
        """
        ...

    def overheard(self, device: str) -> None:
        """See ``DeviceLog.overheard``."""
        ...

    async def newest(self, devices: Collection[str]) -> Mapping[str, int]:
        """See ``DeviceLog.newest``."""
        ...

    def is_quiet(self, device: str, generation: int) -> bool:
        """See ``DeviceLog.is_quiet``; what it means is ``log_commands.is_quiet``."""
        ...

    async def due(self, look: Look) -> tuple[str, ...]:
        """Devices on which time alone may bring something about now, a bounded number of them.

        One look goes on where the same one ended before, so that it comes to every device in turn.
        """
        ...

    async def in_session(self) -> tuple[str, ...]:
        """See ``DeviceLog.in_session``."""
        ...

    async def delivery(self, device: str, seq: int) -> Delivery | None:
        """A delivery that has an end."""
        ...

    async def deliveries(self, device: str, before: int, limit: int) -> tuple[Delivery, ...]:
        """Deliveries with a lower seq than ``before``, newest first. One without an end may be missing, or old."""
        ...

    async def events(self, device: str, after: int, limit: int) -> tuple[LogEvent, ...]:
        """Recorded events after a number, oldest first."""
        ...

    async def revision(self, device: str, revision_id: str) -> Revision | None:
        """One revision."""
        ...

    async def revisions(self, device: str, before: str | None, limit: int) -> tuple[Revision, ...]:
        """Revisions, newest first, those older than ``before``."""
        ...

    async def close(self) -> None:
        """Write down what was only told, and let go of everything."""
        ...


class StoredDeviceLog:
    """``fitting.log.DeviceLog`` over a store. ``new_id`` gives opaque ids that never repeat.

    ``troubled`` is told what has kept a look at all devices from one of them.
    """

    def __init__(
        self,
        store: LogStore,
        new_id: Callable[[], str],
        troubled: Callable[[str, Exception], None] | None = None,
    ) -> None:
        self._store = store
        self._new_id = new_id
        self._troubled = troubled

    async def create(self, device: str, aids: Mapping[Ear, RegisteredAid]) -> Refusal | None:
        if await self._store.create(device, aids):
            return None
        return Refusal(code="already_exists", message="the device has a log already")

    async def head(
        self, device: str, *, key: str | None = None, request_hash: str | None = None, lately: bool = False
    ) -> DeviceHead | Refusal:
        def step(rows: DeviceRows, now_s: float) -> DeviceHead:
            return log_commands.head(rows, now_s, key=key, request_hash=request_hash)

        return await self._store.run(device, step, key=None if lately else key)

    async def acquire(self, device: str, *, session: str, holder: str) -> LeaseGranted | Refusal:
        def step(rows: DeviceRows, now_s: float) -> LeaseGranted | Refusal:
            return log_sessions.acquire(rows, now_s, session=session, holder=holder)

        return await self._store.run(device, step)

    async def renew(self, device: str, *, session: str, holder: str, fence: int) -> LeaseGranted | Refusal:
        def step(rows: DeviceRows, now_s: float) -> LeaseGranted | Refusal:
            return log_sessions.renew(rows, now_s, session=session, holder=holder, fence=fence)

        return await self._store.run(device, step)

    async def release(
        self, device: str, *, session: str, holder: str, fence: int, discard: bool = False
    ) -> Released | Refusal:
        def step(rows: DeviceRows, now_s: float) -> Released | Refusal:
            return log_sessions.release(rows, now_s, session=session, holder=holder, fence=fence, discard=discard)

        return await self._store.run(device, step)

    async def steal(
        self,
        device: str,
        *,
        session: str,
        holder: str,
        reason: str,
        key: str | None = None,
        request_hash: str = "",
    ) -> Stolen | Refusal:
        def step(rows: DeviceRows, now_s: float) -> Stolen | Refusal:
            asked = None if key is None else (key, request_hash)
            return log_sessions.steal(rows, now_s, session=session, holder=holder, reason=reason, asked=asked)

        return await self._store.run(device, step, key=key)

    async def open_session(self, device: str, *, fence: int, holder: str) -> LiveSession | Refusal:
        def step(rows: DeviceRows, now_s: float) -> LiveSession | Refusal:
            return log_sessions.open_session(rows, now_s, fence=fence, holder=holder)

        return await self._store.run(device, step)

    async def end_session(
        self, device: str, *, cause: EndReason, actor: str, fence: int | None = None, discard: bool = True
    ) -> SessionEnded | Refusal | None:
        def step(rows: DeviceRows, now_s: float) -> SessionEnded | Refusal | None:
            return log_sessions.leave(rows, now_s, cause=cause, actor=actor, fence=fence, discard=discard)

        return await self._store.run(device, step)

    async def lapsed(self) -> tuple[tuple[str, SessionEnded], ...]:
        outcomes = await self._each_due("lapsed", log_sessions.lapse)
        return tuple((device, ended) for device, ended in outcomes if ended is not None)

    async def in_session(self) -> tuple[str, ...]:
        return await self._store.in_session()

    async def alive(self, device: str) -> tuple[LiveSession, float] | None:
        outcome = await self._store.run(device, log_sessions.alive)
        return None if isinstance(outcome, Refusal) else outcome

    async def append(self, proposal: Proposal) -> Accepted | Refusal:
        def step(rows: DeviceRows, now_s: float) -> Accepted | Refusal:
            append = log_packages.append_package if proposal.mode == "standard" else log_commands.append
            return append(rows, now_s, proposal, self._new_id)

        return await self._store.run(proposal.device, step, key=proposal.key)

    async def attach(self, claim: AttachDevice) -> Attached | Refusal:
        def step(rows: DeviceRows, now_s: float) -> Attached | Refusal:
            return log_attaching.attach(rows, now_s, claim, self._new_id)

        return await self._store.run(claim.device, step)

    async def detach(self, device: str, generation: int) -> None:
        await self._store.run(device, lambda rows, _: log_attaching.detach(rows, generation))

    def overheard(self, device: str) -> None:
        self._store.overheard(device)

    async def newest(self, devices: Collection[str]) -> Mapping[str, int]:
        return await self._store.newest(devices)

    def is_quiet(self, device: str, generation: int) -> bool:
        return self._store.is_quiet(device, generation)

    async def next_offer(self, device: str, generation: int) -> Delivery | None:
        offered = await self._store.run(device, lambda rows, now_s: log_commands.next_offer(rows, now_s, generation))
        return None if isinstance(offered, Refusal) else offered

    async def expire(self) -> tuple[Withdrawn, ...]:
        def step(rows: DeviceRows, now_s: float) -> tuple[Withdrawn, ...]:
            return log_commands.expire(rows, now_s, self._new_id)

        return tuple(one for _, late in await self._each_due("expired", step) for one in late)

    async def _each_due(self, look: Look, step: Step[T]) -> list[tuple[str, T]]:
        """What a step comes to on each device that is due. What it has ended is told, whatever fails on others."""
        outcomes: list[tuple[str, T]] = []
        away: list[tuple[str, Exception]] = []
        for device in await self._store.due(look):
            try:
                outcome = await self._store.run(device, step)
            except Exception as error:  # noqa: BLE001  # one device must not end the look at all others
                if isinstance(error, Unavailable) and not isinstance(error, Unreadable):
                    away.append((device, error))
                else:
                    self._contained(device, error)
                if len(away) >= _AWAY_AFTER:
                    break
                continue
            if not isinstance(outcome, Refusal):
                outcomes.append((device, outcome))
        if away and not outcomes:
            raise away[-1][1]
        for device, unreached in away:
            self._contained(device, unreached)
        return outcomes

    def _contained(self, device: str, error: Exception) -> None:
        if self._troubled is not None:
            self._troubled(device, error)

    async def cancel(
        self, device: str, seq: int, *, actor: str, epoch: str | None = None
    ) -> tuple[Withdrawn, ...] | Refusal:
        def step(rows: DeviceRows, now_s: float) -> tuple[Withdrawn, ...] | Refusal:
            return log_commands.cancel(rows, now_s, seq, actor, self._new_id, epoch=epoch)

        return await self._store.run(device, step)

    async def make_way(self, device: str, *, fence: int, holder: str) -> tuple[Withdrawn, ...] | Refusal:
        def step(rows: DeviceRows, now_s: float) -> tuple[Withdrawn, ...] | Refusal:
            return log_packages.make_way(rows, now_s, self._new_id, fence=fence, holder=holder)

        return await self._store.run(device, step)

    async def take_back_package(self, device: str, seq: int, *, code: str) -> tuple[Withdrawn, ...]:
        def step(rows: DeviceRows, now_s: float) -> tuple[Withdrawn, ...]:
            return log_packages.take_back_package(rows, now_s, self._new_id, seq=seq, code=code)

        taken = await self._store.run(device, step)
        return () if isinstance(taken, Refusal) else taken

    async def ask_question(self, device: str, seq: int) -> Delivery | Refusal:
        asked = await self._ended(device, seq)
        if asked is None:
            return log_packages.NOT_WORN
        refusal = await self._store.run(device, lambda rows, now_s: log_packages.ask_question(rows, now_s, asked))
        return asked if refusal is None else refusal

    async def answer_question(
        self, device: str, seq: int, *, state: str, actor: str, text: str | None = None, wish: int | None = None
    ) -> Delivery | None:
        def step(rows: DeviceRows, now_s: float) -> bool:
            return log_packages.answer_question(rows, now_s, seq, state=state, actor=actor, text=text, wish=wish)

        asked = await self._ended(device, seq)
        if asked is None or asked.mode != "standard" or asked.state != "active":
            return None
        found = await self._store.run(device, step)
        return asked if found is True else None

    async def _ended(self, device: str, seq: int) -> Delivery | None:
        """A delivery that has an end; of others the store may know or not."""
        found = await self._store.delivery(device, seq)
        return found if found is not None and is_end(found.kind, found.state) else None

    async def take_back_rises(self, device: str) -> tuple[Withdrawn, ...]:
        def step(rows: DeviceRows, now_s: float) -> tuple[Withdrawn, ...]:
            return log_sessions.take_back_rises(rows, now_s, self._new_id)

        taken = await self._store.run(device, step)
        return () if isinstance(taken, Refusal) else taken

    async def report_device(self, told: ReportDevice, *, generation: int | None = None) -> Learned | Refusal:
        def step(rows: DeviceRows, now_s: float) -> Learned | Refusal:
            return log_attaching.report_device(rows, now_s, told, self._new_id, generation)

        return await self._store.run(told.device, step)

    async def note(self, device: str, kind: EventKind, state: str, *, actor: str, text: str | None = None) -> None:
        def step(rows: DeviceRows, now_s: float) -> None:
            rows.note(kind, state, now_s, actor=actor, text=text)

        await self._store.run(device, step)

    async def reoffer(self, device: str, generation: int, *, older_than_s: float) -> Delivery | None:
        def step(rows: DeviceRows, now_s: float) -> Delivery | None:
            return log_commands.reoffer(rows, now_s, generation, older_than_s)

        offered = await self._store.run(device, step)
        return None if isinstance(offered, Refusal) else offered

    async def report(self, report: Report, *, generation: int) -> Recorded | Refusal:
        def step(rows: DeviceRows, now_s: float) -> Recorded | Refusal | None:
            if report.seq not in rows.entries and report.seq <= rows.last_seq and not looked_up:
                return None
            return log_commands.report(
                rows, now_s, report, generation=generation, new_id=self._new_id, ended=next(iter(looked_up), None)
            )

        looked_up: list[Delivery | None] = []
        outcome = await self._store.run(report.device, step)
        if outcome is None:
            # It has an end: that is written down, and will not change any more.
            looked_up.append(await self._store.delivery(report.device, report.seq))
            outcome = await self._store.run(report.device, step)
        # The second time there is an answer.
        return outcome if outcome is not None else _not_found()

    async def delivery(self, device: str, seq: int) -> Delivery | None:
        found = await self._store.run(device, lambda rows, _: log_commands.waiting(rows, seq))
        if isinstance(found, Refusal):
            return None
        return found if found is not None else await self._store.delivery(device, seq)

    async def deliveries(self, device: str, *, before: int | None = None, limit: int = 20) -> tuple[Delivery, ...]:
        first = MAX_SAFE_INTEGER if before is None else before
        # What waits is asked for first: one that ends meanwhile is found with its end among what is written.
        found = {one.seq: one for one in await self.pending(device) if one.seq < first}
        for one in await self._store.deliveries(device, first, max(0, limit)):
            if is_end(one.kind, one.state):
                found[one.seq] = one
            else:
                found.setdefault(one.seq, one)
        return tuple(found[seq] for seq in sorted(found, reverse=True)[: max(0, limit)])

    async def pending(self, device: str) -> tuple[Delivery, ...]:
        def step(rows: DeviceRows, _: float) -> tuple[Delivery, ...]:
            return tuple(log_commands.shown(rows, rows.entries[seq].delivery) for seq in rows.pending)

        waiting = await self._store.run(device, step)
        return () if isinstance(waiting, Refusal) else waiting

    async def changed_since(self, device: str, n: int, *, limit: int = 100) -> tuple[LogEvent, ...]:
        if isinstance(await self._store.run(device, lambda rows, _: rows.harden()), Refusal):
            return ()
        return await self._store.events(device, max(0, n), max(0, limit))

    async def revision(self, device: str, revision_id: str) -> Revision | None:
        return await self._store.revision(device, revision_id)

    async def revisions(self, device: str, *, before: str | None = None, limit: int = 20) -> tuple[Revision, ...]:
        return await self._store.revisions(device, before, limit)

    async def held(self, device: str) -> Content | None:
        content = await self._store.run(device, lambda rows, _: rows.truth.content())
        return None if isinstance(content, Refusal) else content

    async def close(self) -> None:
        await self._store.close()


def _not_found() -> Refusal:
    return Refusal(code="not_found", message="there is no such device")
