"""A scripted phone and fitter for the care hub: they say exactly what a test wants."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from clients.hub_client import HubClient
from fitting.digest import ear_digest
from fitting.model import ear_image
from protocol.contract.base import Failure
from protocol.contract.devices import (
    AcquireLease,
    AttachDevice,
    DeliveryChanged,
    Images,
    InAidChanged,
    LeaseAnswer,
    Offer,
    Report,
    ReportAnswer,
    Settled,
)
from protocol.contract.fitting import (
    BAND_PATHS,
    Base,
    Content,
    EarProgram,
    Patch,
    PatchOp,
    Program,
    Submit,
    SubmitAnswer,
)
from protocol.contract.sessions import ConsentAnswer, ConsentAsked, ModeAnswer, SetMode

BANDS_HZ = (250, 500, 750, 1000, 1500, 2000, 3000, 4000, 6000, 8000)
FLAT = EarProgram(g50_ddb=(100,) * 10, g65_ddb=(100,) * 10, g80_ddb=(100,) * 10, mpo_ddb=(1_000,) * 10)
CONTENT = Content(bands_hz=BANDS_HZ, programs=(Program(slot=1, name="Universal", right=FLAT),))
IMAGE = ear_image(CONTENT, "right")
DIGEST = ear_digest(IMAGE)
RIGHT = Images(serial="R-1", firmware="2.3.1", ram=DIGEST, nvm=DIGEST, image=IMAGE)
CLAIM = AttachDevice(device="d1", epoch="", last_terminal=0, fence_max=0, right=RIGHT)

Connect = Callable[..., Awaitable[HubClient]]


@dataclass
class Heard:
    """Everything that was pushed to one client."""

    offers: list[Offer] = field(default_factory=list)
    settled: list[Settled] = field(default_factory=list)
    deliveries: list[DeliveryChanged] = field(default_factory=list)
    in_aid: list[InAidChanged] = field(default_factory=list)

    def listen(self, hub: HubClient) -> None:
        for target, kind, into in (
            ("Offer", Offer, self.offers),
            ("Settled", Settled, self.settled),
            ("DeliveryChanged", DeliveryChanged, self.deliveries),
            ("InAidChanged", InAidChanged, self.in_aid),
        ):
            hub.on(target, appender(into), kind)
        hub.on("ConsentAsked", agree, ConsentAsked)


async def agree(_: ConsentAsked) -> ConsentAnswer:
    """The patient says yes."""
    return ConsentAnswer(accepted=True)


def appender(into: list[Any]) -> Callable[[Any], Awaitable[None]]:
    async def append(payload: Any) -> None:
        into.append(payload)

    return append


async def lease(fitter: HubClient, session: str = "s1") -> LeaseAnswer:
    answer = await fitter.ask("AcquireLease", AcquireLease(device="d1", session=session), answer=LeaseAnswer)
    assert isinstance(answer, LeaseAnswer), answer
    return answer


async def live(fitter: HubClient, session: str = "s1") -> LeaseAnswer:
    """A lease under which live work has begun: the phone is attached and its patient agrees."""
    leased = await lease(fitter, session)
    request = SetMode(device="d1", mode="advanced", reason="a visit", fence=leased.fence)
    answer = await fitter.ask("SetMode", request, answer=ModeAnswer)
    assert isinstance(answer, ModeAnswer), answer
    assert (answer.mode, answer.state) == ("advanced", "live")
    return leased


def change(leased: LeaseAnswer, *ops: PatchOp, key: str = "k1", **options: Any) -> Submit:
    assert isinstance(leased.head, msgspec.Struct)
    given: dict[str, Any] = {
        "device": "d1",
        "kind": "volatile",
        "mode": "advanced",
        "base": Base(revision=leased.head.revision),
        "reason": "a little louder",
        "idempotency_key": key,
        "fence": leased.fence,
        "patch": Patch(slot=1, ops=ops or louder(20)),
    }
    return Submit(**(given | options))


def louder(ddb: int, band: int = 3) -> tuple[PatchOp, ...]:
    """All three gains of a band together."""
    return tuple(PatchOp(op="add", ear="right", path=path, band=band, value=ddb) for path in BAND_PATHS[:3])


async def submit(fitter: HubClient, request: Submit) -> SubmitAnswer | Failure:
    return await fitter.ask("Submit", request, answer=SubmitAnswer)


def report(offer: Offer, n: int, state: str, **options: Any) -> Report:
    given = {"device": "d1", "epoch": offer.epoch, "seq": offer.seq, "attempt": offer.attempt, "n": n}
    return Report(**given, state=state, **options)  # type: ignore[arg-type]  # the test names states as text


async def apply(phone: HubClient, offer: Offer) -> None:
    """Say what a phone says when all goes well."""
    assert isinstance(offer.body.expect.right, str)
    steps: list[dict[str, Any]] = [
        {"state": "received"},
        {"state": "writing", "ear": "right"},
        {"state": "confirmed", "ear": "right", "source": "ram", "digest": offer.body.expect.right},
    ]
    for n, step in enumerate(steps, 1):
        answer = await phone.ask("Report", report(offer, n, **step), answer=ReportAnswer)
        assert isinstance(answer, ReportAnswer), answer
