"""What the phone tells of the aids unasked: a restored base, a restart, another app, the wearer's own hand.

Each is in the journal until the server has taken it, and goes with a fresh read-back: why it was is old then, what is
in the aids is not. What the wearer did is also told in its own words, ``Undo``, ``Stop`` or a withdrawn consent. Must
not know deliveries. Read ``PhoneNews.tell`` first.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Final

from msgspec import UNSET

from clients.hub_client import HubClient
from clients.hub_errors import HubCallError
from clients.journal import Notice
from clients.phone_driver import OfferRunner
from protocol.contract.base import Failure
from protocol.contract.sessions import AnswerConsent, DeviceCause, Done, Relayed, Revert

__all__ = ["PhoneNews"]

_LOG: Final = logging.getLogger("auricle.clients")
_WORDS: Final[Mapping[DeviceCause, str]] = {"undo": "Undo", "stop": "Stop"}
_PASSING_CODES: Final = frozenset({"unavailable", "overloaded"})


class PhoneNews:
    """Tells one thing at a time; what cannot be told now stays for the next link."""

    def __init__(self, hub: HubClient, runner: OfferRunner, new_key: Callable[[], str]) -> None:
        self._hub, self._runner, self._new_key = hub, runner, new_key
        self._telling = asyncio.Lock()

    async def tell(self, cause: DeviceCause | None = None) -> None:
        """Tell the server everything that it has not taken yet; with ``cause``, read the aids and tell that too."""
        if not self._hub.connection_id:
            return
        async with self._telling:
            try:
                if cause is not None:
                    await self._runner.look()
                while self._runner.record.notices:
                    notice = self._runner.record.notices[0]
                    await self._tell_one(notice)
                    self._runner.told(notice)
                if cause is not None:
                    await self._report(cause)
            except (ConnectionError, TimeoutError):
                return
            except HubCallError as error:
                _LOG.info("the server takes no news of the aids now: %s", error.code)

    async def _tell_one(self, notice: Notice) -> None:
        try:
            await self._report(notice.cause, notice.fence)
            await self._say(notice)
        except HubCallError as error:
            if error.code in _PASSING_CODES:
                raise
            # It will not take it tomorrow either: whoever does not know the method cannot be told.
            _LOG.warning("the server does not take news of %s: %s", notice.cause, error.code)

    async def _report(self, cause: DeviceCause, fence: int = 0) -> None:
        told = await self._runner.device_report(cause, fence)
        answer = await self._hub.ask("ReportDevice", told, answer=Done)
        if isinstance(answer, Failure) and answer.error.code == "not_attached":
            # An older link still carries the aids, or a newer one does: it is told again after attaching.
            raise ConnectionError("the aids are carried by another link")
        if isinstance(answer, Failure):
            _LOG.warning("the server did not take a read-back: %s", answer.error.code)

    async def _say(self, notice: Notice) -> None:
        device = self._runner.device
        word = _WORDS.get(notice.cause)
        if word is not None:
            fence = notice.fence or UNSET
            told = Revert(device=device, fence=fence, idempotency_key=self._new_key())
            await self._hub.ask(word, told, answer=Relayed)
        elif notice.cause == "consent_withdrawn":
            consent = self._runner.record.consent
            session = UNSET if consent is None or not consent.session else consent.session
            await self._hub.ask(
                "AnswerConsent", AnswerConsent(device=device, accepted=False, session=session), answer=Done
            )
