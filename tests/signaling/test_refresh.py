"""``POST {hub}/refresh`` as .NET 11 clients use it: what negotiation tells them, every answer, whom it changes."""

import json
from typing import Any

import pytest

from tests.eventually import eventually
from tests.signaling.by_hand import HUB, Answer, call, negotiate, poller, request, socket, stream
from tests.signaling.conftest import House, OpenHouse
from tests.signaling.rehearsal import Rehearsal
from tests.signaling.returning import client_of, detached


async def refresh(house: House, token: str | None, *who: str, hub: str = HUB, **options: Any) -> tuple[Answer, Any]:
    """The answer, and its body, which is JSON whatever it says."""
    query = f"?id={token}" if token is not None else ""
    answer = await request(house, "POST", f"{hub}/refresh{query}", *who, **options)
    assert answer.headers["Content-Type"] == "application/json; charset=utf-8"
    assert answer.headers["Content-Length"] == str(len(answer.body))
    return answer, json.loads(answer.body)


def is_refused(answer: tuple[Answer, Any], status: int, error: str) -> None:
    assert (answer[0].status, answer[1]["error"]) == (status, error)
    assert set(answer[1]) == {"error", "error_description"}
    assert answer[1]["error_description"]


async def negotiated(house: House, query: str, **who: Any) -> dict[str, Any]:
    answer = await request(house, "POST", f"{HUB}/negotiate{query}", headers=house.bearer(**who))
    body: dict[str, Any] = json.loads(answer.body)
    return body


async def test_negotiation_says_how_long_the_token_lasts(house: House) -> None:
    assert (await negotiated(house, "?negotiateVersion=1"))["tokenLifetimeSeconds"] == 3_600
    house.wall.now_s += 0.5
    assert (await negotiated(house, "?negotiateVersion=1", expires_in_s=60))["tokenLifetimeSeconds"] in (59, 60)
    # A client that is told of no time would not refresh at all, one that is told of no more time would at once.
    assert "tokenLifetimeSeconds" not in await negotiated(house, "?negotiateVersion=1", expires_in_s=1)
    assert "tokenLifetimeSeconds" not in await negotiated(house, "")


async def test_a_refresh_says_which_connection_it_was_and_until_when(house: House) -> None:
    client = await socket(house)
    house.wall.now_s += 1_000.25
    answer, body = await refresh(house, client.ticket.token)
    assert answer.status == 200
    assert body == {
        "connectionId": client.ticket.connection_id,
        "refreshedAt": "2027-01-15T08:16:40.250Z",
        "tokenLifetimeSeconds": 3_599,
    }


async def test_without_the_switch_nothing_is_refreshed_and_nobody_is_told_to(open_house: OpenHouse) -> None:
    house = await open_house(token_refresh=False)
    client = await socket(house)
    is_refused(await refresh(house, client.ticket.token), 404, "refresh_disabled")
    is_refused(await refresh(house, None), 404, "refresh_disabled")
    assert "tokenLifetimeSeconds" not in await negotiated(house, "?negotiateVersion=1")
    house.wall.now_s += 3_600
    house.sweep()
    assert (await client.rest())[0][-1]["error"] == "The token has expired."


async def test_every_way_to_be_refused(house: House) -> None:
    client = await socket(house)
    token, public = client.ticket.token, client.ticket.connection_id
    is_refused(await refresh(house, None), 400, "missing_connection_token")
    is_refused(await refresh(house, ""), 400, "missing_connection_token")
    unopened = (await negotiate(house)).token
    for unknown in ("nobody", public, token[:-2], token + "x", f"{token}&id={token}", unopened):
        is_refused(await refresh(house, unknown), 404, "connection_not_found")
    is_refused(await refresh(house, token, "bob"), 404, "connection_not_found")
    is_refused(await refresh(house, token, headers=house.bearer(clinic="c2")), 404, "connection_not_found")
    house.wall.now_s += 10
    for bad in ({"X": ""}, {"Authorization": "Bearer x"}, {"Authorization": "Bearer " + house.token(expires_in_s=-1)}):
        refused = await refresh(house, token, headers=bad)
        is_refused(refused, 401, "invalid_token")
        assert refused[0].headers["WWW-Authenticate"] == "Bearer"
    # A token in the query is for what a browser cannot do otherwise.
    is_refused(await refresh(house, f"{token}&access_token={house.token()}", headers={"X": ""}), 401, "invalid_token")
    evil = house.bearer() | {"Origin": "https://evil.example"}
    is_refused(await refresh(house, token, headers=evil), 403, "origin_not_allowed")
    assert (await request(house, "GET", f"{HUB}/refresh?id={token}")).status == 405
    # None of these has changed anything.
    house.wall.now_s += 3_590
    house.sweep()
    assert (await client.rest())[0][-1]["error"] == "The token has expired."


async def test_a_connection_whose_socket_is_gone(open_house: OpenHouse) -> None:
    house = await open_house(hub=Rehearsal())
    plain = await socket(house, hub=Rehearsal.path)
    await plain.frames.close()
    await eventually(lambda: house.app_sessions() == 0)
    is_refused(await refresh(house, plain.ticket.token, hub=Rehearsal.path), 404, "connection_not_found")
    client = await client_of(house)
    await detached(client)
    house.wall.now_s += 3_000
    answer, body = await refresh(house, client.ticket.token, hub=Rehearsal.path)
    assert (answer.status, body["connectionId"]) == (200, client.ticket.connection_id)
    house.wall.now_s += 3_000
    house.sweep()
    await client.resume()
    await client.call("Echo", "still here", id_="1")
    assert await client.result("1") == "still here"


async def test_while_the_server_drains(house: House) -> None:
    client, polls = await socket(house), await poller(house)
    house.parts.readiness.draining = True
    # Those that have not been told goodbye yet are as they were.
    assert (await refresh(house, client.ticket.token))[0].status == 200
    for session in (client.session, polls.session):
        session.close("app_shutdown", "The server is shutting down.", allow_reconnect=True)
    for token in (client.ticket.token, polls.ticket.token):
        is_refused(await refresh(house, token), 404, "connection_not_found")


async def test_the_roles_of_the_new_token_count_from_then_on(open_house: OpenHouse) -> None:
    house = await open_house(hub=Rehearsal())
    client = await socket(house, "ann", "clinician", hub=Rehearsal.path)
    await client.send(stream("ForPatients", id_="1"))
    assert "unauthorized" in (await client.messages(1))[0]["error"]
    assert (await refresh(house, client.ticket.token, "ann", "patient", hub=Rehearsal.path))[0].status == 200
    await client.send(stream("ForPatients", id_="2"))
    assert (await client.messages(1))[0]["item"] == 1
    assert (await refresh(house, client.ticket.token, "ann", "clinician", hub=Rehearsal.path))[0].status == 200
    await client.until("2")
    await client.send(stream("ForPatients", id_="3"))
    assert "unauthorized" in (await client.messages(1))[0]["error"]


@pytest.mark.parametrize("hub", [HUB, "/hub"])
async def test_a_token_of_another_hub_refreshes_nothing(house: House, hub: str) -> None:
    client = await socket(house)
    answer, _ = await refresh(house, client.ticket.token, hub=hub)
    assert answer.status == (200 if hub == HUB else 404)
    await client.send(call("Echo", 1, id_="1"))
    assert (await client.messages(1))[0]["result"] == 1
