"""A change between the kernel and the log: what was judged, how it is put to the log, and refusals in words.

This module must not know who is asked. Read ``Candidate`` first.
"""

import base64
import binascii
import hashlib
from collections import Counter
from dataclasses import dataclass
from operator import itemgetter
from typing import Final, cast

from msgspec import UNSET, UnsetType

from fitting.log_values import Proposal, Revision, RevisionOrigin
from protocol.contract.base import Ear, Refusal
from protocol.contract.fitting import Content, Digests, Finding, SafetySummary, Submit, VendorPayload
from protocol.errors import BadArgument

__all__ = ["DEFAULT_EXPIRY_S", "Candidate", "foremost", "proposal_of", "refusal_of", "vendor_of"]

DEFAULT_EXPIRY_S: Final = 300.0
PACKAGE_EXPIRY_S: Final = 7 * 24 * 3_600.0
# Four programs that rise in every band break hundreds of limits: the answer must stay a hub message.
MAX_REASONS: Final = 40


@dataclass(frozen=True, slots=True)
class Candidate:
    """A change that the kernel has passed, on what it saw; ``steps`` lead to ``content``, the last of them.

    ``under`` is what it is written over: ``base``, unless it is a package.
    """

    base: Revision
    under: Revision
    content: Content
    digests: Digests
    ears: tuple[Ear, ...]
    safety: SafetySummary
    origin: RevisionOrigin
    supersedes: int | None
    vendor: VendorPayload | None
    steps: tuple[Content, ...]


@dataclass(frozen=True, slots=True)
class Wish:
    """A wearer wants back what they had. ``worn``: what the aids are known to have kept once, longer ago than the head
    tells; None when that is not known.
    """

    worn: Content | None


def vendor_of(request: Submit) -> VendorPayload | None:
    vendor = request.vendor
    if isinstance(vendor, UnsetType):
        return None
    try:
        data = base64.b64decode(vendor.data, validate=True)
    except binascii.Error:
        raise BadArgument("vendor.data is not base64") from None
    if f"sha256:{hashlib.sha256(data).hexdigest()}" != vendor.digest:
        raise BadArgument("vendor.digest is not that of vendor.data")
    return vendor


def foremost(findings: tuple[Finding, ...]) -> list[Finding]:
    """At most ``MAX_REASONS``: one of each rule, slot and ear before a second of any."""
    met: Counter[object] = Counter()
    ranks = []
    for finding in findings:
        place = (finding.rule, finding.slot, finding.ear)
        ranks.append(met[place])
        met[place] += 1
    return [finding for _, finding in sorted(zip(ranks, findings, strict=True), key=itemgetter(0))][:MAX_REASONS]


def refusal_of(finding: Finding) -> Refusal:
    return Refusal(
        code="unsafe",
        message=finding.message,
        rule=finding.rule,
        slot=finding.slot,
        ear=finding.ear,
        band=finding.band,
        value=finding.value,
        limit=finding.limit,
        source=finding.source,
    )


def proposal_of(author: str, request: Submit, asked: str, candidate: Candidate, *, is_wish: bool = False) -> Proposal:
    is_package = request.mode == "standard"
    default_s = PACKAGE_EXPIRY_S if is_package else DEFAULT_EXPIRY_S
    return Proposal(
        device=request.device,
        key=request.idempotency_key,
        request_hash=asked,
        expected_head=candidate.base.revision_id,
        kind=request.kind,
        mode=request.mode,
        fence=0 if is_package else cast("int", request.fence),
        author=author,
        reason=request.reason,
        origin=candidate.origin,
        content=candidate.content,
        digests=candidate.digests,
        ears=candidate.ears,
        safety=candidate.safety,
        expires_in_s=default_s if request.expires_in_s is UNSET else float(request.expires_in_s),
        supersedes=candidate.supersedes,
        ground=candidate.under.revision_id if is_package else "",
        vendor=candidate.vendor,
        is_wish=is_wish,
    )
