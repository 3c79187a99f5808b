"""A pair of aids without delays, and offers as the server makes them, for the tests of the phone."""

from collections.abc import Mapping, Sequence

from msgspec import UNSET
from msgspec.structs import replace

from clients.virtual_aid.aid import VirtualAid
from clients.virtual_aid.faults import Faults
from clients.virtual_aid.memory import with_slots
from clients.virtual_aid.pair import VirtualPair
from fitting.digest import body_hash, ear_digest, pair_digest
from protocol.contract.base import EARS, Ear
from protocol.contract.devices import (
    AttachAnswer,
    EarImage,
    Offer,
    OfferBody,
    Report,
    SlotImage,
    Target,
    Targets,
)
from protocol.contract.fitting import Base, DeliveryKind, Digests, EarProgram, Mode, References

DEVICE = "pair-1"
EPOCH = "epoch-1"
FIRMWARE = "2.3.1"
BANDS_HZ = (250, 500, 750, 1000, 1500, 2000, 3000, 4000, 6000, 8000)
SERIALS: dict[Ear, str] = {"right": "R-1", "left": "L-1"}


async def at_once(_: float) -> None:
    """A sleep that does not wait."""


def make_aid(ear: Ear, *, faults: Faults | None = None, image: EarImage | None = None) -> VirtualAid:
    return VirtualAid(ear, SERIALS[ear], firmware=FIRMWARE, faults=faults or Faults(), image=image, sleep=at_once)


def make_pair(ears: Sequence[Ear] = EARS, *, faults: Mapping[Ear, Faults] | None = None) -> VirtualPair:
    return VirtualPair(*(make_aid(ear, faults=(faults or {}).get(ear)) for ear in ears))


def slot_with(gain_ddb: int, mpo_ddb: int = 950, slot: int = 1) -> SlotImage:
    """A slot in which every band differs from the factory's, so that half a write shows; its limit is lower."""
    program = EarProgram(
        g50_ddb=(gain_ddb,) * 10,
        g65_ddb=(gain_ddb - 20,) * 10,
        g80_ddb=(gain_ddb - 40,) * 10,
        mpo_ddb=(mpo_ddb,) * 10,
    )
    return SlotImage(slot=slot, name="Universal", category="universal", program=program)


def make_offer(
    pair: VirtualPair,
    *,
    seq: int = 1,
    attempt: int = 1,
    fence: int = 1,
    gain_ddb: int = 200,
    ears: Sequence[Ear] | None = None,
    kind: DeliveryKind = "volatile",
    mode: Mode = "advanced",
    mpo_ddb: int = 950,
) -> Offer:
    """An offer of ``gain_ddb`` on what the aids hold now, for the given ears, or all."""
    changed = pair.ears if ears is None else tuple(ears)
    slots = (slot_with(gain_ddb, mpo_ddb),)
    held = {ear: pair.aid(ear).read_image("ram") for ear in pair.ears}
    expected = {ear: with_slots(held[ear], slots) if ear in changed else held[ear] for ear in pair.ears}
    before = {ear: ear_digest(image) for ear, image in held.items()}
    after = {ear: ear_digest(image) for ear, image in expected.items()}
    aimed = pair.ears if kind == "volatile" else changed
    targets = {ear: Target(serial=SERIALS[ear], firmware=FIRMWARE) for ear in aimed}
    body = OfferBody(
        bands_hz=BANDS_HZ,
        refs=References(),
        expect=Digests(pair=pair_digest(after), left=after.get("left", UNSET), right=after.get("right", UNSET)),
        left=slots if "left" in changed else (),
        right=slots if "right" in changed else (),
    )
    return Offer(
        device=DEVICE,
        epoch=EPOCH,
        seq=seq,
        after=seq - 1,
        attempt=attempt,
        revision_id=f"rev-{seq}",
        mode=mode,
        kind=kind,
        fence=fence,
        base=Base(revision=f"rev-{seq - 1}", left=before.get("left", UNSET), right=before.get("right", UNSET)),
        target=Targets(left=targets.get("left", UNSET), right=targets.get("right", UNSET)),
        body=body,
        body_hash=body_hash(body),
        expires_in_s=30,
    )


def make_save(pair: VirtualPair, *, seq: int, fence: int = 1) -> Offer:
    """An offer to keep what RAM holds: a persist delivery whose target is its own base, with no values to write."""
    held = {ear: pair.aid(ear).read_digest("ram") for ear in pair.ears}
    digests = {ear: held.get(ear, UNSET) for ear in EARS}
    offer = make_offer(pair, seq=seq, fence=fence, kind="persist")
    body = OfferBody(bands_hz=BANDS_HZ, refs=References(), expect=Digests(pair=pair_digest(held), **digests))
    base = Base(revision=f"rev-{seq - 1}", **digests)
    return replace(offer, base=base, body=body, body_hash=body_hash(body))


def again(offer: Offer) -> Offer:
    """The same offer, one attempt later."""
    return replace(offer, attempt=offer.attempt + 1)


def attach_answer(from_seq: int = 1, epoch: str = EPOCH) -> AttachAnswer:
    return AttachAnswer(epoch=epoch, from_seq=from_seq, generation=1, resume="ok")


def told(reports: Sequence[Report]) -> list[str]:
    """Reports as short words: "right confirmed", "left rejected E_BASE"."""
    words = ((report.ear, report.state, report.code) for report in reports)
    return [" ".join(word for word in line if word is not UNSET) for line in words]
