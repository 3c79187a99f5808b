"""What a professional can do with a device, call by call, and what is remembered of it from one call to the next.

Which call comes next is not decided here. Read ``Desk.take`` and ``Desk.change`` first.
"""

import asyncio
import random
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from msgspec import UNSET

from fitting.digest import request_hash
from fitting.model import apply_patch
from protocol.contract.base import EARS
from protocol.contract.devices import AcquireLease, DeliveryAnswer, LeaseAnswer
from protocol.contract.fitting import Base, Content, Digests, Patch, Submit, SubmitAnswer
from protocol.contract.sessions import (
    Cancel,
    ExpectedDigests,
    Hold,
    LeaseRenewed,
    ModeAnswer,
    Relayed,
    Revert,
    Save,
    SetMode,
    StealLease,
)
from tests.chaos.wire import Call, Caller, Refused

__all__ = ["PLAIN", "Desk", "Known", "Twist"]

MAX_TRIES: Final = 8
RENEW_EVERY_S: Final = 0.8


@dataclass(slots=True)
class Known:
    """What is known of a device: the fence that is held, and the newest revision with its content."""

    fence: int
    revision: str = ""
    digests: Digests | None = None
    content: Content | None = None
    is_live: bool = False


@dataclass(frozen=True, slots=True)
class Twist:
    """What is unusual about a change; ``name`` is what it is counted as."""

    name: str = "change"
    fence: int | None = None
    poison: bool = False
    expires_in_s: int | None = None


PLAIN: Final = Twist()


class Desk:
    """One professional's view of all devices. ``lost`` are the fences that were held before, by device."""

    def __init__(self, caller: Caller, rng: random.Random) -> None:
        self.caller, self._rng = caller, rng
        self.known: dict[str, Known] = {}
        self.lost: dict[str, int] = {}
        self.requests: deque[Submit] = deque(maxlen=8)
        self._answers: deque[tuple[str, str, int]] = deque(maxlen=8)
        self._renewed_s: dict[str, float] = {}
        self._nonce = 0

    @property
    def _session(self) -> str:
        return f"{self.caller.name}-session"

    async def take(self, device: str) -> None:
        """Ask for the lease, as one who waits for it."""
        await self._lease("acquire", "AcquireLease", AcquireLease(device=device, session=self._session))

    async def steal(self, device: str) -> None:
        """Take it from whoever holds it."""
        key = self.new_key()
        request = StealLease(device=device, session=self._session, reason=f"chaos {key}", idempotency_key=key)
        await self._lease("steal", "StealLease", request)

    async def _lease(self, f: str, target: str, request: AcquireLease | StealLease) -> None:
        device = request.device
        call = Call(f, target, device, request, {"holder": self.caller.name, "session": request.session})
        answer = await self.caller.ask(call, LeaseAnswer, lambda lease: {"fence": lease.fence})
        if not isinstance(answer, LeaseAnswer):
            return
        old = self.known.get(device)
        if old is not None and old.fence != answer.fence:
            self.lost[device] = old.fence
        known = Known(answer.fence)
        if (head := answer.head) is not UNSET:
            known.revision, known.digests, known.content = head.revision, head.digests, head.content
        known.is_live = answer.mode == "advanced"
        self.known[device] = known
        self.caller.tally.done[f] += 1

    async def go_live(self, device: str, known: Known) -> bool:
        """Ask the patient; whether live work goes on now."""
        request = SetMode(device=device, mode="advanced", reason="chaos", fence=known.fence)
        call = Call("set_mode", "SetMode", device, request, {"fence": known.fence})
        answer = await self.caller.ask(call, ModeAnswer, lambda mode: {"state": mode.state})
        known.is_live = isinstance(answer, ModeAnswer) and answer.mode == "advanced"
        if isinstance(answer, Refused):
            self.forget(device)
        return known.is_live

    async def renew(self, device: str, known: Known) -> None:
        """Say that somebody is still there, when it is time to."""
        if time.monotonic() - self._renewed_s.get(device, 0.0) < RENEW_EVERY_S:
            return
        self._renewed_s[device] = time.monotonic()
        request = Hold(device=device, session=self._session, fence=known.fence)
        call = Call("renew", "RenewLease", device, request, {"fence": known.fence})
        answer = await self.caller.ask(call, LeaseRenewed, lambda lease: {"fence": lease.fence})
        if isinstance(answer, Refused):
            self.forget(device)

    async def hold(self, device: str, known: Known, for_s: float) -> None:
        """Keep the lease for a while, or until it is lost, and do nothing else."""
        end_s = time.monotonic() + for_s
        while self.known.get(device) is known and time.monotonic() < end_s:
            await self.renew(device, known)
            await asyncio.sleep(0.1)  # polling: it is renewed when it is time to

    async def change(self, device: str, known: Known, make: Callable[[Content], Patch], twist: Twist = PLAIN) -> bool:
        """Ask for a change of what is newest; whether it was accepted."""
        if known.content is None or known.digests is None:
            self.forget(device)  # the aids had not been read back when the lease was granted
            return False
        key, patch = self.new_key(), make(known.content)
        request = Submit(
            device=device,
            kind="volatile",
            mode="advanced",
            base=Base(revision=known.revision, left=known.digests.left, right=known.digests.right),
            reason=f"chaos {key}",
            idempotency_key=key,
            fence=known.fence if twist.fence is None else twist.fence,
            patch=patch,
            expires_in_s=UNSET if twist.expires_in_s is None else twist.expires_in_s,
        )
        answer = await self.submit(request)
        if not isinstance(answer, SubmitAnswer):
            self.forget(device)
            return False
        self.caller.tally.done[twist.name] += 1
        known.revision, known.digests = answer.revision_id, answer.digests
        known.content = apply_patch(known.content, patch)
        return True

    async def submit(self, request: Submit, tries: int = MAX_TRIES) -> SubmitAnswer | Refused | None:
        """Ask until there is an answer or a refusal, with the same key."""
        if request not in self.requests:
            self.requests.append(request)
        return await self._ask("submit", "Submit", request, request.kind, tries)

    async def save(self, device: str, known: Known) -> None:
        """Keep what is in the aids, once everything that was asked for has come to its end there."""
        if known.digests is None or not await self.has_settled(device):
            return
        key, digests = self.new_key(), known.digests
        request = Save(
            device=device,
            fence=known.fence,
            expect=ExpectedDigests(left=digests.left, right=digests.right),
            reason=f"chaos {key}",
            idempotency_key=key,
        )
        answer = await self._ask("save", "Save", request, "persist", MAX_TRIES)
        if isinstance(answer, SubmitAnswer):
            known.revision, known.digests = answer.revision_id, answer.digests
            self.caller.tally.done["save"] += 1
        else:
            self.forget(device)

    async def _ask(
        self, f: str, target: str, request: Submit | Save, kind: str, tries: int
    ) -> SubmitAnswer | Refused | None:
        expires_in_s = UNSET if isinstance(request, Save) else request.expires_in_s
        values = {
            "idem": request.idempotency_key,
            "reason": request.reason,
            "request": request_hash(request),
            "fence": request.fence if isinstance(request.fence, int) else None,
            "kind": kind,
            "mode": "advanced" if isinstance(request, Save) else request.mode,
            "expires_in_s": None if expires_in_s is UNSET else expires_in_s,
        }
        call = Call(f, target, request.device, request, values)
        for _ in range(tries):
            answer = await self.caller.ask(call, SubmitAnswer, _told)
            if isinstance(answer, SubmitAnswer):
                self.caller.tally.accepted += 1
                self.caller.tally.epochs.add(answer.epoch)
                self.caller.tally.kinds[request.device, answer.seq] = kind
                self._answers.append((request.device, answer.epoch, answer.seq))
            if answer is not None and answer != Refused("not_sent"):
                return answer
            await asyncio.sleep(self._rng.uniform(0.02, 0.2))
        return None

    async def has_settled(self, device: str, tries: int = 30) -> bool:
        """Wait until the last change of this professional has ended; whether it is in the aids."""
        last = await self._last_state(device, {None, "accepted", "offered", "received", "writing"}, tries)
        return last in {"confirmed", "active"}

    async def has_ended(self, device: str, tries: int = 15) -> bool:
        """Wait until the last package of this professional has ended, or waits for its wearer."""
        under_way = {None, "accepted", "offered", "received", "writing", "confirmed", "committing"}
        return await self._last_state(device, under_way, tries) not in under_way

    async def _last_state(self, device: str, under_way: set[str | None], tries: int) -> str | None:
        last = next((each for each in reversed(self._answers) if each[0] == device), None)
        state = None
        for _ in range(tries if last is not None else 0):
            state = await self.caller.state_of(*last) if last is not None else None
            if state not in under_way:
                break
            await asyncio.sleep(0.1)
        return state

    async def cancel(self) -> None:
        """Take back what was asked for last."""
        if self._answers:
            device, epoch, seq = self._answers[-1]
            request = Cancel(device=device, epoch=epoch, seq=seq)
            call = Call("cancel", "Cancel", device, request, {"epoch": epoch, "seq": seq})
            await self.caller.ask(call, DeliveryAnswer, lambda answer: {"state": answer.state})
            self.caller.tally.done["cancel"] += 1

    async def revert(self, device: str, known: Known) -> None:
        """Back to what the session began with."""
        request = Revert(device=device, fence=known.fence, idempotency_key=self.new_key())
        call = Call("revert", "Revert", device, request, {"fence": known.fence})
        await self.caller.ask(call, Relayed, lambda answer: {"relayed": answer.relayed})
        self.caller.tally.done["revert"] += 1
        self.forget(device)  # the head will be what is read back

    def forget(self, device: str) -> None:
        """Lease and head are asked for anew; the fence is kept, to be tried again when it is nobody's any more."""
        known = self.known.pop(device, None)
        if known is not None:
            self.lost[device] = known.fence

    def new_key(self) -> str:
        """One that was never used."""
        self._nonce += 1
        return f"{self.caller.name}-{self._nonce}"


def _told(answer: SubmitAnswer) -> dict[str, Any]:
    ears = {ear: getattr(answer.digests, ear) for ear in EARS if getattr(answer.digests, ear) is not UNSET}
    return {"epoch": answer.epoch, "seq": answer.seq, "rev": answer.revision_id, "digests": ears}
