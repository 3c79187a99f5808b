"""What a phone's wearer is asked of packages, what they may take back, and how the phone lets itself be woken.

A package that the wearer asks for, by taking another back, needs no second word of theirs. Must not know how an aid is
written. Read ``Questions.install`` and ``Questions.asked`` first.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Final, Protocol

from msgspec import UNSET

from clients.hub_client import HubClient
from clients.hub_errors import HubCallError, HubOverloaded
from clients.journal import JournalRecord
from clients.wearer import KeepAnswer, Wearer, heard
from protocol.contract.base import Failure
from protocol.contract.devices import Offer
from protocol.contract.packages import AnswerKeep, KeepAnswered, KeepAsked, RegisterPush
from protocol.contract.sessions import Done
from protocol.errors import AuricleError

__all__ = ["Questions"]

_LOG: Final = logging.getLogger("auricle.clients")
Errand = Callable[[], Awaitable[object]]


class Agreements(Protocol):
    """Keeps which packages the wearer has asked for by taking others back, over restarts of the phone too."""

    @property
    def record(self) -> JournalRecord:
        """What is kept: ``agreed``."""
        ...

    def agree(self, epoch: str, seq: int) -> None:
        """Keep one more."""
        ...


class Questions:
    """``errand`` does something beside everything else. ``push`` is how the phone is woken, None for not at all."""

    def __init__(
        self,
        hub: HubClient,
        device: str,
        wearer: Callable[[], Wearer],
        *,
        agreements: Agreements,
        errand: Callable[[Errand], None],
        push: RegisterPush | None = None,
    ) -> None:
        self._hub, self._device, self._wearer, self._errand = hub, device, wearer, errand
        self._push, self._agreements = push, agreements
        self._answering = 0
        self._answered = asyncio.Event()
        self._asking: set[tuple[str, int]] = set()

    def listen(self) -> None:
        """Hear the server's questions."""
        self._hub.on("KeepAsked", self.asked, KeepAsked)

    async def install(self, offer: Offer) -> bool | None:
        """Whether to install a package, as its wearer says; None when the screen fails.

        One that they have asked for needs no word of theirs. It may come before the server's answer that names it, so
        nobody is asked while such an answer is on its way.
        """
        while self._answering and not self._is_agreed(offer):
            await self._answered.wait()
        if self._is_agreed(offer):
            return True
        asked = asyncio.ensure_future(heard(partial(self._wearer().install, offer)))
        agreed = asyncio.ensure_future(self._until_agreed(offer))
        try:
            await asyncio.wait({asked, agreed}, return_when=asyncio.FIRST_COMPLETED)
            return True if agreed.done() else asked.result()
        finally:
            asked.cancel()
            agreed.cancel()

    def asked(self, asked: KeepAsked) -> None:
        """The server asks; the wearer may take days to answer, and is asked once meanwhile. Raises HubOverloaded."""
        key = (asked.epoch, asked.seq)
        if asked.device != self._device or key in self._asking:
            return
        self._errand(partial(self._ask, asked))
        self._asking.add(key)

    async def take_back(self, epoch: str, seq: int, *, words: str = "") -> KeepAnswered | Failure:
        """The wearer does not want an installed package any longer: another brings back what was there before.

        Raises HubCallError, ConnectionError, TimeoutError: then it may be said again.
        """
        return await self._answer(epoch, seq, KeepAnswer(keep=False, words=words))

    def attached(self) -> None:
        """The phone is there: tell how it can be woken the next time."""
        if self._push is not None:
            # When too much is under way already, the next attachment tells.
            with suppress(HubOverloaded):
                self._errand(self._register)

    async def _register(self) -> None:
        try:
            told = await self._hub.ask("RegisterPush", self._push, answer=Done)
        except (HubCallError, AuricleError) as error:
            _LOG.warning("the server did not take how this phone is woken: %s", error.code)
            return
        if isinstance(told, Failure):
            _LOG.warning("the server did not take how this phone is woken: %s", told.error.code)

    async def _ask(self, asked: KeepAsked) -> None:
        try:
            answer = await heard(partial(self._wearer().keep, asked))
            if answer is not None:
                await self._answer(asked.epoch, asked.seq, answer)
        except (HubCallError, AuricleError) as error:
            _LOG.warning("the server did not take an answer: %s", error.code)
        finally:
            # Unanswered, it is asked again when the phone attaches the next time.
            self._asking.discard((asked.epoch, asked.seq))

    async def _answer(self, epoch: str, seq: int, answer: KeepAnswer) -> KeepAnswered | Failure:
        said = AnswerKeep(
            device=self._device,
            epoch=epoch,
            seq=seq,
            keep=answer.keep,
            rating=UNSET if answer.rating is None else answer.rating,
            words=answer.words or UNSET,
        )
        self._answering += 1
        try:
            return self._heed(await self._hub.ask("AnswerKeep", said, answer=KeepAnswered))
        finally:
            self._answering -= 1
            self._answered.set()
            self._answered.clear()

    def _heed(self, outcome: KeepAnswered | Failure) -> KeepAnswered | Failure:
        if isinstance(outcome, Failure):
            _LOG.warning("the server did not take an answer: %s", outcome.error.code)
        elif isinstance(outcome.epoch, str) and isinstance(outcome.seq, int):
            self._agreements.agree(outcome.epoch, outcome.seq)
        return outcome

    def _is_agreed(self, offer: Offer) -> bool:
        return (offer.epoch, offer.seq) in self._agreements.record.agreed

    async def _until_agreed(self, offer: Offer) -> None:
        """An answer that was lost is given again, and names a package that is asked about by then."""
        while not self._is_agreed(offer):
            await self._answered.wait()
