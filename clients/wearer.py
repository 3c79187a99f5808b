"""The person who wears the aids, as the phone asks: may I, are you ready, how loud was that, shall I install it?

A phone app puts a screen behind each question. The phone sets the time for an answer and takes silence for a no. Must
not know how an aid is written. Read ``Wearer`` first.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Protocol, TypeVar

from protocol.contract.devices import Offer
from protocol.contract.packages import KeepAsked
from protocol.contract.sessions import ConsentAnswer, ConsentAsked

__all__ = ["AgreeableWearer", "KeepAnswer", "NobodyThere", "Wearer", "answer_within", "heard"]

T = TypeVar("T")
_LOG: Final = logging.getLogger("auricle.clients")


@dataclass(frozen=True, slots=True)
class KeepAnswer:
    """Whether to keep a package. ``rating``: from 1 (not content) to 5, None for none; ``words`` say why."""

    keep: bool
    rating: int | None = None
    words: str = ""


class Wearer(Protocol):
    """Answers the phone's questions; a question may be cancelled at any moment."""

    async def consent(self, asked: ConsentAsked) -> ConsentAnswer:
        """Whether this fitter may work on the aids in this session, and to what extent."""
        ...

    async def ready(self) -> bool:
        """Loud sounds will become louder: is the wearer ready to listen?"""
        ...

    async def loudness(self) -> int:
        """How loud it was, from 1 (very soft) to 7 (uncomfortably loud)."""
        ...

    async def install(self, offer: Offer) -> bool:
        """Whether to install a package now; this may be answered days later."""
        ...

    async def keep(self, asked: KeepAsked) -> KeepAnswer:
        """Whether to keep a package that was worn for a while, and how content they are with it."""
        ...


_CONTENT: Final = KeepAnswer(keep=True, rating=4)


class NobodyThere:
    """No screen and nobody before it: consent is refused, and everything else is never answered."""

    async def consent(self, asked: ConsentAsked) -> ConsentAnswer:
        """No."""
        return ConsentAnswer(accepted=False)

    async def ready(self) -> bool:
        """Never."""
        return await _never()

    async def loudness(self) -> int:
        """Never."""
        return int(await _never())

    async def install(self, offer: Offer) -> bool:
        """Never."""
        return await _never()

    async def keep(self, asked: KeepAsked) -> KeepAnswer:
        """Never."""
        return KeepAnswer(await _never())


class AgreeableWearer:
    """For demos and tests: says the same to everything."""

    def __init__(
        self,
        *,
        consents: bool = True,
        ready: bool = True,
        loudness: int = 4,
        installs: bool = True,
        keeps: KeepAnswer = _CONTENT,
    ) -> None:
        self.consents, self.is_ready, self.says_loudness, self.installs = consents, ready, loudness, installs
        self.keeps = keeps

    async def consent(self, asked: ConsentAsked) -> ConsentAnswer:
        """As it was made."""
        return ConsentAnswer(accepted=self.consents)

    async def ready(self) -> bool:
        """As it was made."""
        return self.is_ready

    async def loudness(self) -> int:
        """As it was made."""
        return self.says_loudness

    async def install(self, offer: Offer) -> bool:
        """As it was made."""
        return self.installs

    async def keep(self, asked: KeepAsked) -> KeepAnswer:
        """As it was made."""
        return self.keeps


async def answer_within(
    question: Callable[[], Awaitable[T]], seconds: float, sleep: Callable[[float], Awaitable[object]]
) -> T | None:
    """The answer to a question, None for silence; the question is cancelled when its time is over."""
    asked, limit = asyncio.ensure_future(heard(question)), asyncio.ensure_future(sleep(seconds))
    try:
        await asyncio.wait({asked, limit}, return_when=asyncio.FIRST_COMPLETED)
        return asked.result() if asked.done() else None
    finally:
        asked.cancel()
        limit.cancel()


async def heard(question: Callable[[], Awaitable[T]]) -> T | None:
    """The answer to a question, however long it takes; None when the screen fails."""
    try:
        return await question()
    except Exception as error:  # noqa: BLE001  # an app's own screen: if it fails, nobody has answered
        _LOG.error("a question to the wearer failed: %s", type(error).__name__)
        return None


async def _never() -> bool:
    await asyncio.Event().wait()
    return False
