"""A visit's call over ACS: who gets what, with which scopes, and what becomes of it at the end."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from msgspec import UNSET

from clients.hub_errors import HubCallError
from media.visit import Participant
from protocol.contract.calls import (
    AcsJoin,
    CallAnswer,
    CallBackendChanged,
    CallEnded,
    CallToken,
    FallBackCall,
    IncomingCall,
    RefreshCallToken,
)
from tests.eventually import eventually
from tests.signaling.acs.scene import AcsScene, acs_scene, claims_of
from tests.signaling.pods import connected
from tests.signaling.visit import refused


@pytest.fixture
async def scene() -> AsyncIterator[AcsScene]:
    async with acs_scene() as found:
        yield found


def join_of(answer: CallAnswer) -> AcsJoin:
    assert answer.backend == "acs"
    assert isinstance(answer.acs, AcsJoin)
    return answer.acs


async def test_both_get_what_they_need_to_join(scene: AcsScene) -> None:
    answer = await scene.started()
    mine = join_of(answer)
    assert (answer.offer_to, answer.ice_servers) == ((), ())
    assert mine.display_name == "Professional"
    assert mine.endpoint == scene.acs.url
    assert mine.group_id is UNSET
    incoming = await scene.pat_told.first(IncomingCall)
    theirs = join_of(await scene.answered(incoming.call_id))
    assert theirs.room_id == mine.room_id
    assert theirs.user_id != mine.user_id
    [room] = scene.acs.resource.rooms.values()
    assert room.participants == {mine.user_id: "Presenter", theirs.user_id: "Attendee"}
    for join in (mine, theirs):
        claims = claims_of(join.token)
        assert claims["acsScope"] == "voip.join,chat.join.limited"
        assert claims["exp"] - claims["iat"] == 3_600
    assert mine.token not in repr(answer)


async def test_a_person_keeps_his_identity(scene: AcsScene) -> None:
    first = join_of(await scene.started())
    again = join_of(await scene.started())
    assert first.user_id == again.user_id
    # One of each, and the one that writes in the threads.
    await scene.answered((await scene.started()).call_id)
    await eventually(lambda: len(scene.acs.resource.identities) == 3)


async def test_a_call_that_was_begun_over_webrtc_stays_there(scene: AcsScene) -> None:
    answer = await scene.started(backend="webrtc")
    assert (answer.backend, answer.acs) == ("webrtc", UNSET)
    other = await scene.answered(answer.call_id)
    assert (other.backend, other.acs) == ("webrtc", UNSET)


async def test_at_the_end_everything_is_closed(scene: AcsScene) -> None:
    mine = join_of(await scene.started())
    await scene.answered((await scene.started()).call_id)
    await eventually(lambda: scene.acs.resource.threads)
    await end(scene)
    await eventually(lambda: not scene.acs.resource.rooms)
    resource = scene.acs.resource
    await eventually(lambda: all(thread.deleted for thread in resource.threads.values()))
    await eventually(lambda: resource.identities[mine.user_id].revoked_at_s)
    # The identity itself is kept for the next visit.
    assert len(resource.identities) == 3
    assert (await scene.pat_told.first(CallEnded)).reason == "visit_ended"


async def end(scene: AcsScene) -> None:
    body, headers = {"reason": "done"}, scene.house.bearer("ann")
    async with scene.house.http.put(f"{scene.house.url}/api/v1/visits/v1/end", json=body, headers=headers) as answer:
        assert answer.status == 200


async def test_a_token_is_refreshed_through_the_hub(scene: AcsScene) -> None:
    answer = await scene.started()
    refreshed = await scene.ann.ask(
        "RefreshCallToken", RefreshCallToken(visit="v1", call_id=answer.call_id), answer=CallToken
    )
    assert isinstance(refreshed, CallToken)
    assert (refreshed.acs.user_id, refreshed.acs.room_id) == (join_of(answer).user_id, join_of(answer).room_id)
    other = await scene.pat.ask(
        "RefreshCallToken", RefreshCallToken(visit="v1", call_id=answer.call_id), answer=CallToken
    )
    assert refused(other).code == "no_call", "he does not take part yet"


async def test_a_group_call_for_a_clinic_without_rooms(tmp_path: Path) -> None:
    plan = tmp_path / "plan.json"
    plan.write_text(json.dumps({"clinics": {"c1": {"rooms": False, "chat": False}}}))
    async with acs_scene(Participant("p3", "trainee", user="tess"), acs_clinics=str(plan)) as scene:
        mine = join_of(await scene.started())
        theirs = join_of(await scene.answered((await scene.started()).call_id))
        assert (mine.room_id, mine.thread_id) == (UNSET, UNSET)
        assert mine.group_id == theirs.group_id
        # Whoever may start a call may begin the group.
        assert claims_of(theirs.token)["acsScope"] == "voip"
        assert not scene.acs.resource.rooms


@pytest.mark.parametrize("plan", [{"clinics": {"c2": {}}}, {"default": {"calls": False}}])
async def test_a_clinic_that_does_without(tmp_path: Path, plan: Any) -> None:
    path = tmp_path / "plan.json"
    path.write_text(json.dumps(plan))
    async with acs_scene(acs_clinics=str(path)) as scene:
        assert (await scene.started()).backend == "webrtc"
        assert refused(await scene.start(backend="acs")).code == "backend_off"


async def test_who_hears_nothing_has_the_call_go_on_without_acs(scene: AcsScene) -> None:
    answer = await scene.started()
    await scene.answered(answer.call_id)
    request = FallBackCall(visit="v1", call_id=answer.call_id)
    mine = await scene.pat.ask("FallBackCall", request, answer=CallAnswer)
    assert isinstance(mine, CallAnswer)
    assert (mine.backend, mine.acs, mine.offer_to) == ("webrtc", UNSET, (0,))
    await scene.told_of("webrtc", "media_lost")
    # Ann, who has heard of it, asks for what the new way needs; and nobody is told twice.
    theirs = await scene.answer(answer.call_id, scene.ann)
    assert isinstance(theirs, CallAnswer)
    assert (theirs.backend, theirs.offer_to, theirs.call_id) == ("webrtc", (1,), answer.call_id)
    await scene.pat.ask("FallBackCall", request, answer=CallAnswer)
    assert len(scene.ann_told.of(CallBackendChanged)) == 1


async def test_who_takes_no_part_changes_nothing(scene: AcsScene) -> None:
    answer = await scene.started()
    request = FallBackCall(visit="v1", call_id=answer.call_id)
    assert refused(await scene.pat.ask("FallBackCall", request, answer=CallAnswer)).code == "no_call"


async def test_consent_that_is_taken_back_ends_it_there(scene: AcsScene) -> None:
    mine = join_of(await scene.started())
    await scene.answered((await scene.started()).call_id)
    await consent(scene, granted=False)
    await scene.told_of("chat", "consent_withdrawn")
    assert (await scene.ann_told.first(CallEnded)).reason == "no_video"
    resource = scene.acs.resource
    await eventually(lambda: not resource.rooms and resource.identities[mine.user_id].revoked_at_s)
    assert refused(await scene.start()).code == "consent_withdrawn"
    await consent(scene, granted=True)
    assert join_of(await scene.started()).room_id != mine.room_id


async def consent(scene: AcsScene, *, granted: bool) -> None:
    url = f"{scene.house.url}/api/v1/patients/pat/consents/video"
    headers = scene.house.bearer("pat", "patient")
    async with scene.house.http.put(url, json={"granted": granted}, headers=headers) as answer:
        assert answer.status == 200


async def test_who_is_sent_away_is_in_no_room() -> None:
    tess = Participant("p3", "caregiver", user="tess", admission="admitted")
    async with acs_scene(tess) as scene, connected(scene.house, "tess", "representative") as client:
        answer = await scene.start(client)
        assert isinstance(answer, CallAnswer), answer
        join = join_of(answer)
        url = f"{scene.house.url}/api/v1/visits/v1/participants/p3"
        async with scene.house.http.delete(url, headers=scene.house.bearer("ann")) as sent:
            assert sent.status < 300, await sent.text()
        [room] = scene.acs.resource.rooms.values()
        await eventually(lambda: not room.participants)
        await eventually(lambda: scene.acs.resource.identities[join.user_id].revoked_at_s)


async def test_what_acs_keep_is_erased_on_request(scene: AcsScene) -> None:
    his = join_of(await scene.answered((await scene.started()).call_id)).user_id
    url = f"{scene.house.url}/api/v1/patients/pat/acs-identity"

    async def erase(*who: str) -> tuple[int, Any]:
        async with scene.house.http.delete(url, headers=scene.house.bearer(*who)) as answer:
            return answer.status, await answer.json()

    assert (await erase("nia", "patient"))[0] == 404
    assert his in scene.acs.resource.identities
    assert await erase("pat", "patient") == (200, {"ok": True})
    # Others come meanwhile: that of who writes in the thread, and a new one of his as long as he is in the visit.
    assert his not in scene.acs.resource.identities
    assert (await erase("ann", "clinician"))[0] == 404


async def test_whoever_may_not_start_a_call_costs_acs_nothing(scene: AcsScene) -> None:
    await eventually(lambda: scene.acs.resource.threads)
    async with connected(scene.house, "bob", "clinician") as client:
        with pytest.raises(HubCallError):
            await scene.start(client)
    assert not [one for one in scene.acs.asked if one.startswith("POST rooms")]
