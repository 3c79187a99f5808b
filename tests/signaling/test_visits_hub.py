"""Visits over the hub: the waiting room, who is let in, who goes, and who may make the aids quiet meanwhile."""

import pytest

from clients.hub_errors import HubCallError
from media.visit import Participant, Visit
from media.visit_steps import admit
from protocol.contract.base import Failure
from protocol.contract.sessions import Relayed, Revert
from protocol.contract.visits import AdmitToVisit, Departed, Invited, JoinVisitAnswer, LeaveVisit
from signaling.stores.visits import Changed
from tests.eventually import eventually
from tests.media.visits import NOON_S, TIMES
from tests.signaling.care import Connect
from tests.signaling.conftest import House
from tests.signaling.visit import Told, refused
from tests.signaling.visiting import KIM, MIA, admitted, flow_of, guest_of, join, live, scheduled


async def test_a_patient_waits_until_the_professional_lets_him_in(house: House, connect: Connect) -> None:
    await scheduled(house, MIA)
    told = Told()
    ann = await connect("ann", "clinician", heard=told)
    hers = await join(ann)
    assert isinstance(hers, JoinVisitAnswer)
    assert (hers.admitted, hers.role, hers.mode, hers.visit.state) == (True, "professional", "standard", "scheduled")
    assert [one.participant for one in hers.visit.participants] == ["p1", "p2", "p3"]
    pats = Told()
    pat = await connect("pat", "patient", heard=pats)
    his = await join(pat)
    assert isinstance(his, JoinVisitAnswer)
    assert (his.admitted, his.role, his.visit.state) == (False, "patient", "waiting")
    assert [one.participant for one in his.visit.participants] == ["p2"], "who waits does not learn who else is there"
    await eventually(lambda: told.heard["ParticipantChanged"] and told.heard["VisitChanged"])
    assert told.heard["ParticipantChanged"][-1].participant.admission == "waiting"
    assert not pats.heard["ParticipantChanged"]
    answer = await admitted(ann, "p2")
    assert isinstance(answer, Invited), answer
    assert (answer.state, answer.participant.admission) == ("live", "admitted")
    await eventually(lambda: pats.heard["ParticipantChanged"])
    await eventually(lambda: [one.state for one in pats.heard["VisitChanged"]][-1:] == ["live"])
    assert pats.heard["ParticipantChanged"][0].participant.admission == "admitted"
    again = await join(pat)
    assert isinstance(again, JoinVisitAnswer)
    assert again.admitted
    assert len(again.visit.participants) == 3


async def test_nobody_else_learns_that_there_is_a_visit(house: House, connect: Connect) -> None:
    await scheduled(house, MIA)
    errors = set()
    for user, role, clinic in (("eve", "clinician", "c1"), ("pia", "patient", "c1"), ("pat", "patient", "c2")):
        stranger = await connect(user, role, clinic=clinic)
        for visit in ("v1", "v9"):
            with pytest.raises(HubCallError) as failed:
                await join(stranger, visit)
            errors.add(str(failed.value))
    other = await guest_of(house, "p3", visit="v2")
    with pytest.raises(HubCallError) as failed:
        await join(other)
    assert {*errors, str(failed.value)} == {failed.value.args[0]}
    await other.stop()


async def test_a_colleague_who_may_fit_the_device_stands_in(house: House, connect: Connect) -> None:
    await scheduled(house)
    abe, pat = await connect("abe", "clinician"), await connect("pat", "patient")
    his = await join(abe)
    assert isinstance(his, JoinVisitAnswer)
    assert (his.role, his.admitted, len(his.visit.participants)) == ("professional", True, 3)
    assert isinstance(await join(pat), JoinVisitAnswer)
    assert isinstance(await admitted(abe, "p2"), Invited)


async def test_only_a_professional_lets_people_in_and_only_whoever_waits(house: House, connect: Connect) -> None:
    learner = Participant("p5", "trainee", user="eve")
    await scheduled(house, MIA, learner)
    ann, pat = await connect("ann", "clinician"), await connect("pat", "patient")
    eve = await connect("eve", "clinician")
    for one in (ann, pat, eve):
        assert isinstance(await join(one), JoinVisitAnswer)
    for nobody in (pat, eve):
        with pytest.raises(HubCallError, match=r"unauthorized|not_allowed"):
            await admitted(nobody, "p2")
    assert refused(await admitted(ann, "p3")).code == "not_waiting"
    assert refused(await admitted(ann, "p9")).code == "not_found"


async def test_whoever_goes_is_seen_to_go_and_may_come_back(house: House, connect: Connect) -> None:
    scene = await live(house, connect)
    assert isinstance(await scene.pat.ask("LeaveVisit", LeaveVisit(visit="v1"), answer=Departed), Departed)
    changed = scene.ann_told.heard["ParticipantChanged"]
    await eventually(lambda: not changed[-1].participant.present)
    back = await join(scene.pat)
    assert isinstance(back, JoinVisitAnswer)
    assert back.admitted
    # That he has left is not to be taken for that he has gone.
    await eventually(lambda: changed[-1].participant.present)
    await scene.pat.stop()
    await eventually(lambda: not changed[-1].participant.present)
    found = await flow_of(house).visits.get("v1")
    assert found is not None
    assert (found.state, found.participants[1].connections) == ("live", ())


async def test_a_waiting_room_that_is_empty_again_is_no_visit_that_waits(house: House, connect: Connect) -> None:
    await scheduled(house)
    told = Told()
    ann = await connect("ann", "clinician", heard=told)
    pat = await connect("pat", "patient")
    await join(ann)
    await join(pat)
    await pat.stop()
    await eventually(lambda: [one.state for one in told.heard["VisitChanged"]] == ["waiting", "scheduled"])


async def test_too_early_and_too_late_are_refused_and_leave_nothing(house: House, connect: Connect) -> None:
    await scheduled(house)
    pat = await connect("pat", "patient", expires_in_s=1e6)
    house.wall.now_s = NOON_S - 901
    early = refused(await join(pat))
    assert (early.code, early.retry_after_ms) == ("too_early", 1_000)
    assert flow_of(house).rooms.of(pat.connection_id, "v1") is None
    house.wall.now_s = NOON_S + 20_000
    assert refused(await join(pat)).code == "too_late"


async def test_a_caregiver_who_was_let_in_may_stop_and_undo_and_an_interpreter_may_not(
    house: House, connect: Connect
) -> None:
    scene = await live(house, connect, MIA, KIM)
    mia, kim = await guest_of(house, "p3"), await guest_of(house, "p4")
    stop = Revert(device="d1")
    for guest in (mia, kim):
        assert isinstance(await join(guest), JoinVisitAnswer)
        for method in ("Stop", "Undo"):
            with pytest.raises(HubCallError, match="not_found"):
                await guest.ask(method, stop, answer=Relayed)
    for participant in ("p3", "p4"):
        assert isinstance(await admitted(scene.ann, participant), Invited)
    for method in ("Stop", "Undo"):
        assert isinstance(await mia.ask(method, stop, answer=Relayed), Relayed)
        with pytest.raises(HubCallError, match="not_found"):
            await kim.ask(method, stop, answer=Relayed)
    for method in ("GetDevice", "Submit", "SetMode"):
        with pytest.raises(HubCallError):
            await mia.ask(method, stop, answer=Relayed)
    await mia.stop()
    await kim.stop()


async def test_two_visits_about_one_device_are_not_live_at_once(house: House, connect: Connect) -> None:
    scene = await live(house, connect)
    await scheduled(house, visit="v2")
    assert isinstance(await join(scene.pat, "v2"), JoinVisitAnswer)
    flow = flow_of(house)
    answer = await scene.ann.ask("AdmitToVisit", AdmitToVisit(visit="v2", participant="p2"), answer=Invited)
    assert isinstance(answer, Failure)
    assert answer.error.code == "device_in_visit"
    await flow.end("v1", by="ann", reason="done")
    again = await scene.ann.ask("AdmitToVisit", AdmitToVisit(visit="v2", participant="p2"), answer=Invited)
    assert isinstance(again, Invited)


async def test_a_look_while_somebody_comes_neither_sends_him_away_nor_is_lost(house: House, connect: Connect) -> None:
    """Another pod says that something has changed before the store knows of him, or between that and its answer."""
    scheduled_ = await scheduled(house)
    ann, pat = await connect("ann", "clinician"), await connect("pat", "patient")
    await join(ann)
    flow = flow_of(house)
    store, rooms = flow.visits, flow.rooms
    whole = store.change

    async def change(visit: Visit) -> Changed:
        rooms.reconcile(scheduled_)
        outcome = await whole(visit)
        if visit.state == "waiting":
            let_in = admit(visit, "p2", by="ann", at_s=NOON_S, base_revision="", times=TIMES)
            assert isinstance(let_in, Visit)
            assert await whole(let_in) == "changed"
            rooms.reconcile(let_in)
        return outcome

    store.change = change  # type: ignore[method-assign]  # what other pods do meanwhile
    assert isinstance(await join(pat), JoinVisitAnswer)
    seat = rooms.of(pat.connection_id, "v1")
    assert seat is not None
    assert seat.admitted
    rooms.reconcile(scheduled_)
    assert rooms.of(pat.connection_id, "v1") is seat, "old news changes nothing"
