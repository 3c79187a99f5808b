"""All resources of ``/api/v1``, by class: what the OpenAPI document is made of without a server that runs.

``app`` gives each what it needs and serves these and no others; a test holds it to that.
"""

from typing import Final

from .acs import AcsIdentityOfPatients
from .audiograms import Audiograms
from .calls import Calls
from .device_reads import DeviceReads
from .devices import DeviceRegistrations
from .messages import Messages
from .people import PEOPLE
from .resource import Resource
from .sheets import Sheets
from .visits import Joins, Visits

__all__ = ["RESOURCES"]

RESOURCES: Final[tuple[type[Resource], ...]] = (
    DeviceRegistrations,
    DeviceReads,
    Sheets,
    Audiograms,
    *PEOPLE,
    AcsIdentityOfPatients,
    Visits,
    Joins,
    Calls,
    Messages,
)
