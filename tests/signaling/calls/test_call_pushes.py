"""A call for a patient whose phone sleeps: it is woken over a notification hub, and rings when it comes."""

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

import pytest

from clients.hub_client import HubClient
from fitting.push import PushTarget
from protocol.contract.calls import (
    AnswerCall,
    CallAnswer,
    CallEnded,
    DeclineCall,
    EndCall,
    IncomingCall,
)
from protocol.contract.devices import AttachAnswer
from protocol.contract.sessions import Done
from signaling.calls.ringing import RingingPhones
from tests.databases import lent_postgres
from tests.eventually import eventually, eventually_asked
from tests.fakes.notification_hubs import NotificationHubs, Scripted, notification_hubs
from tests.media.visits import NOON_S
from tests.postgres import PostgresServer
from tests.redis_server import redis_server
from tests.signaling.calls.test_calls_hub import start, started
from tests.signaling.care import CLAIM
from tests.signaling.conftest import Clock, House, OpenHouse
from tests.signaling.pods import connected, hub_of, two_pods
from tests.signaling.push_desk import ANDROID, APPLE
from tests.signaling.rest.desk import register
from tests.signaling.visit import Told
from tests.signaling.visiting import admitted, flow_of, join, scheduled

NAMES = ("ann", "pat", "v1", "d1", "audio", "video", "call_")


def ringing_of(house: House) -> RingingPhones:
    return hub_of(house)._calls.beside.ringing


@dataclass
class Asleep:
    """Ann is in a live visit with Pat, who was let in and whose phone sleeps since."""

    house: House
    service: NotificationHubs
    ann: HubClient
    told: Told = field(default_factory=Told)

    async def pushed(self, number: int = 1) -> list[str]:
        """What came at the service by now."""
        await eventually(lambda: len(self.service.asked) >= number)
        return [one.body.decode() for one in self.service.asked]

    async def later(self, seconds: float) -> None:
        self.house.wall.now_s += seconds
        self.house.monotonic.now_s += seconds
        await hub_of(self.house)._calls.sweep()

    async def wakes(self, stack: AsyncExitStack, on: House | None = None) -> HubClient:
        """The phone connects, and attaches."""
        pat = await stack.enter_async_context(connected(on or self.house, "pat", "patient", "device", heard=self.told))
        assert isinstance(await pat.ask("AttachDevice", CLAIM, answer=AttachAnswer), AttachAnswer)
        return pat


async def asleep(
    stack: AsyncExitStack, house: House, service: NotificationHubs, target: PushTarget = ANDROID, *, phone: bool = True
) -> Asleep:
    await register(house)
    await scheduled(house)
    ann = await stack.enter_async_context(connected(house, "ann", "clinician", heard=Told()))
    await join(ann)
    async with connected(house, "pat", "patient") as pat:
        await join(pat)
        await admitted(ann, "p2")
    await eventually_asked(lambda: no_longer_there(house))
    if phone:
        await hub_of(house)._calls.beside.ringing._parts.tokens.put("d1", target, NOON_S)
    return Asleep(house, service, ann)


async def no_longer_there(house: House) -> bool:
    visit = await flow_of(house).visits.get("v1")
    return visit is not None and not visit.participants[1].connections


def hub_settings(service: NotificationHubs) -> dict[str, str]:
    return {
        "push_connection_string": service.connection_string,
        "push_hub": service.hub,
        "push_url": service.url,
        "push_text": "You have news.",
    }


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as entered:
        yield entered


@pytest.fixture
async def scene(stack: AsyncExitStack, open_house: OpenHouse) -> Asleep:
    service = await stack.enter_async_context(notification_hubs(Clock()))
    return await asleep(stack, await open_house(**hub_settings(service)), service)


async def test_a_phone_that_sleeps_is_woken_and_rings_when_it_comes_in_time(
    scene: Asleep, stack: AsyncExitStack
) -> None:
    call = await started(scene.ann)
    [body] = await scene.pushed()
    assert scene.service.breaches == []
    message = json.loads(body)["message"]
    # The app is woken, and shows by itself what rings; nothing is kept for longer than it rings.
    assert message.keys() == {"android"}
    assert message["android"].keys() == {"collapse_key", "priority", "ttl", "data"}
    assert (message["android"]["collapse_key"], message["android"]["priority"]) == ("call", "HIGH")
    assert message["android"]["ttl"] == "45s"
    assert message["android"]["data"]["a"] == "fit"
    pointers = f"{message['android']['data']['d']} {message['android']['data']['k']}"
    assert not [name for name in (*NAMES, call.call_id) if name in pointers]
    await scene.later(5)
    assert scene.told.of(IncomingCall) == []
    pat = await scene.wakes(stack)
    await scene.later(5)
    ringing = await scene.told.first(IncomingCall)
    assert (ringing.call_id, ringing.caller, ringing.ring_for_ms) == (call.call_id, "ann", 35_000)
    taken = await pat.ask("AnswerCall", AnswerCall(visit="v1", call_id=call.call_id), answer=CallAnswer)
    assert isinstance(taken, CallAnswer)
    for _ in range(3):
        await scene.later(5)
    assert len(scene.service.asked) == 1
    assert len(scene.told.of(IncomingCall)) == 1


async def test_on_an_apple_phone_it_breaks_through_and_is_dropped_after_a_while(
    stack: AsyncExitStack, open_house: OpenHouse
) -> None:
    service = await stack.enter_async_context(notification_hubs(Clock()))
    scene = await asleep(stack, await open_house(**hub_settings(service)), service, APPLE)
    await started(scene.ann)
    [body] = await scene.pushed()
    assert service.breaches == []
    assert json.loads(body)["aps"] == {
        "alert": "You have news.",
        "sound": "default",
        "content-available": 1,
        "interruption-level": "time-sensitive",
    }
    headers = service.asked[0].headers
    assert (headers["apns-push-type"], headers["apns-priority"]) == ("alert", "10")
    # Whole minutes: as soon as can be after it has rung.
    assert headers["ServiceBusNotification-Apns-Expiry"] == "2027-01-15T08:01+00:00"


async def test_a_phone_that_is_there_rings_without_a_push(scene: Asleep, stack: AsyncExitStack) -> None:
    await scene.wakes(stack)
    await started(scene.ann)
    await scene.told.first(IncomingCall)
    await scene.later(5)
    assert scene.service.asked == []
    assert len(scene.told.of(IncomingCall)) == 1
    assert ringing_of(scene.house)._sleepers == {}


async def over_by_decline(scene: Asleep, call_id: str) -> None:
    async with connected(scene.house, "pat", "patient") as web:
        assert isinstance(await web.ask("DeclineCall", DeclineCall(visit="v1", call_id=call_id), answer=Done), Done)


async def over_by_hang_up(scene: Asleep, call_id: str) -> None:
    assert isinstance(await scene.ann.ask("EndCall", EndCall(visit="v1", call_id=call_id), answer=Done), Done)


async def over_by_answer_elsewhere(scene: Asleep, call_id: str) -> None:
    async with connected(scene.house, "pat", "patient") as web:
        taken = await web.ask("AnswerCall", AnswerCall(visit="v1", call_id=call_id), answer=CallAnswer)
        assert isinstance(taken, CallAnswer)


async def over_by_time(scene: Asleep, _: str) -> None:
    scene.house.wall.now_s += 46


@pytest.mark.parametrize("over", [over_by_decline, over_by_hang_up, over_by_answer_elsewhere, over_by_time])
async def test_a_call_that_rings_no_more_wakes_nobody(scene: Asleep, stack: AsyncExitStack, over: object) -> None:
    # The service asks for a second try, which would come after the end.
    scene.service.script.append(Scripted(503, {"Retry-After": "3"}))
    call = await started(scene.ann)
    await scene.pushed()
    await over(scene, call.call_id)  # type: ignore[operator]  # one of the ways above
    await scene.wakes(stack)
    for _ in range(3):
        await scene.later(5)
    assert len(scene.service.asked) == 1
    assert [one for one in scene.told.of(IncomingCall) if one.call_id == call.call_id] == []
    assert ringing_of(scene.house)._sleepers == {}


async def test_a_service_that_is_away_for_a_moment_is_asked_again_while_it_rings(scene: Asleep) -> None:
    scene.service.script.append(Scripted(503, {"Retry-After": "10"}))
    await started(scene.ann)
    await scene.pushed()
    await scene.later(5)
    assert len(scene.service.asked) == 1
    await scene.later(6)
    bodies = await scene.pushed(2)
    assert json.loads(bodies[1])["message"]["android"]["ttl"] == "34s"
    nonces = {json.loads(body)["message"]["android"]["data"]["k"] for body in bodies}
    assert len(nonces) == 1, "the same call shows once"


async def test_a_dead_token_is_parked_as_with_packages(scene: Asleep) -> None:
    scene.service.dead[ANDROID.token] = Scripted(410)
    call = await started(scene.ann)
    await scene.pushed()
    tokens = ringing_of(scene.house)._parts.tokens
    await eventually_asked(lambda: parked(scene))
    assert await tokens.get("d1") is None
    await over_by_hang_up(scene, call.call_id)
    await started(scene.ann)
    await scene.later(5)
    assert len(scene.service.asked) == 1


async def parked(scene: Asleep) -> bool:
    return await ringing_of(scene.house)._parts.tokens.get("d1") is None


async def test_a_phone_without_a_token_rings_when_it_comes_by_itself(
    stack: AsyncExitStack, open_house: OpenHouse
) -> None:
    service = await stack.enter_async_context(notification_hubs(Clock()))
    scene = await asleep(stack, await open_house(**hub_settings(service)), service, phone=False)
    await started(scene.ann)
    await scene.later(5)
    await scene.wakes(stack)
    await scene.later(1)
    await scene.told.first(IncomingCall)
    assert service.asked == []


async def test_only_so_many_phones_are_waited_for(stack: AsyncExitStack, open_house: OpenHouse) -> None:
    service = await stack.enter_async_context(notification_hubs(Clock()))
    scene = await asleep(stack, await open_house(**hub_settings(service), max_ringing_phones=1), service)
    call = await started(scene.ann)
    await scene.pushed()
    # What rang before is looked at, and let go, with the next sweep.
    await over_by_hang_up(scene, call.call_id)
    await started(scene.ann)
    await eventually(lambda: scene.house.metric("auricle_bound_reached_total", bound="max_ringing_phones") == 1)


async def test_a_phone_that_comes_back_over_another_pod_rings(stack: AsyncExitStack, postgres: PostgresServer) -> None:
    service = await stack.enter_async_context(notification_hubs(Clock()))
    url = await stack.enter_async_context(lent_postgres(postgres))
    bus = stack.enter_context(redis_server())
    # Presence has time, whatever else the machine does.
    pods = two_pods(url, bus.url, presence_flush_s=0.05, **hub_settings(service))
    east, west = await stack.enter_async_context(pods)
    scene = await asleep(stack, east, service)
    call = await started(scene.ann)
    await scene.pushed()
    await scene.wakes(stack, west)

    async def rings() -> bool:
        await ringing_of(east).sweep()
        return bool(scene.told.of(IncomingCall))

    await eventually_asked(rings)
    assert scene.told.of(IncomingCall)[0].call_id == call.call_id
    await over_by_hang_up(scene, call.call_id)
    assert (await scene.told.first(CallEnded)).reason == "cancelled"
    assert service.breaches == []


async def test_nothing_of_a_push_is_in_the_log(scene: Asleep) -> None:
    await started(scene.ann)
    [body] = await scene.pushed()
    data = json.loads(body)["message"]["android"]["data"]
    for secret in (ANDROID.token, data["d"], data["k"]):
        assert secret not in scene.house.log.getvalue()
    assert isinstance(await start(scene.ann), CallAnswer)
