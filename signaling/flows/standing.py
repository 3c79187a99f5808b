"""Whether a change can be judged at all: by who asks for it, and by what it was thought of on.

The safety kernel is asked only afterwards, and the log asks all this again when it writes. This module must not know
either. Read ``standing`` and ``place``.
"""

from typing import Final

from msgspec import UNSET, UnsetType

from fitting.log_values import DeviceHead, Revision
from protocol.contract.base import EARS, Refusal
from protocol.contract.fitting import Submit
from protocol.errors import BadArgument

__all__ = ["NOT_FIRST_FIT", "place", "standing", "stands", "unsupported"]

NOT_FIRST_FIT: Final = Refusal(code="not_first_fit", message="a first fit is a whole content, and only the first one")


def unsupported(request: Submit) -> Refusal | None:
    """What this version does not carry out."""
    if request.kind == "volatile" and request.mode == "advanced":
        return None
    return Refusal(
        code="kind_unsupported",
        message="this version submits volatile changes in advanced mode only; Save keeps them",
    )


def stands(author: str, request: Submit, head: DeviceHead) -> bool:
    """Whether it could be judged on this head. Raises BadArgument as ``standing`` does."""
    base = head.revision
    return base is not None and (standing(author, request, head) or place(request, base)) is None


def standing(author: str, request: Submit, head: DeviceHead) -> Refusal | None:
    """Why this author may not change the device now. The log asks again, when it writes."""
    if isinstance(request.fence, UnsetType):
        raise BadArgument("fence: advanced mode needs the fence of a lease")
    if request.fence != head.fence:
        return Refusal(code="fence_stale", message="another lease was granted since")
    if head.lease is None or head.lease.holder != author:
        return Refusal(code="lease_lost", message="the lease has ended or is another's")
    if head.live is None or head.live.fence != request.fence:
        return Refusal(code="not_live", message="there is no live session: begin one with SetMode")
    return None


def place(request: Submit, base: Revision) -> Refusal | None:
    """Why this change does not fit on what is there."""
    if not _is_on(request, base):
        return Refusal(code="base_mismatch", message="the change was thought of on another revision")
    if request.origin == "first_fit" and request.content is UNSET:
        return NOT_FIRST_FIT
    return None


def _is_on(request: Submit, base: Revision) -> bool:
    if request.base.revision != base.revision_id:
        return False
    claimed = {ear: getattr(request.base, ear) for ear in EARS}
    return all(value is UNSET or value == getattr(base.digests, ear) for ear, value in claimed.items())
