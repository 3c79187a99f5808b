"""socket.io-client from npm, unmodified: every transport, on one pod and on two, and a real change of gain."""

import asyncio
import json
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest

from clients.hub_client import HubClient
from clients.journal import MemoryJournal
from clients.phone import Phone
from clients.phone_driver import OfferRunner
from clients.virtual_aid.aid import VirtualAid
from clients.virtual_aid.faults import Faults
from clients.virtual_aid.pair import VirtualPair
from clients.wearer import AgreeableWearer
from signaling.auth import DevTokens
from tests.databases import new_postgres
from tests.e2e.client import token_until
from tests.e2e.node_client import NodeDriver, NodeError
from tests.eventually import eventually_asked
from tests.postgres import PostgresServer
from tests.redis_server import redis_server
from tests.running import Server, server
from tests.signaling.care import CLAIM
from tests.signaling.workers.crew import PATIENT

TRANSPORTS = (("websocket",), ("polling",), ("polling", "websocket"))
KEY = "one key of all pods, of 32 bytes"
AID = {"serial": "right-1", "model": "ref10", "firmware": "2.3.1"}


@pytest.fixture(params=TRANSPORTS, ids="+".join)
def transports(request: pytest.FixtureRequest) -> list[str]:
    return list(request.param)


async def connect(node: NodeDriver, name: str, running: Server, transports: list[str], token: str, **more: Any) -> str:
    url = f"{running.url}/hub"
    return str(await node.call("connect", connection=name, url=url, token=token, transports=transports, **more))


async def leased(node: NodeDriver, device: str) -> dict[str, Any]:
    """A lease with a head: the phone has attached and was read back."""
    async with asyncio.timeout(45):
        while True:
            lease = await node.invoke("fitter", "AcquireLease", {"device": device, "session": "s"})
            if "head" in lease and lease["phone"]["online"]:
                return dict(lease)


async def test_calls_acknowledgements_and_the_upgrade(
    their: NodeDriver, shared_server: Server, transports: list[str]
) -> None:
    own = await connect(their, "a", shared_server, transports, await shared_server.token("ann"))
    if len(transports) > 1:
        await their.event("upgraded", "a", transport="websocket")
    assert await their.call("transport", connection="a") == transports[-1]
    me = await their.invoke("a", "WhoAmI")
    assert (me["ok"], me["user"], me["connectionId"]) == (True, "ann", own)
    answers = await asyncio.gather(*(their.invoke("a", "Hello", {"contract": n}) for n in range(1, 60)))
    assert all(answer["ok"] and answer["contract"] == 1 for answer in answers)
    unknown = await their.invoke("a", "GetDevice", {"device": "somebody-elses"})
    assert unknown == {"ok": False, "error": {"code": "not_found", "message": "no such device", "retryable": False}}


async def test_who_shows_no_good_token_is_told_so(
    their: NodeDriver, shared_server: Server, transports: list[str]
) -> None:
    with pytest.raises(NodeError) as refused:
        await connect(their, "a", shared_server, transports, "x.y.z")
    assert json.loads(str(refused.value)) == {
        "message": "a valid token is required",
        "data": {"code": "unauthenticated", "retryable": False},
    }


async def test_a_token_that_ends_ends_the_connection_and_a_client_may_come_back(
    their: NodeDriver, shared_server: Server, transports: list[str]
) -> None:
    with pytest.raises(NodeError):
        await connect(their, "late", shared_server, transports, token_until(shared_server, "ann", -1))
    await connect(their, "a", shared_server, transports, token_until(shared_server, "ann", 8))
    [closing] = await their.push("a", "Close")
    assert closing == {"allowReconnect": True, "error": "The token has expired."}
    assert (await their.event("disconnected", "a"))["reason"] in ("transport close", "transport error")


async def test_too_much_of_anything_ends_the_connection(
    their: NodeDriver, shared_server: Server, transports: list[str]
) -> None:
    await connect(their, "a", shared_server, transports, await shared_server.token("ann"))
    await their.call("binary", connection="a", target="Hello", size=900_000)
    await their.event("disconnected", "a")


async def test_a_phone_over_socketio_is_offered_a_change_by_a_fitter_over_signalr(
    their: NodeDriver, shared_server: Server, transports: list[str]
) -> None:
    device = "sio-" + "-".join(transports)
    clinician = await shared_server.token("ann", "clinician")
    await shared_server.register(clinician, {"device": device, "patient": "pat", "assignments": ["ann"], "right": AID})
    pair = VirtualPair(VirtualAid("right", "right-1", "ref10", "2.3.1", faults=Faults(time_scale=0.05)))
    phone_token = await shared_server.token("pat", "patient", "device")
    hub = HubClient(f"{shared_server.url}/hub", token=phone_token, transport="socketio")
    phone = Phone(hub, OfferRunner(pair, MemoryJournal(), device=device, wearer=AgreeableWearer()))
    await connect(their, "fitter", shared_server, transports, clinician)
    async with hub, asyncio.TaskGroup() as tasks:
        running = tasks.create_task(phone.run())
        lease = await leased(their, device)
        live = {"device": device, "mode": "advanced", "fence": lease["fence"], "reason": "a visit"}
        assert (await their.invoke("fitter", "SetMode", live))["state"] == "live"
        ops = [
            {"op": "add", "ear": "right", "path": path, "band": 3, "value": 20}
            for path in ("g50Ddb", "g65Ddb", "g80Ddb")
        ]
        submit = live | {
            "kind": "volatile",
            "base": {"revision": lease["head"]["revision"]},
            "patch": {"slot": 1, "ops": ops},
            "idempotencyKey": "k1",
        }
        accepted = await their.invoke("fitter", "Submit", submit)
        assert accepted["ok"] is True, accepted
        state = ""
        while state != "confirmed":
            [news] = await their.push("fitter", "DeliveryChanged")
            state = news["state"] if "ear" not in news else ""
        assert pair.aid("right").read_digest("ram") == accepted["digests"]["right"]
        running.cancel()


async def are_well(pods: list[Server]) -> bool:
    """Whether each has all that it shares with others."""
    async with aiohttp.ClientSession() as http:
        looks = [await (await http.get(f"{pod.url}/readyz")).json() for pod in pods]
    return not any(look["degraded"] for look in looks)


async def test_events_and_client_results_cross_two_pods(
    their: NodeDriver, tmp_path: Path, postgres: PostgresServer
) -> None:
    """The fitter and the patient use socket.io-client, each on a pod of its own: polling needs no more than its pod."""
    tokens = DevTokens(KEY.encode(), time.time)

    def token(user: str, *roles: str) -> str:
        return tokens.mint(user=user, clinic="c1", roles=frozenset(roles), expires_in_s=600)

    url = await new_postgres(postgres)
    async with AsyncExitStack() as stack:
        bus = stack.enter_context(redis_server())
        environ = {"AURICLE_DEV_SIGNING_KEY": KEY, "AURICLE_DATABASE_URL": url, "AURICLE_REDIS_URL": bus.url} | PATIENT
        pods = []
        for name in ("east", "west"):
            (tmp_path / name).mkdir()
            pods.append(await stack.enter_async_context(server(tmp_path / name, **environ)))
        east, west = pods
        await eventually_asked(lambda: are_well(pods))
        aid = AID | {"serial": "R-1"}
        body: dict[str, object] = {"device": "d1", "patient": "pat", "assignments": ["ann"], "right": aid}
        await east.register(token("ann", "clinician"), body)
        await connect(their, "phone", west, ["polling"], token("pat", "patient", "device"))
        await connect(their, "fitter", east, ["polling", "websocket"], token("ann", "clinician"))
        attached = await their.invoke("phone", "AttachDevice", msgspec.to_builtins(CLAIM))
        assert attached["ok"] is True, attached
        lease = await their.invoke("fitter", "AcquireLease", {"device": "d1", "session": "s"})
        assert lease["ok"] is True, lease
        asked = await their.invoke("fitter", "ReadBack", {"device": "d1", "fence": lease["fence"]})
        assert asked["ok"] is True, asked
        assert await their.push("phone", "ReadBackNow") == [{"device": "d1"}]
