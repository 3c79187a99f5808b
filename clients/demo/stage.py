"""Everything that the demo's script plays with, connected and registered, and taken down again.

The fitter talks to the server directly, the phone through a cable that can be pulled; both over real
WebSockets. It must not know the script. Read ``staged`` first.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
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
from clients.fitter import Fitter
from clients.hub_client import HubClient
from clients.journal import MemoryJournal
from clients.phone import Phone
from clients.phone_driver import OfferRunner
from clients.reconnect import ReconnectPolicy
from clients.virtual_aid.aid import VirtualAid
from clients.virtual_aid.faults import Faults
from clients.virtual_aid.pair import VirtualPair
from clients.wearer import AgreeableWearer
from fitting.audiogram import Audiogram
from protocol.contract.base import EARS, Ear
from protocol.contract.devices import DeliveryChanged, DeliveryState, RegisteredAid
from protocol.contract.registration import RegisterDevice, Thresholds

__all__ = ["CLINICIAN", "DEVICE", "News", "Stage", "staged"]

DEVICE: Final = "demo-aids"
CLINIC: Final = "demo-clinic"
CLINICIAN: Final = "demo-clinician"
PATIENT: Final = "demo-patient"
MODEL: Final = "ref10"
FIRMWARE: Final = "2.3.1"
# The link to an aid takes half the time of the capability sheet: 200 ms for a write.
_LINK_TIME: Final = 0.5
# A demo should not wait long; a real phone keeps the default.
_RECONNECT: Final = ReconnectPolicy(base_s=0.3, cap_s=1.0)


class News:
    """All delivery events that the fitter heard, in order, and a way to wait for one."""

    def __init__(self) -> None:
        self.events: list[DeliveryChanged] = []
        self._heard = asyncio.Event()

    def hear(self, change: DeliveryChanged) -> None:
        """Keep an event and wake who waits."""
        self.events.append(change)
        self._heard.set()
        self._heard.clear()

    async def wait_for(self, seq: int, ear: Ear, state: DeliveryState) -> None:
        """Wait until one ear of a delivery was heard to be in a state."""
        while not any((new.seq, new.ear, new.state) == (seq, ear, state) for new in self.events):
            await self._heard.wait()


@dataclass(frozen=True, slots=True)
class Stage:
    """The parts."""

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
    aids = [
        VirtualAid(ear, f"DEMO-{ear.upper()}", MODEL, FIRMWARE, faults=Faults(time_scale=_LINK_TIME))
        for ear in EARS
        if ear in options.audiogram.ears
    ]
    await _register(server.url, clinician, options.audiogram)
    pair = VirtualPair(*aids)
    port = urlsplit(server.url).port
    if port is None:
        raise ServerFailed("the ready line names no port")
    async with Cable(port) as cable:
        fitter_hub = HubClient(f"{server.url}/hub", token=clinician, protocol=options.protocol)
        phone_hub = HubClient(
            f"http://127.0.0.1:{cable.port}/hub",
            token=phone_token,
            protocol=options.protocol,
            reconnect=_RECONNECT,
        )
        # The wearer of the demo is content with everything.
        runner = OfferRunner(pair, MemoryJournal(), device=DEVICE, wearer=AgreeableWearer())
        phone = Phone(phone_hub, runner)
        news = News()
        fitter = Fitter(fitter_hub, on_delivery=news.hear)
        stage = Stage(options, printer, Checks(printer), server, cable, pair, phone_hub, phone, fitter, news)
        async with fitter_hub, phone_hub, asyncio.TaskGroup() as tasks:
            running = tasks.create_task(phone.run())
            yield stage
            running.cancel()


async def _register(url: str, token: str, audiogram: Audiogram) -> None:
    aids = {
        ear: RegisteredAid(serial=f"DEMO-{ear.upper()}", model=MODEL, firmware=FIRMWARE)
        for ear in EARS
        if ear in audiogram.ears
    }
    body = RegisterDevice(
        device=DEVICE,
        patient=PATIENT,
        assignments=(CLINICIAN,),
        audiogram=Thresholds(left=_decibels(audiogram, "left"), right=_decibels(audiogram, "right")),
        **aids,
    )
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{url}/api/v1/devices", data=msgspec.json.encode(body), headers=headers) as response,
    ):
        if response.status != 201:
            raise ServerFailed(f"registering the aids was answered with {response.status}")


def _decibels(audiogram: Audiogram, ear: Ear) -> dict[str, int | float] | UnsetType:
    points = audiogram.ears.get(ear)
    return UNSET if points is None else {str(frequency): tenths / 10 for frequency, tenths in points}
