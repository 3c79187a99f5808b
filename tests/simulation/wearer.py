"""The person who wears the aids: says yes, no, or nothing, after a while.

Must not know what the server or the phone holds inside. Read ``SimWearer.install``.
"""

import asyncio
import random
from collections.abc import Callable

from clients.wearer import KeepAnswer
from protocol.contract.devices import Offer
from protocol.contract.packages import KeepAsked
from protocol.contract.sessions import ConsentAnswer, ConsentAsked

__all__ = ["SimWearer"]

Key = tuple[str, int]


class SimWearer:
    """``agrees``: to live work. ``willing``: installs and keeps whatever comes. ``patience_s`` scales every wait.

    ``said`` hears of every answer about a package, before the phone does.
    """

    def __init__(self, chance: random.Random, *, agrees: bool, said: Callable[[Key, bool], None]) -> None:
        self._chance, self.agrees, self._said = chance, agrees, said
        self.patience_s = 1.0
        self.willing = False

    async def consent(self, asked: ConsentAsked) -> ConsentAnswer:
        await asyncio.sleep(self._chance.random() ** 4 * 40.0 * self.patience_s)
        return ConsentAnswer(accepted=self.agrees)

    async def ready(self) -> bool:
        await asyncio.sleep(self._chance.random() * 2.0)
        return self._chance.random() < 0.9

    async def loudness(self) -> int:
        await asyncio.sleep(self._chance.random() * 3.0)
        return self._chance.choice((3, 4, 5, 5, 6, 7))

    async def install(self, offer: Offer) -> bool:
        """Mostly yes, now and then no; one package in five waits for an answer that never comes."""
        drawn = self._chance.random()
        await asyncio.sleep(self._chance.random() ** 2 * 20.0 * self.patience_s)
        if drawn > 0.8 and not self.willing:
            await asyncio.Event().wait()
        accepted = drawn < 0.68 or self.willing
        self._said((offer.epoch, offer.seq), accepted)
        return accepted

    async def keep(self, asked: KeepAsked) -> KeepAnswer:
        drawn = self._chance.random()
        await asyncio.sleep(self._chance.random() * 2.0 * self.patience_s)
        if drawn > 0.8 and not self.willing:
            await asyncio.Event().wait()
        return KeepAnswer(keep=drawn < 0.5 or self.willing, rating=1 + int(drawn * 5), words="so it is")
