"""ACS are not well: whatever they do, the visit goes on, and everybody is told what has become of the call."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

from clients.fake_acs.faults import Fault
from clients.fake_acs.service import FakeAcs
from protocol.contract.base import Failure
from protocol.contract.calls import (
    CallAnswer,
    CallBackendChanged,
    CallEnded,
    CallToken,
    IncomingCall,
    RefreshCallToken,
)
from tests.signaling.acs.scene import AcsScene, acs_scene
from tests.signaling.visit import refused
from tests.signaling.visiting import said


async def to_webrtc(scene: AcsScene, reason: str) -> None:
    """Ann's call is one over WebRTC, Pat rings, both know why, and they can write."""
    answer = await scene.started()
    assert answer.backend == "webrtc"
    await scene.told_of("webrtc", reason)
    assert (await scene.pat_told.first(IncomingCall)).call_id == answer.call_id
    assert (await scene.answered(answer.call_id)).offer_to == (0,)
    await said(scene.ann, "we talk all the same")


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (Fault("status", "identities", status=500), "away"),
        (Fault("status", "identities", status=503, retry_after_s=2), "away"),
        (Fault("status", "rooms", status=502), "away"),
        (Fault("reset", "identities"), "away"),
        (Fault("hang", "identities"), "slow"),
        (Fault("drip", "identities"), "slow"),
        (Fault("hang", "rooms"), "slow"),
        (Fault("status", "identities", status=401), "refused"),
        (Fault("status", "identities", status=403), "refused"),
        (Fault("status", "identities", status=400), "mistake"),
        (Fault("status", "*", status=429, retry_after_s=600), "throttled"),
    ],
)
async def test_the_visit_goes_on_whatever_they_do(fault: Fault, reason: str) -> None:
    # What is answered at once is not too late, however busy the machine is.
    times: dict[str, Any] = {"acs_timeout_s": 0.5, "acs_patience_s": 3.0} if reason == "slow" else {}
    async with acs_scene(**times) as scene:
        scene.acs.faults.on.append(fault)
        await to_webrtc(scene, reason)
        assert scene.house.metric("auricle_call_fallbacks_total", reason=reason) == 1


async def test_a_late_answer_is_one() -> None:
    async with acs_scene() as scene:
        scene.acs.faults.on.append(Fault("slow", delay_s=0.3, count=2))
        assert (await scene.started()).backend == "acs"


async def test_a_key_that_was_rolled_and_a_clock_that_is_off() -> None:
    acs = FakeAcs()
    async with acs_scene(acs=acs) as scene:
        scene.acs.resource.keys[:] = ["AAAA"]
        await to_webrtc(scene, "refused")
    acs = FakeAcs(clock=lambda: time.time() + 1_000)
    async with acs_scene(acs=acs) as scene:
        await to_webrtc(scene, "refused")
        assert any("too far from now" in breach for breach in acs.breaches)
        assert '"event": "acs_trouble"' in scene.house.log.getvalue()


async def test_a_clinic_that_would_rather_write(tmp_path: Path) -> None:
    plan = tmp_path / "plan.json"
    plan.write_text(json.dumps({"clinics": {"c1": {"fallBack": "chat"}}}))
    async with acs_scene(acs_clinics=str(plan)) as scene:
        scene.acs.faults.on.append(Fault("status", "rooms", status=503))
        refusal = refused(await scene.start())
        assert (refusal.code, refusal.retryable) == ("no_video", True)
        assert refusal.retry_after_ms == 5_000
        await scene.told_of("chat", "away")
        assert scene.pat_told.of(IncomingCall) == []
        await said(scene.pat, "then in writing")
        scene.acs.faults.clear()
        assert (await scene.started()).backend == "acs"


async def test_when_only_the_second_has_no_way_in_both_change() -> None:
    async with acs_scene() as scene:
        answer = await scene.started()
        scene.acs.faults.on.append(Fault("status", "identities", status=500))
        theirs = await scene.answered(answer.call_id)
        assert (theirs.backend, theirs.offer_to) == ("webrtc", (0,))
        await scene.told_of("webrtc", "away")
        assert scene.ann_told.of(CallBackendChanged)[0].call_id == answer.call_id


async def test_a_token_that_cannot_be_refreshed(tmp_path: Path) -> None:
    async with acs_scene() as scene:
        answer = await scene.started()
        await scene.answered(answer.call_id)
        scene.acs.resource.keys[:] = ["AAAA"]
        request = RefreshCallToken(visit="v1", call_id=answer.call_id)
        refusal = refused(await scene.pat.ask("RefreshCallToken", request, answer=CallToken))
        assert (refusal.code, refusal.retryable) == ("no_video", False)
        await scene.told_of("webrtc", "refused")
        assert isinstance(await scene.answer(answer.call_id), CallAnswer)
    plan = tmp_path / "plan.json"
    plan.write_text(json.dumps({"default": {"fallBack": "chat"}}))
    async with acs_scene(acs_clinics=str(plan)) as scene:
        answer = await scene.started()
        await scene.answered(answer.call_id)
        scene.acs.faults.on.append(Fault("reset", "identities"))
        again = await scene.pat.ask(
            "RefreshCallToken", RefreshCallToken(visit="v1", call_id=answer.call_id), answer=CallToken
        )
        assert isinstance(again, Failure)
        await scene.told_of("chat", "away")
        assert (await scene.ann_told.first(CallEnded)).reason == "no_video"


async def test_an_identity_that_somebody_deleted_is_made_anew() -> None:
    async with acs_scene() as scene:
        first: Any = (await scene.started()).acs
        del scene.acs.resource.identities[first.user_id]
        second: Any = (await scene.started()).acs
        assert second.user_id != first.user_id
        assert second.room_id == first.room_id


async def test_whoever_comes_while_they_are_busy_waits_for_his_turn(tmp_path: Path) -> None:
    # Nothing but calls, so that nobody else meets it.
    plan = tmp_path / "plan.json"
    plan.write_text(json.dumps({"default": {"chat": False}}))
    async with acs_scene(acs_clinics=str(plan)) as scene:
        busy = [Fault("status", "identities", status=429, retry_after_s=1, count=1) for _ in range(2)]
        scene.acs.faults.on.append(busy[0])
        answer = await scene.started()
        scene.acs.faults.on.append(busy[1])
        theirs = await scene.answered(answer.call_id)
        assert (answer.backend, theirs.backend) == ("acs", "acs")
        assert [fault.count for fault in busy] == [0, 0]
        assert scene.ann_told.of(CallBackendChanged) == []
