"""The real server in the test's own loop, a registered pair of aids, a fitter and a phone on a cable."""

import asyncio
import io
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

import aiohttp
from aiohttp.test_utils import TestServer

from clients.demo.cable import Cable
from clients.fitter import Change, Fitter
from clients.hub_client import HubClient, ReconnectPolicy
from clients.journal import Journal, MemoryJournal
from clients.phone import Phone, PhoneOptions
from clients.phone_driver import OfferRunner
from clients.phone_duties import DutyTimes
from clients.phone_limits import PhoneLimits
from clients.virtual_aid.aid import VirtualAid
from clients.virtual_aid.faults import Faults
from clients.virtual_aid.pair import VirtualPair
from clients.wearer import AgreeableWearer, Wearer
from protocol.contract.base import EARS, Ear
from protocol.contract.devices import LeaseAnswer
from protocol.contract.fitting import Base, Patch, PatchOp
from protocol.contract.sessions import ModeChanged
from protocol.signalr.codec import ProtocolName
from signaling.app import create_app
from signaling.auth import DevTokens
from signaling.config import MEMORY, Config
from signaling.log import LogBook

DEVICE: Final = "aids-1"
KEY: Final = b"k" * 32
AT_ONCE: Final = ReconnectPolicy(base_s=0.02, cap_s=0.02)
SOON_S: Final = 30.0


@dataclass
class CareBench:
    """Everything that a test of the clients looks at. Both clients go through cables of their own.

    ``journal`` is that of the one phone, which remembers what its wearer has agreed to.
    """

    url: str
    fitter_cable: Cable
    phone_cable: Cable
    protocol: ProtocolName
    pair: VirtualPair
    journal: MemoryJournal = field(default_factory=MemoryJournal)

    def token(self, user: str, *roles: str) -> str:
        tokens = DevTokens(KEY, time.time)
        return tokens.mint(user=user, clinic="c1", roles=frozenset(roles), expires_in_s=600)

    @property
    def fitter_url(self) -> str:
        return f"http://127.0.0.1:{self.fitter_cable.port}/hub"

    def fitter_hub(self, user: str = "ann") -> HubClient:
        return self._hub(self.fitter_cable, self.token(user, "clinician"))

    @asynccontextmanager
    async def direct_fitter(self, user: str) -> AsyncIterator[Fitter]:
        """A fitter whose cable nobody pulls."""
        hub = HubClient(f"{self.url}/hub", token=self.token(user, "clinician"), protocol=self.protocol)
        fitter = Fitter(hub)
        async with hub:
            yield fitter

    def phone_hub(self, user: str = "pat") -> HubClient:
        return self._hub(self.phone_cable, self.token(user, "patient", "device"))

    def runner(
        self,
        journal: Journal | None = None,
        *,
        wearer: Wearer | None = None,
        limits: PhoneLimits | None = None,
    ) -> OfferRunner:
        return OfferRunner(
            self.pair,
            journal or self.journal,
            device=DEVICE,
            wearer=wearer or AgreeableWearer(),
            limits=limits or PhoneLimits(),
        )

    @asynccontextmanager
    async def phone(
        self,
        hub: HubClient | None = None,
        *,
        runner: OfferRunner | None = None,
        duties: DutyTimes | None = None,
        on_mode: Callable[[ModeChanged], None] | None = None,
    ) -> AsyncIterator[Phone]:
        """An attached phone that runs until the block ends."""
        hub = hub or self.phone_hub()
        options = PhoneOptions(duties=duties or DutyTimes())
        phone = Phone(hub, runner or self.runner(), options=options, on_mode=on_mode)
        async with hub, asyncio.TaskGroup() as tasks:
            running = tasks.create_task(phone.run())
            async with asyncio.timeout(SOON_S):
                await phone.attached.wait()
            yield phone
            running.cancel()

    @asynccontextmanager
    async def fitter(self, hub: HubClient | None = None) -> AsyncIterator[Fitter]:
        hub = hub or self.fitter_hub()
        fitter = Fitter(hub, uniform=lambda low, _: low)
        async with hub:
            yield fitter

    def _hub(self, cable: Cable, token: str) -> HubClient:
        url = f"http://127.0.0.1:{cable.port}/hub"
        return HubClient(url, token=token, protocol=self.protocol, reconnect=AT_ONCE)


@asynccontextmanager
async def care_bench(
    protocol: ProtocolName = "json", *, time_scale: float = 0.0, clinicians: Sequence[str] = ("ann",)
) -> AsyncIterator[CareBench]:
    app = create_app(Config(dev=True, database_url=MEMORY), signing_key=KEY, log=LogBook(io.StringIO()))
    server = TestServer(app)
    await server.start_server()
    url = str(server.make_url(""))
    port = urlsplit(url).port or 0
    pair = VirtualPair(*(VirtualAid(ear, f"S-{ear}", faults=Faults(time_scale=time_scale)) for ear in EARS))
    try:
        async with Cable(port) as fitter_cable, Cable(port) as phone_cable:
            bench = CareBench(url, fitter_cable, phone_cable, protocol, pair)
            await _register(bench, clinicians)
            yield bench
    finally:
        await server.close()


async def _register(bench: CareBench, clinicians: Sequence[str]) -> None:
    aids: dict[str, object] = {ear: {"serial": f"S-{ear}", "model": "ref10", "firmware": "2.3.1"} for ear in EARS}
    # Without one no maximum output may rise.
    audiogram = {ear: {"500": 35, "1000": 40, "2000": 50, "4000": 60} for ear in EARS}
    body = {"device": DEVICE, "patient": "pat", "assignments": list(clinicians), "audiogram": audiogram, **aids}
    headers = {"Authorization": f"Bearer {bench.token('ann', 'clinician')}"}
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{bench.url}/api/v1/devices", json=body, headers=headers) as response,
    ):
        assert response.status == 201, await response.text()


def raise_of(lease: LeaseAnswer, by_ddb: int = 20, *, ears: tuple[Ear, ...] = EARS, band: int = 5) -> Change:
    """Raise all three gains of one band on the newest revision."""
    assert lease.head
    head = lease.head
    ops = tuple(
        PatchOp(op="add", ear=ear, path=path, band=band, value=by_ddb)
        for ear in ears
        for path in ("g50Ddb", "g65Ddb", "g80Ddb")
    )
    base = Base(revision=head.revision, left=head.digests.left, right=head.digests.right)
    return Change(DEVICE, lease.fence, base, "a test", patch=Patch(slot=1, ops=ops))
