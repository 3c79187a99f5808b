"""One live session of the submit benchmark: a fitter and a phone on a connection each, and the clock between them.

Both ends are in one process, so one clock times a change from the fitter's ``Submit`` to the phone's ``Offer``. The
phone writes at once and reports honestly in number and order; it trusts what it is offered, because the generator must
stay cheaper than the server (``loadtest.locustfile`` has phones that judge). Read ``SubmitSession.tick`` first.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import msgspec
from msgspec import UNSET, Raw

from fitting.capability import SHEETS
from fitting.limits import GAIN_PATHS
from protocol.contract.base import EARS
from protocol.contract.devices import (
    AcquireLease,
    AttachAnswer,
    AttachDevice,
    LeaseAnswer,
    RegisteredAid,
)
from protocol.contract.fitting import Base, Digest, Digests, Patch, PatchOp, Submit, SubmitAnswer
from protocol.contract.registration import RegisterDevice
from protocol.contract.sessions import Done, Heartbeat, Hold, LeaseRenewed, ModeAnswer, SetMode

from .bench_websocket import BenchFailed
from .care_wire import CareWire
from .carried_aids import FIRMWARE, CarriedAids

__all__ = ["MODEL", "SubmitSession", "Timings", "registration"]

MODEL: Final = "ref10"
SESSION: Final = "bench"
_STEP_DDB: Final = 10


@dataclass(slots=True)
class Timings:
    """Seconds from ``Submit`` to the phone's offer, to the fitter's answer, and to the news that it is confirmed.

    ``late``: changes that were due while the one before was still on its way, so they were not asked for.
    """

    offer_s: list[float] = field(default_factory=list)
    answer_s: list[float] = field(default_factory=list)
    confirmed_s: list[float] = field(default_factory=list)
    late: int = 0

    def clear(self) -> None:
        """Forget the warm-up."""
        self.offer_s.clear()
        self.answer_s.clear()
        self.confirmed_s.clear()
        self.late = 0


class _Expect(msgspec.Struct):
    expect: Digests


class _Offered(msgspec.Struct, rename="camel"):
    """The part of an ``Offer`` that this phone looks at."""

    epoch: str
    seq: int
    attempt: int
    body: _Expect


class _Moved(msgspec.Struct, rename="camel"):
    seq: int
    state: str
    ear: str = ""


def registration(device: str, fitter: str) -> RegisterDevice:
    """A device of its own for every session."""
    right, left = (RegisteredAid(serial=_serial(device, ear), model=MODEL, firmware=FIRMWARE) for ear in EARS)
    return RegisterDevice(device=device, patient=f"patient-{device}", assignments=(fitter,), right=right, left=left)


def _serial(device: str, ear: str) -> str:
    return f"{device}-{ear}"


class SubmitSession:
    """Made by ``open``. Whatever goes wrong is told to ``fail``."""

    def __init__(self, device: str, timings: Timings, fail: Callable[[str], None]) -> None:
        self.device, self._timings, self.fail = device, timings, fail
        self._fitter: CareWire | None = None
        self._phone: CareWire | None = None
        self._fence = 0
        self._base = Base(revision="none")
        self._band, self._up = 0, False
        self._bands = len(SHEETS[MODEL].bands_hz)
        self._levels: dict[tuple[str, int], int] = {}
        self._nvm: Digest | None = None
        self._sent_s = 0.0
        self._open = 0
        self._submitted = 0
        self._answers: set[asyncio.Task[None]] = set()

    async def open(self, url: str, fitter_token: str, phone_token: str) -> None:
        """Attach the phone, take the lease, and begin live work. Raises BenchFailed."""
        self._phone = await CareWire.open(url, phone_token, on_push=self._to_phone, fail=self.fail)
        claim = self._claim()
        await self._phone.ask("AttachDevice", claim, AttachAnswer)
        self._fitter = await CareWire.open(url, fitter_token, on_push=self._to_fitter, fail=self.fail)
        lease = await self._fitter.ask("AcquireLease", AcquireLease(device=self.device, session=SESSION), LeaseAnswer)
        if lease.head is UNSET:
            raise BenchFailed("the phone has attached, but the device has no first revision")
        self._fence = lease.fence
        self._base = Base(revision=lease.head.revision, left=lease.head.digests.left, right=lease.head.digests.right)
        program = lease.head.content.programs[0].right
        assert program is not UNSET
        for path, values in zip(GAIN_PATHS, (program.g50_ddb, program.g65_ddb, program.g80_ddb), strict=True):
            self._levels |= {(path, band): value for band, value in enumerate(values)}
        request = SetMode(device=self.device, mode="advanced", reason="benchmark", fence=self._fence)
        await self._fitter.ask("SetMode", request, ModeAnswer)

    async def close(self) -> None:
        """Drop both connections."""
        for task in self._answers:
            task.cancel()
        for wire in (self._fitter, self._phone):
            if wire is not None:
                await wire.close()

    async def stay(self) -> None:
        """Show that both ends are there; called every five seconds."""
        assert self._fitter is not None
        assert self._phone is not None
        hold = Hold(device=self.device, session=SESSION, fence=self._fence)
        await self._fitter.ask("RenewLease", hold, LeaseRenewed)
        await self._phone.ask("Heartbeat", Heartbeat(device=self.device, battery=90, rtt_ms=1), Done)

    def tick(self) -> None:
        """A change is due: ask for it, unless the one before is still on its way."""
        if self._open:
            self._timings.late += 1
            return
        # It is over when it was answered and confirmed, in whichever order that is told.
        self._open = 2
        task = asyncio.get_running_loop().create_task(self._submit())
        self._answers.add(task)
        task.add_done_callback(self._answers.discard)

    async def _submit(self) -> None:
        assert self._fitter is not None
        request = self._request()
        self._sent_s = time.perf_counter()
        try:
            answer = await self._fitter.ask("Submit", request, SubmitAnswer)
        except BenchFailed as error:
            self.fail(str(error))
            return
        self._timings.answer_s.append(time.perf_counter() - self._sent_s)
        self._base = Base(revision=answer.revision_id, left=answer.digests.left, right=answer.digests.right)
        self._open -= 1

    def _request(self) -> Submit:
        """One band of the right ear goes up by 1 dB and down again, band after band: no budget is ever near."""
        self._submitted += 1
        self._up = not self._up
        if self._up:
            self._band = (self._band + 1) % self._bands
        step = _STEP_DDB if self._up else 0
        ops = tuple(
            PatchOp(op="set", ear="right", path=path, band=self._band, value=self._levels[path, self._band] + step)
            for path in GAIN_PATHS
        )
        return Submit(
            device=self.device,
            kind="volatile",
            mode="advanced",
            base=self._base,
            reason="benchmark",
            idempotency_key=f"{SESSION}.{self._submitted}",
            fence=self._fence,
            patch=Patch(slot=1, ops=ops),
        )

    def _claim(self) -> AttachDevice:
        aids = CarriedAids(self.device, {ear: _serial(self.device, ear) for ear in EARS}, SHEETS[MODEL])
        claim = aids.claim()
        assert claim.right is not UNSET
        self._nvm = claim.right.nvm
        return claim

    def _to_phone(self, target: str, argument: Raw, call_id: str) -> None:
        assert self._phone is not None
        if target == "Offer":
            self._timings.offer_s.append(time.perf_counter() - self._sent_s)
            self._carry_out(msgspec.json.decode(argument, type=_Offered))
        elif target == "ConsentAsked":
            self._phone.answer(call_id, {"accepted": True})
        elif target in ("Withdraw", "RevertNow"):
            self.fail(f"the server has sent {target}")

    def _carry_out(self, offer: _Offered) -> None:
        assert self._phone is not None
        told: dict[str, object] = {
            "device": self.device,
            "epoch": offer.epoch,
            "seq": offer.seq,
            "attempt": offer.attempt,
        }
        self._phone.call("Report", told | {"n": 1, "state": "received"})
        self._phone.call("Report", told | {"n": 2, "state": "writing", "ear": "right"})
        proof = {"source": "ram", "digest": offer.body.expect.right, "nvm": self._nvm}
        self._phone.call("Report", told | {"n": 3, "state": "confirmed", "ear": "right"} | proof)

    def _to_fitter(self, target: str, argument: Raw, call_id: str) -> None:
        if target == "DeliveryChanged":
            moved = msgspec.json.decode(argument, type=_Moved)
            if not moved.ear and moved.state == "confirmed":
                self._timings.confirmed_s.append(time.perf_counter() - self._sent_s)
                self._open -= 1
            elif moved.state in ("rejected", "failed", "rolled_back", "indeterminate"):
                self.fail(f"a change ended as {moved.state}")
        elif target == "LeaseLost":
            self.fail("a lease was lost: the server did not keep up")
