"""Everything that the demo's script plays with, connected and registered, and taken down again.

The fitter talks to the server directly, the phone through a cable that can be pulled; both over real WebSockets. The
phone's journal and the memories of its aids are files, so that another phone process can take them over. It must not
know the script. Read ``staged`` first.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import aiohttp
import msgspec
from msgspec import UNSET, UnsetType

from clients.demo.arguments import DemoOptions
from clients.demo.cable import Cable
from clients.demo.checks import Checks
from clients.demo.printer import Printer
from clients.demo.server_process import ServerFailed, ServerProcess
from clients.file_journal import FileJournal
from clients.fitter import Fitter, FitterNews
from clients.hub_client import HubClient
from clients.phone import Phone
from clients.phone_driver import OfferRunner
from clients.reconnect import ReconnectPolicy
from clients.virtual_aid.aid import VirtualAid
from clients.virtual_aid.faults import Faults
from clients.virtual_aid.pair import VirtualPair
from clients.virtual_aid.store import AidStore
from clients.wearer import AgreeableWearer
from fitting.audiogram import Audiogram
from protocol.contract.base import EARS, Ear
from protocol.contract.devices import DeliveryChanged, DeliveryState, RegisteredAid
from protocol.contract.registration import RegisterDevice, Thresholds
from protocol.contract.sessions import Alarm, DeviceChanged

__all__ = [
    "CLINICIAN",
    "DEVICE",
    "JOURNAL",
    "LINK_TIME",
    "Asked",
    "News",
    "Stage",
    "make_aid",
    "serial_of",
    "staged",
]

DEVICE: Final = "demo-aids"
CLINIC: Final = "demo-clinic"
CLINICIAN: Final = "demo-clinician"
PATIENT: Final = "demo-patient"
MODEL: Final = "ref10"
FIRMWARE: Final = "2.3.1"
# The link to an aid takes half the time of the capability sheet: 200 ms for a write.
LINK_TIME: Final = 0.5
JOURNAL: Final = "journal"
# A demo should not wait long; a real phone keeps the default.
_RECONNECT: Final = ReconnectPolicy(base_s=0.3, cap_s=1.0)


class News:
    """All that the fitter heard, in order, and a way to wait for one delivery event. ``alarms`` as told last."""

    def __init__(self) -> None:
        self.events: list[DeliveryChanged] = []
        self.news: list[FitterNews] = []
        self.alarms: tuple[Alarm, ...] = ()
        self._heard = asyncio.Event()

    @property
    def heard(self) -> int:
        """How much was heard so far."""
        return len(self.events) + len(self.news)

    def hear(self, change: DeliveryChanged) -> None:
        """Keep an event and wake who waits."""
        self.events.append(change)
        self._wake()

    def hear_news(self, news: FitterNews) -> None:
        """Keep what was told besides."""
        self.news.append(news)
        if isinstance(news, DeviceChanged):
            self.alarms = news.alarms
        self._wake()

    async def more_than(self, heard: int) -> None:
        """Wait until more was heard than so much."""
        while self.heard <= heard:
            await self._heard.wait()

    def code_of(self, seq: int, ear: Ear) -> str | None:
        """The code that an ear's end was told with."""
        codes = [new.code for new in self.events if (new.seq, new.ear) == (seq, ear) and new.code is not UNSET]
        return codes[-1] if codes else None

    async def wait_for(self, seq: int, ear: Ear, state: DeliveryState) -> None:
        """Wait until one ear of a delivery was heard to be in a state."""
        while not any((new.seq, new.ear, new.state) == (seq, ear, state) for new in self.events):
            await self._heard.wait()

    def _wake(self) -> None:
        self._heard.set()
        self._heard.clear()


@dataclass(frozen=True, slots=True)
class Asked:
    """A change that was accepted, for the look back at the end."""

    name: str
    revision: str


@dataclass(slots=True)
class Stage:
    """The parts. ``phone`` is the one of this process, until it is handed over; ``pair`` are the aids as they are."""

    options: DemoOptions
    printer: Printer
    checks: Checks
    server: ServerProcess
    cable: Cable
    pair: VirtualPair
    phone_hub: HubClient
    phone: Phone
    fitter: Fitter
    news: News
    fitter_token: str
    phone_token: str
    phone_life: "asyncio.Task[None]"
    journal: ExitStack
    asked: list[Asked] = field(default_factory=list)

    @property
    def phone_folder(self) -> Path:
        """The journal, the aids and the log of the phone."""
        return _phone_folder(self.server)

    async def hand_over(self) -> None:
        """The phone of this process stops; journal and aids are there for another one."""
        self.phone_life.cancel()
        await asyncio.wait({self.phone_life})
        await self.phone_hub.stop()
        self.journal.close()

    def look_at_aids(self) -> None:
        """The aids as the files of another phone process show them."""
        aids = (make_aid(self.phone_folder, ear) for ear in self.ears)
        self.pair = VirtualPair(*aids)

    @property
    def ears(self) -> tuple[Ear, ...]:
        """The ears that wear an aid, right first."""
        return self.pair.ears


@asynccontextmanager
async def staged(options: DemoOptions, printer: Printer, server: ServerProcess) -> AsyncIterator[Stage]:
    """Tokens, registration, aids, a fitter and a phone that runs until the block ends."""
    clinician, phone_token = await asyncio.gather(
        server.token(CLINICIAN, CLINIC, ["clinician"]),
        server.token(PATIENT, CLINIC, ["patient", "device"]),
    )
    await _register(server.url, clinician, options.audiogram)
    folder = _phone_folder(server)
    folder.mkdir()
    port = urlsplit(server.url).port
    if port is None:
        raise ServerFailed("the ready line names no port")
    async with Cable(port) as cable:
        fitter_hub = HubClient(f"{server.url}/hub", token=clinician, protocol=options.protocol, reconnect=_RECONNECT)
        phone_hub = HubClient(
            f"http://127.0.0.1:{cable.port}/hub",
            token=phone_token,
            protocol=options.protocol,
            reconnect=_RECONNECT,
        )
        pair = VirtualPair(*(make_aid(folder, ear) for ear in EARS if ear in options.audiogram.ears))
        with ExitStack() as journal:
            # The wearer of the demo is content with everything.
            kept = journal.enter_context(FileJournal(folder / JOURNAL))
            phone = Phone(phone_hub, OfferRunner(pair, kept, device=DEVICE, wearer=AgreeableWearer()))
            news = News()
            fitter = Fitter(fitter_hub, on_delivery=news.hear, on_news=news.hear_news)
            async with fitter_hub, phone_hub, asyncio.TaskGroup() as tasks:
                life = tasks.create_task(phone.run())
                yield Stage(
                    options=options,
                    printer=printer,
                    checks=Checks(printer),
                    server=server,
                    cable=cable,
                    pair=pair,
                    phone_hub=phone_hub,
                    phone=phone,
                    fitter=fitter,
                    news=news,
                    fitter_token=clinician,
                    phone_token=phone_token,
                    phone_life=life,
                    journal=journal,
                )
                life.cancel()


def make_aid(folder: Path, ear: Ear) -> VirtualAid:
    """The aid of one ear, with what its files say that it holds."""
    serial = serial_of(ear)
    return VirtualAid(
        ear, serial, MODEL, FIRMWARE, faults=Faults(time_scale=LINK_TIME), store=AidStore(folder, ear, serial)
    )


def serial_of(ear: Ear) -> str:
    """As it is registered."""
    return f"DEMO-{ear.upper()}"


def _phone_folder(server: ServerProcess) -> Path:
    return server.folder / "phone"


async def _register(url: str, token: str, audiogram: Audiogram) -> None:
    body = RegisterDevice(
        device=DEVICE,
        patient=PATIENT,
        assignments=(CLINICIAN,),
        audiogram=Thresholds(left=_decibels(audiogram, "left"), right=_decibels(audiogram, "right")),
        left=_aid(audiogram, "left"),
        right=_aid(audiogram, "right"),
    )
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{url}/api/v1/devices", data=msgspec.json.encode(body), headers=headers) as response,
    ):
        if response.status != 201:
            raise ServerFailed(f"registering the aids was answered with {response.status}")


def _aid(audiogram: Audiogram, ear: Ear) -> RegisteredAid | UnsetType:
    if ear not in audiogram.ears:
        return UNSET
    return RegisteredAid(serial=serial_of(ear), model=MODEL, firmware=FIRMWARE)


def _decibels(audiogram: Audiogram, ear: Ear) -> dict[str, int | float] | UnsetType:
    points = audiogram.ears.get(ear)
    return UNSET if points is None else {str(frequency): tenths / 10 for frequency, tenths in points}
