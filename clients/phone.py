"""The phone's side of the hub: attach the aids it carries, carry out offers one at a time, report.

Attaching and offers wait in one line, so a read-back never shows an aid in the middle of a write, and work
on the aids goes on when the link dies: what was not reported then is reported when the server offers it
again. It must not know how an aid is written; the runner does. Read ``Phone.run`` first. To try it by
hand: ``python -m clients.phone --help``.
"""

import asyncio
import logging
import random
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum
from typing import Final

from clients.hub_client import HubClient
from clients.hub_errors import HubCallError, HubOverloaded
from clients.phone_driver import AttachNeeded, OfferRunner
from clients.reconnect import ReconnectPolicy
from protocol.contract import CONTRACT_VERSION
from protocol.contract.base import Failure
from protocol.contract.devices import AttachAnswer, Offer, Report, ReportAnswer, Settled
from protocol.contract.session import Hello, HelloAnswer
from protocol.contract.sessions import ConsentAnswer, ConsentAsked
from protocol.errors import HubError, Unavailable

__all__ = ["AttachRefused", "Phone", "PhoneOptions"]

_LOG: Final = logging.getLogger("auricle.clients")
_RETRY: Final = ReconnectPolicy(base_s=0.2, cap_s=10.0)
_PASSING_CODES: Final = frozenset({"unavailable", "overloaded"})


class AttachRefused(HubError):
    """The server will not take this phone for this device; the message is the server's own."""

    code = "attach_refused"


@dataclass(frozen=True, slots=True)
class PhoneOptions:
    """``max_offers``: offers that wait for their turn; the server offers again what was not taken.
    ``retry``: how long to wait before attaching again when attaching did not help.
    """

    max_offers: int = 64
    retry: ReconnectPolicy = _RETRY


class _Turn(Enum):
    ATTACH = "attach"
    END = "end"


class Phone:
    """One phone with its aids. Make it before ``hub.start()``, so that no offer is missed."""

    def __init__(
        self,
        hub: HubClient,
        runner: OfferRunner,
        *,
        options: PhoneOptions | None = None,
        uniform: Callable[[float, float], float] = random.uniform,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        on_settled: Callable[[Settled], None] | None = None,
    ) -> None:
        self._hub, self.runner, self._on_settled = hub, runner, on_settled
        self._options = options or PhoneOptions()
        self._uniform, self._sleep = uniform, sleep
        self._turns: asyncio.Queue[Offer | _Turn] = asyncio.Queue()
        self._vain_attaches = 0
        self.attached = asyncio.Event()
        hub.on("Offer", self._offered, Offer)
        hub.on("Settled", self._settled, Settled)
        hub.on("ConsentAsked", self._asked, ConsentAsked)
        hub.on_reconnected(self._reconnected)
        hub.on_closed(lambda: self._turns.put_nowait(_Turn.END))

    async def run(self) -> None:
        """Attach, then carry out what is offered, until the hub is closed. The hub must have been started.

        Raises:
            AttachRefused: the device is not this phone's, or its aids are not those of the device.
        """
        await self.runner.recover()
        await self._attach()
        while (turn := await self._turns.get()) is not _Turn.END:
            if isinstance(turn, Offer):
                await self._carry_out(turn)
            else:
                await self._attach()

    async def _carry_out(self, offer: Offer) -> None:
        try:
            await self.runner.run_offer(offer, self._report)
            self._vain_attaches = 0
        except AttachNeeded:
            self._turns.put_nowait(_Turn.ATTACH)

    async def _attach(self) -> None:
        if self._vain_attaches:
            await self._sleep(self._options.retry.delay_s(self._vain_attaches, self._uniform))
        self._vain_attaches += 1
        try:
            await self._hub.invoke("Hello", Hello(contract=CONTRACT_VERSION, app="auricle-phone"), result=HelloAnswer)
            claim = await self.runner.attach_claim()
            answer = await self._hub.ask("AttachDevice", claim, answer=AttachAnswer)
        except (ConnectionError, TimeoutError):
            _LOG.info("the link died while attaching; the next one attaches again")
            return
        except HubCallError as error:
            self._refused(error.code, error.message)
            return
        if isinstance(answer, Failure):
            self._refused(answer.error.code, answer.error.message)
            return
        self.runner.attached(answer)
        self.attached.set()

    def _refused(self, code: str, message: str) -> None:
        if code not in _PASSING_CODES:
            raise AttachRefused(f"[{code}] {message}")
        self._turns.put_nowait(_Turn.ATTACH)

    async def _report(self, report: Report) -> None:
        try:
            answer = await self._hub.ask("Report", report, answer=ReportAnswer)
        except HubCallError as error:
            raise Unavailable(error.message) from None
        if isinstance(answer, Failure):
            _LOG.warning("the server did not take a report: %s", answer.error.code)

    def _offered(self, offer: Offer) -> None:
        if self._turns.qsize() >= self._options.max_offers:
            raise HubOverloaded(f"{self._options.max_offers} offers wait for their turn already")
        self._turns.put_nowait(offer)

    def _asked(self, _: ConsentAsked) -> ConsentAnswer:
        """This phone's patient always agrees."""
        return ConsentAnswer(accepted=True)

    def _settled(self, message: Settled) -> None:
        self.runner.settled(message)
        if self._on_settled is not None:
            self._on_settled(message)

    def _reconnected(self) -> None:
        self._vain_attaches = 0
        self._turns.put_nowait(_Turn.ATTACH)


if __name__ == "__main__":
    from clients.by_hand import run_phone

    sys.exit(run_phone())
