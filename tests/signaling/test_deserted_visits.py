"""Pods that die leave nobody behind who looks present: others take him out, and everybody hears of it."""

import time
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest

from media.visit import Participant
from protocol.contract.calls import AnswerCall, CallAnswer, CallChanged, CallEnded, StartCall
from protocol.contract.visits import (
    AdmitToVisit,
    Invited,
    JoinVisit,
    JoinVisitAnswer,
    ParticipantChanged,
    VisitChanged,
    VisitRole,
)
from signaling.flows.deserted import DesertedVisits
from tests.eventually import eventually, eventually_asked
from tests.media.visits import visit_of
from tests.postgres import PostgresServer
from tests.redis_server import PROGRAMS
from tests.signaling.care import Connect
from tests.signaling.conftest import House, OpenHouse
from tests.signaling.pods import is_connected
from tests.signaling.test_pods_processes import BODY, Fleet, fleet, token
from tests.signaling.visit import Told
from tests.signaling.visiting import apart, flow_of, let_in, live, scheduled

# Soon, and yet not so soon that a busy machine is taken for a dead one.
TIMES = {
    "AURICLE_POD_BEAT_S": "0.5",
    "AURICLE_POD_GONE_S": "3",
    "AURICLE_CALL_RETURN_S": "10",
    "AURICLE_SWEEP_S": "0.2",
    "AURICLE_TABLE_ANSWER_S": "2",
}


def deserted_of(house: House) -> DesertedVisits:
    """Who looks for dead pods is whom the rooms ask about forgotten seats."""
    forgotten = flow_of(house).rooms.on_forgotten
    found = getattr(forgotten, "__self__", None)
    assert isinstance(found, DesertedVisits)
    return found


async def look(house: House) -> None:
    """Long enough after it has begun."""
    house.monotonic.now_s += 10
    await deserted_of(house).sweep()


def ghost(participant: str, role: VisitRole, *, waiting: bool = False, user: str = "", name: str = "") -> Participant:
    """Somebody who was there over a pod that has died, and over nothing else."""
    return Participant(
        participant,
        role,
        user,
        name,
        admission="waiting" if waiting else "admitted",
        connections=(f"{participant}-c",),
        pods={f"{participant}-c": "a-dead-pod"},
    )


async def there(house: House, visit: str = "v1") -> dict[str, tuple[str, ...]]:
    found = await flow_of(house).visits.get(visit)
    assert found is not None
    return {one.participant: one.connections for one in found.participants}


async def test_who_was_there_over_a_dead_pod_is_taken_out_and_the_others_are_told(
    house: House, connect: Connect
) -> None:
    scene = await live(house, connect)
    before = await flow_of(house).visits.get("v1")
    assert before is not None
    kim, tess = ghost("p4", "interpreter", name="Kim"), ghost("p5", "trainee", name="Tess", waiting=True)
    crowd = replace(before, version=before.version + 1, participants=(*before.participants, kim, tess))
    assert await flow_of(house).visits.change(crowd) == "changed"
    await deserted_of(house).sweep()
    assert (await there(house))["p4"] == ("p4-c",), "a pod that has just begun waits"
    await look(house)
    found = await there(house)
    assert (found["p4"], found["p5"]) == ((), ())
    assert len(found["p1"]) == len(found["p2"]) == 1, "who is here is here"
    after = await flow_of(house).visits.get("v1")
    assert after is not None
    assert [one.admission for one in after.participants] == ["admitted", "admitted", "admitted", "invited"]
    assert after.participants[2].pods == {}

    def gone() -> set[str]:
        changes = scene.pat_told.of(ParticipantChanged)
        return {one.participant.participant for one in changes if not one.participant.present}

    await eventually(lambda: gone() >= {"p4", "p5"})
    version = after.version
    await look(house)
    after = await flow_of(house).visits.get("v1")
    assert after is not None
    assert after.version == version, "once"


async def test_a_visit_in_which_nobody_waits_any_more_is_scheduled_again(house: House, connect: Connect) -> None:
    told = Told()
    await connect("ann", "clinician", heard=told)
    visit = visit_of(state="waiting", version=1)
    waiting = ghost("p2", "patient", user="pat", waiting=True)
    assert await flow_of(house).visits.create(replace(visit, participants=(visit.participants[0], waiting)))
    await look(house)
    found = await flow_of(house).visits.get("v1")
    assert found is not None
    assert (found.state, found.participants[1].admission) == ("scheduled", "invited")
    assert (await told.first(VisitChanged)).state == "scheduled"


async def test_a_connection_of_which_no_pod_is_known_is_left_alone(house: House) -> None:
    kim = Participant("p4", "interpreter", name="Kim", admission="admitted", connections=("k",))
    await scheduled(house, kim)
    await look(house)
    assert (await there(house))["p4"] == ("k",)


async def test_many_visits_are_looked_through_piece_by_piece(open_house: OpenHouse) -> None:
    house = await open_house(max_due_visits=2)
    for number in range(5):
        kim = ghost("p4", "interpreter", name="Kim")
        assert await flow_of(house).visits.create(replace(visit_of(kim), visit=f"v{number}", device=f"d{number}"))
    later = visit_of(ghost("p4", "interpreter", name="Kim"), visit="later", starts_at_s=visit_of().starts_at_s + 9_000)
    assert await flow_of(house).visits.create(later)
    house.monotonic.now_s += 10
    for left in (3, 1, 0, 0):
        await deserted_of(house).sweep()
        assert [bool((await there(house, f"v{n}"))["p4"]) for n in range(5)].count(True) == left
    assert (await there(house, "later"))["p4"] == ("p4-c",), "nobody can be there yet"
    assert house.metric("auricle_bound_reached_total", bound="max_due_visits") == 2


async def test_a_pod_that_was_taken_for_dead_says_again_who_is_there(postgres: PostgresServer) -> None:
    told = Told()
    async with apart(postgres, told) as (bus, east, west, ann, pat):
        # Pat waits on the pod in the west, which the one in the east takes for dead.
        directory = deserted_of(east)._directory
        known = directory.pods
        directory.pods = lambda: (directory.pod,)  # type: ignore[method-assign]  # what it believes is the test's
        await eventually(lambda: directory.has_looked)
        await look(east)
        directory.pods = known  # type: ignore[method-assign]  # ditto
        await eventually_asked(lambda: is_back(east))
        await let_in(ann, told)
        assert is_connected(west)
        await pat.ask("JoinVisit", JoinVisit(visit="v1"), answer=JoinVisitAnswer)
        await eventually(lambda: told.heard["ParticipantChanged"][-1].participant.admission == "admitted")
        assert bus.url


async def is_back(house: House) -> bool:
    visit = await flow_of(house).visits.get("v1")
    assert visit is not None
    # He was taken out and has come again: from 2, when both had come, by two changes more.
    return visit.participants[1].admission == "waiting" and visit.version >= 5


# Two pods die one after the other, and each death takes a while to be believed.
@pytest.mark.timeout(180)
async def test_a_pod_that_is_killed_leaves_nobody_in_visits_and_calls(postgres: PostgresServer, tmp_path: Path) -> None:
    async with fleet(postgres, tmp_path, next(iter(PROGRAMS)), TIMES) as pods:
        visit = await scheduled_now(pods)
        ann_told = Told()
        ann = await pods.client(0, "ann", "clinician", heard=ann_told)
        pat = await pods.client(1, "pat", "patient")
        for one in (ann, pat):
            came = await one.ask("JoinVisit", JoinVisit(visit=visit), answer=JoinVisitAnswer)
            assert isinstance(came, JoinVisitAnswer), came
            wearer = came.participant
        admit = AdmitToVisit(visit=visit, participant=wearer)
        assert isinstance(await ann.ask("AdmitToVisit", admit, answer=Invited), Invited)
        call = await ann.ask("StartCall", StartCall(visit=visit, media="audio"), answer=CallAnswer)
        assert isinstance(call, CallAnswer)
        take = AnswerCall(visit=visit, call_id=call.call_id)
        assert isinstance(await pat.ask("AnswerCall", take, answer=CallAnswer), CallAnswer)

        async def killed(number: int) -> None:
            before = len(ann_told.of(CallChanged))
            pods.pods[number].process.kill()
            await pods.pods[number].process.wait()
            await eventually(lambda: any(one.peers[1].state == "lost" for one in ann_told.of(CallChanged)[before:]))

        def is_present() -> bool:
            told = [one.participant for one in ann_told.of(ParticipantChanged)]
            return bool([one.present for one in told if one.participant == wearer][-1])

        await killed(1)
        # In time, over another pod.
        back = await pods.client(2, "pat", "patient")
        assert isinstance(await back.ask("AnswerCall", take, answer=CallAnswer), CallAnswer)
        await eventually(lambda: not is_present())
        assert ann_told.of(CallEnded) == []
        await back.ask("JoinVisit", JoinVisit(visit=visit), answer=JoinVisitAnswer)
        await eventually(is_present)
        await killed(2)
        await eventually(lambda: ann_told.of(CallEnded))
        assert ann_told.of(CallEnded)[0].reason == "gone"
        await eventually(lambda: not is_present())


async def scheduled_now(pods: Fleet) -> str:
    """A visit that begins in this minute."""
    headers = {"Authorization": f"Bearer {token('ann', 'clinician')}"}
    starts = time.strftime("%Y-%m-%dT%H:%M", time.gmtime())
    body = {"startsLocal": starts, "zone": "Etc/UTC", "durationMin": 30}
    async with aiohttp.ClientSession(headers=headers) as http:
        url = f"{pods.pods[0].url}/api/v1/devices"
        async with http.post(url, json=BODY) as made:
            assert made.status == 201, await made.text()
        async with http.post(f"{url}/d1/visits", json=body) as made:
            assert made.status == 201, await made.text()
            return str((await made.json())["visit"])
