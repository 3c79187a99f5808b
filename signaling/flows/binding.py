"""Binding a phone: a professional makes a code, the patient types it, and his phone is the one that carries the aids.

The right to a device is the patient's own, whatever phone he holds; the code proves that this phone is with him in the
clinic, or where his mail goes, and brings the key by which offers are known to be genuine. Who was bound last owns the
device's pushes. This module must not know a request. Read ``BindingFlow.bind`` first.
"""

import math
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Literal

from fitting.log import DeviceLog
from fitting.signing import OfferSigner
from protocol.contract import CONTRACT_VERSION
from protocol.contract.base import Failure, Refusal
from protocol.contract.people import BindCodeMade, Bound
from protocol.contract.times import iso_ms
from protocol.errors import NotFound, Overloaded, Unavailable
from signaling.attempts import Attempts
from signaling.auth import Principal
from signaling.bind_codes import hash_of, matching, new_code, typed
from signaling.stores.bindings import BindCode, BindStore
from signaling.stores.devices import DeviceStore

__all__ = ["BindTimes", "BindingFlow"]

# One answer for a code that is wrong, used, expired or another's: nothing can be learned by trying.
_BAD_CODE: Final = Refusal(code="bad_code", message="this code cannot be used: check it, or ask for another one")
_TOO_MANY: Final = Refusal(
    code="too_many_codes", message="the device has as many codes as it may have: use one, or wait until one expires"
)


@dataclass(frozen=True, slots=True)
class BindTimes:
    """How long a code lives, in seconds, by the way in which the patient gets it."""

    clinic_s: float
    mail_s: float


class BindingFlow:
    """Makes codes and takes them. ``clock`` gives Unix seconds, ``monotonic`` seconds that only rise.

    ``key`` hashes codes, ``randomness`` gives that many unpredictable bytes. ``callers`` and ``clinics`` bound how
    often one caller, and all callers of one clinic, may try. ``on_bound`` is told the device of a phone that was bound.
    """

    def __init__(
        self,
        *,
        store: BindStore,
        devices: DeviceStore,
        log: DeviceLog,
        on_bound: Callable[[str], Awaitable[None]],
        signer: OfferSigner,
        key: bytes,
        callers: Attempts,
        clinics: Attempts,
        times: BindTimes,
        clock: Callable[[], float],
        monotonic: Callable[[], float],
        randomness: Callable[[int], bytes],
    ) -> None:
        self._store = store
        self._devices = devices
        self._log = log
        self._on_bound = on_bound
        self._signer = signer
        self._key = key
        self._callers = callers
        self._clinics = clinics
        self._times = times
        self._clock = clock
        self._monotonic = monotonic
        self._randomness = randomness

    async def make(self, principal: Principal, device: str, way: Literal["clinic", "mail"]) -> BindCodeMade | Failure:
        """A new code, which is told this once. Refused: ``too_many_codes``."""
        record = await self._devices.get(device)
        if record is None:
            raise NotFound("no such device")
        code, now_s = new_code(self._randomness), self._clock()
        expires_at_s = now_s + (self._times.clinic_s if way == "clinic" else self._times.mail_s)
        kept = BindCode(
            code_hash=hash_of(self._key, record.clinic, code),
            clinic=record.clinic,
            device=device,
            patient=record.patient,
            made_by=principal.user,
            made_at_s=now_s,
            expires_at_s=expires_at_s,
        )
        if not await self._store.add(kept):
            return _refused(_TOO_MANY)
        await self._note(device, "bind_code_made", principal.user)
        return BindCodeMade(code=code, device=device, expires_at=iso_ms(expires_at_s))

    async def bind(self, principal: Principal, text: str, phone: str | None) -> Bound | Failure:
        """Bind the caller's phone. Refused: ``bad_code``, and ``overloaded`` for who tries too often."""
        wait_s = self._wait_s(principal)
        if wait_s > 0:
            return _refused(_too_often(wait_s))
        # What cannot be a code takes the same way as one that is none: it fits nothing.
        code_hash = hash_of(self._key, principal.clinic, typed(text) or "")
        now_s = self._clock()
        found = matching(code_hash, await self._store.live(principal.clinic, principal.user, now_s))
        if found is None or not await self._store.redeem(code_hash, by=principal.user, at_s=now_s, phone=phone):
            found = await self._bound_with(code_hash, principal, phone, now_s)
        if found is None:
            return _refused(_BAD_CODE)
        await self._on_bound(found.device)
        await self._note(found.device, "bound", principal.user)
        return Bound(
            device=found.device,
            contract=CONTRACT_VERSION,
            key_id=self._signer.key_id,
            public_key=self._signer.public_key,
        )

    async def _bound_with(
        self, code_hash: bytes, principal: Principal, phone: str | None, now_s: float
    ) -> BindCode | None:
        """What this very phone was bound with just now, which has not heard of it; only one with a name is known."""
        used = await self._store.used(code_hash)
        if used is None or phone is None or used.expires_at_s <= now_s:
            return None
        is_own = (used.clinic, used.bound_by, used.phone) == (principal.clinic, principal.user, phone)
        return used if is_own and await self._store.bound(used.clinic, used.device) == used else None

    def _wait_s(self, principal: Principal) -> float:
        """How long the caller must wait; an attempt that need not wait counts for him and for his clinic."""
        now_s, caller = self._monotonic(), (principal.clinic, principal.user)
        return (
            self._callers.wait_s(caller, now_s, counts=False)
            or self._clinics.wait_s(principal.clinic, now_s)
            or self._callers.wait_s(caller, now_s)
        )

    async def _note(self, device: str, what: str, user: str) -> None:
        # The store has who and when already, and a code that is used up must not be lost with its answer.
        with suppress(Unavailable, Overloaded):
            await self._log.note(device, "device", what, actor=user)


def _too_often(wait_s: float) -> Refusal:
    wait_ms = math.ceil(wait_s * 1_000)
    return Refusal(code="overloaded", message="too many codes were tried: wait", retryable=True, retry_after_ms=wait_ms)


def _refused(refusal: Refusal) -> Failure:
    return Failure(error=refusal, errors=(refusal,))
