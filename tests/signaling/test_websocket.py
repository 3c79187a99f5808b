"""The WebSocket transport as a stranger meets it: status codes, frames, limits, deadlines, closings."""

import asyncio
import json
import re
from typing import Any

import aiohttp
import pytest
from aiohttp import WSMsgType

from tests.eventually import eventually
from tests.signaling.by_hand import PATIENCE_S
from tests.signaling.conftest import House, OpenHouse

HUB = "/hubs/conformance"
HANDSHAKE = '{"protocol":"json","version":1}\x1e'


async def negotiate(house: House, *who: str, version: str | None = "1") -> dict[str, Any]:
    query = "" if version is None else f"?negotiateVersion={version}"
    async with house.http.post(f"{house.url}{HUB}/negotiate{query}", headers=house.bearer(*who)) as answer:
        assert answer.status == 200
        assert "Content-Length" in answer.headers
        body: dict[str, Any] = await answer.json()
        return body


async def connect(house: House, *who: str, token: str | None = None) -> aiohttp.ClientWebSocketResponse:
    query = f"?id={token}" if token else ""
    return await house.socket(f"{house.url}{HUB}{query}", headers=house.bearer(*who))


async def shake(socket: aiohttp.ClientWebSocketResponse) -> None:
    await socket.send_str(HANDSHAKE)
    assert (await socket.receive()).data == "{}\x1e"


async def messages(socket: aiohttp.ClientWebSocketResponse, count: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    while len(found) < count:
        frame = await asyncio.wait_for(socket.receive(), PATIENCE_S)
        assert frame.type is WSMsgType.TEXT, frame
        assert frame.data.endswith("\x1e")
        found += [json.loads(part) for part in frame.data.split("\x1e")[:-1]]
    assert len(found) == count
    return found


async def closing(socket: aiohttp.ClientWebSocketResponse) -> tuple[list[dict[str, Any]], int | None]:
    """What comes until the end, and the close code."""
    found: list[dict[str, Any]] = []
    async for frame in socket:
        found += [json.loads(part) for part in frame.data.split("\x1e")[:-1]]
    return found, socket.close_code


async def test_negotiation_in_both_versions(house: House) -> None:
    for asked in ("1", "7"):
        body = await negotiate(house, version=asked)
        assert body["negotiateVersion"] == 1
        assert body["connectionToken"] != body["connectionId"]
        assert body["availableTransports"] == [
            {"transport": "WebSockets", "transferFormats": ["Text", "Binary"]},
            {"transport": "ServerSentEvents", "transferFormats": ["Text"]},
            {"transport": "LongPolling", "transferFormats": ["Text", "Binary"]},
        ]
        assert "useStatefulReconnect" not in body
    for asked_low in (None, "0"):
        body = await negotiate(house, version=asked_low)
        assert body["negotiateVersion"] == 0
        assert "connectionToken" not in body
        socket = await connect(house, token=body["connectionId"])
        await shake(socket)
    for bad in ("x", "-1", "1.5"):
        assert "error" in await negotiate(house, version=bad)


async def test_a_token_opens_one_connection_once_and_for_its_owner_only(house: House) -> None:
    body = await negotiate(house)
    token, public = body["connectionToken"], body["connectionId"]
    for id_, who in ((public, "ann"), (token, "bob"), ("nonsense", "ann")):
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await connect(house, who, token=id_)
        assert refused.value.status == 404
    socket = await connect(house, token=token)
    await shake(socket)
    with pytest.raises(aiohttp.WSServerHandshakeError) as twice:
        await connect(house, token=token)
    assert twice.value.status == 409
    await socket.send_str('{"type":1,"target":"Whoami","arguments":[],"invocationId":"1"}\x1e')
    assert (await messages(socket, 1))[0]["result"]["connection_id"] == public
    await socket.close()
    await eventually(lambda: house.app_sessions() == 0)
    with pytest.raises(aiohttp.WSServerHandshakeError) as again:
        await connect(house, token=token)
    assert again.value.status == 404


async def test_an_unopened_connection_ends_with_its_token(house: House) -> None:
    token = (await negotiate(house))["connectionToken"]
    house.wall.now_s += 15.1
    with pytest.raises(aiohttp.WSServerHandshakeError) as late:
        await connect(house, token=token)
    assert late.value.status == 404


async def test_every_request_without_a_good_token_is_401(house: House) -> None:
    expired = {"Authorization": "Bearer " + house.token(expires_in_s=-1)}
    for path, method in ((f"{HUB}/negotiate", "POST"), (HUB, "GET"), ("/hub/negotiate", "POST"), ("/hub", "GET")):
        for headers in ({}, {"Authorization": "Bearer x"}, {"Authorization": "Basic YTpi"}, expired):
            async with house.http.request(method, house.url + path, headers=headers) as answer:
                assert answer.status == 401
                assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert house.metric("auricle_unauthenticated_total") == 16


async def test_a_browser_may_put_the_token_of_its_websocket_into_the_query(house: House) -> None:
    token = house.token()
    socket = await house.socket(f"{house.url}{HUB}?access_token={token}")
    await shake(socket)
    async with house.http.post(f"{house.url}{HUB}/negotiate?access_token={token}") as answer:
        assert answer.status == 401
    both = f"{house.url}{HUB}?access_token={house.token('bob')}"
    with pytest.raises(aiohttp.WSServerHandshakeError) as two:
        await house.socket(both, headers=house.bearer())
    assert two.value.status == 401
    assert token not in house.log.getvalue()


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "https://good.example.evil", "http://127.0.0.1"])
async def test_pages_of_other_sites_are_refused(open_house: OpenHouse, origin: str) -> None:
    house = await open_house(allowed_origins="https://good.example")
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await house.socket(house.url + HUB, headers=house.bearer() | {"Origin": origin})
    assert refused.value.status == 403
    for good in ("https://good.example", house.url):
        socket = await house.socket(house.url + HUB, headers=house.bearer() | {"Origin": good})
        await shake(socket)


async def test_a_plain_get_needs_an_upgrade_and_other_methods_are_refused(house: House) -> None:
    async with house.http.get(house.url + HUB, headers=house.bearer()) as answer:
        assert (answer.status, await answer.text()) == (400, "Connection ID required")
    async with house.http.put(house.url + HUB, headers=house.bearer()) as answer:
        assert answer.status == 405


async def test_no_more_connections_than_configured(open_house: OpenHouse) -> None:
    house = await open_house(max_connections=1)
    first = await connect(house)
    with pytest.raises(aiohttp.WSServerHandshakeError) as full:
        await connect(house)
    assert full.value.status == 503
    assert full.value.headers is not None
    assert full.value.headers["Retry-After"] == "1"
    assert house.metric("auricle_bound_reached_total", bound="max_connections") == 1
    await shake(first)


async def test_messages_may_be_joined_and_split_in_any_way(house: House) -> None:
    socket = await connect(house)
    calls = [{"type": 1, "target": "Echo", "arguments": [n], "invocationId": str(n)} for n in range(50)]
    text = HANDSHAKE + "".join(json.dumps(call) + "\x1e" for call in calls)
    for start in range(0, len(text), 7):
        await socket.send_str(text[start : start + 7])
    assert (await socket.receive()).data.startswith("{}\x1e")
    rest = await messages_after_first(socket, 50)
    assert [message["result"] for message in rest] == list(range(50))


async def messages_after_first(socket: aiohttp.ClientWebSocketResponse, count: int) -> list[dict[str, Any]]:
    """Answers that may have shared the handshake's frame are counted by asking once more."""
    await socket.send_str('{"type":1,"target":"Echo","arguments":["end"],"invocationId":"end"}\x1e')
    found: list[dict[str, Any]] = []
    while not found or found[-1].get("invocationId") != "end":
        found += [json.loads(part) for part in (await socket.receive()).data.split("\x1e")[:-1]]
    return found[-count - 1 : -1]


async def test_a_broken_message_closes_with_a_word_and_tells_no_details(house: House) -> None:
    for bad in ("not json", '{"type":1}', '{"type":"x"}', '{"type":1,"target":"Echo","arguments":[1],"arguments":[2]}'):
        socket = await connect(house)
        await shake(socket)
        await socket.send_str(bad + "\x1e")
        found, code = await closing(socket)
        assert found == [{"type": 7, "error": "Connection closed with an error.", "allowReconnect": True}]
        assert code == 1000
    assert "protocol_broken" in house.log.getvalue()


async def test_unknown_types_and_answers_to_nothing_are_ignored(house: House) -> None:
    socket = await connect(house)
    await shake(socket)
    for ignored in (
        '{"type":99}',
        '{"type":3,"invocationId":"s1","result":1}',
        '{"type":2,"invocationId":"1","item":1}',
        '{"type":5,"invocationId":"1"}',
        '{"type":8,"sequenceId":1}',
        '{"type":1,"target":"Nope","arguments":[]}',
        '{"type":1,"target":"Crash","arguments":[]}',
    ):
        await socket.send_str(ignored + "\x1e")
    await socket.send_str('{"type":1,"target":"Echo","arguments":[1],"invocationId":"1"}\x1e')
    assert await messages(socket, 1) == [{"type": 3, "invocationId": "1", "result": 1}]


async def test_the_handshake_has_a_deadline(house: House) -> None:
    socket = await connect(house)
    house.monotonic.now_s += 15.1
    house.sweep()
    found, code = await closing(socket)
    assert found == [{"error": "Handshake was canceled."}]
    assert code == 1000


async def test_silence_after_the_first_ping_ends_a_connection_and_we_ping_too(house: House) -> None:
    socket = await connect(house)
    await shake(socket)
    house.monotonic.now_s += 31
    house.sweep()
    assert await messages(socket, 1) == [{"type": 6}]
    await socket.send_str('{"type":6}\x1e{"type":1,"target":"Echo","arguments":[1],"invocationId":"1"}\x1e')
    await messages(socket, 1)
    house.monotonic.now_s += 31
    house.sweep()
    found, _ = await closing(socket)
    assert found[-1]["type"] == 7
    assert found[-1]["allowReconnect"] is True


async def test_a_connection_ends_with_its_token(house: House) -> None:
    socket = await house.socket(house.url + HUB, headers=house.bearer(expires_in_s=60))
    await shake(socket)
    house.wall.now_s += 59
    house.sweep()
    await socket.send_str('{"type":1,"target":"Echo","arguments":[1],"invocationId":"1"}\x1e')
    await messages(socket, 1)
    house.wall.now_s += 1
    house.sweep()
    found, _ = await closing(socket)
    assert found == [{"type": 7, "error": "The token has expired.", "allowReconnect": True}]


async def test_a_reader_that_does_not_read_is_dropped_and_memory_stays_bounded(open_house: OpenHouse) -> None:
    house = await open_house(max_send_queue_bytes=100_000)
    slow, loud = await connect(house), await connect(house, "bob")
    await shake(slow)
    await shake(loud)
    await slow.send_str('{"type":1,"target":"JoinGroup","arguments":["g"],"invocationId":"1"}\x1e')
    await messages(slow, 1)
    text = "x" * 30_000
    for number in range(600):
        call = {"type": 1, "target": "ToGroup", "arguments": ["g", "m", text], "invocationId": str(number)}
        await loud.send_str(json.dumps(call) + "\x1e")
        await messages(loud, 1)
        if house.metric("auricle_bound_reached_total", bound="max_send_queue_bytes"):
            break
    assert house.metric("auricle_bound_reached_total", bound="max_send_queue_bytes") == 1
    assert '"cause": "slow_consumer"' in house.log.getvalue()


async def test_a_flood_of_calls_that_wait_stops_the_reader_but_loses_none(open_house: OpenHouse) -> None:
    house = await open_house(max_pending_calls=4, client_result_timeout_s=30)
    socket = await connect(house)
    await shake(socket)
    calls = "".join(
        json.dumps({"type": 1, "target": "AskMe", "arguments": ["q", n], "invocationId": str(n)}) + "\x1e"
        for n in range(20)
    )
    await socket.send_str(calls)
    asked = await messages(socket, 20)
    for question in asked:
        answer = {"type": 3, "invocationId": question["invocationId"], "result": question["arguments"][0]}
        await socket.send_str(json.dumps(answer) + "\x1e")
    answers = await messages(socket, 20)
    assert sorted(message["result"] for message in answers) == list(range(20))


async def test_one_frame_full_of_calls_keeps_to_the_bound_too(open_house: OpenHouse) -> None:
    house = await open_house(max_pending_calls=2)
    socket = await connect(house)
    await shake(socket)
    calls = [{"type": 1, "target": "AskMe", "arguments": ["q", n], "invocationId": str(n)} for n in range(10)]
    await socket.send_str("".join(json.dumps(call) + "\x1e" for call in calls))
    assert len(await messages(socket, 10)) == 10
    assert house.metric("auricle_bound_reached_total", bound="max_pending_calls") > 0


async def test_what_comes_behind_an_abort_is_not_run(house: House) -> None:
    bystander, socket = await connect(house, "bob"), await connect(house)
    for one in (bystander, socket):
        await shake(one)
    news = '{"type":1,"target":"ToUser","arguments":["bob","news","%s"]}\x1e'
    await socket.send_str(news.replace("%s", "before") + '{"type":1,"target":"Abort","arguments":[]}\x1e')
    found, code = await closing(socket)
    assert (found, code) == ([{"type": 7}], 1000)
    socket = await connect(house)
    await shake(socket)
    await socket.send_str('{"type":1,"target":"Abort","arguments":[]}\x1e' + news.replace("%s", "behind"))
    await closing(socket)
    await bystander.send_str('{"type":1,"target":"Echo","arguments":["end"],"invocationId":"1"}\x1e')
    assert [m.get("arguments", m.get("result")) for m in await messages(bystander, 2)] == [["before"], "end"]


async def test_a_client_that_does_not_answer_in_time_is_an_error_of_the_call(open_house: OpenHouse) -> None:
    house = await open_house(client_result_timeout_s=0.2, max_pending_results=1)
    socket = await connect(house)
    await shake(socket)
    calls = [{"type": 1, "target": "AskMe", "arguments": ["q"], "invocationId": str(number)} for number in (1, 2)]
    # In one frame: the time of the first is not over before the second is there.
    await socket.send_str("".join(json.dumps(call) + "\x1e" for call in calls))
    errors = [m["error"] for m in await messages(socket, 3) if m["type"] == 3]
    assert sorted(text.partition("HubException: ")[2] for text in errors) == [
        "[overloaded] the client owes too many results",
        "[unavailable] the client did not answer in time",
    ]


async def test_health_pages_and_metrics_name_nobody(house: House) -> None:
    socket = await connect(house, "very-private-name")
    await shake(socket)
    for path, status in (("/healthz", 200), ("/readyz", 200), ("/metrics", 200), ("/nothing", 404)):
        async with house.http.get(house.url + path) as answer:
            text = await answer.text()
            assert answer.status == status
            assert "very-private-name" not in text
    page = await metrics(house)
    assert 'signalr_server_active_connections{signalr_transport="web_sockets"} 1.0' in page
    assert re.search(r"^auricle_tasks [1-9]", page, re.MULTILINE)
    await socket.close()
    assert "very-private-name" not in house.log.getvalue()


async def metrics(house: House) -> str:
    async with house.http.get(f"{house.url}/metrics") as answer:
        return await answer.text()
