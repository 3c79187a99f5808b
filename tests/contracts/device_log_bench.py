"""A bench for device logs: the log under test, a clock that only tests move, a fitter and a phone."""

from dataclasses import dataclass, field
from typing import Any

import msgspec
from msgspec import UNSET
from msgspec.structs import replace

from fitting.digest import content_digests, ear_digest
from fitting.log import DeviceLog
from fitting.log_values import (
    Accepted,
    Attached,
    Delivery,
    DeviceHead,
    LeaseGranted,
    LogLimits,
    Proposal,
    Recorded,
    Revision,
)
from fitting.model import changed_ears, ear_image
from fitting.outbox import Outbox
from protocol.contract.base import EARS, Ear, Refusal
from protocol.contract.devices import AttachDevice, Images, RegisteredAid, Report
from protocol.contract.fitting import Content, SafetySummary
from tests.fitting.contents import content, flat, with_band

__all__ = [
    "BOTH_LOUDER",
    "DEVICE",
    "FALSE",
    "FRESH",
    "LIMITS",
    "START",
    "Bench",
    "Clock",
    "both_louder",
    "digest",
    "images",
    "louder",
    "refused",
    "registered",
]

DEVICE = "d-1"
START = 1_700_000_000.0
LIMITS = LogLimits(lease_ttl_s=15.0, max_pending=3, max_keys=4, max_history=3, max_reports=6, max_moments=6)
FRESH = content(right=flat(), left=flat())


@dataclass
class Clock:
    """Unix seconds that stand still until a test moves them."""

    now_s: float = START

    def __call__(self) -> float:
        return self.now_s

    def pass_s(self, seconds: float) -> None:
        self.now_s += seconds


def louder(base: Content, ear: Ear = "right", by: int = 10, band: int = 3) -> Content:
    program = base.programs[0]
    part = program.right if ear == "right" else program.left
    assert part is not UNSET
    raised = with_band(part, band, g50_ddb=part.g50_ddb[band] + by)
    return msgspec.structs.replace(base, programs=(msgspec.structs.replace(program, **{ear: raised}),))


def both_louder(base: Content, by: int = 10, band: int = 3) -> Content:
    """As another program changes a pair: of an ear that stays as it was the log asks who meant that."""
    return louder(louder(base, "left", by, band), "right", by, band)


BOTH_LOUDER = both_louder(FRESH)
FALSE = "sha256:" + "0" * 64


def registered() -> dict[Ear, RegisteredAid]:
    """A pair of reference aids."""
    return {ear: RegisteredAid(serial=f"{ear}-1", model="ref10", firmware="1.0") for ear in EARS}


def images(held: Content, ear: Ear, **more: Any) -> Images:
    image = ear_image(held, ear)
    digest = ear_digest(image)
    fields: dict[str, Any] = {"serial": f"{ear}-1", "firmware": "1.0", "ram": digest, "nvm": digest, "image": image}
    return Images(**(fields | more))


def refused(outcome: object) -> Refusal:
    assert isinstance(outcome, Refusal), outcome
    return outcome


def digest(held: Content, ear: Ear) -> str:
    return ear_digest(ear_image(held, ear))


@dataclass
class Bench:
    """A log with one pair of aids registered, and the fitter and phone that use it."""

    log: DeviceLog
    clock: Clock
    keys: int = 0
    fence: int = 0
    generation: int = 0
    device: str = DEVICE
    numbers: dict[int, int] = field(default_factory=dict)
    outbox: Outbox | None = None

    async def attach(self, held: Content | None = FRESH, **more: Any) -> Attached:
        outcome = await self.try_attach(held, **more)
        assert isinstance(outcome, Attached), outcome
        self.generation = outcome.generation
        return outcome

    async def try_attach(self, held: Content | None = FRESH, **more: Any) -> Attached | Refusal:
        fields: dict[str, Any] = {"device": self.device, "epoch": "", "last_terminal": 0, "fence_max": 0}
        if held is not None:
            fields |= {ear: images(held, ear) for ear in EARS}
        return await self.log.attach(AttachDevice(**(fields | more)))

    async def acquire(self, session: str = "s-1", holder: str = "ann") -> LeaseGranted:
        outcome = await self.log.acquire(self.device, session=session, holder=holder)
        assert isinstance(outcome, LeaseGranted), outcome
        self.fence = outcome.fence
        await self.log.lapsed()
        # Refused while nothing is known of the aids; a test that minds says so.
        await self.log.open_session(self.device, fence=outcome.fence, holder=holder)
        return outcome

    async def head(self) -> DeviceHead:
        outcome = await self.log.head(self.device)
        assert isinstance(outcome, DeviceHead), outcome
        return outcome

    async def newest(self) -> Revision:
        revision = (await self.head()).revision
        assert revision is not None
        return revision

    async def proposal(self, after: Content | None = None, **more: Any) -> Proposal:
        base = await self.newest()
        after = after or louder(base.content)
        self.keys += 1
        made = Proposal(
            device=self.device,
            key=f"k-{self.keys}",
            request_hash=f"hash of k-{self.keys}",
            expected_head=base.revision_id,
            kind="volatile",
            mode="advanced",
            fence=self.fence,
            author="ann",
            reason="a little louder",
            origin="fitting",
            content=after,
            digests=content_digests(after),
            ears=changed_ears(base.content, after),
            safety=SafetySummary(rules=("K1",)),
            expires_in_s=60.0,
        )
        return replace(made, **more)

    async def submit(self, after: Content | None = None, **more: Any) -> Accepted:
        outcome = await self.log.append(await self.proposal(after, **more))
        assert isinstance(outcome, Accepted), outcome
        return outcome

    async def offer(self) -> Delivery:
        offered = await self.log.next_offer(self.device, self.generation)
        assert offered is not None
        return offered

    async def try_report(self, seq: int, state: Any, ear: Any = UNSET, **more: Any) -> Recorded | Refusal:
        self.numbers[seq] = self.numbers.get(seq, 0) + 1
        fields: dict[str, Any] = {
            "device": self.device,
            "epoch": (await self.head()).epoch,
            "seq": seq,
            "attempt": 1,
            "n": self.numbers[seq],
            "state": state,
            "ear": ear,
        }
        return await self.log.report(Report(**(fields | more)), generation=self.generation)

    async def report(self, seq: int, state: Any, ear: Any = UNSET, **more: Any) -> Recorded:
        outcome = await self.try_report(seq, state, ear, **more)
        assert isinstance(outcome, Recorded), outcome
        return outcome

    async def confirm(self, delivery: Delivery) -> Recorded:
        recorded = await self.report(delivery.seq, "received")
        for ear in delivery.ears:
            proof = digest(delivery.revision.content, ear)
            recorded = await self.report(delivery.seq, "confirmed", ear, source="ram", digest=proof)
        return recorded

    async def fitted(self) -> None:
        """Phone attached, lease taken: ready for changes."""
        await self.attach()
        await self.acquire()

    async def apply(self, after: Content | None = None) -> Accepted:
        accepted = await self.submit(after)
        assert (await self.confirm(await self.offer())).ended
        return accepted
