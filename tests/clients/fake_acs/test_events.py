"""Event Grid's part: a handshake, then events that come at least once."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from clients.fake_acs.service import FakeAcs
from tests.clients.fake_acs.sdks import chat_of, quick
from tests.eventually import eventually


class Endpoint:
    """Where events are posted; ``answers`` False: it does not repeat the code. ``refuses``: so many times 503."""

    def __init__(self) -> None:
        self.url = ""
        self.answers = True
        self.refuses = 0
        self.came: list[tuple[str, str, Any]] = []

    async def take(self, request: web.Request) -> web.Response:
        [event] = await request.json()
        self.came.append((request.headers["aeg-event-type"], request.headers.get("X-Secret", ""), event))
        if event["eventType"] == "Microsoft.EventGrid.SubscriptionValidationEvent":
            code = event["data"]["validationCode"] if self.answers else "other"
            return web.json_response({"validationResponse": code})
        self.refuses -= 1
        return web.Response(status=200 if self.refuses < 0 else 503)


@pytest.fixture
async def endpoint() -> AsyncIterator[Endpoint]:
    found, app = Endpoint(), web.Application()
    app.router.add_post("/", found.take)
    runner = web.AppRunner(app, shutdown_timeout=0.01)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    found.url = f"http://127.0.0.1:{runner.addresses[0][1]}/"
    yield found
    await runner.cleanup()


async def test_an_endpoint_that_does_not_repeat_the_code_gets_nothing(acs: FakeAcs, endpoint: Endpoint) -> None:
    endpoint.answers = False
    assert not await acs.events.subscribe(endpoint.url, {})
    async with chat_of(acs) as (_, chat):
        thread = await chat.create_chat_thread("visit")
        async with chat.get_chat_thread_client(thread.chat_thread.id, **quick(acs)) as client:
            await client.send_message("x")
    assert [kind for kind, _, _ in endpoint.came] == ["SubscriptionValidation"]


async def test_a_message_is_told_until_it_was_taken(acs: FakeAcs, endpoint: Endpoint) -> None:
    assert await acs.events.subscribe(endpoint.url, {"X-Secret": "s"})
    endpoint.refuses = 1
    async with chat_of(acs) as (user, chat):
        thread = await chat.create_chat_thread("visit")
        async with chat.get_chat_thread_client(thread.chat_thread.id, **quick(acs)) as client:
            sent = await client.send_message("Hello")
            await eventually(lambda: acs.events.told)
    assert [(kind, secret) for kind, secret, _ in endpoint.came] == [
        ("SubscriptionValidation", "s"),
        *[("Notification", "s")] * 2,
    ]
    event = endpoint.came[-1][2]
    assert event["eventType"] == "Microsoft.Communication.ChatMessageReceivedInThread"
    assert event["data"]["threadId"] == thread.chat_thread.id
    assert event["data"]["messageId"] == sent.id
    assert event["data"]["senderCommunicationIdentifier"]["rawId"] == user.raw_id
    assert endpoint.came[-1][2]["id"] == endpoint.came[-2][2]["id"]
