"""What became of earlier tries: the steps that a retry goes on from, and whether a first fit would still be one.

Only reads the log. This module must not know the safety kernel. Read ``steps_done``, then ``is_fitted``.
"""

from typing import Final

from fitting.digest import request_hash
from fitting.log import DeviceLog
from fitting.log_values import Accepted, DeviceHead, Revision
from protocol.contract.fitting import Submit

__all__ = ["is_fitted", "steps_done"]

# First fits that came to nothing, after which there may still be one.
_MAX_TRIED: Final = 20


async def steps_done(log: DeviceLog, request: Submit) -> tuple[int, str | None]:
    """How many steps of what is restored an earlier try has put into the log, and the newest of them.

    Where it was cut off a retry goes on: from there, and judged anew.
    """
    done, newest = 0, None
    while isinstance(request.revision, str):
        key, asked = f"{request.idempotency_key}/{done + 1}", request_hash(request)
        known = await log.head(request.device, key=key, request_hash=asked)
        if not isinstance(known, DeviceHead) or not isinstance(known.answered, Accepted):
            break
        done, newest = done + 1, known.answered.revision_id
    return done, newest


async def is_fitted(log: DeviceLog, head: DeviceHead, base: Revision) -> bool:
    """Whether a first fit would not be the first change: only first fits that came to nothing may go before it."""
    if not base.parent:
        return False
    if head.last_seq > head.last_terminal or head.last_seq > _MAX_TRIED:
        return True
    for seq in range(1, head.last_seq + 1):
        tried = await log.delivery(head.device, seq)
        if tried is None or tried.revision.origin != "first_fit" or tried.state == "confirmed":
            return True
    return False
