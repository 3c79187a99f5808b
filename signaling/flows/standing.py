"""Whether a change can be judged at all: by who asks for it, and by what it was thought of on.

The safety kernel is asked only afterwards, and the log asks all this again when it writes. This module must not know
either. Read ``standing`` and ``place``.
"""

import math
from typing import Final

from msgspec import UNSET, UnsetType

from fitting.log_values import DeviceHead, Revision
from protocol.contract.base import EARS, Refusal
from protocol.contract.fitting import Submit
from protocol.errors import BadArgument

__all__ = ["NOT_FIRST_FIT", "place", "standing", "stands", "unsupported"]

_SUBMITTED: Final = frozenset({("volatile", "advanced"), ("persist", "standard")})
NOT_FIRST_FIT: Final = Refusal(code="not_first_fit", message="a first fit is a whole content, and only the first one")


def unsupported(request: Submit) -> Refusal | None:
    """What nobody can ask for with ``Submit``."""
    if (request.kind, request.mode) in _SUBMITTED:
        return None
    return Refusal(
        code="kind_unsupported",
        message="volatile changes are made in advanced mode, persist ones in standard mode; Save keeps what was tried",
    )


def stands(author: str, request: Submit, head: DeviceHead, *, is_wish: bool = False) -> bool:
    """Whether it could be judged on this head. Raises BadArgument as ``standing`` does."""
    base = head.revision
    return base is not None and (standing(author, request, head, is_wish=is_wish) or place(request, base)) is None


def standing(author: str, request: Submit, head: DeviceHead, *, is_wish: bool = False) -> Refusal | None:
    """Why this author may not change the device now. The log asks again, when it writes.

    ``is_wish``: see ``Proposal``. Raises BadArgument for live work without a fence.
    """
    if request.mode == "standard":
        return _standing_of_package(author, request, head, is_wish=is_wish)
    if isinstance(request.fence, UnsetType):
        raise BadArgument("fence: advanced mode needs the fence of a lease")
    if request.fence != head.fence:
        return Refusal(code="fence_stale", message="another lease was granted since")
    if head.lease is None or head.lease.holder != author:
        return Refusal(code="lease_lost", message="the lease has ended or is another's")
    if head.live is None or head.live.fence != request.fence:
        return Refusal(code="not_live", message="there is no live session: begin one with SetMode")
    return None


def _standing_of_package(author: str, request: Submit, head: DeviceHead, *, is_wish: bool) -> Refusal | None:
    if head.live is not None:
        return Refusal(code="in_session", message="somebody works on the aids live; Save keeps what was tried")
    if head.lease is not None and head.lease.holder != author and not is_wish:
        left_ms = math.ceil((head.lease.until_s - head.at_s) * 1_000)
        text = "another session is fitting this device"
        return Refusal(code="lease_held", message=text, retryable=True, retry_after_ms=left_ms)
    if head.ground is None:
        return Refusal(code="not_read_back", message="what the aids keep is not known", retryable=True)
    if request.origin == "first_fit":
        return Refusal(code="not_first_fit", message="a first fit is made live, with the patient there")
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
