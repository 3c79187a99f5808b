"""Codes that bind a phone to a device, and what came of them: a code that was used is the record of the binding.

Only a keyed hash of a code is kept, so that nobody who reads the store can bind a phone. ``BindStore`` is the port.
This module must not know how a code looks: that is in ``signaling.bind_codes``.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

from protocol.errors import Overloaded

__all__ = ["BindCode", "BindStore", "MemoryBindStore"]


@dataclass(frozen=True, slots=True)
class BindCode:
    """One code for the phone of one patient. Times are Unix seconds.

    ``bound_by`` is who used it, when, and with which ``phone`` if that was said; the phone of the newest binding owns
    the pushes of the device.
    """

    code_hash: bytes
    clinic: str
    device: str
    patient: str
    made_by: str
    made_at_s: float
    expires_at_s: float
    bound_by: str | None = None
    bound_at_s: float | None = None
    phone: str | None = None


class BindStore(Protocol):
    """Bind codes and bindings. Every call is atomic, and raises Unavailable when the store is away."""

    async def add(self, code: BindCode) -> bool:
        """Keep a new code, and forget those of its device that have expired by now, also those that were used, but for
        the newest binding; False when so many are live that there may not be one more.
        """
        ...

    async def live(self, clinic: str, patient: str, now_s: float) -> tuple[BindCode, ...]:
        """The codes that this patient's phone could use now, in no order."""
        ...

    async def redeem(self, code_hash: bytes, *, by: str, at_s: float, phone: str | None = None) -> bool:
        """Use a code up; False when it is not live any more."""
        ...

    async def used(self, code_hash: bytes) -> BindCode | None:
        """A code that was used up, None for every other; those behind the newest of a device may be forgotten."""
        ...

    async def bound(self, clinic: str, device: str) -> BindCode | None:
        """The newest binding of a device, None when no phone was ever bound to it."""
        ...


class MemoryBindStore:
    """Codes of one process, at most ``max_live`` live ones per device, and of each device the newest binding.

    ``max_codes`` of all devices together; ``reached`` is told when there are so many.
    """

    def __init__(self, *, max_live: int, max_codes: int, codes_bound: str, reached: Callable[[str], None]) -> None:
        self._max_live = max_live
        self._max_codes = max_codes
        self._codes_bound = codes_bound
        self._reached = reached
        self._codes: dict[bytes, BindCode] = {}

    async def add(self, code: BindCode) -> bool:
        """See ``BindStore``. Raises Overloaded when there are too many codes and bindings in all."""
        mine = [one for one in self._codes.values() if (one.clinic, one.device) == (code.clinic, code.device)]
        unused = [one for one in mine if one.bound_at_s is None]
        for one in unused:
            if one.expires_at_s <= code.made_at_s:
                del self._codes[one.code_hash]
        if sum(one.code_hash in self._codes for one in unused) >= self._max_live:
            self._reached("max_bind_codes")
            return False
        if code.code_hash in self._codes:
            return False
        if len(self._codes) >= self._max_codes:
            self._reached(self._codes_bound)
            raise Overloaded("no more codes can be kept here")
        self._codes[code.code_hash] = code
        return True

    async def live(self, clinic: str, patient: str, now_s: float) -> tuple[BindCode, ...]:
        """See ``BindStore``."""
        return tuple(
            one
            for one in self._codes.values()
            if (one.clinic, one.patient) == (clinic, patient) and one.bound_at_s is None and one.expires_at_s > now_s
        )

    async def redeem(self, code_hash: bytes, *, by: str, at_s: float, phone: str | None = None) -> bool:
        """See ``BindStore``."""
        code = self._codes.get(code_hash)
        if code is None or code.bound_at_s is not None or code.expires_at_s <= at_s:
            return False
        older = await self.bound(code.clinic, code.device)
        if older is not None:
            del self._codes[older.code_hash]
        self._codes[code_hash] = replace(code, bound_by=by, bound_at_s=at_s, phone=phone)
        return True

    async def used(self, code_hash: bytes) -> BindCode | None:
        """See ``BindStore``."""
        code = self._codes.get(code_hash)
        return None if code is None or code.bound_at_s is None else code

    async def bound(self, clinic: str, device: str) -> BindCode | None:
        """See ``BindStore``."""
        mine = (one for one in self._codes.values() if (one.clinic, one.device) == (clinic, device))
        bound = [one for one in mine if one.bound_at_s is not None]
        return bound[0] if bound else None
