"""The phone's side of the hub: attach the aids it carries, carry out offers one at a time, report, and let go at once.

Attaching and offers wait in one line. What makes an aid quiet again waits in none: ``undo`` and ``stop`` work with no
network, in the middle of anything, and are told of later. Work on the aids goes on when the link dies, and an aid that
comes back is seen to with no link at all. It must not know how an aid is written; the runner does. Read ``Phone.run``
first. To try it by hand: ``python -m clients.phone --help``.
"""

import asyncio
import logging
import random
import secrets
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from typing import Final

from clients.hub_client import HubClient
from clients.hub_errors import HubCallError, HubOverloaded
from clients.phone_driver import AttachNeeded, OfferRunner
from clients.phone_duties import Duties, DutyTimes
from clients.phone_news import PhoneNews
from clients.phone_questions import Questions
from clients.reconnect import ReconnectPolicy
from clients.token_keeper import keep_token
from clients.wearer import answer_within
from protocol.contract import CONTRACT_VERSION
from protocol.contract.base import Failure
from protocol.contract.devices import AttachAnswer, Offer, Report, ReportAnswer, Settled
from protocol.contract.packages import RegisterPush
from protocol.contract.session import Hello, HelloAnswer
from protocol.contract.sessions import (
    ConsentAnswer,
    ConsentAsked,
    ModeChanged,
    ReadBackNow,
    RestoreCause,
    RevertNow,
    SessionAlive,
    Withdraw,
)
from protocol.errors import HubError, Unavailable

__all__ = ["AttachRefused", "Phone", "PhoneOptions"]

_LOG: Final = logging.getLogger("auricle.clients")
_RETRY: Final = ReconnectPolicy(base_s=0.2, cap_s=10.0)
_LONGEST_REST_S: Final = 600.0
_PASSING_CODES: Final = frozenset({"unavailable", "overloaded"})


class AttachRefused(HubError):
    """The server will not take this phone for this device; the message is the server's own."""

    code = "attach_refused"


def _new_key() -> str:
    return secrets.token_hex(16)


@dataclass(frozen=True, slots=True)
class PhoneOptions:
    """``max_offers``: offers that wait for their turn; the server offers again what was not taken.
    ``retry``: how long to wait before attaching again when attaching did not help.
    ``duties``: how often the phone shows that it is there, reads back, and looks for an aid that is away.
    ``push``: how its platform wakes it, None for not at all.
    """

    max_offers: int = 64
    retry: ReconnectPolicy = _RETRY
    duties: DutyTimes = field(default_factory=DutyTimes)
    push: RegisterPush | None = None


class _Turn(Enum):
    ATTACH = "attach"
    END = "end"


class Phone:
    """One phone with its aids. Make it before ``hub.start()``, so that no offer is missed.

    ``on_mode`` hears how the aids are worked on and why, to show it to the wearer: nothing is done for it, what is to
    be restored is told in words of its own.
    """

    def __init__(
        self,
        hub: HubClient,
        runner: OfferRunner,
        *,
        options: PhoneOptions | None = None,
        uniform: Callable[[float, float], float] = random.uniform,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        new_key: Callable[[], str] = _new_key,
        on_settled: Callable[[Settled], None] | None = None,
        on_attached: Callable[[AttachAnswer], None] | None = None,
        on_mode: Callable[[ModeChanged], None] | None = None,
    ) -> None:
        self._hub, self.runner = hub, runner
        self._on_settled, self._on_attached, self._on_mode = on_settled, on_attached, on_mode
        self._options = options or PhoneOptions()
        self._uniform, self._sleep = uniform, sleep
        self._turns: asyncio.Queue[tuple[Offer, float] | _Turn] = asyncio.Queue()
        self._vain_attaches = 0
        self._rest_s = 0.0
        self._is_over = asyncio.Event()
        self.attached = asyncio.Event()
        self._news = PhoneNews(hub, runner, new_key)
        self.duties = Duties(
            hub,
            runner,
            self._news,
            times=self._options.duties,
            report=self._report,
            on_failed=self._closed,
            uniform=uniform,
            sleep=sleep,
            install=self._install,
        )
        self.questions = Questions(
            hub,
            runner.device,
            lambda: runner.wearer,
            agreements=runner,
            errand=self.duties.errand,
            push=self._options.push,
        )
        self._listen(hub)

    async def run(self) -> None:
        """Attach, then carry out what is offered, until the hub is closed. The hub must have been started.

        It need not be connected: what an earlier life left unfinished in the aids is seen to without a server.

        When the hub is closed in the middle of a session, the phone stays until the base is in the aids again. When
        the phone cannot go on, the base is given back at once, and read in every aid in reach, before that is raised.

        Raises:
            AttachRefused: the device is not this phone's, or its aids are not those of the device.
            JournalUnavailable: the journal cannot be written, so nothing more may be.
        """
        failed: Exception | None = None
        async with asyncio.TaskGroup() as tasks:
            duty = tasks.create_task(self.duties.run())
            try:
                failed = await self._serve_until_it_fails()
                await self.duties.let_go(at_once=failed is not None)
            finally:
                duty.cancel()
        failed = failed or self.duties.failed
        if failed is not None:
            raise failed

    async def undo(self) -> bool:
        """The wearer wants the sound back that the session began with; it goes on. Works without a network.

        True when every aid was read to hold it; False when one is away, then it is seen to as soon as it is back. It
        does not wait for the server, which is told behind it.
        """
        return await self._revert("undo")

    async def stop(self) -> bool:
        """As ``undo``, and the session ends: nothing live is begun before the wearer has agreed anew."""
        return await self._revert("stop")

    async def withdraw_consent(self) -> bool:
        """As ``stop``, and the server hears that the wearer does not agree any more."""
        return await self._revert("consent_withdrawn")

    def set_foreground(self, foreground: bool) -> None:
        """The app came to the foreground, or left it: out of sight nothing live is begun, then the base comes back."""
        self.runner.see(foreground=foreground)
        self.duties.see(foreground=foreground)

    def _listen(self, hub: HubClient) -> None:
        hub.on("Offer", self._offered, Offer)
        hub.on("Settled", self._settled, Settled)
        hub.on("Withdraw", self._withdrawn, Withdraw)
        hub.on("SessionAlive", self._alive, SessionAlive)
        hub.on("RevertNow", self._revert_now, RevertNow)
        hub.on("ReadBackNow", self._read_back_now, ReadBackNow)
        hub.on("ModeChanged", self._mode_changed, ModeChanged)
        hub.on("ConsentAsked", self._asked, ConsentAsked, aside=True)
        self.questions.listen()
        hub.on_reconnected(self._reconnected)
        hub.on_closed(self._closed)
        keep_token(hub)

    async def _serve_until_it_fails(self) -> Exception | None:
        try:
            await self._serve()
        except Exception as error:  # noqa: BLE001  # whatever it is, it is raised when the aids are quiet
            return error
        return None

    async def _serve(self) -> None:
        await self.runner.recover()
        await self._attach()
        while (turn := await self._turns.get()) is not _Turn.END:
            if isinstance(turn, tuple):
                await self._carry_out(*turn)
            else:
                await self._attach()

    async def _carry_out(self, offer: Offer, received_at_s: float) -> None:
        try:
            await self.runner.run_offer(offer, self._report, received_at_s=received_at_s)
            self._vain_attaches = 0
        except AttachNeeded:
            self._turns.put_nowait(_Turn.ATTACH)
        await self._news.tell()
        self.duties.look_again()

    async def _attach(self) -> None:
        await self._rest()
        self._vain_attaches += 1
        try:
            await self._hub.invoke("Hello", Hello(contract=CONTRACT_VERSION, app="auricle-phone"), result=HelloAnswer)
            # Why the aids hold something else comes before that they do.
            await self._news.tell()
            claim = await self.runner.attach_claim()
            self.runner.watch("hello", claim=claim, connection=self._hub.connection_id)
            answer = await self._hub.ask("AttachDevice", claim, answer=AttachAnswer)
        except TimeoutError:
            # The link may live, and then nothing else would ask for it again.
            _LOG.info("no answer while attaching; it is tried again")
            self._turns.put_nowait(_Turn.ATTACH)
            return
        except ConnectionError:
            _LOG.info("the link died while attaching; the next one attaches again")
            return
        except HubCallError as error:
            self._refused(error.code, error.message)
            return
        if isinstance(answer, Failure):
            after_ms = answer.error.retry_after_ms
            self._rest_s = min(_LONGEST_REST_S, after_ms / 1_000) if isinstance(after_ms, int) else 0.0
            self._refused(answer.error.code, answer.error.message)
            return
        self.runner.watch("welcome", answer=answer)
        self.runner.attached(answer)
        if self._on_attached is not None:
            self._on_attached(answer)
        await self._news.tell()
        self.questions.attached()
        self.attached.set()
        self.duties.look_again()

    async def _rest(self) -> None:
        """Before attaching again: as long as the server has asked for, or a while; not when the phone is to end."""
        if self._rest_s:
            # Never less: it is when there is room, for one phone after the other.
            seconds, self._rest_s = self._uniform(self._rest_s, 1.25 * self._rest_s), 0.0
        elif self._vain_attaches:
            seconds = self._options.retry.delay_s(self._vain_attaches, self._uniform)
        else:
            return
        await answer_within(self._is_over.wait, seconds, self._sleep)

    async def _install(self, offer: Offer) -> bool | None:
        return await self.questions.install(offer)

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

    async def _revert(self, cause: RestoreCause) -> bool:
        done = await self.runner.revert(cause)
        # When too much is under way already, the next heartbeat tells.
        with suppress(HubOverloaded):
            self.duties.errand(self.duties.catch_up)
        self.duties.look_again()
        return done

    def _offered(self, offer: Offer) -> None:
        if self._turns.qsize() >= self._options.max_offers:
            raise HubOverloaded(f"{self._options.max_offers} offers wait for their turn already")
        self.runner.watch("offer_in", offer=offer)
        self._turns.put_nowait((offer, self.runner.now_s()))

    def _settled(self, message: Settled) -> None:
        self.runner.watch("settled_in", settled=message)
        self.runner.settled(message)
        if self._on_settled is not None:
            self._on_settled(message)

    def _withdrawn(self, message: Withdraw) -> None:
        self.runner.watch("withdraw_in", withdraw=message)
        self.duties.errand(partial(self.runner.withdraw, message, self._report))

    def _alive(self, message: SessionAlive) -> None:
        self.runner.alive(message)
        self.duties.look_again()

    def _revert_now(self, message: RevertNow) -> None:
        self.duties.errand(partial(self._obey, message))

    def _read_back_now(self, message: ReadBackNow) -> None:
        if message.device == self.runner.device:
            self.duties.errand(self.duties.read_back)

    def _mode_changed(self, message: ModeChanged) -> None:
        if message.device == self.runner.device and self._on_mode is not None:
            self._on_mode(message)

    async def _obey(self, message: RevertNow) -> None:
        await self.runner.revert_now(message, self._report)
        await self._news.tell()

    async def _asked(self, asked: ConsentAsked) -> ConsentAnswer:
        if asked.device != self.runner.device:
            return ConsentAnswer(accepted=False)
        question = partial(self.runner.wearer.consent, asked)
        answer = await answer_within(question, asked.expires_in_s, self._sleep) or ConsentAnswer(accepted=False)
        self.runner.asked(asked, answer)
        return answer

    def _reconnected(self) -> None:
        self._vain_attaches = 0
        self._turns.put_nowait(_Turn.ATTACH)

    def _closed(self) -> None:
        self._is_over.set()
        self._turns.put_nowait(_Turn.END)


if __name__ == "__main__":
    from clients.phone_by_hand import run_phone

    sys.exit(run_phone())
