"""What is known of the aids themselves: only read-backs and the phone's reports change it, never a wish.

Each step is plain bookkeeping. This module must not know the clock, nor what a delivery is allowed to do. Read
``AidTruth`` from the top.
"""

from collections.abc import Collection

from msgspec import UNSET

from protocol.contract.base import Ear
from protocol.contract.devices import EarImage, EarTruth, Images, InAid, Report
from protocol.contract.fitting import Content
from protocol.contract.times import iso_ms
from protocol.errors import BadArgument

from .delivery import digest_of
from .digest import ear_digest
from .log_values import Delivery, Revision
from .model import content_from_images, ear_image, ears_of

__all__ = ["AidTruth"]


class AidTruth:
    """``ears`` is what each aid holds by digest, ``images`` the contents that are known of their RAM.

    ``battery`` is the charge in percent that was told last. ``unidentified``: the ears on which the phone has found
    another aid than the registered one.
    """

    def __init__(self) -> None:
        self.ears: dict[Ear, EarTruth] = {}
        self.images: dict[Ear, EarImage] = {}
        self.battery: int | None = None
        self.unidentified: set[Ear] = set()

    def in_aid(self) -> InAid:
        """The record as the contract shows it."""
        return InAid(left=self.ears.get("left", UNSET), right=self.ears.get("right", UNSET))

    def holds(self, revision: Revision) -> bool:
        """Whether every ear of a revision is known to hold it in RAM."""
        held = {ear: truth.ram for ear, truth in self.ears.items()}
        return all(held.get(ear) == digest_of(revision.digests, ear) for ear in ears_of(revision.content))

    def keeps(self, revision: Revision) -> bool:
        """Whether every ear of a revision is known to hold it in NVM."""
        held = {ear: truth.nvm for ear, truth in self.ears.items()}
        return all(held.get(ear) == digest_of(revision.digests, ear) for ear in ears_of(revision.content))

    def is_saved(self, ears: Collection[Ear]) -> bool:
        """Whether every one of these ears is known to hold the same in RAM and in NVM."""
        return all(ear in self.ears and self.ears[ear].ram == self.ears[ear].nvm for ear in ears)

    def content(self) -> Content | None:
        """What the aids hold, as one configuration; None when that is not known or is none."""
        try:
            return content_from_images(self.images)
        except BadArgument:
            return None

    def read_back(self, ear: Ear, images: Images, now_s: float, cause: str = "read_back") -> bool:
        """Record what one aid was found to hold; whether that is news."""
        self.images[ear] = images.image
        if images.battery is not UNSET:
            self.battery = images.battery
        return self._know(ear, images.ram, images.nvm, cause, now_s)

    def learn(self, delivery: Delivery, report: Report, now_s: float) -> tuple[Ear, ...]:
        """Record what a report proves of an aid; the ears whose truth has moved."""
        if report.battery is not UNSET:
            self.battery = report.battery
        known = None if report.ear is UNSET else self.ears.get(report.ear)
        if report.ear is UNSET or report.digest is UNSET or known is None:
            return ()
        ear, from_ram = report.ear, report.source != "nvm"
        ram = report.digest if from_ram else known.ram
        nvm = report.nvm if report.nvm is not UNSET else known.nvm
        if from_ram:
            self._know_image(ear, ram, delivery)
        moved = self._know(ear, ram, nvm if from_ram else report.digest, "delivery", now_s)
        return (ear,) if moved else ()

    def _know(self, ear: Ear, ram: str, nvm: str, cause: str, now_s: float) -> bool:
        before = self.ears.get(ear)
        self.ears[ear] = EarTruth(ram=ram, nvm=nvm, cause=cause, at=iso_ms(now_s))
        return before is None or (before.ram, before.nvm) != (ram, nvm)

    def _know_image(self, ear: Ear, ram: str, delivery: Delivery) -> None:
        for revision in (delivery.revision, delivery.base):
            if ram == digest_of(revision.digests, ear):
                self.images[ear] = ear_image(revision.content, ear)
                return
        known = self.images.get(ear)
        if known is None or ear_digest(known) != ram:
            self.images.pop(ear, None)
