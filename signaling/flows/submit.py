"""A change asked for: from a request to a numbered entry of the device log, or to a refusal that says why.

The safety kernel sees the whole candidate, never the delta alone, and the log accepts it only on the head that
the kernel saw. Sends nothing: ``delivery`` does.
"""

from dataclasses import dataclass

from msgspec import UNSET, UnsetType

from fitting.capability import sheet
from fitting.digest import content_digests, request_hash
from fitting.log import DeviceLog
from fitting.log_values import Accepted, DeviceHead, Proposal, Revision
from fitting.model import apply_patch, changed_ears, validate_shape
from fitting.safety import Change, SafetyKernel
from protocol.contract.base import EARS, Ear, Failure, Refusal
from protocol.contract.fitting import (
    CheckAnswer,
    Content,
    Digests,
    Finding,
    SafetySummary,
    Submit,
    SubmitAnswer,
)
from protocol.errors import BadArgument
from signaling.metrics import Metrics

__all__ = ["SubmitFlow"]

DEFAULT_EXPIRY_S = 300.0


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A change that the kernel has passed, on the revision that it saw."""

    base: Revision
    content: Content
    digests: Digests
    ears: tuple[Ear, ...]
    safety: SafetySummary


class SubmitFlow:
    """Carries out ``Submit`` and ``Check``."""

    def __init__(self, log: DeviceLog, kernel: SafetyKernel, metrics: Metrics) -> None:
        self._log = log
        self._kernel = kernel
        self._metrics = metrics

    async def check(self, author: str, request: Submit) -> CheckAnswer | Failure:
        """What ``submit`` would say now; changes nothing.

        Raises:
            BadArgument: the request does not fit together.
        """
        head = await self._head(request)
        if isinstance(head, Refusal):
            return self._refuse(head)
        candidate = self._candidate(request, head)
        if isinstance(candidate, Failure):
            return candidate
        if request.fence != head.fence:
            return self._refuse(Refusal(code="fence_stale", message="another lease was granted since"))
        if head.lease is None or head.lease.holder != author:
            return self._refuse(Refusal(code="lease_lost", message="the lease has ended or is another's"))
        return CheckAnswer(digests=candidate.digests, safety=candidate.safety)

    async def submit(self, author: str, request: Submit) -> SubmitAnswer | Failure:
        """Put the change into the log, once per idempotency key.

        Raises:
            BadArgument: the request does not fit together.
        """
        head = await self._head(request)
        if isinstance(head, Refusal):
            return self._refuse(head)
        # The key comes before everything else: a retry gets its first answer even when the head has moved since.
        if head.answered is not None:
            return self._answer(head.answered)
        candidate = self._candidate(request, head)
        if isinstance(candidate, Failure):
            return candidate
        return self._answer(await self._log.append(_proposal(author, request, candidate)))

    async def _head(self, request: Submit) -> DeviceHead | Refusal:
        supported = request.vendor is UNSET and request.revision is UNSET
        if request.kind != "volatile" or request.mode != "advanced" or not supported:
            return Refusal(
                code="kind_unsupported",
                message="this version delivers volatile changes in advanced mode only",
            )
        return await self._log.head(request.device, key=request.idempotency_key, request_hash=request_hash(request))

    def _candidate(self, request: Submit, head: DeviceHead) -> _Candidate | Failure:
        base = head.revision
        if base is None:
            return self._refuse(Refusal(code="not_read_back", message="the aids were never read back", retryable=True))
        if not _is_on(request, base):
            return self._refuse(Refusal(code="base_mismatch", message="the change was thought of on another revision"))
        if request.origin == "first_fit" and (base.parent or request.content is UNSET):
            return self._refuse(
                Refusal(code="not_first_fit", message="a first fit is a whole content, and only the first one")
            )
        content = _wanted(request, base)
        validate_shape(content)
        report = self._kernel.check(
            Change(
                base=base.content,
                candidate=content,
                sheets={ear: sheet(aid.model) for ear, aid in head.aids.items()},
                origin=request.origin,
                mode=request.mode,
            )
        )
        if report.refusals:
            return self._refuse(*(_refusal(finding) for finding in report.refusals))
        ears = changed_ears(base.content, content)
        if not ears:
            return self._refuse(Refusal(code="no_change", message="the aids are asked for what they have"))
        return _Candidate(base, content, content_digests(content), ears, report.summary())

    def _answer(self, outcome: Accepted | Refusal) -> SubmitAnswer | Failure:
        if isinstance(outcome, Refusal):
            return self._refuse(outcome)
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


def _is_on(request: Submit, base: Revision) -> bool:
    if request.base.revision != base.revision_id:
        return False
    claimed = {ear: getattr(request.base, ear) for ear in EARS}
    return all(value is UNSET or value == getattr(base.digests, ear) for ear, value in claimed.items())


def _refusal(finding: Finding) -> Refusal:
    return Refusal(
        code="unsafe",
        message=finding.message,
        rule=finding.rule,
        ear=finding.ear,
        band=finding.band,
        value=finding.value,
        limit=finding.limit,
    )


def _wanted(request: Submit, base: Revision) -> Content:
    patch, content = request.patch, request.content
    if isinstance(content, UnsetType) and not isinstance(patch, UnsetType):
        return apply_patch(base.content, patch)
    if isinstance(patch, UnsetType) and not isinstance(content, UnsetType):
        return content
    raise BadArgument("exactly one of patch and content is needed")


def _proposal(author: str, request: Submit, candidate: _Candidate) -> Proposal:
    if isinstance(request.fence, UnsetType):
        raise BadArgument("fence: advanced mode needs the fence of a lease")
    return Proposal(
        device=request.device,
        key=request.idempotency_key,
        request_hash=request_hash(request),
        expected_head=candidate.base.revision_id,
        kind=request.kind,
        mode=request.mode,
        fence=request.fence,
        author=author,
        reason=request.reason,
        origin=request.origin,
        content=candidate.content,
        digests=candidate.digests,
        ears=candidate.ears,
        safety=candidate.safety,
        expires_in_s=DEFAULT_EXPIRY_S if request.expires_in_s is UNSET else float(request.expires_in_s),
    )
