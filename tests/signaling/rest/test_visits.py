"""Visits over REST: arranged, read by whom they concern, moved, called off, ended, and joined without an account."""

from typing import Any

import pytest

from clients.hub_client import HubClient
from clients.hub_errors import HubCallError, HubRefused
from protocol.contract.visits import AdmitToVisit, Invited, JoinVisitAnswer
from tests.eventually import eventually
from tests.signaling.care import Connect
from tests.signaling.conftest import House
from tests.signaling.rest.desk import Said, ask, register
from tests.signaling.visit import Told
from tests.signaling.visiting import flow_of, join

# The houses' clocks stand at NOON_S, 2027-01-15T08:00Z.
NINE = {"startsLocal": "2027-01-15T09:00", "zone": "Europe/Berlin", "durationMin": 30}


async def scheduled(house: House, **more: Any) -> dict[str, Any]:
    if (await ask(house, "GET /devices/d1")).status == 404:
        await register(house)
    said = await ask(house, "POST /devices/d1/visits", NINE | more)
    assert said.status == 201, said
    return dict(said.body)


async def redeemed(house: House, link: str) -> Said:
    headers = {"Authorization": f"Bearer {link}"}
    async with house.http.post(f"{house.url}/api/v1/joins", headers=headers) as answer:
        return Said(answer.status, await answer.json(content_type=None), "", "")


async def text(house: House, path: str, accept: str) -> tuple[str, str]:
    headers = house.bearer("ann", "clinician") | {"Accept": accept}
    async with house.http.get(f"{house.url}/api/v1{path}", headers=headers) as answer:
        assert answer.status == 200
        return answer.content_type, (await answer.read()).decode()


async def test_a_visit_keeps_its_time_in_utc_and_as_it_was_agreed_on(house: House) -> None:
    made = await scheduled(house)
    assert made["startsAt"] == "2027-01-15T08:00:00.000Z"
    assert made["endsAt"] == "2027-01-15T08:30:00.000Z"
    assert (made["startsLocal"], made["zone"], made["state"]) == ("2027-01-15T09:00", "Europe/Berlin", "scheduled")
    assert (made["patient"], made["professional"]) == ("pat", "ann")
    assert [one["role"] for one in made["participants"]] == ["professional", "patient"]
    again = await ask(house, f"GET /visits/{made['visit']}", by="pat patient")
    assert (again.status, again.body, again.tag) == (200, made, '"1"')


@pytest.mark.parametrize(
    ("when", "told"),
    [
        ({"startsLocal": "2027-03-28T02:30"}, "no_such_time"),
        ({"startsLocal": "2027-02-30T09:00"}, "no_such_time"),
        ({"zone": "Europe/Atlantis"}, "unknown_zone"),
        ({"zone": "../../etc/passwd"}, "bad_argument"),
        ({"zone": "Europe"}, "unknown_zone"),
        ({"startsLocal": "2027-01-15T08:29"}, "visit_in_past"),
        ({"startsLocal": "2029-03-01T09:00"}, "visit_too_far"),
        ({"startsLocal": "2027-01-15T24:00"}, "bad_argument"),
        ({"durationMin": 4}, "bad_argument"),
        ({"diagnosis": "presbycusis"}, "bad_argument"),
    ],
)
async def test_a_time_that_is_none_is_refused(house: House, when: dict[str, Any], told: str) -> None:
    await register(house)
    said = await ask(house, "POST /devices/d1/visits", NINE | when)
    assert (said.code, said.status) == (told, 400 if told == "bad_argument" else 422)
    assert "presbycusis" not in str(said.body)


async def test_of_an_hour_that_comes_twice_the_second_can_be_meant(house: House) -> None:
    await register(house)
    times = []
    for fold in (0, 1):
        said = await ask(house, "POST /devices/d1/visits", NINE | {"startsLocal": "2027-10-31T02:30", "fold": fold})
        times.append(said.body["startsAt"])
    assert times == ["2027-10-31T00:30:00.000Z", "2027-10-31T01:30:00.000Z"]


async def test_the_same_request_makes_one_visit(house: House) -> None:
    await register(house)
    one, two = [await ask(house, "POST /devices/d1/visits", NINE, Idempotency_Key="k1") for _ in range(2)]
    assert one == two
    assert len(await flow_of(house).visits.of_device("d1", None, 9)) == 1


async def test_nobody_else_reads_or_changes_a_visit(house: House) -> None:
    visit = (await scheduled(house))["visit"]
    routes = ("GET /visits/{}", "GET /visits/{}/summary", "GET /visits/{}/encounter", "PUT /visits/{}/cancellation")
    for route in routes:
        body = {"reason": "x"} if route.startswith("PUT") else None
        for by, clinic in (("eve clinician", "c1"), ("ann clinician", "c2")):
            there = await ask(house, route.format(visit), body, by=by, clinic=clinic)
            nowhere = await ask(house, route.format("v9"), body, by=by, clinic=clinic)
            assert (there.status, there.body) == (nowhere.status, nowhere.body)
            assert there.code == "not_found"
    assert (await ask(house, f"GET /visits/{visit}", by="pia patient")).code == "not_found"
    assert (await ask(house, f"PUT /visits/{visit}/end", {"reason": "x"}, by="pat patient")).code == "not_allowed"
    assert (await ask(house, "POST /devices/d1/visits", NINE, by="pat patient")).code == "not_allowed"
    assert (await ask(house, "POST /devices/d1/visits", NINE, by="eve clinician")).code == "not_found"


async def test_lists_go_from_the_latest_to_the_earliest_page_by_page(house: House) -> None:
    for day in (16, 18, 17):
        await scheduled(house, startsLocal=f"2027-01-{day}T09:00")
    for route, by in (("/visits", "ann clinician"), ("/visits", "pat patient"), ("/devices/d1/visits", "pat patient")):
        first = await ask(house, f"GET {route}?limit=2", by=by)
        second = await ask(house, f"GET {route}?limit=2&after={first.body['next']}", by=by)
        days = [one["startsLocal"][8:10] for one in (*first.body["items"], *second.body["items"])]
        assert days == ["18", "17", "16"]
        assert "next" not in second.body
    assert (await ask(house, "GET /visits", by="eve clinician")).body["items"] == []
    assert (await ask(house, "GET /visits?after=MWE")).code == "not_found"


async def test_a_visit_is_moved_over_the_version_that_was_read(house: House, connect: Connect) -> None:
    told = Told()
    made = await scheduled(house)
    await connect("pat", "patient", heard=told)
    path = f"PUT /visits/{made['visit']}"
    later = NINE | {"startsLocal": "2027-01-15T10:15"}
    assert (await ask(house, path, later)).code == "precondition_required"
    assert (await ask(house, path, later, If_Match='"7"')).code == "precondition_failed"
    moved = await ask(house, path, later, If_Match='"1"')
    assert (moved.status, moved.body["startsAt"], moved.tag) == (200, "2027-01-15T09:15:00.000Z", '"2"')
    await eventually(lambda: told.heard["VisitChanged"])
    assert told.heard["VisitChanged"][-1].starts_local == "2027-01-15T10:15"


async def test_a_visit_is_called_off_and_stays_so(house: House) -> None:
    visit = (await scheduled(house))["visit"]
    off = await ask(house, f"PUT /visits/{visit}/cancellation", {"reason": "ill"})
    assert (off.status, off.body["state"], off.body["reason"]) == (200, "cancelled", "ill")
    again = await ask(house, f"PUT /visits/{visit}/cancellation", {"reason": "still ill"})
    assert (again.status, again.body["reason"]) == (200, "ill")
    for route in (f"PUT /visits/{visit}/end", f"POST /visits/{visit}/participants"):
        body: dict[str, Any] = {"reason": "x"} if "end" in route else {"role": "trainee"}
        assert (await ask(house, route, body)).code == "visit_over"


async def test_a_visit_that_has_not_begun_cannot_end_and_one_that_has_cannot_be_called_off(
    house: House, connect: Connect
) -> None:
    visit = (await scheduled(house))["visit"]
    assert (await ask(house, f"PUT /visits/{visit}/end", {"reason": "x"})).code == "visit_not_live"
    await begun(house, connect, visit)
    assert (await ask(house, f"PUT /visits/{visit}/cancellation", {"reason": "x"})).code == "visit_live"
    ended = await ask(house, f"PUT /visits/{visit}/end", {"reason": "done"})
    assert (ended.status, ended.body["state"]) == (200, "ended")
    assert ended.body["overAt"] == ended.body["liveAt"] == "2027-01-15T08:00:00.000Z"


async def begun(house: House, connect: Connect, visit: str) -> tuple[HubClient, HubClient]:
    ann, pat = await connect("ann", "clinician"), await connect("pat", "patient")
    assert isinstance(await join(ann, visit), JoinVisitAnswer)
    assert isinstance(await join(pat, visit), JoinVisitAnswer)
    admit = AdmitToVisit(visit=visit, participant=f"{visit}-2")
    assert isinstance(await ann.ask("AdmitToVisit", admit, answer=Invited), Invited)
    return ann, pat


async def test_a_link_lets_somebody_without_an_account_in_once(house: House, connect: Connect) -> None:
    visit = (await scheduled(house, participants=[{"role": "interpreter", "name": "Kim"}]))["visit"]
    kim = f"{visit}-3"
    assert (await ask(house, f"POST /visits/{visit}/participants/{visit}-2/links")).code == "has_account"
    older = await ask(house, f"POST /visits/{visit}/participants/{kim}/links")
    newer = await ask(house, f"POST /visits/{visit}/participants/{kim}/links")
    assert (await redeemed(house, older.body["link"])).code == "bad_link"
    joined = await redeemed(house, newer.body["link"])
    assert (joined.status, joined.body["participant"], joined.body["role"]) == (201, kim, "interpreter")
    assert (await redeemed(house, newer.body["link"])).code == "bad_link"
    for token in (joined.body["token"], house.token(), "x"):
        assert (await redeemed(house, token)).status == 401
    guest = HubClient(f"{house.url}/hub", token=joined.body["token"], protocol="json", reconnect=None)
    await guest.start()
    answer = await join(guest, visit)
    assert isinstance(answer, JoinVisitAnswer)
    assert (answer.admitted, len(answer.visit.participants)) == (False, 1)
    await guest.stop()
    assert await as_guest(house, joined.body["token"], f"/visits/{visit}") == (200, [kim])
    fhir = {"Authorization": f"Bearer {joined.body['token']}", "Accept": "application/fhir+json"}
    async with house.http.get(f"{house.url}/api/v1/visits/{visit}", headers=fhir) as refused:
        assert refused.status == 403, "it would name everybody"
    for path in ("/visits", "/devices/d1", f"/visits/{visit}/summary", "/visits/v9"):
        assert (await as_guest(house, joined.body["token"], path))[0] in (403, 404)
    await ask(house, f"PUT /visits/{visit}/cancellation", {"reason": "x"})
    assert (await as_guest(house, joined.body["token"], f"/visits/{visit}"))[0] == 404
    assert newer.body["link"] not in house.log.getvalue()
    assert joined.body["token"] not in house.log.getvalue()


async def as_guest(house: House, token: str, path: str) -> tuple[int, list[str]]:
    headers = {"Authorization": f"Bearer {token}"}
    async with house.http.get(f"{house.url}/api/v1{path}", headers=headers) as answer:
        told = await answer.json(content_type=None)
        return answer.status, [one["participant"] for one in told.get("participants", [])]


async def test_a_link_is_not_a_token_and_ends_with_its_time(house: House) -> None:
    visit = (await scheduled(house, participants=[{"role": "caregiver"}]))["visit"]
    made = await ask(house, f"POST /visits/{visit}/participants/{visit}-3/links")
    assert (await as_guest(house, made.body["link"], f"/visits/{visit}"))[0] == 401
    client = HubClient(f"{house.url}/hub", token=made.body["link"], protocol="json", reconnect=None)
    with pytest.raises(HubRefused):
        await client.start()
    house.wall.now_s += 3_601
    assert (await redeemed(house, made.body["link"])).status == 401


async def test_whoever_is_sent_away_hears_nothing_more(house: House, connect: Connect) -> None:
    made = await scheduled(house, participants=[{"role": "caregiver", "name": "Mia"}])
    visit, mia = made["visit"], f"{made['visit']}-3"
    link = await ask(house, f"POST /visits/{visit}/participants/{mia}/links")
    token = (await redeemed(house, link.body["link"])).body["token"]
    ann, _ = await begun(house, connect, visit)
    guest = HubClient(f"{house.url}/hub", token=token, protocol="json", reconnect=None)
    await guest.start()
    assert isinstance(await join(guest, visit), JoinVisitAnswer)
    await ann.ask("AdmitToVisit", AdmitToVisit(visit=visit, participant=mia), answer=Invited)
    rooms = flow_of(house).rooms
    seat = rooms.of(guest.connection_id, visit)
    assert seat is not None
    assert seat.admitted
    gone = await ask(house, f"DELETE /visits/{visit}/participants/{mia}")
    assert gone.status == 200
    assert [one["participant"] for one in gone.body["participants"]] == [f"{visit}-1", f"{visit}-2"]
    assert rooms.of(guest.connection_id, visit) is None
    with pytest.raises(HubCallError, match="not_found"):
        await join(guest, visit)
    for stays in ("1", "2"):
        assert (await ask(house, f"DELETE /visits/{visit}/participants/{visit}-{stays}")).code == "must_stay"
    await guest.stop()


async def test_a_calendar_file_tells_nobody_what_the_visit_is_about(house: House) -> None:
    visit = (await scheduled(house, participants=[{"role": "caregiver", "name": "Mia"}]))["visit"]
    kind, file = await text(house, f"/visits/{visit}", "text/calendar")
    assert kind == "text/calendar"
    lines = file.split("\r\n")
    for line in (f"UID:{visit}@auricle", "DTSTART:20270115T080000Z", "DTEND:20270115T083000Z", "SUMMARY:Appointment"):
        assert line in lines
    assert lines[0] == "BEGIN:VCALENDAR"
    assert lines[-2:] == ["END:VCALENDAR", ""]
    for secret in ("pat", "ann", "Mia", "d1", "hear"):
        # The visit's id is random, and may hold any two letters.
        assert secret not in file.replace("METHOD:PUBLISH", "").replace(visit, "")
    await ask(house, f"PUT /visits/{visit}/cancellation", {"reason": "ill"})
    _, off = await text(house, f"/visits/{visit}", "text/calendar")
    assert {"METHOD:CANCEL", "STATUS:CANCELLED", "SEQUENCE:1"} <= set(off.split("\r\n"))
    assert "ill" not in off.replace("CANCELLED", "").replace(visit, "")


async def test_what_a_visit_did_to_the_aids_is_for_those_who_may_see_the_aids(house: House) -> None:
    people = [{"role": "trainee", "user": "eve"}, {"role": "professional", "user": "amy"}]
    visit = (await scheduled(house, participants=people))["visit"]
    for by in ("ann clinician", "abe clinician", "pat patient"):
        assert (await ask(house, f"GET /visits/{visit}/summary", by=by)).status == 200
    for by in ("eve clinician", "amy clinician", "pia patient"):
        assert (await ask(house, f"GET /visits/{visit}", by=by)).status == (404 if by.startswith("pia") else 200)
        assert (await ask(house, f"GET /visits/{visit}/summary", by=by)).code == "not_found"


async def test_fhir_is_given_to_who_asks_for_it(house: House) -> None:
    visit = (await scheduled(house))["visit"]
    kind, appointment = await text(house, f"/visits/{visit}", "application/fhir+json")
    assert kind == "application/fhir+json"
    assert '"resourceType":"Appointment"' in appointment
    _, encounter = await text(house, f"/visits/{visit}/encounter", "application/fhir+json")
    assert '"resourceType":"Encounter"' in encounter
