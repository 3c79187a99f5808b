"""The phone's half of a live session without a link to wait for: two aids in memory, written at once.

It judges every offer by the same rules as the Python phone (``clients.phone_core``): journal, hash of the body, fence,
serials, base and expected digests, and the server's signature; what it confirms it has written and read back. So a
change that was damaged on its way is rejected, and the load test sees it. It must not know the network. Read
``CarriedAids.carry_out`` first.
"""

from collections.abc import Mapping
from typing import Final

from msgspec import UNSET, UnsetType

from clients.journal import JournalEntry, JournalRecord
from clients.phone_core import AidFacts, Examined, Place, Refused, examine, place, refusal_report, report_on, slots_of
from clients.virtual_aid.memory import factory_image, with_slots
from fitting.capability import CapabilitySheet
from fitting.digest import ear_digest
from fitting.signing import is_genuine
from protocol.contract.base import Ear
from protocol.contract.devices import AttachAnswer, AttachDevice, EarImage, Images, Offer, Report, Settled, SlotImage
from protocol.contract.sessions import DeviceCause, ReportDevice

__all__ = ["FIRMWARE", "CarriedAids"]

FIRMWARE: Final = "2.3.1"
MAX_ENDED: Final = 16
"""Deliveries whose reports are kept, to give the same answer again."""


class CarriedAids:
    """The pair of aids of one device, and what its phone remembers."""

    def __init__(self, device: str, serials: Mapping[Ear, str], sheet: CapabilitySheet) -> None:
        self.device, self._serials, self._sheet = device, dict(serials), sheet
        self._ram: dict[Ear, EarImage] = {ear: factory_image(ear, sheet.bands_hz) for ear in serials}
        # Nothing is saved here, so what NVM holds never changes.
        self._saved = dict(self._ram)
        self._nvm = {ear: ear_digest(image) for ear, image in self._ram.items()}
        self._record = JournalRecord()
        self._public_key: str | UnsetType = UNSET

    def claim(self) -> AttachDevice:
        """What to say hello with."""
        return AttachDevice(
            device=self.device,
            epoch=self._record.epoch,
            last_terminal=self._record.last_settled,
            fence_max=self._record.fence_max,
            left=self._read_back("left") if "left" in self._ram else UNSET,
            right=self._read_back("right") if "right" in self._ram else UNSET,
            trial=self._ram != self._saved,
        )

    def attached(self, answer: AttachAnswer) -> None:
        """The server answered the hello. The first key that it names is kept."""
        self._record = self._record.attached(answer)
        self._public_key = answer.public_key if self._public_key is UNSET else self._public_key

    def settled(self, message: Settled) -> None:
        """The server holds the end of a delivery."""
        if message.device == self.device:
            self._record = self._record.settled(message)

    def carry_out(self, offer: Offer) -> tuple[Report, ...] | None:
        """Write what is offered; the reports to send, in order. None: attach anew, nothing was written."""
        if offer.device != self.device or place(offer, self._record) is Place.ATTACH:
            return None
        earlier = self._record.reports_of(offer.epoch, offer.seq)
        if earlier is not None:
            return earlier
        if self._public_key is not UNSET and not is_genuine(offer, self._public_key):
            examined = Examined(refusals=(Refused("E_SIG"),))
        else:
            examined = examine(offer, self._record, {ear: self._facts(ear) for ear in self._ram})
        entry = JournalEntry(offer, examined.plans)
        if examined.refusals:
            for refused in examined.refusals:
                entry = entry.reported(refusal_report(offer, entry.reports, refused))
        else:
            self._record = self._record.begun(entry)
            entry = self._work(entry)
        self._record = self._record.finished(entry, max_ended=MAX_ENDED)
        return entry.reports

    def reports_of(self, epoch: str, seq: int) -> tuple[Report, ...]:
        """What was reported of a delivery, nothing when none is remembered."""
        return self._record.reports_of(epoch, seq) or ()

    def restore(self) -> None:
        """Both aids hold again what the session began with: nothing was saved since."""
        self._ram = dict(self._saved)

    def told(self, cause: DeviceCause) -> ReportDevice:
        """What the aids hold, unasked."""
        claim = self.claim()
        return ReportDevice(device=self.device, cause=cause, left=claim.left, right=claim.right)

    def write(self, ear: Ear, slots: tuple[SlotImage, ...]) -> None:
        """Put program slots into one aid's RAM."""
        self._ram[ear] = with_slots(self._ram[ear], slots)

    def _work(self, entry: JournalEntry) -> JournalEntry:
        offer = entry.offer
        entry = entry.reported(report_on(offer, entry.reports, "received"))
        for plan in entry.open_plans():
            entry = entry.reported(report_on(offer, entry.reports, "writing", plan.ear))
            self.write(plan.ear, slots_of(offer, plan.ear))
            held = self._read_back(plan.ear)
            entry = entry.reported(report_on(offer, entry.reports, "confirmed", plan.ear, held=held))
        return entry

    def _facts(self, ear: Ear) -> AidFacts:
        return AidFacts(serial=self._serials[ear], firmware=FIRMWARE, sheet=self._sheet, ram=self._ram[ear])

    def _read_back(self, ear: Ear) -> Images:
        image = self._ram[ear]
        return Images(
            serial=self._serials[ear], firmware=FIRMWARE, ram=ear_digest(image), nvm=self._nvm[ear], image=image
        )
