"""The phone as a process that can be killed, on aids and with a journal that outlive it.

The phone is the product's own. What it does to an aid passes through here, so that a dead phone reaches none, and so
that every write is seen with the delivery that it was for. Must not know the server. Read ``Handset.start``.
"""

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, Protocol

from clients.device_driver import AidIdentity, Memory, VendorData
from clients.hub_client import HubClient
from clients.hub_link import HubOptions
from clients.journal import JournalEntry, JournalRecord
from clients.phone import Phone, PhoneOptions
from clients.phone_driver import OfferRunner
from clients.phone_limits import PhoneLimits
from clients.reconnect import ReconnectPolicy
from clients.virtual_aid.aid import VirtualAid
from clients.virtual_aid.pair import VirtualPair
from clients.wearer import Wearer
from fitting.capability import CapabilitySheet
from protocol.contract.base import Ear
from protocol.contract.devices import EarImage, SlotImage
from protocol.contract.packages import RegisterPush

from .links import ClientSession, Network, Point
from .loop import Process

__all__ = [
    "CLIENT_OPTIONS",
    "DEVICE",
    "RECONNECT",
    "Driver",
    "Hand",
    "Handset",
    "Paper",
    "PhoneParts",
    "Touched",
    "make_hub",
]

DEVICE: Final = "aids-1"
# A tick only finds out that a peer is silent; the defaults look each second.
CLIENT_OPTIONS: Final = HubOptions(tick_s=5.0)
RECONNECT: Final = ReconnectPolicy(base_s=0.5, cap_s=5.0)


class Touched(Protocol):
    """Hears of every operation on an aid before it begins, with the delivery in work."""

    def __call__(self, ear: Ear, what: Literal["write", "restore", "commit"], entry: JournalEntry | None) -> None: ...


class Paper:
    """A journal that survives the process; what a dead one writes is not on it. ``point`` may kill on both sides."""

    def __init__(self, point: Point) -> None:
        self.record = JournalRecord()
        self._point = point
        self.owner: Process | None = None

    def held_by(self, process: Process, hand: "type[Hand]") -> "Hand":
        """As one process has it."""
        return hand(self, process, self._point)


class Hand:
    """A journal of one process."""

    def __init__(self, paper: Paper, process: Process, point: Point) -> None:
        self._paper, self._process, self._point = paper, process, point

    def load(self) -> JournalRecord:
        return self._paper.record

    def save(self, record: JournalRecord) -> None:
        self._point("before_save")
        if self._process.is_alive:
            self._paper.record = record
            self._point("after_save")
        if not self._process.is_alive:
            # The process ends within this call: nothing after it may happen.
            raise asyncio.CancelledError


class Driver:
    """One aid as one phone process reaches it."""

    def __init__(
        self, aid: VirtualAid, pair: VirtualPair, process: Process, touched: Callable[[Ear, Any], None]
    ) -> None:
        self._aid, self.pair, self._process, self._touched = aid, pair, process, touched
        self.ear: Ear = aid.ear
        self.vendor_formats = aid.vendor_formats

    @property
    def connected(self) -> bool:
        return self._aid.connected

    async def connect(self) -> None:
        await self._process.reach()
        await asyncio.sleep(0.02)
        await self._process.reach()
        await self._aid.connect()

    async def identify(self) -> AidIdentity:
        await self._process.reach()
        await asyncio.sleep(0.005)
        return await self._aid.identify()

    async def capabilities(self) -> CapabilitySheet | None:
        return await self._aid.capabilities()

    async def read(self, memory: Memory) -> EarImage:
        await self._process.reach()
        await asyncio.sleep(0.02)
        return await self._aid.read(memory)

    async def write_trial(self, slots: tuple[SlotImage, ...], vendor: VendorData | None = None) -> None:
        await self._process.reach()
        self._touched(self.ear, "write")
        await self._aid.write_trial(slots, vendor)

    async def restore(self, image: EarImage) -> None:
        await self._process.reach()
        self._touched(self.ear, "restore")
        await self._aid.restore(image)

    async def commit(self) -> None:
        await self._process.reach()
        self._touched(self.ear, "commit")
        await self._aid.commit()

    async def changed(self) -> None:
        await self._aid.changed()


class _Drivers:
    def __init__(
        self, make: type[Driver], aids: VirtualPair, process: Process, touched: Callable[[Ear, Any], None]
    ) -> None:
        self._drivers = {ear: make(aids.aid(ear), aids, process, touched) for ear in aids.ears}
        self.ears: Sequence[Ear] = aids.ears

    def aid(self, ear: Ear) -> Driver:
        return self._drivers[ear]


def make_hub(
    network: Network,
    client: str,
    process: Process,
    chance: random.Random,
    reconnect: ReconnectPolicy = RECONNECT,
) -> HubClient:
    """The product's hub client over the simulated network."""
    loop = asyncio.get_running_loop()
    return HubClient(
        "http://server/hub",
        token=client,
        reconnect=reconnect,
        options=CLIENT_OPTIONS,
        session=ClientSession(network, client, process),  # type: ignore[arg-type]  # as much of one as it needs
        clock=loop.time,
        uniform=chance.uniform,
    )


@dataclass(frozen=True, slots=True)
class PhoneParts:
    """What a phone is made of; a seeded bug replaces one."""

    driver: type[Driver] = Driver
    hand: type[Hand] = Hand
    runner: type[OfferRunner] = OfferRunner


class Handset:
    """One phone over all its lives. ``phone`` is that of the present life."""

    def __init__(
        self,
        network: Network,
        aids: VirtualPair,
        paper: Paper,
        *,
        wearer: Wearer,
        chance: random.Random,
        touched: Touched,
        registration: Callable[[], RegisterPush],
        parts: PhoneParts | None = None,
    ) -> None:
        self._network, self._aids, self.paper, self._wearer = network, aids, paper, wearer
        self._chance, self._touched, self._parts = chance, touched, parts or PhoneParts()
        self._registration = registration
        self.process = Process("phone")
        self.process.is_alive = False
        self.phone: Phone | None = None
        self.hub: HubClient | None = None
        self.failure: BaseException | None = None

    @property
    def is_alive(self) -> bool:
        return self.process.is_alive

    def start(self) -> None:
        """One more life."""
        self.process = Process("phone")
        self.process.epitaphs.append(self._let_go)
        self.process.spawn(self._live())

    def kill(self) -> None:
        """The process is gone; its links to the aids and to the server are cut by that."""
        self.process.kill()
        self.phone = self.hub = None
        self._network.drop_all(of="phone")

    def _let_go(self) -> None:
        for ear in self._aids.ears:
            self._aids.aid(ear).connected = False

    async def _live(self) -> None:
        try:
            await self._run()
        except Exception as error:  # noqa: BLE001  # whatever ends a phone is a finding
            if self.process.is_alive:
                self.failure = error

    async def _run(self) -> None:
        """The phone, whether there is a server or not."""
        hub = make_hub(self._network, "phone", self.process, self._chance, replace(RECONNECT, from_start=True))
        runner = self._runner()
        options = PhoneOptions(push=self._registration())
        phone = Phone(hub, runner, options=options, uniform=self._chance.uniform, new_key=self._new_key)
        await hub.start()
        self.hub, self.phone = hub, phone
        await phone.run()

    def _runner(self) -> OfferRunner:
        loop = asyncio.get_running_loop()
        return self._parts.runner(
            _Drivers(self._parts.driver, self._aids, self.process, self._note),
            self.paper.held_by(self.process, self._parts.hand),
            device=DEVICE,
            limits=PhoneLimits(),
            wearer=self._wearer,
            clock=loop.time,
        )

    def _new_key(self) -> str:
        return f"{self._chance.getrandbits(64):016x}"

    def _note(self, ear: Ear, what: Any) -> None:
        record = self.paper.record
        self._touched(ear, what, record.in_flight)
