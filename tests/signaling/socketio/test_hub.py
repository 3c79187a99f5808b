"""The care hub over Socket.IO: who may enter, calls and answers, and the same people as over SignalR."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
import socketio

from clients.hub_client import HubClient, HubOptions
from clients.hub_errors import HubRefused
from protocol.contract.base import Failure
from protocol.contract.devices import DeliveryChanged, DeviceAnswer, DeviceQuery
from protocol.contract.history import HistoryEvent, WatchDevice
from signaling.server import drain
from tests.eventually import eventually
from tests.signaling.away import log_of
from tests.signaling.care import Connect, change, lease
from tests.signaling.conftest import House, OpenHouse
from tests.signaling.socketio.by_hand import PATIENCE_S, PollingByHand, SocketByHand
from tests.signaling.visit import visit


@pytest.fixture(params=[("websocket",), ("polling",), ("polling", "websocket")], ids="+".join)
async def their_client(house: House, request: pytest.FixtureRequest) -> AsyncIterator[Any]:
    """python-socketio's own client, in the hub."""
    client = socketio.AsyncClient(reconnection=False, handle_sigint=False)
    transports = list(request.param)
    await client.connect(
        house.url,
        auth={"token": house.token("ann")},
        namespaces=["/hub"],
        transports=transports,
        wait_timeout=PATIENCE_S,
    )
    assert client.transport() == transports[-1]
    yield client
    await client.disconnect()


async def test_every_call_is_acknowledged_with_a_result_or_an_error_of_a_code(their_client: Any) -> None:
    async def call(name: str, *arguments: object) -> Any:
        return await their_client.call(name, arguments, namespace="/hub", timeout=PATIENCE_S)

    me = await call("WhoAmI")
    assert me == {
        "ok": True,
        "user": "ann",
        "clinic": "c1",
        "roles": ["clinician"],
        "connectionId": their_client.get_sid("/hub"),
    }
    assert (await call("hello", {"contract": 1}))["contract"] == 1
    for name, argument, code in (
        ("Nope", {}, "unknown_method"),
        ("Hello", {"contract": 0}, "bad_argument"),
        ("Hello", {}, "bad_argument"),
        ("GetDevice", {"device": "d9"}, "not_found"),
        ("Report", {"device": "d9"}, "bad_argument"),
        ("ReadBack", {"device": "d9"}, "not_found"),
    ):
        answer = await call(name, argument)
        assert (answer["ok"], answer["error"]["code"], answer["error"]["retryable"]) == (False, code, False), name


async def test_many_calls_at_once_are_answered_in_order(their_client: Any) -> None:
    answers: list[int] = []
    for n in range(40):
        await their_client.emit(
            "Hello", {"contract": 1 + n}, namespace="/hub", callback=lambda _, n=n: answers.append(n)
        )
    await eventually(lambda: len(answers) == 40)
    assert answers == list(range(40))


@pytest.mark.parametrize(
    "auth", [None, {}, {"token": 7}, {"token": ""}, {"token": "x.y.z"}, {"token": ["a"]}, {"access_token": "x"}]
)
async def test_without_a_good_token_nobody_enters(house: House, auth: object) -> None:
    socket = await SocketByHand.dial(house)
    await socket.say("0/hub," + ("" if auth is None else json.dumps(auth)))
    refused = json.loads((await socket.packet()).removeprefix("4/hub,"))
    assert refused["data"] == {"code": "unauthenticated", "retryable": False}
    assert house.metric("auricle_unauthenticated_total") == 1
    assert house.app_sessions() == 0
    # Another try over the same session is welcome until it is time to be somebody.
    await socket.say("0/hub," + json.dumps({"token": house.token("ann")}))
    assert (await socket.packet()).startswith("0/hub,")


async def test_a_token_that_has_ended_is_none(house: House) -> None:
    client = HubClient(f"{house.url}/hub", token=house.token("ann", expires_in_s=-90), transport="socketio")
    with pytest.raises(HubRefused) as refused:
        await client.start()
    assert refused.value.status == 401


async def test_no_token_is_in_any_log(house: House) -> None:
    socket = await SocketByHand.enter(house)
    token = house.token("ann")
    await socket.say(f'2/hub,1["{token}",{{}}]', f'2/hub,["disconnect","{token}"]')
    await socket.closed()
    assert token not in house.log.getvalue()
    assert "protocol_broken" in house.log.getvalue()


async def test_other_namespaces_are_not_there(house: House) -> None:
    socket = await SocketByHand.dial(house)
    for name in ("/", "/admin", "/../", "/hubs", "/hub/"):
        await socket.say("0" if name == "/" else f"0{name},")
        head = "4" if name == "/" else f"4{name},"
        assert await socket.packet() == head + '{"message":"Invalid namespace"}'


async def test_another_hub_is_another_namespace(house: House) -> None:
    socket = await SocketByHand.enter(house)
    name = "/hubs/conformance"
    await socket.say(f"0{name},")
    assert json.loads((await socket.packet()).removeprefix(f"4{name},"))["data"]["code"] == "unauthenticated"
    await socket.say(f'0{name},{{"token":"{house.token("ann")}"}}')
    assert (await socket.packet()).startswith(f"0{name},")
    await socket.say(f'2{name},1["Echo",[1,"2"]]', '2/hub,2["WhoAmI"]')
    assert await socket.packet() == f'3{name},1[{{"ok":true,"result":[1,"2"]}}]'
    assert (await socket.ack(2))["user"] == "ann"
    assert house.app_sessions() == 2
    await socket.say(f"1{name},")
    await eventually(lambda: house.app_sessions() == 1)
    assert (await socket.call(3, "WhoAmI"))["ok"] is True


async def test_people_over_both_protocols_are_in_the_same_groups_and_one_visit(house: House, connect: Connect) -> None:
    here = await visit(connect)
    assert here.ann._new_link is not here.pat._new_link
    assert here.phone.heard["ConsentAsked"], "the phone over Socket.IO was asked, and its answer came back"
    other = await SocketByHand.enter(house, "abe")
    # Refused, and from now on it watches.
    refused = await other.call(1, "AcquireLease", {"device": "d1", "session": "s9"})
    assert (refused["ok"], refused["error"]["code"], refused["errors"]) == (False, "lease_held", [refused["error"]])
    await here.apply(change(here.leased))
    changes = [await other.event("DeliveryChanged") for _ in range(2)]
    await eventually(lambda: len(here.fitter.of(DeliveryChanged)) >= len(changes))
    assert [change["state"] for change in changes] == [told.state for told in here.fitter.of(DeliveryChanged)][:2]


async def test_a_stream_is_begun_by_an_acknowledgement_and_its_items_are_events(house: House, connect: Connect) -> None:
    ann = await connect("ann", "clinician")
    socket = await SocketByHand.enter(house)
    begun = await socket.call(1, "WatchDevice", {"device": "d1", "after": 0})
    assert begun == {"ok": True, "stream": "s1"}
    await lease(ann)
    item = await socket.event("StreamItem")
    assert item["stream"] == "s1"
    assert item["item"]["n"] >= 1
    await socket.say('2/hub,["CancelStream",{"stream":"s1"}]')
    assert await socket.event("StreamEnded") == {"stream": "s1", "ok": True}
    assert (await socket.call(2, "WatchDevice", {"device": "d9", "after": 0}))["stream"] == "s2"
    ended = await socket.event("StreamEnded")
    assert (ended["stream"], ended["ok"], ended["error"]["code"]) == ("s2", False, "not_found")


async def test_the_python_client_streams_over_socketio(house: House, connect: Connect) -> None:
    await connect("ann", "clinician")
    async with HubClient(f"{house.url}/hub", token=house.token("ann"), transport="socketio") as client:
        await lease(client)
        stream = client.stream("WatchDevice", WatchDevice(device="d1", after=0), item=HistoryEvent)
        first = await anext(stream)
        assert first.n >= 1
        await stream.aclose()
        outcome = await client.ask("GetDevice", DeviceQuery(device="d1"), answer=DeviceAnswer)
        assert not isinstance(outcome, Failure)


async def test_the_safety_lane_waits_behind_no_call(house: House, connect: Connect) -> None:
    here = await visit(connect)
    away = log_of(house)
    away.stall = asyncio.Event()
    ann = await SocketByHand.enter(house, "ann")
    submit = msgspec.to_builtins(change(here.leased))
    await ann.say(f"2/hub,1{json.dumps(['Submit', submit])}", '2/hub,2["WhoAmI"]', '2/hub,3["Stop",{"device":"d1"}]')
    # WhoAmI comes behind the call that hangs; Stop does not.
    assert (await ann.ack(3))["relayed"] is True
    away.stall.set()
    assert "ok" in await ann.ack(1)
    assert (await ann.ack(2))["user"] == "ann"


async def test_a_token_is_renewed_in_band_or_the_client_is_told_why_it_ends(house: House, connect: Connect) -> None:
    await connect("ann", "clinician")
    short = await SocketByHand.enter(house, "ann", expires_in_s=120)
    house.wall.now_s += 70
    house.sweep()
    assert set(await short.event("SessionExpiring")) == {"expiresAt"}
    answer = await short.call(1, "Reauthenticate", {"token": house.token("ann", expires_in_s=600)})
    assert answer["ok"] is True
    wrong = await short.call(2, "Reauthenticate", {"token": house.token("abe")})
    assert wrong["error"]["code"] == "invalid_token"
    house.wall.now_s += 120
    house.sweep()
    assert (await short.call(3, "WhoAmI"))["ok"] is True
    house.wall.now_s += 600
    house.sweep()
    closing = await short.event("Close")
    assert closing == {"allowReconnect": True, "error": "The token has expired."}
    # Not told that it has been disconnected, so its library comes back.
    assert "41/hub," not in await short.closed()
    await eventually(lambda: house.app_sessions() == 1)


@pytest.mark.parametrize("kind", [SocketByHand, PollingByHand])
async def test_a_shutdown_tells_everybody_and_waits_for_nobody(open_house: OpenHouse, kind: Any) -> None:
    house = await open_house(drain_s=5.0)
    client = await kind.enter(house)
    draining = asyncio.create_task(drain(house.parts, house.parts.hubs[0].config))
    if isinstance(client, SocketByHand):
        assert await client.event("Draining") == {"retryAfterMs": 1000}
        assert (await client.event("Close"))["allowReconnect"] is True
        await client.closed()
    else:
        said = ""
        while "Close" not in said:
            status, body = await client.poll()
            assert status == 200
            said += body
        assert '42/hub,["Draining",{"retryAfterMs":1000}]' in said
        while not said.endswith("1"):
            said += (await client.poll())[1]
        assert (await client.poll())[0] == 400
    await asyncio.wait_for(draining, PATIENCE_S)
    async with house.http.get(house.url + "/socket.io/?EIO=4&transport=polling") as answer:
        assert (answer.status, answer.headers["Retry-After"]) == (503, "1")


async def test_who_leaves_the_namespace_is_gone_and_may_come_back(house: House) -> None:
    socket = await SocketByHand.enter(house)
    await socket.say("1/hub,")
    await eventually(lambda: house.app_sessions() == 0)
    await socket.say("0/hub," + json.dumps({"token": house.token("abe")}))
    assert (await socket.packet()).startswith("0/hub,")
    assert (await socket.call(1, "WhoAmI"))["user"] == "abe"
    await socket.say("1/hub,")
    await eventually(lambda: house.app_sessions() == 0)
    house.monotonic.now_s += 16
    house.sweep()
    await socket.closed()


async def test_a_polling_client_may_ask_for_nothing_else(house: House) -> None:
    options = HubOptions(socketio_transports=("polling",))
    async with HubClient(f"{house.url}/hub", token=house.token("ann"), transport="socketio", options=options) as client:
        assert (await client.invoke("WhoAmI", result=dict))["user"] == "ann"
