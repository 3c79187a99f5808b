"""Identities and tokens over Microsoft's own client, the blocking one too: with a key, and with Entra's credentials."""

import asyncio
from datetime import timedelta
from typing import Any

import jwt
import pytest
from azure.communication.identity import CommunicationUserIdentifier
from azure.core.exceptions import ClientAuthenticationError, HttpResponseError, ServiceRequestError

from clients.fake_acs.faults import Fault
from clients.fake_acs.service import FakeAcs
from clients.fake_acs.throttle import Limit
from tests.clients.fake_acs.conftest import Moved
from tests.clients.fake_acs.sdks import blocking, entra, identities, quick, sync_identities
from tests.eventually import eventually


async def status_of(call: Any) -> int:
    with pytest.raises(HttpResponseError) as raised:
        await call
    return int(raised.value.status_code or 0)


async def test_an_identity_lives_with_a_key(acs: FakeAcs) -> None:
    async with identities(acs) as client:
        user = await client.create_user()
        token = await client.get_token(user, ["voip"], token_expires_in=timedelta(hours=1))
        claims = jwt.decode(token.token, options={"verify_signature": False})
        assert claims["exp"] - claims["iat"] == 3_600
        assert user.properties["id"] == f"8:{claims['skypeid']}"
        await client.revoke_tokens(user)
        await client.delete_user(user)
        assert await status_of(client.get_token(user, ["voip"])) == 404
    assert acs.breaches == ["POST identities 404 there is no such identity"]


async def test_the_blocking_client_is_understood_too(acs: FakeAcs) -> None:
    def live() -> str:
        client = sync_identities(acs)
        with client._identity_service_client:
            user, token = client.create_user_and_token(["chat"])
            client.get_token(user, ["chat.join"])
            client.revoke_tokens(user)
            client.delete_user(user)
            return token.token

    assert (await blocking(live)).count(".") == 2
    assert acs.breaches == []


async def test_the_client_of_a_connection_string_finds_it(acs: FakeAcs) -> None:
    from azure.communication.identity.aio import CommunicationIdentityClient

    async with CommunicationIdentityClient.from_connection_string(acs.connection_string, **quick(acs)) as client:
        assert (await client.create_user()).raw_id in acs.resource.identities


async def test_entra_in_place_of_a_key(acs: FakeAcs) -> None:
    acs.local_auth = False
    async with identities(acs) as client:
        assert await status_of(client.create_user()) == 401, "hospitals turn keys off"
    async with entra(acs) as credential, identities(acs, credential) as client:
        user, _ = await client.create_user_and_token(["voip.join"])
        await client.revoke_tokens(user)
    async with entra(acs, "wrong") as credential, identities(acs, credential) as client:
        with pytest.raises(ClientAuthenticationError):
            await client.create_user()


async def test_entra_for_the_blocking_client(acs: FakeAcs) -> None:
    from azure.communication.identity import CommunicationIdentityClient
    from azure.identity import ClientSecretCredential

    def live() -> str:
        directory, options = acs.directory, quick(acs)
        given = {"authority": acs.url, "disable_instance_discovery": True, **options}
        with ClientSecretCredential(directory.tenant, directory.client, directory.secret, **given) as credential:
            client = CommunicationIdentityClient(acs.url, credential, **options)
            with client._identity_service_client:
                return str(client.create_user().raw_id)

    assert await blocking(live) in acs.resource.identities


async def test_a_token_of_entra_ends(acs: FakeAcs, moved: Moved) -> None:
    async with entra(acs) as credential, identities(acs, credential) as client:
        await client.create_user()
        moved.ahead_s = 3_601
        assert await status_of(client.create_user()) == 401


async def test_a_wrong_key_and_one_that_was_rolled(acs: FakeAcs) -> None:
    key = acs.resource.keys[0]
    wrong = "AAAA" + key[4:]
    assert await status_of(blocking_create(acs, wrong)) == 401
    acs.resource.keys.append(wrong)
    await blocking_create(acs, wrong)
    acs.resource.keys[:] = [wrong]
    assert await status_of(blocking_create(acs, key)) == 401


async def blocking_create(acs: FakeAcs, key: str) -> None:
    def create() -> None:
        client = sync_identities(acs, key)
        with client._identity_service_client:
            client.create_user()

    await blocking(create)


@pytest.mark.parametrize(("ahead_s", "is_taken"), [(890, True), (-890, True), (920, False), (-920, False)])
async def test_clocks_may_differ_by_a_quarter_of_an_hour(
    acs: FakeAcs, moved: Moved, ahead_s: float, is_taken: bool
) -> None:
    moved.ahead_s = ahead_s
    async with identities(acs) as client:
        if is_taken:
            await client.create_user()
        else:
            assert await status_of(client.create_user()) == 401


@pytest.mark.parametrize(("scopes", "hours"), [([], 1), (["video"], 1), (["voip"], 0.5), (["voip"], 25)])
async def test_what_a_token_cannot_be(acs: FakeAcs, scopes: list[str], hours: float) -> None:
    async with identities(acs) as client:
        user = await client.create_user()
        assert await status_of(client.get_token(user, scopes, token_expires_in=timedelta(hours=hours))) == 400


async def test_unknown_identities(acs: FakeAcs) -> None:
    nobody = CommunicationUserIdentifier("8:acs:nobody")
    async with identities(acs) as client:
        assert await status_of(client.get_token(nobody, ["voip"])) == 404
        assert await status_of(client.revoke_tokens(nobody)) == 404
        assert await status_of(client.delete_user(nobody)) == 404


async def test_too_many_are_told_when_to_come_again(acs: FakeAcs, moved: Moved) -> None:
    acs.throttle.limits["create"] = Limit(2, 30.0)
    async with identities(acs) as client:
        await client.create_user()
        await client.create_user()
        with pytest.raises(HttpResponseError) as raised:
            await client.create_user()
        assert raised.value.status_code == 429
        answer: Any = raised.value.response
        assert 25 < float(answer.headers["Retry-After"]) <= 30
        moved.ahead_s = 31
        await client.create_user()
    assert acs.throttle.refused == 1


async def test_trouble_on_demand(acs: FakeAcs) -> None:
    acs.faults.on += [
        Fault("status", "identities", status=503, retry_after_s=7, count=1),
        Fault("reset", "identities", count=1),
        Fault("slow", "identities", delay_s=0.01, count=1),
    ]
    async with identities(acs) as client:
        assert await status_of(client.create_user()) == 503
        with pytest.raises(ServiceRequestError):
            await client.create_user()
        await client.create_user()
        await client.create_user()


async def test_what_hangs_is_let_go(acs: FakeAcs) -> None:
    acs.faults.on.append(Fault("hang"))
    async with identities(acs) as client:
        asked = asyncio.get_running_loop().create_task(client.create_user())
        await eventually(lambda: acs.asked)
        assert not asked.done()
        acs.faults.clear()
        assert await status_of(asked) == 503
