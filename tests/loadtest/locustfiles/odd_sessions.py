"""The live sessions of the house, each with something wrong that the statistics must show."""

from loadtest.carried_aids import CarriedAids
from loadtest.locustfile import SessionUser as House
from protocol.contract.base import Ear
from protocol.contract.devices import Offer, Report, SlotImage


class DeafAids(CarriedAids):
    """They keep what they hold, whatever is written."""

    def write(self, ear: Ear, slots: tuple[SlotImage, ...]) -> None:
        pass


class SilentPhone(CarriedAids):
    """It takes every offer and reports nothing."""

    def carry_out(self, offer: Offer) -> tuple[Report, ...] | None:
        return ()


class RashUser(House):
    """The hand moves further than the safety rules allow."""

    step_ddb = 80


class DeafUser(House):
    aids = DeafAids


class SilentUser(House):
    aids = SilentPhone


# Locust runs every user class that it finds in a file.
del House
