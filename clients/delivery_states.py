"""What a fitter knows of its deliveries: the last state of each, and who waits for one.

Bounded: the oldest are forgotten first. It must not ask anybody; what was missed is asked for by the fitter. Read
``DeliveryStates.reached`` first.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Collection
from typing import Final, TypeAlias

from protocol.contract.devices import DeliveryState

__all__ = ["PERSIST_ENDS", "VOLATILE_ENDS", "DeliveryKey", "DeliveryStates"]

DeliveryKey: TypeAlias = tuple[str, str, int]
"""Device, epoch and number."""

PERSIST_ENDS: Final[frozenset[DeliveryState]] = frozenset(
    {"active", "rejected", "declined", "superseded", "expired", "cancelled", "rolled_back", "failed"}
)
VOLATILE_ENDS: Final[frozenset[DeliveryState]] = PERSIST_ENDS | {"confirmed"}


class DeliveryStates:
    """``limit``: deliveries that are remembered."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._states: OrderedDict[DeliveryKey, DeliveryState] = OrderedDict()
        self._persist: set[DeliveryKey] = set()
        self._news = asyncio.Event()

    def __len__(self) -> int:
        return len(self._states)

    def __getitem__(self, key: DeliveryKey) -> DeliveryState:
        return self._states.get(key, "accepted")

    def track(self, key: DeliveryKey, *, persist: bool = False) -> None:
        """Remember a delivery; the news of it may have overtaken the answer that names it."""
        self._states.setdefault(key, "accepted")
        if persist:
            self._persist.add(key)
        self._forget_oldest()

    def settle(self, key: DeliveryKey, state: DeliveryState) -> None:
        """A delivery is in this state now."""
        self._states[key] = state
        self._states.move_to_end(key)
        self._forget_oldest()
        self._news.set()
        self._news.clear()

    def ends(self, key: DeliveryKey) -> Collection[DeliveryState]:
        """The states that this delivery ends in: what is only tried ends with the proof that it is in RAM."""
        return PERSIST_ENDS if key in self._persist else VOLATILE_ENDS

    def without_end(self) -> tuple[DeliveryKey, ...]:
        """Those that are still on their way."""
        return tuple(key for key, state in self._states.items() if state not in self.ends(key))

    async def reached(self, key: DeliveryKey, states: Collection[DeliveryState]) -> DeliveryState:
        """Wait until it is in one of ``states``."""
        while (state := self[key]) not in states:
            await self._news.wait()
        return state

    def _forget_oldest(self) -> None:
        if len(self._states) > self._limit:
            key, _ = self._states.popitem(last=False)
            self._persist.discard(key)
