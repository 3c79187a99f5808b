"""Fitting software under load: hold the lease, work live, submit one patch at a time, wait for the phone's proof.

The clock of a change runs from ``Submit`` to the ``DeliveryChanged`` that says confirmed, and again from the move of
the slider, so that waiting for a slow server is not left out. A change counts as confirmed only when the digests that
the phone read back are those that were computed here. Read ``FitterSide.change`` first.
"""

import time
from collections.abc import Callable
from typing import ClassVar, Final

import gevent  # type: ignore[import-untyped]  # the library ships no types
from gevent.event import Event  # type: ignore[import-untyped]  # the library ships no types
from msgspec import UNSET

from clients.hub_errors import LinkLost
from fitting.delivery import is_end
from fitting.digest import content_digests
from fitting.model import apply_patch, changed_ears
from protocol.contract.base import Ear
from protocol.contract.devices import AcquireLease, DeliveryChanged, HeadView, LeaseAnswer
from protocol.contract.fitting import Base, Content, Digests, Patch, Submit, SubmitAnswer
from protocol.contract.sessions import Hold, LeaseRenewed, ModeAnswer, SetMode
from protocol.errors import AuricleError, Unavailable

from .care_calls import ask, greet
from .signalr_user import SIGNALR, MeasuredHub, SignalRUser
from .slider import Sweep

__all__ = ["CHANGE", "CONFIRMED", "FitterSide", "NotConfirmed"]

CHANGE: Final = "change"
CONFIRMED: Final = "submit to confirmed"
MOVED: Final = "move to confirmed"
RENEWALS_PER_LEASE: Final = 3


class NotConfirmed(AuricleError):
    """A change ended otherwise than by the phone's proof, or with a proof of something else."""

    code: ClassVar[str] = "not_confirmed"


class FitterSide:
    """One professional who fits one device. ``open_hub`` makes a new connection with the fitter's token."""

    def __init__(self, user: SignalRUser, open_hub: Callable[[], MeasuredHub], *, device: str, session: str) -> None:
        self._user, self._open_hub = user, open_hub
        self._device, self._session = device, session
        self._hub: MeasuredHub | None = None
        self._lease: LeaseAnswer | None = None
        self._head: HeadView | None = None
        self._renew_at_s = 0.0
        self._submitted = 0
        self._news = Event()
        self._ends: dict[tuple[str, int], DeliveryChanged] = {}
        self._proofs: dict[tuple[str, int, Ear], str] = {}

    def ready(self) -> Content:
        """Be connected and hold the lease; what the aids hold. Raises what failed."""
        hub = self._hub
        if hub is None or hub.lost:
            hub = self._connect()
        if self._head is None or self._lease is None:
            self._lease = self._acquire(hub)
            self._head = self._go_live(hub, self._lease)
        elif time.monotonic() >= self._renew_at_s:
            self._renew(hub, self._lease)
        return self._head.content

    def change(self, sweep: Sweep, moves: int, moved_s: float) -> None:
        """Submit what ``moves`` come to, the first of them made at ``moved_s``, and wait for its end.

        Raises what failed: ChangeRefused, NotConfirmed, TimeoutError, or what a call raises.
        """
        hub, lease, head = self._hub, self._lease, self._head
        if hub is None or lease is None or head is None:
            raise Unavailable("the fitter is not ready")
        patch = sweep.patch(head.content, moves)
        wanted = apply_patch(head.content, patch)
        digests = content_digests(wanted)
        request = self._request(lease, head, patch)
        self._ends.clear()
        self._proofs.clear()
        with self._user.measure(CHANGE, MOVED, since_s=moved_s), self._user.measure(CHANGE, CONFIRMED):
            answer = ask(hub, "Submit", request, SubmitAnswer)
            if answer.digests != digests:
                raise NotConfirmed("accepted with other digests than were wanted")
            self._wait(hub, answer)
            self._check_proofs(answer, digests, changed_ears(head.content, wanted))
        self._head = HeadView(revision=answer.revision_id, digests=digests, content=wanted)

    def failed(self, error: Exception) -> None:
        """Ask the server where things stand before the next change; after an unanswered call, on a new connection."""
        self._head = None
        if isinstance(error, OSError):
            self.close()

    def close(self) -> None:
        """Leave the server; the lease runs out by itself."""
        hub, self._hub = self._hub, None
        self._head = self._lease = None
        if hub is not None:
            hub.close()

    def _connect(self) -> MeasuredHub:
        self.close()
        hub = self._hub = self._open_hub()
        hub.on("DeliveryChanged", self._delivery_changed, DeliveryChanged)
        hub.on_lost(self._news.set)
        hub.open()
        greet(hub, "auricle-loadtest-fitter")
        return hub

    def _acquire(self, hub: MeasuredHub) -> LeaseAnswer:
        lease = ask(hub, "AcquireLease", AcquireLease(device=self._device, session=self._session), LeaseAnswer)
        self._renew_next(lease.lease_for_ms)
        return lease

    def _go_live(self, hub: MeasuredHub, lease: LeaseAnswer) -> HeadView:
        if lease.head is UNSET:
            # The call went well, so nobody has recorded it.
            error = Unavailable("the aids were never read back")
            self._user.record_failure(SIGNALR, "AcquireLease", error)
            raise error
        if lease.mode != "advanced":
            request = SetMode(device=self._device, mode="advanced", reason="load test", fence=lease.fence)
            ask(hub, "SetMode", request, ModeAnswer)
        return lease.head

    def _renew(self, hub: MeasuredHub, lease: LeaseAnswer) -> None:
        request = Hold(device=self._device, session=self._session, fence=lease.fence)
        self._renew_next(ask(hub, "RenewLease", request, LeaseRenewed).lease_for_ms)

    def _renew_next(self, lease_for_ms: int) -> None:
        self._renew_at_s = time.monotonic() + lease_for_ms / 1_000 / RENEWALS_PER_LEASE

    def _request(self, lease: LeaseAnswer, head: HeadView, patch: Patch) -> Submit:
        self._submitted += 1
        return Submit(
            device=self._device,
            kind="volatile",
            mode="advanced",
            base=Base(revision=head.revision, left=head.digests.left, right=head.digests.right),
            reason="load test",
            idempotency_key=f"{self._session}.{self._submitted}",
            fence=lease.fence,
            patch=patch,
        )

    def _wait(self, hub: MeasuredHub, answer: SubmitAnswer) -> None:
        limit_s = self._user.answer_timeout_s
        with gevent.Timeout(limit_s, TimeoutError(f"no end within {limit_s:g} s")):
            while (end := self._ends.get((answer.epoch, answer.seq))) is None:
                if hub.lost:
                    raise LinkLost("the link was lost before the end was told")
                self._news.clear()
                self._news.wait()
        if end.state != "confirmed":
            raise NotConfirmed(f"ended as {end.state}" + ("" if end.code is UNSET else f" {end.code}"))

    def _check_proofs(self, answer: SubmitAnswer, digests: Digests, ears: tuple[Ear, ...]) -> None:
        for ear in ears:
            wanted = digests.right if ear == "right" else digests.left
            if self._proofs.get((answer.epoch, answer.seq, ear)) != wanted:
                raise NotConfirmed("confirmed without the proof that was wanted")

    def _delivery_changed(self, change: DeliveryChanged) -> None:
        """May come before the answer to the submit that it is about."""
        if change.device != self._device:
            return
        if change.ear is not UNSET and change.digest is not UNSET and change.state == "confirmed":
            self._proofs[(change.epoch, change.seq, change.ear)] = change.digest
        if change.ear is UNSET and is_end("volatile", change.state):
            self._ends[(change.epoch, change.seq)] = change
            self._news.set()
