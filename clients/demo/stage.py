"""Everything that the demo's script plays with, connected and registered, and taken down again.

The fitter talks to the server directly, the phone through a cable that can be pulled; both over real WebSockets. The
phone's journal and the memories of its aids are files, so that another phone, or another life of this one, can take
them over. It must not know the script. Read ``staged`` first.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeVar
from urllib.parse import urlsplit

import aiohttp
import msgspec
from msgspec import UNSET, UnsetType

from clients.demo.arguments import DemoOptions
from clients.demo.cable import Cable
from clients.demo.checks import Checks
from clients.demo.handset import RECONNECT, Handset, Line
from clients.demo.printer import Printer
from clients.demo.push_service import PushService
from clients.demo.server_process import ServerFailed, ServerProcess
from clients.fitter import Fitter, FitterNews
from clients.hub_client import HubClient
from clients.phone import Phone
from clients.virtual_aid.aid import VirtualAid
from clients.virtual_aid.faults import Faults
from clients.virtual_aid.pair import VirtualPair
from clients.virtual_aid.store import AidStore
from fitting.audiogram import Audiogram
from protocol.contract.base import EARS, Ear
from protocol.contract.devices import DeliveryChanged, DeliveryState, RegisteredAid
from protocol.contract.registration import RegisterDevice, Thresholds
from protocol.contract.sessions import Alarm, DeviceChanged

__all__ = [
    "CLINIC",
    "CLINICIAN",
    "DEVICE",
    "JOURNAL",
    "LINK_TIME",
    "PATIENT",
    "SHORTENED",
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
# The link to an aid takes a quarter of the time of the capability sheet: 100 ms for a write.
LINK_TIME: Final = 0.25
JOURNAL: Final = "journal"
# What a server does after minutes and days is not waited for; everything else is as it would be anywhere.
SHORTENED: Final = {"AURICLE_RTT_ENDS_AFTER_S": "1", "AURICLE_QUESTION_AFTER_S": "1"}
N = TypeVar("N")


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

    async def first(self, kind: type[N], after: int, matches: Callable[[N], bool]) -> N:
        """The first of a kind among what was told besides, from number ``after`` on, that ``matches``."""
        while True:
            for news in self.news[after:]:
                if isinstance(news, kind) and matches(news):
                    return news
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
    """A change that was accepted, for the look back at the end, and who had asked for it."""

    name: str
    revision: str
    author: str = CLINICIAN


@dataclass(slots=True)
class Stage:
    """The parts. ``handset`` is the phone until it is handed over to another process, ``pair`` the aids as they are."""

    options: DemoOptions
    printer: Printer
    checks: Checks
    server: ServerProcess
    pushes: PushService
    cable: Cable
    pair: VirtualPair
    handset: Handset
    fitter: Fitter
    fitter_hub: HubClient
    news: News
    fitter_token: str
    phone_token: str
    asked: list[Asked] = field(default_factory=list)

    @property
    def phone(self) -> Phone:
        """The phone of this process."""
        return self.handset.phone

    @property
    def phone_hub(self) -> HubClient:
        """Its connection."""
        return self.handset.hub

    @property
    def phone_folder(self) -> Path:
        """The journal, the aids and the log of the phone."""
        return _phone_folder(self.server)

    async def hand_over(self) -> None:
        """The phone of this process stops; journal and aids are there for another one."""
        await self.handset.sleep()

    def look_at_aids(self) -> None:
        """The aids as the files of another phone process show them."""
        aids = (make_aid(self.phone_folder, ear) for ear in self.ears)
        self.pair = VirtualPair(*aids)

    @property
    def ears(self) -> tuple[Ear, ...]:
        """The ears that wear an aid, right first."""
        return self.pair.ears


@asynccontextmanager
async def staged(
    options: DemoOptions, printer: Printer, server: ServerProcess, pushes: PushService
) -> AsyncIterator[Stage]:
    """Tokens, registration, aids, a fitter and a phone that is awake; all are gone when the block ends."""
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
    news = News()
    fitter_hub = HubClient(f"{server.url}/hub", token=clinician, protocol=options.protocol, reconnect=RECONNECT)
    fitter = Fitter(fitter_hub, on_delivery=news.hear, on_news=news.hear_news)
    pair = VirtualPair(*(make_aid(folder, ear) for ear in EARS if ear in options.audiogram.ears))
    async with Cable(port) as cable, fitter_hub, asyncio.TaskGroup() as tasks:
        line = Line(
            f"http://127.0.0.1:{cable.port}/hub", phone_token, options.protocol, options.phone_transport, DEVICE
        )
        handset = Handset(line, pair, folder / JOURNAL, tasks)
        try:
            await handset.wake()
            yield Stage(
                options=options,
                printer=printer,
                checks=Checks(printer),
                server=server,
                pushes=pushes,
                cable=cable,
                pair=pair,
                handset=handset,
                fitter=fitter,
                fitter_hub=fitter_hub,
                news=news,
                fitter_token=clinician,
                phone_token=phone_token,
            )
        finally:
            await handset.sleep()


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
