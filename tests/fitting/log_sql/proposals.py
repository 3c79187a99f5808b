"""A proposal that rows would accept, made from the rows themselves."""

from fitting.digest import content_digests
from fitting.log_rows import DeviceRows
from fitting.log_values import Proposal
from fitting.model import changed_ears
from protocol.contract.fitting import Content, SafetySummary

__all__ = ["proposal"]


def proposal(rows: DeviceRows, key: str, after: Content) -> Proposal:
    assert rows.head is not None
    assert rows.lease is not None
    return Proposal(
        device=rows.device,
        key=key,
        request_hash=f"hash of {key}",
        expected_head=rows.head.revision_id,
        kind="volatile",
        mode="advanced",
        fence=rows.fence,
        author=rows.lease.holder,
        reason="a little louder",
        origin="fitting",
        content=after,
        digests=content_digests(after),
        ears=changed_ears(rows.head.content, after),
        safety=SafetySummary(rules=("K1",)),
        expires_in_s=60.0,
    )
