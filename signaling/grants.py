"""What a caller was found to be allowed is remembered, so that making an aid quiet never waits for a database.

An answer that is some seconds old is as good as a new one. An older one counts only when the store is away or does not
answer in time, and only for as long as a session may last; what was never found is not allowed. Knows no method.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from protocol.errors import Unavailable

from .auth import Principal
from .policy import Grants, Relation

__all__ = ["RememberedGrants"]

_Key = tuple[str, str, Relation, str]
FRESH_S: Final = 2.0
STALE_S: Final = 3_600.0


class RememberedGrants:
    """``Grants`` over another, remembering ``limit`` positive answers, those that were used last.

    ``patience_s``: how long the store may take before what is remembered counts. ``wait_s``: how long where nothing is:
    a store that is slow is not away.
    """

    def __init__(
        self,
        inner: Grants,
        *,
        limit: int,
        patience_s: float,
        wait_s: float,
        monotonic: Callable[[], float],
        reached: Callable[[str], None],
    ) -> None:
        self._inner = inner
        self._limit = limit
        self._patience_s, self._wait_s = patience_s, wait_s
        self._monotonic = monotonic
        self._reached = reached
        self._known: OrderedDict[_Key, float] = OrderedDict()
        self._forgotten = 0

    async def holds(self, principal: Principal, relation: Relation, object_id: str) -> bool:
        """See ``Grants``. Raises Unavailable when the store is away and nothing is remembered."""
        key = (principal.clinic, principal.user, relation, object_id)
        now_s, found_s, forgotten = self._monotonic(), self._known.get(key), self._forgotten
        if found_s is not None and now_s - found_s < FRESH_S:
            return True
        is_remembered = found_s is not None and now_s - found_s < STALE_S
        try:
            async with asyncio.timeout(self._patience_s if is_remembered else self._wait_s):
                holds = await self._inner.holds(principal, relation, object_id)
        except (Unavailable, TimeoutError):
            # Again: who was forgotten meanwhile may not.
            found_s = self._known.get(key)
            if found_s is not None and now_s - found_s < STALE_S:
                self._reached("grant_patience_s")
                return True
            raise Unavailable("the store of devices is away") from None
        if forgotten != self._forgotten:
            # Somebody was forgotten meanwhile: what was found may be what was before.
            return await self.holds(principal, relation, object_id)
        self._remember(key, holds, now_s)
        return holds

    def forget(self, clinic: str, user: str, object_id: str) -> None:
        """Somebody is not what he was to an object: here that holds from now on, elsewhere ``FRESH_S`` later."""
        self._forgotten += 1
        for relation in Relation:
            self._known.pop((clinic, user, relation, object_id), None)

    def _remember(self, key: _Key, holds: bool, now_s: float) -> None:
        self._known.pop(key, None)
        if not holds:
            return
        self._known[key] = now_s
        if len(self._known) > self._limit:
            self._known.popitem(last=False)
            self._reached("max_grants")
