"""Packages are judged again before they are offered: one may have waited for a month, and much is known anew by then.

What is on file, a clinic's limits, the wearer's consent and what the aids keep may all have changed since it was
accepted. This module must not know how a package is withdrawn. Read ``SecondLook.objection``.
"""

from collections.abc import Awaitable, Callable
from dataclasses import replace

from fitting.delivery import digest_of
from fitting.log import DeviceLog
from fitting.log_commands import is_not_begun
from fitting.log_values import Delivery
from fitting.safety import Change, ChangeOrigin, SafetyKernel
from protocol.contract.base import EARS, Refusal
from protocol.contract.devices import EarTruth, InAid
from signaling.flows.changes import Changes

__all__ = ["SecondLook"]


class SecondLook:
    """``consent_refusal`` tells why the patient of a device takes no package of an author."""

    def __init__(
        self,
        log: DeviceLog,
        kernel: SafetyKernel,
        changes: Changes,
        consent_refusal: Callable[[str, str], Awaitable[Refusal | None]],
    ) -> None:
        self._log = log
        self._kernel = kernel
        self._changes = changes
        self._consent_refusal = consent_refusal

    async def objection(self, delivery: Delivery) -> str | None:
        """Why a package must not be begun any more, as the code that it ends with. Raises Unavailable.

        None when it may, and for what is no package, or has begun.
        """
        if delivery.mode != "standard" or delivery.withdrawn is not None or not is_not_begun(delivery):
            return None
        head = await self._log.head(delivery.device)
        if isinstance(head, Refusal):
            return None
        if _is_displaced(head.in_aid, delivery):
            return "E_BASE"
        revision = delivery.revision
        if await self._consent_refusal(revision.author, delivery.device) is not None:
            return "E_CONSENT"
        origin: ChangeOrigin = "rollback" if revision.origin == "rollback" else "fitting"
        change = await self._changes.of(head, delivery.base.content, revision.content, origin, revision.reason)
        change = replace(_as_then(change, delivery), mode=delivery.mode, kind=delivery.kind)
        return "unsafe" if self._kernel.check(change).refusals else None


def _as_then(change: Change, delivery: Delivery) -> Change:
    """What was active before it was accepted was so for good, however long it has waited since."""
    if change.origin != "rollback" or "K9" in delivery.revision.safety.rules:
        return change
    return replace(change, context=replace(change.context, restores_active=True, restores_pair=True))


def _is_displaced(in_aid: InAid, delivery: Delivery) -> bool:
    """Whether an aid keeps what is neither what it was judged over nor what it would bring.

    Also the one that it does not change: both were judged as a pair.
    """
    for ear in EARS:
        truth = getattr(in_aid, ear)
        expected = {digest_of(revision.digests, ear) for revision in (delivery.base, delivery.revision)}
        if isinstance(truth, EarTruth) and truth.nvm not in expected:
            return True
    return False
