"""Who may not see a device any more hears no more of it, on whichever pod he is connected.

Said over the bus, at most once: what is asked later is asked of the store on every pod. Read ``Revocations.revoke``
first.
"""

from collections.abc import Callable
from typing import Final

import msgspec

from signaling.backplane import Backplane

__all__ = ["Revocations"]

_CHANNEL: Final = "revoked"


class _Revoked(msgspec.Struct, frozen=True, array_like=True):
    """A user of a clinic, and the device that he has nothing to do with any more."""

    clinic: str
    user: str
    device: str


class Revocations:
    """``forget`` is what a pod does about it."""

    def __init__(self, backplane: Backplane, forget: Callable[[str, str, str], None]) -> None:
        self._backplane = backplane
        self._forget = forget
        backplane.subscribe(_CHANNEL, self._heard)

    def revoke(self, clinic: str, user: str, device: str) -> None:
        """Have every pod forget that this user had to do with the device."""
        self._forget(clinic, user, device)
        revoked = _Revoked(clinic, user, device)
        self._backplane.publish(_CHANNEL, lambda: msgspec.msgpack.encode(revoked))

    def _heard(self, payload: bytes) -> None:
        said = msgspec.msgpack.decode(payload, type=_Revoked)
        self._forget(said.clinic, said.user, said.device)
