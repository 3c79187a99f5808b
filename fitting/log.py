"""The device log: the one record of what was wanted, what was sent and what is in the aid.

Every call is atomic: it checks and acts in one step and returns a value, so no caller reads first and
writes later. There is one implementation of the calls (``log_over_store``) over stores that keep the rows, in memory
or in SQL, and one contract suite for all of them. This module must not know where the rows live or who is connected.
Read ``DeviceLog.append`` first; the values are in ``log_values``.
"""

from collections.abc import Collection, Mapping
from typing import Protocol

from protocol.contract.base import Ear, Refusal
from protocol.contract.devices import AttachDevice, RegisteredAid, Report
from protocol.contract.fitting import Content
from protocol.contract.sessions import EndReason, ReportDevice

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

__all__ = ["DeviceLog"]


class DeviceLog(Protocol):
    """Atomic operations on the logs of all devices. Codes of refusals are stable and listed per call.

    Unless a call says otherwise, a device that was never created is refused with ``not_found``.
    """

    async def create(self, device: str, aids: Mapping[Ear, RegisteredAid]) -> Refusal | None:
        """Open the log of a new device. Refused: ``already_exists``."""
        ...

    async def head(
        self, device: str, *, key: str | None = None, request_hash: str | None = None, lately: bool = False
    ) -> DeviceHead | Refusal:
        """A consistent snapshot, with the earlier answer to ``key`` if there is one.

        A key that stood for another request gives ``answered`` = refusal ``idempotency_conflict``. ``lately``: an
        answer is looked for where it costs nothing, and the snapshot may be a moment old: for who goes on to
        ``append``, which is held to all keys and to the newest head.
        """
        ...

    async def acquire(self, device: str, *, session: str, holder: str) -> LeaseGranted | Refusal:
        """Take or renew the lease. Refused: ``lease_held`` (retryable, with retry_after_ms)."""
        ...

    async def renew(self, device: str, *, session: str, holder: str, fence: int) -> LeaseGranted | Refusal:
        """The holder is still there. Refused: ``fence_stale``, ``lease_lost``."""
        ...

    async def release(
        self, device: str, *, session: str, holder: str, fence: int, discard: bool = False
    ) -> Released | Refusal:
        """Give the lease back; a live session ends with it.

        Refused: as ``renew``, and ``unsaved`` when what was tried is not saved and not to be discarded.
        """
        ...

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
        """Take the lease from whoever holds it, under a new fence. The same session of the same holder renews.

        ``key`` is held to the request and its holder: known, it gets its first answer with the time that this lease
        still has, 0 when it has been lost since, and nobody loses anything again. Refused: ``idempotency_conflict``.
        """
        ...

    async def open_session(self, device: str, *, fence: int, holder: str) -> LiveSession | Refusal:
        """Begin live work on what the aids hold now; the same fence gets the same session.

        Refused: ``lease_lost``, ``not_read_back`` (retryable: what the aids hold is not known, or something is on its
        way).
        """
        ...

    async def end_session(
        self, device: str, *, cause: EndReason, actor: str, fence: int | None = None, discard: bool = True
    ) -> SessionEnded | Refusal | None:
        """End live work; None when there is none. Work in flight goes the way of ``mode.TABLE``.

        Refused: ``fence_stale`` when ``fence`` is given and not the session's, ``unsaved`` as ``release``.
        """
        ...

    async def lapsed(self) -> tuple[tuple[str, SessionEnded], ...]:
        """End the live sessions whose lease was not renewed in time, by device."""
        ...

    async def in_session(self) -> tuple[str, ...]:
        """Devices that may have a live session, a bounded number, those first whose lease ends first."""
        ...

    async def alive(self, device: str) -> tuple[LiveSession, float] | None:
        """The live session whose lease is live, and the seconds that it still has."""
        ...

    async def append(self, proposal: Proposal) -> Accepted | Refusal:
        """Write a change: one more seq, one more head.

        Checked in this order, in one step with the write: the idempotency key (a known one returns its
        first answer, or ``idempotency_conflict``), the fence (``fence_stale``), the lease (``lease_lost``), the live
        session (``not_live``), the aids (``locked``, ``split``), what they are expected to hold (``not_confirmed``,
        retryable, or ``base_mismatch``), the head (``base_mismatch``), the bound (``overloaded``, retryable).
        A package needs neither fence nor lease; what else it is held to says ``log_packages.append_package``.
        """
        ...

    async def attach(self, claim: AttachDevice) -> Attached | Refusal:
        """A phone takes the device over: generation + 1, read-backs recorded.

        With an empty log the read-backs become its first revision (origin ``readback``).
        Refused: ``wrong_device`` (a serial that is not registered for that ear), ``wrong_digest`` (an
        image that its digest is not of); nothing changes.
        """
        ...

    async def detach(self, device: str, generation: int) -> None:
        """The phone of that generation is gone; a later generation is not touched."""
        ...

    def overheard(self, device: str) -> None:
        """Somebody says that another process has written to the device: the next call must see what."""
        ...

    async def newest(self, devices: Collection[str]) -> Mapping[str, int]:
        """The number of the newest recorded event of each device, whoever has recorded it; one question for all."""
        ...

    def is_quiet(self, device: str, generation: int) -> bool:
        """Whether nothing can be to offer to this generation, or to ask of it, before somebody writes to the device.

        Said at once, by what this process knows, which may be as old as the last look for what has expired. False also
        when it does not know.
        """
        ...

    async def next_offer(self, device: str, generation: int) -> Delivery | None:
        """The delivery to offer now: the oldest without an end, marked offered, attempt + 1.

        None when there is none, when the generation is old, when the oldest is already offered
        to this generation (see ``reoffer``) or further along with it, when its time is over (see ``expire``), or has
        not come: what K8 bounds is held back until it rises by no more in 10 seconds over what was heard.
        """
        ...

    async def expire(self) -> tuple[Withdrawn, ...]:
        """Withdraw what has not begun in its time: it ends, or the phone that has it is to be asked."""
        ...

    async def cancel(
        self, device: str, seq: int, *, actor: str, epoch: str | None = None
    ) -> tuple[Withdrawn, ...] | Refusal:
        """Take a change back, and with it what was thought of on it. ``epoch``: of the log that gave the number.

        Refused: ``unknown_delivery`` (also one that has ended, or of another epoch), ``lease_lost`` when somebody else
        holds the device, ``too_late`` when it has begun.
        """
        ...

    async def make_way(self, device: str, *, fence: int, holder: str) -> tuple[Withdrawn, ...] | Refusal:
        """Packages that have not begun give way to live work: they end ``superseded``, or the phone is asked.

        Refused, and then none of them does: what ``open_session`` would be refused for without them.
        """
        ...

    async def take_back_package(self, device: str, seq: int, *, code: str) -> tuple[Withdrawn, ...]:
        """A package that would be refused now ends ``cancelled`` with that code, or the phone is asked.

        Nothing when it has begun, is over, or was taken back already.
        """
        ...

    async def ask_question(self, device: str, seq: int) -> Delivery | Refusal:
        """The wearer is to be asked whether to keep that package.

        Refused: ``not_worn``, ``not_confirmed`` while what the aids keep may just change, live or
        by a package that waits (retryable).
        """
        ...

    async def answer_question(
        self, device: str, seq: int, *, state: str, actor: str, text: str | None = None, wish: int | None = None
    ) -> Delivery | None:
        """Record the wearer's answer, ``state`` being what it comes to; None when nobody asked.

        That it was ``undone`` may be said unasked; said again it is not recorded again. ``wish`` is the package that
        takes it back: it is offered whatever the aids play.
        """
        ...

    async def take_back_rises(self, device: str) -> tuple[Withdrawn, ...]:
        """What has not begun and would make something louder ends, ``cancelled`` with ``frozen``, and what was thought
        of on it with ``E_BASE``; the phone is asked about what it was offered.
        """
        ...

    async def report_device(self, told: ReportDevice, *, generation: int | None = None) -> Learned | Refusal:
        """Record what the aids were found to hold, whatever the cause; when nothing is on its way that is the head.

        A cause that restored the session's base makes what was never offered fall away, and one of
        ``mode.TOLD_BY_PHONE`` ends the session that it was told of. ``generation`` is that of the connection which
        tells it, 0 for one that has not attached; None when nobody's connection comes into it.
        Refused: as ``attach``, and ``not_attached`` when another connection carries the aids.
        """
        ...

    async def note(self, device: str, kind: EventKind, state: str, *, actor: str, text: str | None = None) -> None:
        """Record something that happened without the log: a stop, an undo, a consent."""
        ...

    async def reoffer(self, device: str, generation: int, *, older_than_s: float) -> Delivery | None:
        """The delivery in state ``offered`` to this generation whose phone stayed silent that long, attempt + 1."""
        ...

    async def report(self, report: Report, *, generation: int) -> Recorded | Refusal:
        """Record what the phone did. Facts do not age: any generation may report.

        A ``confirmed`` without the expected digest is no proof: it is recorded as ``failed`` with
        ``E_READBACK``, and as the truth about the aid. Refused: ``unknown_delivery`` (another epoch, or a
        seq that was never offered), ``wrong_ear``, ``illegal_report`` (the state table forbids it),
        ``overloaded`` (more reports than ``max_reports``). That a copy has begun is remembered all the same.
        """
        ...

    async def delivery(self, device: str, seq: int) -> Delivery | None:
        """One delivery, None when it is unknown; one that waits as in ``pending``."""
        ...

    async def deliveries(self, device: str, *, before: int | None = None, limit: int = 20) -> tuple[Delivery, ...]:
        """The deliveries of a device, newest first; those with a lower seq than ``before``."""
        ...

    async def pending(self, device: str) -> tuple[Delivery, ...]:
        """The deliveries without an end, oldest first; one that waits has the reason as its code (``OVER_TRIAL``)."""
        ...

    async def changed_since(self, device: str, n: int, *, limit: int = 100) -> tuple[LogEvent, ...]:
        """The events of a device after number ``n``, oldest first; what was only told so far is recorded first."""
        ...

    async def revision(self, device: str, revision_id: str) -> Revision | None:
        """One revision of a device, None when it is unknown."""
        ...

    async def revisions(self, device: str, *, before: str | None = None, limit: int = 20) -> tuple[Revision, ...]:
        """The revisions of a device, newest first; those older than ``before``."""
        ...

    async def held(self, device: str) -> Content | None:
        """What the aids were last known to hold in RAM, as one configuration; None when that is not known."""
        ...

    async def close(self) -> None:
        """Record what was only told, and let go of everything."""
        ...
