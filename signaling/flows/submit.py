"""A change asked for: from a request to a numbered entry of the device log, or to a refusal that says why.

The safety kernel sees the whole candidate, never the delta alone, and the log accepts it only on the head that
the kernel saw. Sends nothing itself: ``delivery`` does.
"""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Final

import msgspec
from msgspec import UNSET

from fitting.budgets import was_active
from fitting.delivery import digest_of
from fitting.digest import content_digests, request_hash
from fitting.ledger import budgets_of_saving, kept, was_in_nvm
from fitting.log import DeviceLog
from fitting.log_values import Accepted, Delivery, DeviceHead, Proposal, Revision
from fitting.mode import only_lowers
from fitting.model import apply_patch, changed_ears, ears_of, validate_shape
from fitting.ramp import checked_ramp
from fitting.safety import Change, ChangeOrigin, SafetyKernel, SafetyReport
from protocol.contract.base import EARS, Failure, Refusal
from protocol.contract.fitting import (
    Base,
    CheckAnswer,
    Content,
    Patch,
    Submit,
    SubmitAnswer,
)
from protocol.contract.sessions import Save
from protocol.errors import BadArgument
from signaling.flows.candidates import DEFAULT_EXPIRY_S, Candidate, Wish, foremost, proposal_of, refusal_of, vendor_of
from signaling.flows.changes import Changes
from signaling.flows.delivery import DeliveryFlow
from signaling.flows.standing import NOT_FIRST_FIT, place, standing, stands, unsupported
from signaling.flows.tried import is_fitted, steps_done
from signaling.metrics import Metrics

__all__ = ["SubmitFlow"]

_NOT_READ_BACK: Final = Refusal(code="not_read_back", message="the aids were never read back", retryable=True)
# How far back it is looked for what NVM holds, when it is not what was kept last.
_MAX_EARLIER: Final = 100


class SubmitFlow:
    """Carries out ``Submit``, ``Check`` and ``Save``.

    ``may_rise`` tells whether a device's live session is frozen, ``package_refusal`` why its patient takes no package
    of an author.
    """

    def __init__(
        self,
        log: DeviceLog,
        kernel: SafetyKernel,
        metrics: Metrics,
        *,
        changes: Changes,
        delivery: DeliveryFlow,
        may_rise: Callable[[DeviceHead], bool],
        package_refusal: Callable[[str, str], Awaitable[Refusal | None]],
    ) -> None:
        self._log = log
        self._kernel = kernel
        self._metrics = metrics
        self._changes = changes
        self._delivery = delivery
        self._may_rise = may_rise
        self._package_refusal = package_refusal

    async def check(self, author: str, request: Submit) -> CheckAnswer | Failure:
        """What ``submit`` would say now; changes nothing.

        Raises:
            BadArgument: the request does not fit together.
        """
        head = unsupported(request) or await self._log.head(request.device)
        if isinstance(head, Refusal):
            return self._refuse(head)
        candidate = await self._candidate(author, request, head)
        if isinstance(candidate, Failure):
            return candidate
        return CheckAnswer(digests=candidate.digests, safety=candidate.safety)

    async def submit(self, author: str, request: Submit, *, wish: Wish | None = None) -> SubmitAnswer | Failure:
        """Put the change into the log, once per idempotency key. ``wish``: it is what its wearer wants back.

        Raises:
            BadArgument: the request does not fit together.
        """
        asked = request_hash(request)
        head = unsupported(request) or await self._head(author, request, asked, wish)
        if isinstance(head, Refusal):
            return self._refuse(head)
        # The key comes before everything else: a retry gets its first answer even when the head has moved since.
        if head.answered is not None:
            return self._answer(request.device, head.answered)
        done, newest = await steps_done(self._log, request)
        onward = request if newest is None else msgspec.structs.replace(request, base=Base(revision=newest))
        candidate = await self._candidate(author, onward, head, wish)
        if isinstance(candidate, Failure):
            return candidate
        proposal = proposal_of(author, request, asked, candidate, is_wish=wish is not None)
        for step, content in enumerate(candidate.steps[:-1], done + 1):
            # Each is a change of its own, offered when the one before is confirmed.
            eased = msgspec.structs.replace(
                proposal,
                key=f"{proposal.key}/{step}",
                content=content,
                digests=content_digests(content),
                ears=candidate.ears,
            )
            outcome = await self._log.append(eased)
            if isinstance(outcome, Refusal):
                return self._refuse(outcome)
            self._delivery.appended(request.device)
            proposal = msgspec.structs.replace(proposal, expected_head=outcome.revision_id, supersedes=None)
        outcome = await self._log.append(proposal)
        if request.mode == "standard" and wish is None and isinstance(outcome, Accepted):
            self._delivery.package_accepted(request.device)
        return self._answer(request.device, outcome)

    async def judged(self, head: DeviceHead, content: Content, origin: ChangeOrigin, reason: str) -> SafetyReport:
        """What the kernel says of a content in place of what the device holds; changes nothing."""
        base = None if head.revision is None else head.revision.content
        return self._kernel.check(await self._changes.of(head, base, content, origin, reason))

    async def save(self, author: str, request: Save) -> SubmitAnswer | Failure:
        """Have what the aids hold in RAM kept, on both ears: a delivery to NVM like any other."""
        asked = request_hash(request)
        head = await self._log.head(request.device, key=request.idempotency_key, request_hash=asked)
        if isinstance(head, Refusal):
            return self._refuse(head)
        if head.answered is not None:
            return self._answer(request.device, head.answered)
        base = head.revision
        if base is None:
            return self._refuse(_NOT_READ_BACK)
        report = self._kernel.check(await self._keeping(head, base, request.reason))
        if report.refusals:
            return self._refuse(*(refusal_of(finding) for finding in foremost(report.refusals)))
        proposal = Proposal(
            device=request.device,
            key=request.idempotency_key,
            request_hash=asked,
            expected_head=base.revision_id,
            kind="persist",
            mode="advanced",
            fence=request.fence,
            author=author,
            reason=request.reason,
            origin="save",
            content=base.content,
            digests=base.digests,
            ears=ears_of(base.content),
            safety=report.summary(),
            expires_in_s=DEFAULT_EXPIRY_S,
            expect={ear: digest for ear in EARS if isinstance(digest := getattr(request.expect, ear), str)},
            vendor=base.vendor,
        )
        return self._answer(request.device, await self._log.append(proposal))

    async def _keeping(self, head: DeviceHead, base: Revision, reason: str) -> Change:
        """A save as the kernel sees it: what RAM holds in place of what NVM is known to hold.

        That each change in RAM was judged says nothing of that: where RAM began may have been found there, much louder.
        """
        saved = was_in_nvm(head)
        in_nvm = kept(head) or kept(head, await self._log.revisions(head.device, limit=_MAX_EARLIER))
        before = saved[-1].content if saved else None
        if "split" not in head.alarms:
            # Of two ears that were never chosen together the last whole pair tells more.
            before = in_nvm or before
        change = await self._changes.of(head, base.content, base.content, "fitting", reason)
        context = replace(
            change.context,
            in_ram=True,
            budgets=budgets_of_saving(head, is_known=in_nvm is not None),
            restores_active=was_active(saved, base.content),
        )
        return replace(change, base=before, kind="persist", context=context)

    async def _head(self, author: str, request: Submit, asked: str, wish: Wish | None) -> DeviceHead | Refusal:
        """The head; and the answer that the request got before, if it is one that does not stand on the head.

        What got an answer has moved the head itself, so it does not stand any more, and only then all keys are looked
        through. What another process has accepted a moment ago is found by ``append``, which writes no key twice.
        """
        key = request.idempotency_key
        head = await self._log.head(request.device, key=key, request_hash=asked, lately=True)
        if isinstance(head, Refusal) or head.answered is not None:
            return head
        if stands(author, request, head, is_wish=wish is not None):
            return head
        return await self._log.head(request.device, key=key, request_hash=asked)

    async def _candidate(
        self, author: str, request: Submit, head: DeviceHead, wish: Wish | None = None
    ) -> Candidate | Failure:
        base = head.revision
        if base is None:
            return self._refuse(_NOT_READ_BACK)
        is_package = request.mode == "standard"
        refusal = standing(author, request, head, is_wish=wish is not None) or place(request, base)
        if refusal is None and is_package:
            refusal = await self._package_refusal(author, request.device)
        if refusal is None and request.origin == "first_fit" and await is_fitted(self._log, head, base):
            refusal = NOT_FIRST_FIT
        if refusal is not None:
            return self._refuse(refusal)
        under = head.ground if is_package and head.ground is not None else base
        content = await self._wanted(request, base)
        if isinstance(content, Refusal):
            return self._refuse(content)
        validate_shape(content)
        origin: ChangeOrigin = "rollback" if isinstance(request.revision, str) else request.origin
        if not self._may_rise(head) and not only_lowers(base.content, content):
            return self._refuse(Refusal(code="frozen", message="nothing may rise while the patient may not be there"))
        change = await self._changes.of(head, under.content, content, origin, request.reason)
        if origin == "rollback" and wish is not None and wish.worn == content:
            change = replace(change, context=replace(change.context, restores_active=True, restores_pair=True))
        change = replace(change, mode=request.mode, kind=request.kind)
        # A package is one thing, which its wearer may take or leave.
        is_eased = change.context.restores_active and not is_package
        eased = checked_ramp(self._kernel, change) if is_eased else None
        report = self._kernel.check(change) if eased is None else eased.report
        if report.refusals:
            return self._refuse(*(refusal_of(finding) for finding in foremost(report.refusals)))
        ears = changed_ears(under.content, content)
        if not ears:
            return self._refuse(Refusal(code="no_change", message="the aids are asked for what they have"))
        vendor = vendor_of(request)
        unmoved = {ear: digest for ear in EARS if ear not in ears and (digest := digest_of(under.digests, ear))}
        # A step must not stand in for the one before it.
        waiting = None if vendor or eased or is_package else head.waiting
        supersedes = None if waiting is None else self._supersedes(waiting, change)
        steps = (content,) if eased is None else eased.steps
        return Candidate(
            *(base, under, content, content_digests(content, unmoved), ears),
            *(report.summary(), origin, supersedes, vendor, steps),
        )

    def _supersedes(self, waiting: Delivery, change: Change) -> int | None:
        """The change that waits may fall away only when this one is no bigger a step from what is before it."""
        judged = self._kernel.check(replace(change, base=waiting.base.content))
        return None if judged.refusals else waiting.seq

    async def _wanted(self, request: Submit, base: Revision) -> Content | Refusal:
        given = [field for field in (request.patch, request.content, request.revision) if field is not UNSET]
        if len(given) != 1:
            raise BadArgument("exactly one of patch, content and revision is needed")
        [wanted] = given
        if isinstance(wanted, Patch):
            return apply_patch(base.content, wanted)
        if isinstance(wanted, Content):
            return wanted
        earlier = await self._log.revision(request.device, str(wanted))
        if earlier is None:
            return Refusal(code="unknown_revision", message="the device has no such revision")
        return earlier.content

    def _answer(self, device: str, outcome: Accepted | Refusal) -> SubmitAnswer | Failure:
        if isinstance(outcome, Refusal):
            return self._refuse(outcome)
        self._delivery.ended(device, outcome.ended)
        self._delivery.appended(device)
        return SubmitAnswer(
            epoch=outcome.epoch,
            seq=outcome.seq,
            revision_id=outcome.revision_id,
            digests=outcome.digests,
            safety=outcome.safety,
        )

    def _refuse(self, *refusals: Refusal) -> Failure:
        for refusal in refusals:
            self._metrics.refusals.labels(refusal.code, refusal.rule or "").inc()
        return Failure(error=refusals[0], errors=refusals)
