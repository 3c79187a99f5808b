"""A visit over ACS whose people are on two real server processes: what one has begun the other one carries on."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from azure.communication.chat.aio import ChatClient, ChatThreadClient, CommunicationTokenCredential
from azure.core.exceptions import HttpResponseError

from clients.fake_acs.event_tokens import AUDIENCE
from clients.fake_acs.events import TOPIC
from clients.fake_acs.faults import Fault
from clients.fake_acs.service import FakeAcs, fake_acs
from clients.fake_acs.state import Thread
from clients.hub_client import HubClient
from protocol.contract.calls import (
    AcsJoin,
    AnswerCall,
    CallAnswer,
    CallToken,
    IncomingCall,
    RefreshCallToken,
    StartCall,
)
from protocol.contract.chat import MessageReceived, MessageSent, SendMessage
from protocol.contract.visits import AdmitToVisit, Invited, JoinVisit, JoinVisitAnswer
from tests.clients.fake_acs.sdks import quick
from tests.databases import new_postgres
from tests.eventually import eventually
from tests.pods_running import PodsRunning, pods_running, token_of
from tests.postgres import PostgresServer
from tests.signaling.visit import Told

# Real processes, one of which is killed and waited for.
pytestmark = pytest.mark.timeout(240)
DEVICE = {
    "device": "d1",
    "patient": "pat",
    "assignments": ["ann"],
    "right": {"serial": "R-1", "model": "ref10", "firmware": "2.3.1"},
}
# Longer than what a process that has died holds, on a machine that is busy with other things.
PATIENCE_S = 90.0


async def sooner_or_later(holds: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not holds():  # noqa: ASYNC110  # polling: another process tells nobody when it is done
            await asyncio.sleep(0.05)


@dataclass
class Apart:
    """Ann and Pat in a live visit, each wherever a test has put them."""

    acs: FakeAcs
    pods: PodsRunning
    stack: AsyncExitStack
    visit: str = ""
    ann_told: Told = field(default_factory=Told)
    pat_told: Told = field(default_factory=Told)

    async def client(self, pod: int, user: str, role: str, told: Told) -> HubClient:
        """Somebody comes to the visit over a pod."""
        hub = HubClient(f"{self.pods.pods[pod].url}/hub", token=token_of(user, role), reconnect=None)
        told.listen(hub)
        await hub.start()
        self.stack.push_async_callback(hub.stop)
        if self.visit:
            answer = await hub.ask("JoinVisit", JoinVisit(visit=self.visit), answer=JoinVisitAnswer)
            assert isinstance(answer, JoinVisitAnswer), answer
        return hub

    async def both(self, ann_pod: int, pat_pod: int) -> tuple[HubClient, HubClient]:
        """They come, and Pat is let in."""
        ann = await self.client(ann_pod, "ann", "clinician", self.ann_told)
        pat = await self.client(pat_pod, "pat", "patient", self.pat_told)
        joined = await pat.ask("JoinVisit", JoinVisit(visit=self.visit), answer=JoinVisitAnswer)
        assert isinstance(joined, JoinVisitAnswer), joined
        admit = AdmitToVisit(visit=self.visit, participant=joined.participant)
        assert isinstance(await ann.ask("AdmitToVisit", admit, answer=Invited), Invited)
        return ann, pat

    async def rest(self, pod: int, method: str, path: str, body: Any, wanted: int) -> Any:
        headers = {"Authorization": f"Bearer {token_of('ann')}"}
        url = f"{self.pods.pods[pod].url}/api/v1/{path}"
        async with aiohttp.ClientSession() as http, http.request(method, url, json=body, headers=headers) as answer:
            assert answer.status == wanted, await answer.text()
            return await answer.json()

    async def call(self, ann: HubClient, pat: HubClient) -> tuple[str, AcsJoin, AcsJoin]:
        """Ann calls, Pat answers; what each needs to join."""
        started = await ann.ask("StartCall", StartCall(visit=self.visit, media="video"), answer=CallAnswer)
        assert isinstance(started, CallAnswer), started
        incoming = await self.pat_told.first(IncomingCall)
        answer = AnswerCall(visit=self.visit, call_id=incoming.call_id)
        answered = await pat.ask("AnswerCall", answer, answer=CallAnswer)
        assert isinstance(answered, CallAnswer), answered
        assert isinstance(started.acs, AcsJoin)
        assert isinstance(answered.acs, AcsJoin)
        return started.call_id, started.acs, answered.acs

    async def thread_of(self, join: AcsJoin) -> ChatThreadClient:
        """Microsoft's client, in the thread of the visit."""
        await eventually(lambda: self.acs.resource.threads and join.user_id in self.thread.members)
        options = quick(self.acs)
        chat = await self.stack.enter_async_context(
            ChatClient(self.acs.url, CommunicationTokenCredential(join.token), **options)
        )
        return await self.stack.enter_async_context(chat.get_chat_thread_client(self.thread.id, **options))

    @property
    def thread(self) -> Thread:
        [thread] = self.acs.resource.threads.values()
        return thread

    def there(self) -> list[str]:
        """What is in the thread."""
        return [one.content["message"] for one in self.thread.messages if one.kind == "text"]

    def heard(self, told: Told) -> list[str]:
        """What somebody was told of; the same message twice is once, as clients take it."""
        found = {one.message.id: one.message.text for one in told.of(MessageReceived)}
        return list(found.values())

    async def here(self, pod: int) -> list[str]:
        """Our history."""
        page = await self.rest(pod, "GET", f"visits/{self.visit}/messages", None, 200)
        return [one["text"] for one in page["items"]]

    async def say(self, who: HubClient, text: str) -> None:
        request = SendMessage(visit=self.visit, client_id=uuid.uuid4().hex, text=text)
        answer = await who.ask("SendMessage", request, answer=MessageSent)
        assert isinstance(answer, MessageSent), answer


@asynccontextmanager
async def visit_of(
    folder: Path,
    postgres: PostgresServer,
    *,
    count: int = 2,
    settings_of: Callable[[FakeAcs], dict[str, str]] = lambda _: {},
) -> AsyncIterator[Apart]:
    """A visit that is scheduled for now, and pods that share all but their memory."""
    async with AsyncExitStack() as stack:
        acs = await stack.enter_async_context(fake_acs())
        settings = {
            "AURICLE_DATABASE_URL": await new_postgres(postgres),
            "AURICLE_ACS_CONNECTION_STRING": acs.connection_string,
            "AURICLE_ACS_CA": str(acs.ca),
            "AURICLE_ACS_POLL_S": "0.2",
            "AURICLE_SWEEP_S": "0.1",
            **settings_of(acs),
        }
        pods = await stack.enter_async_context(pods_running(folder, count=count, environ=settings))
        scene = Apart(acs, pods, stack)
        await scene.rest(0, "POST", "devices", DEVICE, 201)
        when = datetime.now(UTC) + timedelta(minutes=5)
        body = {"startsLocal": when.strftime("%Y-%m-%dT%H:%M"), "zone": "Etc/UTC", "durationMin": 30}
        scene.visit = str((await scene.rest(0, "POST", "devices/d1/visits", body, 201))["visit"])
        yield scene


def by_event_grid(acs: FakeAcs) -> dict[str, str]:
    """Threads are looked at when Event Grid says so, and hardly ever else."""
    return {
        "AURICLE_ACS_EVENT_TENANT": acs.directory.tenant,
        "AURICLE_ACS_EVENT_DISCOVERY": acs.discovery,
        "AURICLE_ACS_EVENT_AUDIENCE": AUDIENCE,
        "AURICLE_ACS_EVENT_TOPIC": TOPIC,
        "AURICLE_ACS_POLL_S": "600",
    }


async def both_ways(scene: Apart, ann: HubClient, pat: HubClient, client: ChatThreadClient, pod: int) -> None:
    """What anybody writes anywhere is everywhere, once."""
    await scene.say(ann, f"ann {pod}")
    await client.send_message(f"app {pod}")
    await scene.say(pat, f"pat {pod}")
    expected = {f"ann {pod}", f"app {pod}", f"pat {pod}"}
    for told in (scene.ann_told, scene.pat_told):
        await sooner_or_later(lambda told=told: expected <= set(scene.heard(told)))  # type: ignore[misc]  # mypy cannot infer a lambda with defaults
    await sooner_or_later(lambda: expected <= set(scene.there()))


async def closed(scene: Apart, client: ChatThreadClient, joins: tuple[AcsJoin, ...]) -> None:
    """Nothing of the visit is open in ACS: no room, no thread, no token."""
    await sooner_or_later(lambda: not scene.acs.resource.rooms and scene.thread.deleted)
    identities = scene.acs.resource.identities
    await sooner_or_later(lambda: all(identities[one.user_id].revoked_at_s for one in joins))
    with pytest.raises(HttpResponseError) as raised:
        await client.send_message("is anybody there?")
    assert raised.value.status_code == 401


def by_looking(_: FakeAcs) -> dict[str, str]:
    """Each looks all the time."""
    return {}


@pytest.mark.parametrize("how", [by_event_grid, by_looking])
async def test_a_visit_of_two_processes(
    tmp_path: Path, postgres: PostgresServer, how: Callable[[FakeAcs], dict[str, str]]
) -> None:
    async with visit_of(tmp_path, postgres, settings_of=how) as scene:
        ann, pat = await scene.both(0, 1)
        call_id, hers, his = await scene.call(ann, pat)
        assert hers.room_id == his.room_id
        client = await scene.thread_of(his)
        for pod in range(2):
            if how is by_event_grid:
                url = f"{scene.pods.pods[pod].url}/acs/events"
                assert await scene.acs.events.subscribe(url, {}, audience=AUDIENCE)
            await both_ways(scene, ann, pat, client, pod)
        for who in (ann, pat):
            request = RefreshCallToken(visit=scene.visit, call_id=call_id)
            assert isinstance(await who.ask("RefreshCallToken", request, answer=CallToken), CallToken)
        everything = [f"{who} {pod}" for pod in range(2) for who in ("ann", "app", "pat")]
        for texts in (scene.there(), scene.heard(scene.ann_told), scene.heard(scene.pat_told), await scene.here(1)):
            assert sorted(texts) == sorted(everything)
        # The one that has begun nothing of it ends it.
        await scene.rest(1, "PUT", f"visits/{scene.visit}/end", {"reason": "done"}, 200)
        await closed(scene, client, (hers, his))
        assert sorted(await scene.here(0)) == sorted(everything)


async def test_a_process_that_is_killed_in_a_visit(tmp_path: Path, postgres: PostgresServer) -> None:
    async with visit_of(tmp_path, postgres) as scene:
        ann, pat = await scene.both(0, 1)
        _, hers, his = await scene.call(ann, pat)
        client = await scene.thread_of(his)
        await both_ways(scene, ann, pat, client, 0)
        await scene.say(ann, "last words")
        await client.send_message("can you hear me?")
        await scene.pods.kill(0)
        await scene.say(pat, "hello?")
        ann = await scene.client(1, "ann", "clinician", scene.ann_told)
        await both_ways(scene, ann, pat, client, 1)
        everything = [
            *(f"{who} {pod}" for pod in range(2) for who in ("ann", "app", "pat")),
            *("last words", "can you hear me?", "hello?"),
        ]
        await sooner_or_later(lambda: sorted(scene.there()) == sorted(everything))
        await sooner_or_later(lambda: sorted(scene.heard(scene.pat_told)) == sorted(everything))
        assert sorted(await scene.here(1)) == sorted(everything)
        await scene.rest(1, "PUT", f"visits/{scene.visit}/end", {"reason": "done"}, 200)
        await closed(scene, client, (hers, his))


async def test_a_process_that_is_killed_while_it_writes(tmp_path: Path, postgres: PostgresServer) -> None:
    """It has sent a message and did not live to hear so: whoever goes on finds it there, and sends it not again."""
    async with visit_of(tmp_path, postgres, count=1) as scene:
        ann, pat = await scene.both(0, 0)
        _, _, his = await scene.call(ann, pat)
        client = await scene.thread_of(his)
        await both_ways(scene, ann, pat, client, 0)
        scene.acs.faults.on.append(Fault("slow", "chat", delay_s=2.0))
        asked = len(scene.acs.asked)
        await scene.say(ann, "in between")
        await eventually(lambda: "POST chat/messages" in scene.acs.asked[asked:])
        await scene.pods.kill(0)
        scene.acs.faults.clear()
        await scene.pods.start(1)
        ann = await scene.client(1, "ann", "clinician", scene.ann_told)
        pat = await scene.client(1, "pat", "patient", scene.pat_told)
        await both_ways(scene, ann, pat, client, 1)
        everything = [*(f"{who} {pod}" for pod in range(2) for who in ("ann", "app", "pat")), "in between"]
        await sooner_or_later(lambda: sorted(scene.there()) == sorted(everything))
        assert sorted(await scene.here(1)) == sorted(everything)
