"""What a professional does with packages: sends one, takes it back, sends one that is soon too late, begins live work.

Packages are sent outside of live work, by whoever holds the lease. Read ``PackageDesk.send`` first.
"""

import asyncio
import random
from typing import Final

from msgspec import UNSET

from protocol.contract.base import EARS
from protocol.contract.devices import DeviceAnswer, DeviceQuery
from protocol.contract.fitting import Base, Content, Patch, PatchOp, Submit, SubmitAnswer
from protocol.contract.sessions import ModeAnswer, SetMode
from tests.chaos.desk import Desk, Known
from tests.chaos.waiting import PATIENCE
from tests.chaos.wire import Call, Refused

__all__ = ["PackageDesk"]

WAITS_S: Final = int(8 * PATIENCE)
TRIES: Final = 6
# What passes: the phone has to put the base back and say so first.
PASSES: Final = frozenset({"not_read_back", "not_confirmed", "base_mismatch", "in_session"})
LOW_GAIN_DDB: Final = 50


class PackageDesk:
    """Beside a ``Desk``, whose leases and keys these are."""

    def __init__(self, desk: Desk, rng: random.Random) -> None:
        self._desk, self._rng = desk, rng

    async def leave(self, device: str, known: Known) -> bool:
        """End live work; the lease stays."""
        request = SetMode(device=device, mode="standard", reason="chaos", fence=known.fence, discard=True)
        call = Call("set_mode", "SetMode", device, request, {"fence": known.fence})
        answer = await self._desk.caller.ask(call, ModeAnswer, lambda mode: {"state": mode.state})
        known.is_live = False
        return isinstance(answer, ModeAnswer)

    async def send(self, device: str, *, expires_in_s: int = WAITS_S) -> bool:
        """Send a package over what the aids keep; whether it was accepted."""
        for _ in range(TRIES):
            request = await self._request(device, expires_in_s)
            answer = None if request is None else await self._desk.submit(request)
            if isinstance(answer, SubmitAnswer):
                return True
            if isinstance(answer, Refused) and answer.code not in PASSES:
                return False
            await asyncio.sleep(0.2)
        return False

    async def _request(self, device: str, expires_in_s: int) -> Submit | None:
        found = await self._desk.caller.read("GetDevice", DeviceQuery(device=device), DeviceAnswer)
        if found is None or found.head is UNSET:
            return None
        key, head = self._desk.new_key(), found.head
        return Submit(
            device=device,
            kind="persist",
            mode="standard",
            base=Base(revision=head.revision, left=head.digests.left, right=head.digests.right),
            reason=f"chaos {key}",
            idempotency_key=key,
            patch=self._quieter(head.content),
            expires_in_s=expires_in_s,
        )

    def _quieter(self, content: Content) -> Patch:
        """Without a measurement no package may raise a gain: one band of both ears goes down, and noise reduction."""
        program, band = content.programs[0], self._rng.randrange(len(content.bands_hz))
        ops = [PatchOp(op="set", ear=ear, path="nrDdb", value=10 * self._rng.randint(0, 6)) for ear in EARS]
        if min(getattr(program, ear).g50_ddb[band] for ear in EARS) > LOW_GAIN_DDB:
            ops += [
                PatchOp(op="add", ear=ear, path=path, band=band, value=-10)
                for ear in EARS
                for path in ("g50Ddb", "g65Ddb", "g80Ddb")
            ]
        return Patch(slot=program.slot, ops=tuple(ops))
