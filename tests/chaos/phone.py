"""``python -m clients.phone`` as it is, with four of its parts swapped for ones that can be told what goes wrong.

The arguments are its own; ``AURICLE_CHAOS_ORDERS`` names the file where the nemesis leaves its orders. Journal and aids
obey them, the client is as impatient as a run needs it, and the event log tells whom an offer names. Read ``main``.
"""

import os
import sys
from functools import partial
from pathlib import Path
from typing import Any, Final

from msgspec import UNSET

from clients import phone_by_hand
from clients.hub_client import HubClient
from clients.phone_events import EventLog
from protocol.contract.base import EARS
from protocol.contract.devices import Offer
from tests.chaos.orders import DyingJournal, FaultyAid
from tests.chaos.patience import OPTIONS, RECONNECT_FROM_START

__all__ = ["ORDERS", "main", "named_by"]

ORDERS: Final = "AURICLE_CHAOS_ORDERS"


def named_by(offer: Offer) -> dict[str, Any]:
    """The device and the aids that an offer is for, by its own words."""
    targets = [getattr(offer.target, ear) for ear in EARS]
    return {"device": offer.device, "serials": [target.serial for target in targets if target is not UNSET]}


class NamingLog(EventLog):
    """Tells also whom an offer names."""

    def __call__(self, what: str, /, **facts: Any) -> None:
        """A step of the phone."""
        offer = facts.get("offer")
        super().__call__(what, **facts, **(named_by(offer) if isinstance(offer, Offer) else {}))


class ImpatientHub(HubClient):
    """A client that tries again as soon as a run needs it, from its first connect on."""

    def __init__(self, url: str, **options: Any) -> None:
        super().__init__(url, **(options | {"reconnect": RECONNECT_FROM_START, "options": OPTIONS}))


def main() -> int:
    """Run the phone."""
    orders = Path(os.environ[ORDERS])
    FaultyAid.orders = orders
    parts = {
        "FileJournal": partial(DyingJournal, orders=orders),
        "VirtualAid": FaultyAid,
        "EventLog": NamingLog,
        "HubClient": ImpatientHub,
    }
    for name, part in parts.items():
        assert hasattr(phone_by_hand, name)
        setattr(phone_by_hand, name, part)
    return phone_by_hand.run_phone()


if __name__ == "__main__":
    sys.exit(main())
