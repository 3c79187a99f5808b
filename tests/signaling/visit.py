"""A visit for tests: a fitter under a lease, and a scripted phone whose patient and aids do what a test says."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

import msgspec

from clients.hub_client import HubClient
from fitting.digest import ear_digest
from fitting.model import ear_image
from protocol.contract.base import Answer, Failure, Refusal
from protocol.contract.devices import AttachAnswer, Images, LeaseAnswer, Offer, Report, ReportAnswer
from protocol.contract.fitting import Content, Digests, SubmitAnswer
from protocol.contract.pushes import PUSHES
from protocol.contract.sessions import (
    ConsentAnswer,
    ConsentAsked,
    ExpectedDigests,
    ModeAnswer,
    ReportDevice,
    Save,
    SetMode,
)
from tests.eventually import eventually
from tests.signaling.care import CLAIM, RIGHT, Connect, lease

__all__ = ["Ear", "Told", "Visit", "images_of", "refused", "visit"]

T = TypeVar("T")
A = TypeVar("A", bound=Answer)
Ear = "right"


def refused(answer: object) -> Refusal:
    assert isinstance(answer, Failure), answer
    return answer.error


def images_of(content: Content, nvm: Content) -> Images:
    """What a read-back of the one aid says."""
    image = ear_image(content, "right")
    held = ear_digest(image)
    return msgspec.structs.replace(RIGHT, ram=held, nvm=ear_digest(ear_image(nvm, "right")), image=image)


@dataclass
class Told:
    """Every push to one client, by its target; ``order`` has the targets as they came."""

    heard: dict[str, list[Any]] = field(default_factory=lambda: {target: [] for target in PUSHES})
    order: list[str] = field(default_factory=list)
    consent: Callable[[ConsentAsked], object] = lambda _: ConsentAnswer(accepted=True)  # a default of a field

    def listen(self, hub: HubClient) -> None:
        for target, kind in PUSHES.items():
            if target == "ConsentAsked":
                hub.on(target, self._asked, ConsentAsked)
            else:
                hub.on(target, partial(self._hear, target), kind)

    def _hear(self, target: str, payload: object) -> None:
        self.order.append(target)
        self.heard[target].append(payload)

    def _asked(self, question: ConsentAsked) -> object:
        self.heard["ConsentAsked"].append(question)
        return self.consent(question)

    def of(self, kind: type[T]) -> list[T]:
        return list(self.heard[kind.__name__])

    async def first(self, kind: type[T], after: int = 0) -> T:
        await eventually(lambda: len(self.heard[kind.__name__]) > after)
        told: T = self.heard[kind.__name__][after]
        return told


@dataclass
class Visit:
    """Both ends, connected; the phone is attached."""

    ann: HubClient
    pat: HubClient
    fitter: Told
    phone: Told
    leased: LeaseAnswer
    epoch: str

    async def call(self, method: str, request: msgspec.Struct, answer: type[A], *, by: HubClient | None = None) -> A:
        outcome = await (by or self.ann).ask(method, request, answer=answer)
        assert isinstance(outcome, answer), outcome
        return outcome

    async def set_mode(self, mode: Any = "advanced", **more: Any) -> ModeAnswer | Failure:
        given = {"device": "d1", "mode": mode, "reason": "a visit", "fence": self.leased.fence} | more
        return await self.ann.ask("SetMode", SetMode(**given), answer=ModeAnswer)

    async def go_live(self) -> None:
        assert isinstance(await self.set_mode(), ModeAnswer)

    async def report(self, offer: Offer, n: int, state: Any, **more: Any) -> ReportAnswer | Failure:
        given = {"device": "d1", "epoch": offer.epoch, "seq": offer.seq, "attempt": offer.attempt, "n": n}
        return await self.pat.ask("Report", Report(**given, state=state, **more), answer=ReportAnswer)  # type: ignore[arg-type]  # a test names states as text

    async def confirm(self, offer: Offer, *, first: int = 1) -> None:
        """The aid holds what was offered, in RAM."""
        proof = {"ear": Ear, "source": "ram", "digest": offer.body.expect.right}
        await self.report(offer, first, "received")
        answer = await self.report(offer, first + 1, "confirmed", **proof)
        assert isinstance(answer, ReportAnswer), answer

    async def apply(self, request: msgspec.Struct) -> SubmitAnswer:
        """Submit, and have the phone carry it out."""
        before = len(self.phone.heard["Offer"])
        accepted = await self.call("Submit", request, SubmitAnswer)
        await self.confirm(await self.phone.first(Offer, before))
        return accepted

    async def save(self, digests: Digests) -> SubmitAnswer:
        """Have the aid keep what it holds, and let it."""
        before = len(self.phone.heard["Offer"])
        expect = ExpectedDigests(right=digests.right)
        request = Save(device="d1", fence=self.leased.fence, expect=expect, reason="good so", idempotency_key="save-1")
        saved = await self.call("Save", request, SubmitAnswer)
        assert await self.call("Save", request, SubmitAnswer) == saved
        offer = await self.phone.first(Offer, before)
        assert (offer.kind, offer.body.expect) == ("persist", digests)
        for n, state in enumerate(("received", "confirmed", "committing", "active"), 1):
            source = "nvm" if state == "active" else "ram"
            more = {} if state == "received" else {"ear": Ear, "source": source, "digest": digests.right}
            assert isinstance(await self.report(offer, n, state, **more), ReportAnswer)
        return saved

    async def tell(self, cause: Any, held: Content, nvm: Content, **more: Any) -> None:
        told = ReportDevice(device="d1", cause=cause, right=images_of(held, nvm), **more)
        answer = await self.pat.ask("ReportDevice", told, answer=Answer)
        assert isinstance(answer, Answer), answer


async def visit(connect: Connect, *, live: bool = True) -> Visit:
    """A fitter with a lease and a phone that is attached; ``live``: the patient has agreed already."""
    fitter, phone = Told(), Told()
    ann = await connect("ann", "clinician", heard=fitter)
    pat = await connect("pat", "patient", "device", heard=phone)
    attached = await pat.ask("AttachDevice", CLAIM, answer=AttachAnswer)
    assert isinstance(attached, AttachAnswer)
    found = Visit(ann, pat, fitter, phone, await lease(ann), attached.epoch)
    if live:
        await found.go_live()
    return found
