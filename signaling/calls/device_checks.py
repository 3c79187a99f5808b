"""Device checks that go on here: few at a time, each for a while, and none that outlives its connection.

Each decodes and encodes what one person sends, so they are off unless an operator wants them. aiortc is loaded by the
first one. Read ``DeviceChecks.start``.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from msgspec import UNSET

from media.candidate import HostPolicy, Malformed
from media.quality import judge
from media.sdp import check_description
from protocol.contract.base import Failure, Refusal
from protocol.contract.calls import DeviceCheckAnswer, DeviceCheckResult, EndDeviceCheck, StartDeviceCheck
from signaling.hub import Caller
from signaling.tasks import TaskSet

if TYPE_CHECKING:
    from media.peer import EchoPeer

__all__ = ["CheckLimits", "DeviceChecks"]

_OFF: Final = Refusal(code="device_check_off", message="this server offers no device check")
_FULL: Final = Refusal(
    code="device_check_busy", message="others try their devices, wait a moment", retryable=True, retry_after_ms=10_000
)
_NONE: Final = Refusal(code="no_device_check", message="there is no such check, or it is over")


@dataclass(frozen=True, slots=True)
class CheckLimits:
    """``max_checks`` at a time, 0: none. ``check_s``: how long one may last. ``answer_s``: to answer an offer."""

    max_checks: int
    check_s: float
    answer_s: float = 10.0


@dataclass(slots=True)
class _Check:
    connection: str
    peer: "EchoPeer"
    ending: asyncio.Task[None]


class DeviceChecks:
    """The checks of this process."""

    def __init__(
        self,
        limits: CheckLimits,
        *,
        hosts: HostPolicy,
        tasks: TaskSet,
        new_id: Callable[[], str],
        reached: Callable[[str], None],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._limits = limits
        self._hosts = hosts
        self._tasks = tasks
        self._new_id = new_id
        self._reached = reached
        self._sleep = sleep
        self._checks: dict[str, _Check] = {}
        self._beginning = 0

    def __len__(self) -> int:
        """How many go on."""
        return len(self._checks)

    async def start(self, caller: Caller, request: StartDeviceCheck) -> DeviceCheckAnswer | Failure:
        """Answer an offer; a person's second check ends the first one."""
        if self._limits.max_checks == 0:
            return _refuse(_OFF)
        await self.gone(caller)
        if len(self._checks) + self._beginning >= self._limits.max_checks:
            self._reached("max_device_checks")
            return _refuse(_FULL)
        try:
            offer = check_description(request.sdp, self._hosts).sdp
        except Malformed as error:
            return _refuse(Refusal(code="sdp_refused", message=str(error)))
        self._beginning += 1
        try:
            return await self._begin(caller, offer)
        finally:
            self._beginning -= 1

    async def end(self, caller: Caller, request: EndDeviceCheck) -> DeviceCheckResult | Failure:
        """What came, and how the way was."""
        check = self._checks.get(request.check_id)
        if check is None or check.connection != caller.connection_id:
            return _refuse(_NONE)
        link = await check.peer.measured()
        await self._close(request.check_id)
        grade, advice = judge(link)
        return DeviceCheckResult(
            grade=grade,
            advice=advice,
            audio=link.has_audio,
            video=link.has_video,
            loss_permille=link.loss_permille,
            jitter_ms=link.jitter_ms,
            rtt_ms=UNSET if link.rtt_ms is None else link.rtt_ms,
        )

    async def gone(self, caller: Caller) -> None:
        """A connection has ended, or begins anew."""
        for check_id, check in tuple(self._checks.items()):
            if check.connection == caller.connection_id:
                await self._close(check_id)

    async def _begin(self, caller: Caller, offer: str) -> DeviceCheckAnswer | Failure:
        from media.peer import EchoPeer

        peer = EchoPeer()
        try:
            async with asyncio.timeout(self._limits.answer_s):
                answer = await peer.answer(offer)
        except (Malformed, TimeoutError) as error:
            await peer.close()
            text = str(error) or "the description could not be answered in time"
            return _refuse(Refusal(code="sdp_refused", message=text))
        check_id = self._new_id()
        ending = self._tasks.spawn(self._end_later(check_id))
        self._checks[check_id] = _Check(caller.connection_id, peer, ending)
        ends_in_ms = round(self._limits.check_s * 1_000)
        return DeviceCheckAnswer(check_id=check_id, sdp=answer, ends_in_ms=ends_in_ms)

    async def _end_later(self, check_id: str) -> None:
        try:
            await self._sleep(self._limits.check_s)
            self._reached("device_check_s")
        finally:
            # Also when the server ends.
            check = self._checks.pop(check_id, None)
            if check is not None:
                await check.peer.close()

    async def _close(self, check_id: str) -> None:
        check = self._checks.pop(check_id, None)
        if check is not None:
            check.ending.cancel()
            await check.peer.close()


def _refuse(refusal: Refusal) -> Failure:
    return Failure(error=refusal, errors=(refusal,))
