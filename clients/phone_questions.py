"""What a phone's wearer is asked of packages, what they may take back, and how the phone lets itself be woken.

A package that the wearer asks for, by taking another back, needs no second word of theirs. Must not know how an aid is
written. Read ``Questions.asked`` first.
"""

import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Final

from msgspec import UNSET

from clients.hub_client import HubClient
from clients.hub_errors import HubCallError, HubOverloaded
from clients.wearer import KeepAnswer, Wearer, heard
from protocol.contract.base import Failure
from protocol.contract.devices import Offer
from protocol.contract.packages import AnswerKeep, KeepAnswered, KeepAsked, RegisterPush
from protocol.contract.sessions import Done

__all__ = ["Questions"]

_LOG: Final = logging.getLogger("auricle.clients")
_MAX_AGREED: Final = 8
Errand = Callable[[], Awaitable[object]]


class Questions:
    """``errand`` does something beside everything else. ``push`` is how the phone is woken, None for not at all."""

    def __init__(
        self,
        hub: HubClient,
        device: str,
        wearer: Callable[[], Wearer],
        *,
        errand: Callable[[Errand], None],
        push: RegisterPush | None = None,
    ) -> None:
        self._hub, self._device, self._wearer, self._errand = hub, device, wearer, errand
        self._push = push
        self._agreed: list[tuple[str, int]] = []
        self._asking: set[tuple[str, int]] = set()

    def listen(self) -> None:
        """Hear the server's questions."""
        self._hub.on("KeepAsked", self.asked, KeepAsked)

    def is_agreed(self, offer: Offer) -> bool:
        """Whether the wearer has agreed to a package already."""
        return (offer.epoch, offer.seq) in self._agreed

    def asked(self, asked: KeepAsked) -> None:
        """The server asks; the wearer may take days to answer, and is asked once meanwhile."""
        key = (asked.epoch, asked.seq)
        if asked.device != self._device or key in self._asking:
            return
        self._asking.add(key)
        self._errand(partial(self._ask, asked))

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
        with suppress(HubCallError):
            await self._hub.ask("RegisterPush", self._push, answer=Done)

    async def _ask(self, asked: KeepAsked) -> None:
        try:
            answer = await heard(partial(self._wearer().keep, asked))
            if answer is not None:
                await self._answer(asked.epoch, asked.seq, answer)
        except HubCallError as error:
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
        outcome = await self._hub.ask("AnswerKeep", said, answer=KeepAnswered)
        if isinstance(outcome, Failure):
            _LOG.warning("the server did not take an answer: %s", outcome.error.code)
        elif isinstance(outcome.epoch, str) and isinstance(outcome.seq, int):
            self._agreed = [*self._agreed[1 - _MAX_AGREED :], (outcome.epoch, outcome.seq)]
        return outcome
