"""Microsoft's client when its time is up: the server stops, or its token ends. All transports at once, side by side."""

import asyncio
import time
from pathlib import Path
from typing import Any

import aiohttp

from tests.chaos.proxy import proxy
from tests.e2e.client import COMBINATIONS, HUB, PROTOCOLS, Client, Combination, token_until
from tests.e2e.node_client import NodeDriver
from tests.running import Server, server

# As long as it may take until all of them have come.
TOKEN_LIFE_S = 8
STATEFUL = tuple(Combination("WebSockets", name) for name in PROTOCOLS)


def clients(node: NodeDriver, running: Server) -> dict[str, Client]:
    """One of each kind: every transport with every format, and those that may resume."""
    plain = {str(kind): Client(node, running, kind) for kind in COMBINATIONS}
    return plain | {f"{kind}-stateful": Client(node, running, kind, stateful=True) for kind in STATEFUL}


async def test_a_stopping_server_asks_clients_to_come_back(node: NodeDriver, tmp_path: Path) -> None:
    # Longer than the test waits: nobody may hold the server up until then.
    async with server(tmp_path, "--conformance", AURICLE_DRAIN_S="120") as own, proxy(own.url) as link:
        everybody = clients(node, own)
        for name, client in everybody.items():
            await client.connect(name)
            await client.connect(f"{name}-returning", reconnect=True)
            await node.subscribe(name, "endless", "Count", 1_000_000, 5)
            await node.upload(f"{name}-returning", "open", "Sum", 1)
        lost = Client(node, own, STATEFUL[0], url=link.url, stateful=True)
        await lost.connect("lost")
        link.hold()
        link.reset()
        assert await own.terminate() == 0
        for name in everybody:
            assert "shutting down" in (await node.event("closed", name))["error"]
            assert "shutting down" in str(await node.completed(name, "endless"))
            await node.event("reconnecting", f"{name}-returning")
        assert '"stopped"' in own.log_text


async def test_an_expired_token_ends_its_connection_and_a_fresh_one_opens_another(
    shared_server: Server, node: NodeDriver
) -> None:
    everybody = clients(node, shared_server)
    fresh = await shared_server.token("ann", "clinician")
    short = token_until(shared_server, "ann", TOKEN_LIFE_S)
    before: dict[str, str] = {}

    async def connect(name: str, client: Client) -> None:
        await client.connect(name, token=short)
        before[name] = await client.connect(f"{name}-returning", token=short, reconnect=True)
        await node.call("token", connection=f"{name}-returning", token=fresh)

    await asyncio.gather(*(connect(name, client) for name, client in everybody.items()))
    for name, client in everybody.items():
        assert "token has expired" in (await node.event("closed", name))["error"]
        await node.event("reconnected", f"{name}-returning")
        assert await client.ended(f"{name}-returning") == "token_expired"
        me = await node.invoke(f"{name}-returning", "Whoami")
        assert (me["user"], me["connection_id"] != before[name]) == ("ann", True)


async def refresh(running: Server, secret: str | None, token: str) -> tuple[int, dict[str, Any]]:
    """What ``POST {hub}/refresh`` answers, as .NET 11's clients ask it."""
    query = {"id": secret} if secret else {}
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    async with (
        aiohttp.ClientSession(headers=headers) as http,
        http.post(f"{running.url}{HUB}/refresh", params=query) as answer,
    ):
        body: dict[str, Any] = await answer.json() if answer.content_type == "application/json" else {}
        return answer.status, body


async def test_a_refreshed_token_carries_its_connection_on(shared_server: Server, node: NodeDriver) -> None:
    longer = await shared_server.token("ann", "clinician")
    short = token_until(shared_server, "ann", TOKEN_LIFE_S)
    ends_at_s = time.time() + TOKEN_LIFE_S
    everybody = clients(node, shared_server)

    async def connect(name: str, client: Client) -> None:
        connection_id = await client.connect(name, token=short)
        # The requests of event streams and polls must carry a good one from now on.
        await node.call("token", connection=name, token=longer)
        secret = await node.call("connectionToken", connection=name)
        status, body = await refresh(shared_server, secret, longer)
        assert (status, body["connectionId"]) == (200, connection_id)
        assert 500 < body["tokenLifetimeSeconds"] <= 600
        # The care hub offers the same in band.
        await client.connect(f"{name}-care", token=short, url=f"{shared_server.url}/hub")
        assert (await node.invoke(f"{name}-care", "Reauthenticate", {"token": longer}))["ok"] is True
        await node.call("token", connection=f"{name}-care", token=longer)

    await asyncio.gather(*(connect(name, client) for name, client in everybody.items()))
    await asyncio.sleep(max(0, ends_at_s + 1 - time.time()))  # The point of the test is what happens after it.
    for name in everybody:
        assert await node.invoke(name, "Echo", "alive") == "alive"
        assert (await node.invoke(f"{name}-care", "WhoAmI"))["user"] == "ann"
        assert node.seen("closed", name) == node.seen("closed", f"{name}-care") == 0


async def test_a_refresh_is_refused_to_others(shared_server: Server, node: NodeDriver) -> None:
    ann, bob = [await shared_server.token(user, "clinician") for user in ("ann", "bob")]
    expired = token_until(shared_server, "ann", -1)
    public_id = await Client(node, shared_server, COMBINATIONS[0]).connect("a")
    secret = await node.call("connectionToken", connection="a")
    asked = [(secret, bob), (public_id, ann), (None, ann), (secret, expired), (secret, "")]
    answers = [await refresh(shared_server, *question) for question in asked]
    assert [status for status, _ in answers] == [404, 404, 400, 401, 401]
    errors = [body.get("error") for _, body in answers[:3]]
    assert errors == ["connection_not_found", "connection_not_found", "missing_connection_token"]
    assert await node.invoke("a", "Echo", "alive") == "alive"
