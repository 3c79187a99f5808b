"""A phone under load: attach, answer every offer with its reports, come back when the link is gone.

It runs in a greenlet of its own beside the fitter of its session and never gives up; what fails is in the statistics
before it is tried again. It must not know how a change is judged or written: ``carried_aids`` does. Read
``PhoneSide.run`` first.
"""

from collections.abc import Callable
from typing import Final

import gevent  # type: ignore[import-untyped]  # the library ships no types
from gevent.event import Event  # type: ignore[import-untyped]  # the library ships no types
from gevent.queue import Empty, Queue  # type: ignore[import-untyped]  # the library ships no types

from clients.hub_errors import HubCallError, HubOverloaded
from protocol.contract.devices import AttachAnswer, Offer, ReportAnswer, Settled

from .care_calls import ask, greet
from .carried_aids import CarriedAids
from .signalr_user import FAILURES, MeasuredHub

__all__ = ["RETRY_S", "PhoneSide"]

RETRY_S: Final = 1.0
"""How long a side of a session rests after a failure."""
MAX_OFFERS: Final = 64


class PhoneSide:
    """``open_hub`` makes a new connection with the phone's token. ``device_unknown``: the server said so."""

    def __init__(self, open_hub: Callable[[], MeasuredHub], aids: CarriedAids) -> None:
        self._open_hub, self._aids = open_hub, aids
        self._hub: MeasuredHub | None = None
        # None wakes the phone when the link is gone.
        self._offers: Queue = Queue()
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
        self._forget_offers()
        hub = self._hub = self._open_hub()
        hub.on("Offer", self._offered, Offer)
        hub.on("Settled", self._aids.settled, Settled)
        hub.on_lost(lambda: self._offers.put(None))
        hub.open()
        greet(hub, "auricle-loadtest-phone")
        self._attach(hub)
        while (offer := self._offers.get()) is not None:
            reports = self._aids.carry_out(offer)
            if reports is None:
                self._attach(hub)
                continue
            for report in reports:
                ask(hub, "Report", report, ReportAnswer)

    def _attach(self, hub: MeasuredHub) -> None:
        self._aids.attached(ask(hub, "AttachDevice", self._aids.claim(), AttachAnswer))
        self.attached, self.device_unknown = True, False
        self._news.set()

    def _offered(self, offer: Offer) -> None:
        if self._offers.qsize() >= MAX_OFFERS:
            raise HubOverloaded(f"{MAX_OFFERS} offers wait for their turn already")
        self._offers.put(offer)

    def _forget_offers(self) -> None:
        """The server offers again what an earlier link brought."""
        while True:
            try:
                self._offers.get_nowait()
            except Empty:
                return
