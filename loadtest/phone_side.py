"""A phone under load: attach, agree to live work, answer every offer with its reports, come back by itself.

It runs in a greenlet of its own beside the fitter of its session and never gives up; what fails is in the statistics
before it is tried again. It must not know how a change is judged or written: ``carried_aids`` does. Read
``PhoneSide.run`` first.
"""

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import gevent  # type: ignore[import-untyped]  # the library ships no types
from gevent.event import Event  # type: ignore[import-untyped]  # the library ships no types
from gevent.queue import Empty, Queue  # type: ignore[import-untyped]  # the library ships no types
from msgspec import UNSET, UnsetType

from clients.hub_errors import HubCallError, HubOverloaded
from protocol.contract.devices import AttachAnswer, Offer, ReportAnswer, Settled
from protocol.contract.sessions import (
    ConsentAnswer,
    ConsentAsked,
    Done,
    Heartbeat,
    ReadBackNow,
    RevertNow,
    Withdraw,
)

from .care_calls import ask, greet
from .carried_aids import CarriedAids
from .signalr_user import FAILURES, MeasuredHub

__all__ = ["RETRY_S", "PhoneSide"]

RETRY_S: Final = 1.0
"""How long a side of a session rests after a failure."""
HEARTBEAT_S: Final = 5.0
MAX_ORDERS: Final = 64
BATTERY_PERCENT: Final = 90
_Order = Offer | Withdraw | RevertNow | ReadBackNow


class PhoneSide:
    """``open_hub`` makes a new connection with the phone's token. ``device_unknown``: the server said so."""

    def __init__(self, open_hub: Callable[[], MeasuredHub], aids: CarriedAids) -> None:
        self._open_hub, self._aids = open_hub, aids
        self._hub: MeasuredHub | None = None
        # None wakes the phone when the link is gone.
        self._orders: Queue = Queue()
        self._beat_at_s = 0.0
        self._rtt_ms: int | UnsetType = UNSET
        self._news = Event()
        self.attached = False
        self.device_unknown = False

    def run(self) -> None:
        """Serve until killed."""
        while True:
            try:
                self._serve()
            except FAILURES as error:
                self.device_unknown = isinstance(error, HubCallError) and error.code == "not_found"
            self.close()
            self._news.set()
            gevent.sleep(RETRY_S)

    def wait_attached(self, limit_s: float) -> bool:
        """Whether the phone is attached, at the latest when it has failed to be or ``limit_s`` are over."""
        if not self.attached:
            self._news.clear()
            self._news.wait(limit_s)
        return self.attached

    def close(self) -> None:
        """Leave the server."""
        self.attached = False
        hub, self._hub = self._hub, None
        if hub is not None:
            hub.close()

    def _serve(self) -> None:
        self._forget_orders()
        hub = self._hub = self._open_hub()
        for kind in (Offer, Withdraw, RevertNow, ReadBackNow):
            hub.on(kind.__name__, self._ordered, kind)
        hub.on("Settled", self._aids.settled, Settled)
        # This phone's patient always agrees.
        hub.on("ConsentAsked", lambda _: ConsentAnswer(accepted=True), ConsentAsked)
        hub.on_lost(lambda: self._orders.put(None))
        hub.open()
        greet(hub, "auricle-loadtest-phone")
        self._attach(hub)
        while (order := self._next_order(hub)) is not None:
            self._obey(hub, order)

    def _next_order(self, hub: MeasuredHub) -> _Order | None:
        while True:
            wait_s = self._beat_at_s - time.monotonic()
            if wait_s > 0:
                with suppress(Empty):
                    order: _Order | None = self._orders.get(timeout=wait_s)
                    return order
            self._beat(hub)

    def _obey(self, hub: MeasuredHub, order: _Order) -> None:
        if isinstance(order, Offer):
            reports = self._aids.carry_out(order)
            if reports is None:
                self._attach(hub)
                return
        elif isinstance(order, Withdraw):
            # Everything is written at once here, so what could be withdrawn has been reported already.
            reports = self._aids.reports_of(order.epoch, order.seq)
        else:
            self._tell(hub, order)
            return
        for report in reports:
            ask(hub, "Report", report, ReportAnswer)

    def _tell(self, hub: MeasuredHub, order: RevertNow | ReadBackNow) -> None:
        if isinstance(order, RevertNow):
            self._aids.restore()
        told = self._aids.told(order.cause if isinstance(order, RevertNow) else "read_back")
        ask(hub, "ReportDevice", told, Done)

    def _attach(self, hub: MeasuredHub) -> None:
        self._aids.attached(ask(hub, "AttachDevice", self._aids.claim(), AttachAnswer))
        self._beat_at_s = time.monotonic() + HEARTBEAT_S
        self.attached, self.device_unknown = True, False
        self._news.set()

    def _beat(self, hub: MeasuredHub) -> None:
        """Without a sign of life the server freezes live work."""
        began_s = time.monotonic()
        heartbeat = Heartbeat(device=self._aids.device, battery=BATTERY_PERCENT, rtt_ms=self._rtt_ms)
        ask(hub, "Heartbeat", heartbeat, Done)
        self._rtt_ms = int((time.monotonic() - began_s) * 1_000)
        self._beat_at_s = began_s + HEARTBEAT_S

    def _ordered(self, order: _Order) -> None:
        if self._orders.qsize() >= MAX_ORDERS:
            raise HubOverloaded(f"{MAX_ORDERS} orders wait for their turn already")
        self._orders.put(order)

    def _forget_orders(self) -> None:
        """The server offers again what an earlier link brought."""
        while True:
            try:
                self._orders.get_nowait()
            except Empty:
                return
