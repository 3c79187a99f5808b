"""What the server sends to clients, in one table: the target is the name of the payload's class.

``Push`` is the only list of them. A payload that is not in it cannot be sent (``signaling.pushes``), and what is in it
is in the AsyncAPI document. Those that ask the client for a result are in ``ANSWERS`` too.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, get_args

from .base import Wire
from .calls import (
    AnsweredElsewhere,
    CallBackendChanged,
    CallChanged,
    CallEnded,
    IncomingCall,
    QualityChanged,
    Signal,
)
from .chat import LiveText, MessageReceived, MessagesRead, Typing
from .devices import DeliveryChanged, InAidChanged, Offer, Settled
from .packages import KeepAsked, PackageAnswered
from .session import Draining, PresenceChanged, SessionExpiring
from .sessions import (
    ConsentAnswer,
    ConsentAsked,
    DeviceChanged,
    LeaseLost,
    ModeChanged,
    ReadBackNow,
    RevertNow,
    SessionAlive,
    Withdraw,
)
from .visits import ParticipantChanged, VisitChanged

__all__ = ["ANSWERS", "PUSHES", "Push"]

Push = (
    AnsweredElsewhere
    | CallBackendChanged
    | CallChanged
    | CallEnded
    | ConsentAsked
    | DeliveryChanged
    | DeviceChanged
    | Draining
    | InAidChanged
    | IncomingCall
    | KeepAsked
    | LeaseLost
    | LiveText
    | MessageReceived
    | MessagesRead
    | ModeChanged
    | Offer
    | PackageAnswered
    | ParticipantChanged
    | PresenceChanged
    | QualityChanged
    | ReadBackNow
    | RevertNow
    | SessionAlive
    | SessionExpiring
    | Settled
    | Signal
    | Typing
    | VisitChanged
    | Withdraw
)

PUSHES: Final[Mapping[str, type[Push]]] = MappingProxyType({kind.__name__: kind for kind in get_args(Push)})

# By target, what the client returns.
ANSWERS: Final[Mapping[str, type[Wire]]] = MappingProxyType({ConsentAsked.__name__: ConsentAnswer})
