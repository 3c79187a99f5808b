"""A connection lives as long as its token, and a new token of the same person makes it live longer."""

import asyncio

import pytest

from clients.hub_client import HubClient
from protocol.contract.base import Failure
from protocol.contract.session import Reauthenticate, ReauthenticateAnswer, SessionExpiring, WhoAmIAnswer
from tests.eventually import eventually
from tests.signaling.conftest import House


@pytest.fixture
async def told() -> list[SessionExpiring]:
    return []


async def connect(house: House, told: list[SessionExpiring], expires_in_s: float) -> HubClient:
    client = HubClient(f"{house.url}/hub", token=house.token(expires_in_s=expires_in_s), reconnect=None)

    async def tell(expiring: SessionExpiring) -> None:
        told.append(expiring)

    client.on("SessionExpiring", tell, SessionExpiring)
    await client.start()
    return client


async def test_a_client_is_told_once_and_goes_on_with_a_new_token(house: House, told: list[SessionExpiring]) -> None:
    client = await connect(house, told, 100)
    house.sweep()
    house.wall.now_s += 45
    house.sweep()
    house.sweep()
    await eventually(lambda: told)
    assert told == [SessionExpiring(expires_at="2027-01-15T08:01:40.000Z")]
    renewed = Reauthenticate(token=house.token("ann", "clinician", "admin", expires_in_s=600))
    answer = await client.ask("Reauthenticate", renewed, answer=ReauthenticateAnswer)
    assert isinstance(answer, ReauthenticateAnswer)
    assert answer.expires_at == "2027-01-15T08:10:45.000Z"
    house.wall.now_s += 500
    house.sweep()
    assert (await client.invoke("WhoAmI", result=WhoAmIAnswer)).roles == ("admin", "clinician")
    house.wall.now_s += 100
    house.sweep()
    await eventually(lambda: client.state.value == "closed")
    assert client.end is not None
    assert client.end.error == "The token has expired."
    await client.stop()


@pytest.mark.parametrize("who", [("bob", "c1"), ("ann", "c2")])
async def test_another_persons_token_is_refused_like_a_bad_one(
    house: House, told: list[SessionExpiring], who: tuple[str, str]
) -> None:
    client = await connect(house, told, 100)
    user, clinic = who
    answers = [
        await client.ask("Reauthenticate", Reauthenticate(token=token), answer=ReauthenticateAnswer)
        for token in (house.token(user, clinic=clinic), "garbage", house.token(expires_in_s=-1))
    ]
    assert all(isinstance(answer, Failure) and answer.error.code == "invalid_token" for answer in answers)
    assert answers[0] == answers[1] == answers[2]
    await client.stop()


async def test_a_token_never_shows_in_a_text_or_a_log(house: House, told: list[SessionExpiring]) -> None:
    secret = house.token("bob")
    assert secret not in repr(Reauthenticate(token=secret))
    client = await connect(house, told, 100)
    await client.ask("Reauthenticate", Reauthenticate(token=secret), answer=ReauthenticateAnswer)
    await client.stop()
    await asyncio.sleep(0)  # lets the server log the end
    assert secret not in house.log.getvalue()
