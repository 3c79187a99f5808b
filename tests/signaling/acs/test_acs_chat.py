"""Messages both ways between our chat and a thread of ACS: each once, none lost, whatever happens in between."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from azure.communication.chat.aio import ChatClient, ChatThreadClient, CommunicationTokenCredential

from clients.fake_acs.events import TOPIC
from clients.fake_acs.faults import Fault
from clients.fake_acs.state import Thread
from protocol.contract.chat import MessageReceived
from tests.clients.fake_acs.sdks import quick
from tests.eventually import eventually
from tests.signaling.acs.scene import AcsScene, acs_scene
from tests.signaling.acs.test_acs_calls import end
from tests.signaling.visiting import said

SECRET = "s" * 40


@pytest.fixture
async def scene() -> AsyncIterator[AcsScene]:
    async with acs_scene() as found:
        yield found


def texts(thread: Thread) -> list[str]:
    """What is in a thread of what people wrote."""
    return [one.content["message"] for one in thread.messages if one.kind == "text"]


def heard(scene: AcsScene) -> list[str]:
    return [one.message.text for one in scene.ann_told.of(MessageReceived)]


async def pat_in_acs(scene: AcsScene) -> ChatThreadClient:
    """Pat writes with Microsoft's client, as a phone app does; he is in the thread."""
    join: Any = (await scene.answered((await scene.started()).call_id)).acs
    await eventually(lambda: scene.acs.resource.threads)
    [thread] = scene.acs.resource.threads.values()
    await eventually(lambda: join.user_id in thread.members)
    client = ChatClient(scene.acs.url, CommunicationTokenCredential(join.token), **quick(scene.acs))
    return client.get_chat_thread_client(thread.id, **quick(scene.acs))


async def test_what_is_written_here_is_there_once_and_in_order(scene: AcsScene) -> None:
    for n in range(5):
        await said(scene.ann if n % 2 else scene.pat, f"text {n}", f"c{n}")
    await eventually(lambda: scene.acs.resource.threads)
    [thread] = scene.acs.resource.threads.values()
    await eventually(lambda: len(texts(thread)) >= 5)
    await said(scene.ann, "last", "c9")
    await eventually(lambda: texts(thread)[-1] == "last")
    assert texts(thread) == [*(f"text {n}" for n in range(5)), "last"]
    names = {one.sender_name for one in thread.messages if one.kind == "text"}
    assert names == {"Professional", "Patient"}
    assert heard(scene).count("last") == 1, "and does not come back"


async def test_what_is_written_there_is_here_once_and_does_not_come_back(scene: AcsScene) -> None:
    async with await pat_in_acs(scene) as client:
        for n in range(3):
            await client.send_message(f"from there {n}")
        await eventually(lambda: len(heard(scene)) >= 3)
        await said(scene.ann, "from here")
        [thread] = scene.acs.resource.threads.values()
        await eventually(lambda: "from here" in texts(thread))
    expected = [f"from there {n}" for n in range(3)]
    assert texts(thread) == [*expected, "from here"]
    assert heard(scene) == [*expected, "from here"]
    found = await messages(scene)
    assert [(one["participant"], one["n"]) for one in found] == [("p2", 1), ("p2", 2), ("p2", 3), ("p1", 4)]


async def messages(scene: AcsScene) -> list[dict[str, Any]]:
    url = f"{scene.house.url}/api/v1/visits/v1/messages"
    async with scene.house.http.get(url, headers=scene.house.bearer("ann")) as answer:
        found: list[dict[str, Any]] = (await answer.json())["items"]
        return found


async def test_a_long_text_and_a_stranger_in_the_thread(scene: AcsScene) -> None:
    async with await pat_in_acs(scene) as client:
        await client.send_message("x" * 9_000)
        await eventually(lambda: len(heard(scene)) == 3)
    assert "".join(heard(scene)) == "x" * 9_000


async def test_nothing_is_lost_or_doubled_over_troubles(scene: AcsScene) -> None:
    async with await pat_in_acs(scene) as client:
        [thread] = scene.acs.resource.threads.values()
        for n in range(6):
            if n % 2:
                scene.acs.faults.on.append(Fault("status", "chat", status=500, count=2))
            await said(scene.ann, f"here {n}", f"c{n}")
            await asyncio.sleep(0)
            while True:  # Pat's own client does not try again
                try:
                    await client.send_message(f"there {n}")
                    break
                except Exception:  # noqa: BLE001  # whatever the fault was
                    continue
        scene.acs.faults.clear()
        await eventually(lambda: len(heard(scene)) == 12 and len(texts(thread)) == 12)
    for kind in ("here", "there"):
        expected = [f"{kind} {n}" for n in range(6)]
        assert [one for one in texts(thread) if one.startswith(kind)] == expected
        assert [one for one in heard(scene) if one.startswith(kind)] == expected


async def test_an_answer_that_was_lost_is_no_second_message(scene: AcsScene) -> None:
    """It was written there, and the connection broke before anybody here knew."""
    await eventually(lambda: scene.acs.resource.threads)
    [thread] = scene.acs.resource.threads.values()
    scene.acs.faults.on.append(Fault("lost", "chat", count=1))
    await said(scene.ann, "once")
    await said(scene.ann, "twice", "c2")
    await eventually(lambda: "twice" in texts(thread))
    assert texts(thread) == ["once", "twice"]
    assert not scene.acs.faults.on[0].count


async def test_what_was_written_last_is_fetched_at_the_end() -> None:
    async with acs_scene(acs_poll_s=600.0) as scene:
        async with await pat_in_acs(scene) as client:
            await client.send_message("good bye")
            await end(scene)
            await eventually(lambda: all(one.deleted for one in scene.acs.resource.threads.values()))
        assert [one["text"] for one in await messages(scene)] == ["good bye"], "ours is readable without them"


async def subscribed(scene: AcsScene) -> None:
    headers = {"X-Auricle-Event-Secret": SECRET}
    assert await scene.acs.events.subscribe(f"{scene.house.url}/acs/events", headers)


async def test_event_grid_says_when_to_look() -> None:
    options: dict[str, Any] = {"acs_event_secret": SECRET, "acs_event_topic": TOPIC.upper(), "acs_poll_s": 600.0}
    async with acs_scene(**options) as scene:
        await subscribed(scene)
        scene.acs.events.repeats = 3
        async with await pat_in_acs(scene) as client:
            await client.send_message("Hello")
            await eventually(lambda: heard(scene) == ["Hello"])
            await eventually(lambda: scene.acs.events.told >= 3)
            await client.send_message("again")
            await eventually(lambda: heard(scene) == ["Hello", "again"])


async def test_without_event_grid_it_is_found_by_looking() -> None:
    # A twelfth as often as without a subscription.
    options: dict[str, Any] = {"acs_event_secret": SECRET, "acs_event_topic": TOPIC, "acs_poll_s": 0.02}
    async with acs_scene(**options) as scene:
        await subscribed(scene)
        scene.acs.events.muted = True
        async with await pat_in_acs(scene) as client:
            await client.send_message("Hello")
            await eventually(lambda: heard(scene) == ["Hello"])
        assert scene.acs.events.told == 0


async def test_who_has_no_secret_says_nothing() -> None:
    options: dict[str, Any] = {"acs_event_secret": SECRET, "acs_event_topic": TOPIC}
    async with acs_scene(**options) as scene:
        url = f"{scene.house.url}/acs/events"
        event = {
            "eventType": "Microsoft.EventGrid.SubscriptionValidationEvent",
            "topic": TOPIC,
            "data": {"validationCode": "code", "validationUrl": f"{scene.house.url}/livez"},
        }

        async def post(secret: str, body: Any) -> tuple[int, str]:
            headers = {"X-Auricle-Event-Secret": secret, "Content-Type": "application/json"}
            async with scene.house.http.post(url, data=aiohttp.payload.JsonPayload(body), headers=headers) as answer:
                return answer.status, await answer.text()

        for secret in ("", "s" * 39):
            status, text = await post(secret, [event])
            assert (status, json.loads(text)["code"]) == (401, "unauthenticated")
        assert (await post(SECRET, [{**event, "topic": "/other"}]))[0] == 400
        assert (await post(SECRET, {"a": 1}))[0] == 400
        assert await post(SECRET, [event]) == (200, '{"validationResponse": "code"}')
        unknown = {"eventType": "Microsoft.Communication.ChatMessageReceivedInThread", "topic": TOPIC}
        assert await post(SECRET, [{**unknown, "data": {"threadId": "19:x"}}]) == (200, "")
        assert await post(SECRET, [{**unknown, "eventType": "Microsoft.Communication.Other"}]) == (200, "")
        assert (await post(SECRET, ["x" * 70_000]))[0] == 413


async def test_nobody_listens_when_none_is_configured(scene: AcsScene) -> None:
    async with scene.house.http.post(f"{scene.house.url}/acs/events", json=[]) as answer:
        assert answer.status == 404
