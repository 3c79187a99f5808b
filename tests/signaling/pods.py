"""Pods that share a real PostgreSQL and a real bus, a phone on one of them and its fitter on another."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

from clients.hub_client import HubClient
from protocol.contract.devices import AttachAnswer, LeaseAnswer, Offer, Report, ReportAnswer
from protocol.contract.fitting import SubmitAnswer
from signaling.backplane import BusState
from signaling.backplane_redis import RedisBackplane
from signaling.config import Config
from signaling.hubs.care_hub import CareHub
from tests.eventually import eventually
from tests.redis_server import RedisServer, redis_server
from tests.signaling.care import CLAIM, live
from tests.signaling.conftest import House, running_house
from tests.signaling.visit import Told

__all__ = ["PATIENT", "Apart", "apart", "bus_of", "connected", "hub_of", "is_connected", "two_pods"]

# A Redis that waits for its turn on a busy machine is none that is away, which would be told and asked nothing.
PATIENT: dict[str, Any] = {
    "bus_flush_s": 20,
    "bus_timeout_s": 20,
    "bus_confirm_s": 20,
    "table_answer_s": 5,
}


@asynccontextmanager
async def two_pods(database_url: str, redis_url: str, **changes: object) -> AsyncIterator[tuple[House, House]]:
    """Two pods, ``east`` and ``west``, whose sweeps run only when a test says so; looks at the log go on."""
    config = Config(
        conformance=True,
        dev=True,
        sweep_s=3_600,
        database_url=database_url,
        redis_url=redis_url,
        look_live_s=0.01,
        **PATIENT,
    )
    config = replace(config, **changes)  # type: ignore[arg-type]  # a test's own words
    async with AsyncExitStack() as houses:
        east = await houses.enter_async_context(running_house(config, None))
        west = await houses.enter_async_context(running_house(config, None))
        await eventually(lambda: is_connected(east) and is_connected(west))
        yield east, west


def hub_of(house: House) -> CareHub:
    """The care hub of a pod."""
    care = house.parts.hubs[0].hub
    assert isinstance(care, CareHub)
    return care


def bus_of(house: House) -> RedisBackplane:
    """The connection of a pod to the bus."""
    backplane = house.parts.hubs[0].lifetime._backplane
    assert isinstance(backplane, RedisBackplane)
    return backplane


def is_connected(house: House) -> bool:
    """Whether the pod believes that others hear it."""
    return bus_of(house).state is BusState.CONNECTED


@asynccontextmanager
async def connected(house: House, user: str, *roles: str, heard: Told | None = None) -> AsyncIterator[HubClient]:
    """A client of one pod."""
    client = HubClient(f"{house.url}/hub", token=house.token(user, *roles), protocol="messagepack", reconnect=None)
    if heard is not None:
        heard.listen(client)
    await client.start()
    try:
        yield client
    finally:
        await client.stop()


@dataclass
class Apart:
    """A live session: ``ann`` is on the pod ``east``, the phone of ``pat`` on ``west``."""

    east: House
    west: House
    bus: RedisServer
    ann: HubClient
    pat: HubClient
    fitter: Told
    phone: Told
    leased: LeaseAnswer
    epoch: str

    async def report(self, offer: Offer, n: int, state: str, **more: object) -> None:
        """The phone says what it has done."""
        given = {"device": "d1", "epoch": offer.epoch, "seq": offer.seq, "attempt": offer.attempt, "n": n}
        report = Report(**given, state=state, **more)  # type: ignore[arg-type]  # a test names states as text
        assert isinstance(await self.pat.ask("Report", report, answer=ReportAnswer), ReportAnswer)

    async def confirm(self, offer: Offer) -> None:
        """The aid holds what was offered, in RAM."""
        await self.report(offer, 1, "received")
        await self.report(offer, 2, "confirmed", ear="right", source="ram", digest=offer.body.expect.right)

    async def until_bus(self, *, is_up: bool) -> None:
        """Both pods have noticed."""
        await eventually(lambda: is_connected(self.east) is is_up and is_connected(self.west) is is_up)
        if is_up:
            pods = (self.east, self.west)
            await eventually(lambda: not any(pod.parts.readiness.degraded() for pod in pods))

    async def known_in_east(self) -> None:
        """Both pods have looked at live work."""
        await self.east.sweep_care()
        await self.west.sweep_care()

    async def submit(self, request: object) -> SubmitAnswer:
        """The fitter changes something."""
        answer = await self.ann.ask("Submit", request, answer=SubmitAnswer)
        assert isinstance(answer, SubmitAnswer), answer
        return answer


@asynccontextmanager
async def apart(database_url: str, **changes: object) -> AsyncIterator[Apart]:
    """Live work that was begun over another pod than the phone's; ``changes`` to the configuration."""
    async with AsyncExitStack() as stack:
        bus = stack.enter_context(redis_server())
        east, west = await stack.enter_async_context(two_pods(database_url, bus.url, **changes))
        body = {
            "device": "d1",
            "patient": "pat",
            "assignments": ["ann"],
            "right": {"serial": "R-1", "model": "ref10", "firmware": "2.3.1"},
        }
        answer = await east.http.post(f"{east.url}/api/v1/devices", json=body, headers=east.bearer("ann"))
        assert answer.status == 201
        fitter, phone = Told(), Told()
        pat = await stack.enter_async_context(connected(west, "pat", "patient", "device", heard=phone))
        attached = await pat.ask("AttachDevice", CLAIM, answer=AttachAnswer)
        assert isinstance(attached, AttachAnswer)
        ann = await stack.enter_async_context(connected(east, "ann", "clinician", heard=fitter))
        scene = Apart(east, west, bus, ann, pat, fitter, phone, await live(ann), attached.epoch)
        await scene.known_in_east()
        yield scene
