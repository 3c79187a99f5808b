"""A call that waits for its turn with ACS holds up nothing else, and whoever waits for it may hang up."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from clients.fake_acs.faults import Fault
from clients.hub_client import HubClient
from protocol.contract.base import Failure
from protocol.contract.calls import (
    CallAnswer,
    CallBackendChanged,
    CallToken,
    EndCall,
    IncomingCall,
    RefreshCallToken,
)
from protocol.contract.devices import AttachAnswer, Offer
from protocol.contract.fitting import SubmitAnswer
from protocol.contract.sessions import Done, Heartbeat, Relayed, Revert
from tests.eventually import eventually
from tests.signaling.acs.scene import AcsScene, acs_scene
from tests.signaling.acs.test_acs_calls import end
from tests.signaling.care import CLAIM, change, live, submit
from tests.signaling.pods import connected
from tests.signaling.visit import Told, refused
from tests.signaling.visiting import said

BUSY = Fault("status", "identities", status=429, retry_after_s=300)


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[AcsScene]:
    """Of people who are more patient than any test. Nothing but calls goes over ACS: nobody else waits for tokens."""
    plan = tmp_path / "plan.json"
    plan.write_text('{"default": {"chat": false}}')
    async with acs_scene(acs_patience_s=3_600.0, call_grace_s=0.2, acs_clinics=str(plan)) as found:
        yield found


async def waiting(scene: AcsScene, asked: Any, many: int = 1) -> "asyncio.Task[CallAnswer | Failure]":
    """Somebody asks, and waits until ACS want to be asked again."""
    task: asyncio.Task[CallAnswer | Failure] = asyncio.ensure_future(asked)
    await eventually(lambda: queue_of(scene) == many)
    assert not task.done()
    return task


def queue_of(scene: AcsScene) -> int:
    """How many wait for their turn."""
    backends = scene.house.parts.hubs[0].hub._calls.backends  # type: ignore[attr-defined]  # the care hub's
    waiting: int = backends._acs.parts.service._gates.tokens._waiting
    return waiting


async def throttled(scene: AcsScene) -> None:
    """ACS have asked to be left alone for five minutes, which is longer than a test lasts."""
    scene.acs.faults.on.append(BUSY)


async def begun(scene: AcsScene) -> "asyncio.Task[CallAnswer | Failure]":
    await throttled(scene)
    return await waiting(scene, scene.start())


async def test_other_calls_of_the_connection_go_on(scene: AcsScene) -> None:
    phone_told = Told()
    async with connected(scene.house, "pat", "patient", "device", heard=phone_told) as phone:
        assert isinstance(await phone.ask("AttachDevice", CLAIM, answer=AttachAnswer), AttachAnswer)
        leased = await live(scene.ann)
        task = await begun(scene)
        assert isinstance(await submit(scene.ann, change(leased)), SubmitAnswer)
        await phone_told.first(Offer)
        assert isinstance(await scene.ann.ask("Heartbeat", Heartbeat(), answer=Done), Done)
        await said(scene.ann, "a moment, please")
        stop = Revert(device="d1")
        assert isinstance(await scene.ann.ask("Stop", stop, answer=Relayed), Relayed)
        assert not task.done()
        assert isinstance(await scene.ann.ask("EndCall", EndCall(visit="v1"), answer=Done), Done)
        await task


async def nobody_was_rung(scene: AcsScene) -> None:
    await eventually(lambda: queue_of(scene) == 0)
    await said(scene.pat, "is anybody there?")
    assert not scene.pat_told.of(IncomingCall)
    assert not scene.pat_told.of(CallBackendChanged)


async def test_who_hangs_up_before_it_has_begun_rings_nobody(scene: AcsScene) -> None:
    task = await begun(scene)
    assert isinstance(await scene.ann.ask("EndCall", EndCall(visit="v1"), answer=Done), Done)
    assert refused(await task).code == "no_call"
    await nobody_was_rung(scene)
    # There is nothing more to give up.
    assert refused(await scene.ann.ask("EndCall", EndCall(visit="v1"), answer=Done)).code == "no_call"


async def test_who_is_gone_rings_nobody(scene: AcsScene) -> None:
    task = await begun(scene)
    await scene.ann.stop()
    await asyncio.gather(task, return_exceptions=True)
    await nobody_was_rung(scene)


async def test_a_visit_that_is_over_ends_the_wait(scene: AcsScene) -> None:
    task = await begun(scene)
    await end(scene)
    assert refused(await task).code == "no_call"
    await eventually(lambda: queue_of(scene) == 0)


async def test_who_asks_again_waits_once(scene: AcsScene) -> None:
    first = await begun(scene)
    second = asyncio.ensure_future(scene.start())
    assert refused(await first).code == "no_call"
    await eventually(lambda: queue_of(scene) == 1)
    assert isinstance(await scene.ann.ask("EndCall", EndCall(visit="v1"), answer=Done), Done)
    assert refused(await second).code == "no_call"


async def ended_by(scene: AcsScene, who: HubClient, call_id: str, *, for_all: bool = False) -> None:
    request = EndCall(visit="v1", call_id=call_id, for_all=for_all)
    assert isinstance(await who.ask("EndCall", request, answer=Done), Done)


async def test_who_answers_may_hang_up_or_be_hung_up_on(scene: AcsScene) -> None:
    for who in (scene.pat, scene.ann):
        call_id = (await scene.started()).call_id
        await throttled(scene)
        task = await waiting(scene, scene.answer(call_id))
        await ended_by(scene, who, call_id, for_all=who is scene.ann)
        assert refused(await task).code == "no_call"
        await eventually(lambda: queue_of(scene) == 0)
        released(scene)


def released(scene: AcsScene) -> None:
    """ACS are well again, and nobody remembers what they have asked for."""
    scene.acs.faults.clear()
    gates = scene.house.parts.hubs[0].hub._calls.backends._acs.parts.service._gates  # type: ignore[attr-defined]  # the care hub's
    gates.tokens._slots.held_until_s = gates.tokens._slots.paced_until_s = 0.0
    gates.tokens._slots._given.clear()


async def test_a_token_that_is_refreshed_holds_up_nothing(scene: AcsScene) -> None:
    call_id = (await scene.started()).call_id
    await throttled(scene)
    request = RefreshCallToken(visit="v1", call_id=call_id)
    task = await waiting(scene, scene.ann.ask("RefreshCallToken", request, answer=CallToken))
    await said(scene.ann, "still here")
    assert not task.done()
    await ended_by(scene, scene.ann, call_id)
    assert refused(await task).code == "no_call"
