"""A fitter who sends packages, a phone that comes and goes, and the push service between them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec

from clients.hub_client import HubClient
from fitting.log_values import DeviceHead
from protocol.contract.base import Failure
from protocol.contract.devices import (
    AttachAnswer,
    DeliveryAnswer,
    DeliveryQuery,
    DeviceAnswer,
    DeviceQuery,
    Offer,
    Report,
    ReportAnswer,
)
from protocol.contract.fitting import Base, Content, Digest, Patch, Program, Submit, SubmitAnswer
from protocol.contract.packages import AnswerKeep, KeepAnswered, RegisterPush
from protocol.contract.sessions import Done
from signaling.config import Config
from signaling.hubs.care_hub import CareHub
from signaling.log import LogBook
from signaling.push_notifier import push_notifier
from tests.eventually import eventually_asked
from tests.fakes.notification_hubs import NotificationHubs, notification_hubs
from tests.signaling.care import BANDS_HZ, CLAIM, CONTENT, FLAT, Connect, louder
from tests.signaling.conftest import House
from tests.signaling.visit import Told, images_of

__all__ = ["DAY_S", "HOUR_S", "TOKEN", "Desk", "desk", "quieter", "state"]

HOUR_S = 3_600.0
DAY_S = 24 * HOUR_S
TOKEN = "bk3RNwTe3H0:CI2k_HHwgIpoDKCIZvvDMExUdFQ3P1"
EAR = "right"


@dataclass
class Desk:
    """``held`` is what the aid keeps, for the next phone that comes."""

    house: House
    connect: Connect
    ann: HubClient
    fitter: Told
    service: NotificationHubs
    held: Content = CONTENT
    epoch: str = ""
    pat: HubClient | None = None
    phone: Told = field(default_factory=Told)
    keys: int = 0

    async def come(self) -> AttachAnswer:
        """The phone wakes up and attaches."""
        self.phone = Told()
        self.pat = await self.connect("pat", "patient", "device", heard=self.phone)
        images = images_of(self.held, self.held)
        claim = msgspec.structs.replace(CLAIM, epoch=self.epoch, right=images)
        attached = await self.pat.ask("AttachDevice", claim, answer=AttachAnswer)
        assert isinstance(attached, AttachAnswer), attached
        self.epoch = attached.epoch
        return attached

    async def go(self) -> None:
        """The phone falls asleep, and the server knows: whatever is sent before that is offered to it."""
        assert self.pat is not None
        care = self.house.parts.hubs[0].hub
        assert isinstance(care, CareHub)
        log = care._log

        async def is_gone() -> bool:
            head = await log.head("d1")
            return isinstance(head, DeviceHead) and not head.attached

        await self.pat.stop()
        await eventually_asked(is_gone)

    async def register(self, platform: Any = "fcm", token: str = TOKEN) -> None:
        assert self.pat is not None
        request = RegisterPush(device="d1", platform=platform, token=token)
        assert isinstance(await self.pat.ask("RegisterPush", request, answer=Done), Done)

    async def device(self) -> DeviceAnswer:
        return await self.ann.invoke("GetDevice", DeviceQuery(device="d1"), result=DeviceAnswer)

    async def try_send(self, *, by: HubClient | None = None, **more: Any) -> SubmitAnswer | Failure:
        self.keys += 1
        head = (await self.device()).head
        given: dict[str, Any] = {
            "device": "d1",
            "kind": "persist",
            "mode": "standard",
            "base": Base(revision=head.revision if isinstance(head, msgspec.Struct) else "none"),
            "reason": "for the week",
            "idempotency_key": f"package-{self.keys}",
        }
        if not more.keys() & {"patch", "content", "revision"}:
            given["patch"] = Patch(slot=1, ops=louder(-20))
        return await (by or self.ann).ask("Submit", Submit(**(given | more)), answer=SubmitAnswer)

    async def send(self, **more: Any) -> SubmitAnswer:
        accepted = await self.try_send(**more)
        assert isinstance(accepted, SubmitAnswer), accepted
        return accepted

    async def report(self, offer: Offer, n: int, state: Any, **more: Any) -> None:
        assert self.pat is not None
        given: dict[str, Any] = {"device": "d1", "epoch": offer.epoch, "seq": offer.seq, "attempt": offer.attempt}
        answer = await self.pat.ask("Report", Report(**given, n=n, state=state, **more), answer=ReportAnswer)
        assert isinstance(answer, ReportAnswer), answer

    async def set_aside(self, offer: Offer) -> None:
        """The package is on the phone, and waits for its wearer."""
        await self.report(offer, 1, "received")
        await self.report(offer, 2, "awaiting_install", ear=EAR)

    async def install(self, offer: Offer, content: Content) -> None:
        """The wearer has tapped Install, and all goes well."""
        proof: Digest = offer.body.expect.right  # type: ignore[assignment]  # the one ear that is worn
        for n, state in enumerate(("writing", "confirmed", "committing", "active"), 3):
            source = "nvm" if state == "active" else "ram"
            await self.report(offer, n, state, ear=EAR, source=source, digest=proof)
        self.held = content

    async def deliver(self, content: Content) -> SubmitAnswer:
        """A package that the attached phone installs at once."""
        before = len(self.phone.of(Offer))
        accepted = await self.send(content=content)
        offer = await self.phone.first(Offer, before)
        await self.set_aside(offer)
        await self.install(offer, content)
        return accepted

    async def answer(self, accepted: SubmitAnswer, *, keep: bool, **more: Any) -> KeepAnswered | Failure:
        assert self.pat is not None
        said = AnswerKeep(device="d1", epoch=accepted.epoch, seq=accepted.seq, keep=keep, **more)
        return await self.pat.ask("AnswerKeep", said, answer=KeepAnswered)

    async def pass_s(self, seconds: float) -> None:
        """Time passes, and what is due then is done."""
        self.house.wall.now_s += seconds
        self.house.monotonic.now_s += seconds
        await self.house.sweep_packages()

    def pushes(self) -> int:
        return len(self.service.asked)


def quieter(ddb: int) -> Content:
    """All of ``CONTENT`` lower by so much."""
    level = (100 - ddb,) * 10
    part = msgspec.structs.replace(FLAT, g50_ddb=level, g65_ddb=level, g80_ddb=level)
    return Content(bands_hz=BANDS_HZ, programs=(Program(slot=1, name="Universal", right=part),))


async def state(here: Desk, seq: int) -> tuple[str, Any]:
    query = DeliveryQuery(device="d1", epoch=here.epoch, seq=seq)
    answer = await here.ann.ask("GetDelivery", query, answer=DeliveryAnswer)
    assert isinstance(answer, DeliveryAnswer), answer
    return answer.state, answer.code


@asynccontextmanager
async def desk(house: House, connect: Connect) -> AsyncIterator[Desk]:
    """All of them, and a phone that has attached once."""
    fitter = Told()
    ann = await connect("ann", "clinician", heard=fitter)
    async with notification_hubs(house.wall) as service:
        config = Config(push_connection_string=service.connection_string, push_hub=service.hub, push_url=service.url)
        notifier = push_notifier(
            config,
            house.parts.metrics,
            LogBook(house.log),
            clock=house.wall,
            monotonic=house.monotonic,
        )
        care = house.parts.hubs[0].hub
        assert isinstance(care, CareHub)
        care._packages._notifier = notifier
        found = Desk(house, connect, ann, fitter, service)
        await found.come()
        await found.register()
        yield found
        await notifier.close()
