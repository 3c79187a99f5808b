"""A live visit of a clinic whose calls and chat go over ACS, with the stand-in for them beside it."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import jwt

from clients.fake_acs.service import FakeAcs, fake_acs
from clients.hub_client import HubClient
from media.visit import Participant
from protocol.contract.base import Failure
from protocol.contract.calls import AnswerCall, CallAnswer, CallBackendChanged, StartCall
from protocol.contract.visits import Invited, JoinVisitAnswer
from signaling.config import MEMORY, Config
from tests.eventually import eventually
from tests.signaling.conftest import Clock, House, running_house
from tests.signaling.pods import connected
from tests.signaling.rest.desk import register
from tests.signaling.visit import Told
from tests.signaling.visiting import admitted, join, scheduled

__all__ = ["AcsScene", "Real", "acs_config", "acs_scene", "claims_of", "live_in"]


class Real(Clock):
    """A clock that goes by itself, as that of a service in the world does."""

    def __init__(self, real: Callable[[], float]) -> None:
        self._real = real

    def __call__(self) -> float:
        return self._real()

    @property
    def now_s(self) -> float:  # type: ignore[override]  # nobody sets this one
        return self._real()


@dataclass
class AcsScene:
    """Ann and Pat in a live visit; ``told``: what each has heard."""

    acs: FakeAcs
    house: House
    ann: HubClient
    pat: HubClient
    ann_told: Told
    pat_told: Told

    async def start(self, who: HubClient | None = None, **options: Any) -> CallAnswer | Failure:
        request = StartCall(visit="v1", media="video", **options)
        return await (who or self.ann).ask("StartCall", request, answer=CallAnswer)

    async def started(self, **options: Any) -> CallAnswer:
        answer = await self.start(**options)
        assert isinstance(answer, CallAnswer), answer
        return answer

    async def answer(self, call_id: str, who: HubClient | None = None) -> CallAnswer | Failure:
        request = AnswerCall(visit="v1", call_id=call_id)
        return await (who or self.pat).ask("AnswerCall", request, answer=CallAnswer)

    async def answered(self, call_id: str) -> CallAnswer:
        answer = await self.answer(call_id)
        assert isinstance(answer, CallAnswer), answer
        return answer

    async def told_of(self, backend: str, reason: str) -> None:
        """Both hear what has become of the call."""
        for told in (self.ann_told, self.pat_told):
            found = await told.first(CallBackendChanged)
            assert (found.visit, found.backend, found.reason) == ("v1", backend, reason)

    def metric(self, kind: str, outcome: str) -> float:
        return self.house.metric("auricle_acs_requests_total", kind=kind, outcome=outcome)


def claims_of(token: str) -> dict[str, Any]:
    claims: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    return claims


def acs_config(acs: FakeAcs, **changes: Any) -> Config:
    """Waits are short: trouble is waited for in tests."""
    config = Config(
        dev=True,
        conformance=True,
        sweep_s=0.05,
        database_url=MEMORY,
        acs_connection_string=acs.connection_string,
        acs_ca=str(acs.ca),
        acs_poll_s=0.1,
        acs_timeout_s=5.0,
    )
    return replace(config, **changes)


async def live_in(house: House, ann: HubClient, pat: HubClient, told: Told, *others: Participant) -> None:
    """The visit ``v1``, now, in which Pat was let in."""
    now_s = time.time()
    await scheduled(house, *others, starts_at_s=now_s, ends_at_s=now_s + 1_800)
    for one in (ann, pat):
        assert isinstance(await join(one), JoinVisitAnswer)
    assert isinstance(await admitted(ann, "p2"), Invited)
    await eventually(lambda: told.heard["ParticipantChanged"])


@asynccontextmanager
async def acs_scene(
    *others: Participant,
    acs: FakeAcs | None = None,
    settings: Callable[[FakeAcs], dict[str, Any]] = lambda _: {},
    **changes: Any,
) -> AsyncIterator[AcsScene]:
    """``changes``: of the configuration; ``settings``: those that the stand-in must run for."""
    async with AsyncExitStack() as stack:
        service = await stack.enter_async_context(fake_acs(acs))
        clocks = (Real(time.time), Real(time.monotonic))
        config = acs_config(service, **settings(service), **changes)
        house = await stack.enter_async_context(running_house(config, None, clocks=clocks))
        await register(house)
        ann_told, pat_told = Told(), Told()
        ann = await stack.enter_async_context(connected(house, "ann", "clinician", heard=ann_told))
        pat = await stack.enter_async_context(connected(house, "pat", "patient", heard=pat_told))
        await live_in(house, ann, pat, pat_told, *others)
        yield AcsScene(service, house, ann, pat, ann_told, pat_told)
