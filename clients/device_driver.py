"""What a phone needs of a hearing aid: one driver per aid, about six calls, and the ways in which they fail.

A maker writes one of these over its own link; ``clients.virtual_aid.aid`` is the reference. A driver knows neither
server nor delivery, and decides nothing: it writes what it is given and reads what is there. Read ``DeviceDriver``
first.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol

from fitting.capability import CapabilitySheet
from protocol.contract.base import Ear
from protocol.contract.devices import EarImage, SlotImage
from protocol.errors import AuricleError

__all__ = [
    "AidBusy",
    "AidError",
    "AidIdentity",
    "AidPair",
    "AidRebooted",
    "AidRefused",
    "BatteryLow",
    "CommitFailed",
    "DeviceDriver",
    "LinkLost",
    "LinkUnavailable",
    "Memory",
    "VendorData",
]

Memory = Literal["ram", "nvm"]


@dataclass(frozen=True, slots=True)
class AidIdentity:
    """What an aid says of itself when it is asked over the link.

    ``busy``: in a call, streaming or charging, so that it takes no writes now. ``boots`` counts its restarts.
    ``slot``, ``volume_ddb`` and ``muted`` are the wearer's own doing.
    """

    ear: Ear
    serial: str
    model: str
    firmware: str
    battery_percent: int
    busy: bool = False
    boots: int = 0
    slot: int = 1
    volume_ddb: int = 0
    muted: bool = False


@dataclass(frozen=True, slots=True)
class VendorData:
    """A maker's own form of a change, decoded; its digest was checked."""

    format: str
    data: bytes


class DeviceDriver(Protocol):
    """One aid. Every call but ``connect`` and ``changed`` raises LinkUnavailable while there is no link.

    A call may be cancelled at any moment; what the aid then holds is found out by reading it.
    """

    @property
    def ear(self) -> Ear:
        """The ear that it is worn in."""
        ...

    @property
    def connected(self) -> bool:
        """Whether there is a link now."""
        ...

    @property
    def vendor_formats(self) -> frozenset[str]:
        """The makers' formats that ``write_trial`` takes; empty for none."""
        ...

    async def connect(self) -> None:
        """Bring the link up. Raises LinkUnavailable while the aid is out of range."""
        ...

    async def identify(self) -> AidIdentity:
        """Who the aid is, and how it is."""
        ...

    async def capabilities(self) -> CapabilitySheet | None:
        """What its model can do, None for a model that this driver does not know."""
        ...

    async def read(self, memory: Memory) -> EarImage:
        """Everything that a memory holds, as it is and not as it was last written."""
        ...

    async def write_trial(self, slots: tuple[SlotImage, ...], vendor: VendorData | None = None) -> None:
        """Write program slots to RAM, heard at once; with ``vendor``, write that, of which ``slots`` is the projection.

        Raises AidRefused or AidBusy (nothing written), LinkLost or AidRebooted (any part of it may be written).
        """
        ...

    async def restore(self, image: EarImage) -> None:
        """Write a whole image to RAM, as ``write_trial`` does and with the same errors."""
        ...

    async def commit(self) -> None:
        """Copy RAM to NVM. Raises AidBusy, BatteryLow or CommitFailed (NVM is as it was), LinkLost or AidRebooted."""
        ...

    async def changed(self) -> None:
        """Return when the aid has something new to tell.

        It came back, restarted, was charged, ended a call, or its wearer pressed a button. It may return for nothing.
        """
        ...


class AidPair(Protocol):
    """The one or two aids of a wearer, by ear."""

    @property
    def ears(self) -> Sequence[Ear]:
        """The ears that wear an aid, right first."""
        ...

    def aid(self, ear: Ear) -> DeviceDriver:
        """The aid of an ear. Raises KeyError where there is none."""
        ...


class AidError(AuricleError):
    """An operation on an aid failed; ``code`` is what the phone reports."""

    code: ClassVar[str] = "E_TIMEOUT"


class LinkUnavailable(AidError):
    """There is no link to the aid: not one byte of this operation has reached it."""

    code = "E_BLE_BEFORE"


class LinkLost(AidError):
    """The link ended within a write: nobody knows what the aid holds until it is read back."""

    code = "E_BLE_DURING"


class AidRebooted(AidError):
    """The aid restarted: its RAM is a copy of its NVM again."""

    code = "E_REBOOT"


class CommitFailed(AidError):
    """NVM did not read back as written; it holds what it held before."""

    code = "E_NVM"


class BatteryLow(AidError):
    """Too little charge for a commit."""

    code = "E_BATTERY"


class AidBusy(AidError):
    """In a call, streaming or charging: nothing was written, and it will be free again."""

    code = "E_BUSY"


class AidRefused(AidError):
    """The values are outside what this aid can do; nothing was written."""

    code = "E_CAPABILITY"
