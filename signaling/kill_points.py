"""Where a fault test may have this process killed, as by a power switch; in service none of this is there.

``AURICLE_TEST_KILL=point:n`` wraps the device log, so that the process sends itself SIGKILL when it comes to that
point for the n-th time. Nothing else knows of it, and without the variable there is no wrapper. Read ``POINTS`` first.
"""

import asyncio
import os
import signal
from typing import Any, Final, cast

from fitting.log import DeviceLog
from fitting.log_values import Accepted, Attached, Delivery, DeviceHead, Proposal, Recorded
from protocol.contract.base import Refusal
from protocol.contract.devices import AttachDevice, Report
from signaling.config import Config, ConfigError

__all__ = ["POINTS", "killable"]

POINTS: Final = frozenset(
    {
        "after_parse",
        "before_commit",
        "after_commit",
        "after_publish",
        "after_offer",
        "after_result_before_terminal",
    }
)
_ENDS: Final = frozenset({"confirmed", "active", "rejected", "rolled_back", "failed"})
_ON_THE_WIRE_S: Final = 0.005


def killable(log: DeviceLog, config: Config) -> DeviceLog:
    """``log``, which kills the process where the configuration says so, for example at ``after_commit:3``.

    Raises ConfigError for a point that is none, and for a server that is not a developer's own.
    """
    if not config.test_kill:
        return log
    if not config.dev:
        raise ConfigError("test_kill: a test's switch, only with dev")
    point, _, count = config.test_kill.partition(":")
    if point not in POINTS or not count.isdecimal() or int(count) < 1:
        raise ConfigError(f"test_kill: must be point:n, the point one of {', '.join(sorted(POINTS))}")
    # Whatever the interface has beside the calls below passes through ``__getattr__``.
    return cast("DeviceLog", _DyingLog(log, point, int(count)))


class _DyingLog:
    def __init__(self, log: DeviceLog, point: str, count: int) -> None:
        self._log = log
        self._point = point
        self._left = count
        self._appended: set[str] = set()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)

    async def head(self, device: str, **asked: Any) -> DeviceHead | Refusal:
        if asked.get("key") is not None:
            self._reach("after_parse")
        return await self._log.head(device, **asked)

    async def append(self, proposal: Proposal) -> Accepted | Refusal:
        self._reach("before_commit")
        outcome = await self._log.append(proposal)
        if isinstance(outcome, Accepted):
            self._reach("after_commit")
            self._appended.add(proposal.device)
        return outcome

    async def attach(self, claim: AttachDevice) -> Attached | Refusal:
        self._appended.discard(claim.device)
        return await self._log.attach(claim)

    async def next_offer(self, device: str, generation: int) -> Delivery | None:
        if device in self._appended:
            # Whoever asks now was woken by what was published after the commit.
            self._appended.discard(device)
            self._reach("after_publish")
        delivery = await self._log.next_offer(device, generation)
        if delivery is not None and self._point == "after_offer":
            # The caller sends it in this turn of the loop; by then it is on the wire.
            asyncio.get_running_loop().call_later(_ON_THE_WIRE_S, self._reach, "after_offer")
        return delivery

    async def report(self, report: Report, **by: Any) -> Recorded | Refusal:
        if report.state in _ENDS:
            self._reach("after_result_before_terminal")
        return await self._log.report(report, **by)

    def _reach(self, point: str) -> None:
        if point != self._point:
            return
        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
