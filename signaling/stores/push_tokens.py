"""How the phone of a device can be woken: what its platform calls the app on it, until that is dead.

``PushTokens`` is the port. Knows no push service. Read ``PushTokens.put`` first.
"""

from collections.abc import Callable
from typing import Protocol

from fitting.push import PushTarget
from protocol.errors import Overloaded

__all__ = ["MemoryPushTokens", "PushTokens"]


class PushTokens(Protocol):
    """At most one token a device, the newest. Every call is atomic, and raises Unavailable."""

    async def put(self, device: str, target: PushTarget, now_s: float) -> None:
        """From now on the device's phone is reached so. Raises Overloaded when the store is full."""
        ...

    async def get(self, device: str) -> PushTarget | None:
        """How it is reached, None when that is not known or the token is dead."""
        ...

    async def park(self, device: str, target: PushTarget, now_s: float) -> None:
        """That token is dead: nothing is sent to it again before the phone brings one. A newer one stays."""
        ...


class MemoryPushTokens:
    """Tokens of one process, at most ``max_devices``; ``reached`` is told when there are so many."""

    def __init__(self, *, max_devices: int, reached: Callable[[str], None]) -> None:
        self._max_devices = max_devices
        self._reached = reached
        self._targets: dict[str, PushTarget] = {}

    async def put(self, device: str, target: PushTarget, now_s: float) -> None:
        """See ``PushTokens``."""
        if device not in self._targets and len(self._targets) >= self._max_devices:
            self._reached("max_devices")
            raise Overloaded("no more phones can be remembered")
        self._targets[device] = target

    async def get(self, device: str) -> PushTarget | None:
        """See ``PushTokens``."""
        return self._targets.get(device)

    async def park(self, device: str, target: PushTarget, now_s: float) -> None:
        """See ``PushTokens``."""
        if self._targets.get(device) == target:
            del self._targets[device]
