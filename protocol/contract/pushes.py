"""What the server sends to clients unasked, in one table: the target is the name of the payload's class.

``Push`` is the only list of them. A payload that is not in it cannot be sent (``signaling.pushes``), and what is in it
is in the AsyncAPI document.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, get_args

from .devices import DeliveryChanged, InAidChanged, Offer, Settled
from .session import Draining, SessionExpiring
from .sessions import DeviceChanged, LeaseLost, ModeChanged, ReadBackNow, RevertNow, SessionAlive, Withdraw

__all__ = ["PUSHES", "Push"]

Push = (
    DeliveryChanged
    | DeviceChanged
    | Draining
    | InAidChanged
    | LeaseLost
    | ModeChanged
    | Offer
    | ReadBackNow
    | RevertNow
    | SessionAlive
    | SessionExpiring
    | Settled
    | Withdraw
)

PUSHES: Final[Mapping[str, type[Push]]] = MappingProxyType({kind.__name__: kind for kind in get_args(Push)})
