"""Whose phone is woken for a device: the one that was bound last, as far as phones say which they are.

Every phone of the patient may carry his aids, so an old one could go on asking for the pushes of the new one. This
module must not know what a push says, nor when one is due. Read ``Waking.register`` first.
"""

from collections.abc import Callable
from contextlib import suppress
from typing import Final

from fitting.push import PushTarget
from protocol.contract.base import Failure, Refusal
from protocol.contract.packages import RegisterPush
from protocol.contract.sessions import Done
from protocol.errors import BadArgument, Overloaded, Unavailable
from signaling.stores.bindings import BindStore
from signaling.stores.push_tokens import PushTokens

__all__ = ["Waking"]

_NOT_BOUND: Final = Refusal(code="not_bound", message="another phone was bound to this device since")


class Waking:
    """Keeps the push tokens of phones. ``now_s`` gives Unix seconds."""

    def __init__(self, tokens: PushTokens, bindings: BindStore, now_s: Callable[[], float]) -> None:
        self._tokens = tokens
        self._bindings = bindings
        self._now_s = now_s

    async def register(self, clinic: str, request: RegisterPush) -> Done | Failure:
        """The phone says how it can be woken. Refused: ``not_bound``.

        Raises BadArgument for what is no token of its platform, Unavailable.
        """
        try:
            target = PushTarget(request.platform, request.token)
        except ValueError as error:
            raise BadArgument(str(error)) from None
        bound = await self._bindings.bound(clinic, request.device)
        if bound is not None and bound.phone is not None and bound.phone != request.phone:
            return Failure(error=_NOT_BOUND, errors=(_NOT_BOUND,))
        # Each phone tells it each time that it comes, and a write costs more than a look.
        if await self._tokens.get(request.device) != target:
            await self._tokens.put(request.device, target, self._now_s())
        return Done()

    async def forget(self, device: str) -> None:
        """Another phone was bound: the one before is not woken any more, as far as the store can be told."""
        with suppress(Unavailable, Overloaded):
            target = await self._tokens.get(device)
            if target is not None:
                await self._tokens.park(device, target, self._now_s())
