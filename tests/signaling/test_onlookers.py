"""Whether a wearer is there: told to those who watch his devices, on every pod, and to nobody else."""

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from clients.hub_client import HubClient
from protocol.contract.devices import AcquireLease, AttachAnswer, DeviceAnswer, DeviceQuery, LeaseAnswer
from protocol.contract.session import PresenceChanged, WhoAmIAnswer
from protocol.contract.sessions import DeviceChanged
from signaling.backplane import BusState
from signaling.flows.onlookers import Onlookers, PresencePace
from signaling.stores.devices import DeviceRecord
from tests.eventually import eventually, eventually_asked
from tests.signaling.care import CLAIM, lease
from tests.signaling.near import Near, answers_nothing, care_of, near
from tests.signaling.visit import Told

Look = Callable[[], Awaitable[None]]


@pytest.fixture
async def watches() -> list[Onlookers]:
    return []


@pytest.fixture
async def pods(monkeypatch: pytest.MonkeyPatch, watches: list[Onlookers]) -> AsyncIterator[Near]:
    made = Onlookers.__init__

    def make(onlookers: Onlookers, *parts: object, **more: object) -> None:
        watches.append(onlookers)
        made(onlookers, *parts, **more)  # type: ignore[arg-type]  # as they come

    monkeypatch.setattr(Onlookers, "__init__", make)
    # Looks are asked for by the tests.
    async with near(monkeypatch, presence_flush_s=3_600) as pods:
        yield pods


@pytest.fixture
def look(watches: list[Onlookers]) -> Look:
    async def look() -> None:
        for onlookers in watches:
            await onlookers.look()

    return look


async def said(client: HubClient, told: Told) -> list[tuple[str, bool]]:
    """What was told up to now: the answer comes behind it."""
    await client.invoke("WhoAmI", result=WhoAmIAnswer)
    return [(one.user, one.online) for one in told.of(PresenceChanged)]


async def gone(pods: Near, client: HubClient) -> None:
    before = pods.app_sessions()
    await client.stop()
    await eventually(lambda: pods.app_sessions() < before)


async def test_the_first_connection_and_the_last_one_are_told_wherever_they_are(pods: Near, look: Look) -> None:
    told = Told()
    ann = await pods.connect("ann", "clinician", heard=told)
    await lease(ann)
    await look()
    first = await pods.connect("pat", "patient")
    await look()
    assert await said(ann, told) == [("pat", True)]
    second = await pods.connect("pat", "patient", on=pods.east)
    await look()
    await gone(pods, first)
    pods.monotonic.now_s += 10
    await look()
    assert await said(ann, told) == [("pat", True)]
    await gone(pods, second)
    await look()
    pods.monotonic.now_s += 1
    await look()
    assert await said(ann, told) == [("pat", True)]
    pods.monotonic.now_s += 1
    await look()
    assert await said(ann, told) == [("pat", True), ("pat", False)]


async def test_who_comes_before_the_first_look_is_told_all_the_same(pods: Near, look: Look) -> None:
    told = Told()
    ann = await pods.connect("ann", "clinician", heard=told)
    assert not (await lease(ann)).phone.online
    await pods.connect("pat", "patient", on=pods.east)
    await look()
    assert await said(ann, told) == [("pat", True)]


async def test_who_comes_while_his_device_is_being_looked_up_is_told_once(
    pods: Near, look: Look, watches: list[Onlookers], monkeypatch: pytest.MonkeyPatch
) -> None:
    devices = watches[0]._devices
    found = devices.get

    async def late(device: str) -> DeviceRecord | None:
        await pods.connect("pat", "patient", on=pods.east)
        return await found(device)

    told = Told()
    ann = await pods.connect("ann", "clinician", heard=told)
    await lease(ann)
    monkeypatch.setattr(devices, "get", late)
    await look()
    await look()
    assert await said(ann, told) == [("pat", True)]


async def test_of_who_came_and_went_before_the_first_look_nobody_is_told(pods: Near, look: Look) -> None:
    told = Told()
    pat = await pods.connect("pat", "patient", on=pods.east)
    ann = await pods.connect("ann", "clinician", heard=told)
    await lease(ann)
    await gone(pods, pat)
    await look()
    pods.monotonic.now_s += 10
    await look()
    assert await said(ann, told) == []


async def test_who_begins_to_watch_beside_another_is_told_who_is_there(pods: Near, look: Look) -> None:
    ann, abe, joe = Told(), Told(), Told()
    await pods.connect("pat", "patient", on=pods.east)
    first = await pods.connect("ann", "clinician", heard=ann)
    await lease(first)
    await look()
    second = await pods.connect("abe", "clinician", heard=abe)
    # Whether he may fit it now or not, he watches it; asking again makes him no other watcher.
    for _ in range(2):
        await second.ask("AcquireLease", AcquireLease(device="d1", session="s2"), answer=LeaseAnswer)
    await pods.connect("joe", "clinician", heard=joe)
    assert (await said(first, ann), await said(second, abe)) == ([("pat", True)], [("pat", True)])
    assert joe.of(PresenceChanged) == []


async def test_who_is_back_soon_was_never_gone(pods: Near, look: Look) -> None:
    told = Told()
    pat = await pods.connect("pat", "patient")
    ann = await pods.connect("ann", "clinician", heard=told)
    await lease(ann)
    await look()
    for house in (pods.east, pods.west, pods.east):
        await gone(pods, pat)
        await look()
        pods.monotonic.now_s += 1.9
        await look()
        pat = await pods.connect("pat", "patient", on=house)
        await look()
    pods.monotonic.now_s += 10
    await look()
    assert await said(ann, told) == [("pat", True)]


async def test_nobody_else_is_told(pods: Near, look: Look) -> None:
    heard: dict[str, Told] = {}
    clients = {}
    for who, clinic in (("abe", "c1"), ("eve", "c2"), ("joe", "c1")):
        heard[who] = Told()
        clients[who] = await pods.connect(who, "clinician", clinic=clinic, heard=heard[who])
    # Another clinic knows somebody by the same name.
    stranger = await pods.connect("pat", "patient", clinic="c2", on=pods.east)
    await lease(clients["abe"])
    await look()
    assert await said(clients["abe"], heard["abe"]) == []
    await gone(pods, stranger)
    pods.monotonic.now_s += 10
    await look()
    await pods.connect("pat", "patient")
    await look()
    assert await said(clients["abe"], heard["abe"]) == [("pat", True)]
    for who in ("eve", "joe"):
        assert await said(clients[who], heard[who]) == []


async def test_without_other_pods_to_ask_nobody_is_said_to_be_gone(
    pods: Near, look: Look, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = Told()
    ann = await pods.connect("ann", "clinician", heard=told)
    await lease(ann)
    pat = await pods.connect("pat", "patient", on=pods.east)
    await look()

    async def unknown(*_: object, **__: object) -> None:
        return None

    presence = care_of(pods.east)._views._phones._presence
    monkeypatch.setattr(presence, "count", unknown)
    await gone(pods, pat)
    pods.monotonic.now_s += 60
    await look()
    assert await said(ann, told) == [("pat", True)]


async def test_too_many_wearers_are_not_looked_at(
    pods: Near, look: Look, watches: list[Onlookers], monkeypatch: pytest.MonkeyPatch
) -> None:
    for onlookers in watches:
        monkeypatch.setattr(onlookers, "_pace", PresencePace(3.0, 2.0, 0))
    told = Told()
    ann = await pods.connect("ann", "clinician", heard=told)
    await lease(ann)
    await look()
    await pods.connect("pat", "patient")
    pods.monotonic.now_s += 3
    await look()
    assert await said(ann, told) == []
    assert pods.east.metric("auricle_bound_reached_total", bound="max_watched_people") >= 1


# The phone of a device


async def is_online(client: HubClient) -> bool:
    answer = await client.ask("GetDevice", DeviceQuery(device="d1"), answer=DeviceAnswer)
    assert isinstance(answer, DeviceAnswer)
    return answer.phone.online


async def test_a_phone_is_online_on_whichever_pod_it_hangs(pods: Near) -> None:
    told = Told()
    ann = await pods.connect("ann", "clinician", heard=told)
    assert (await lease(ann)).phone.online is False
    pat = await pods.connect("pat", "patient", "device")
    assert isinstance(await pat.ask("AttachDevice", CLAIM, answer=AttachAnswer), AttachAnswer)
    await eventually(lambda: told.of(DeviceChanged) and told.of(DeviceChanged)[-1].phone.online)
    assert (await lease(ann)).phone.online
    assert await is_online(ann)
    await gone(pods, pat)
    await eventually(lambda: not told.of(DeviceChanged)[-1].phone.online)
    assert not await is_online(ann)


async def test_where_redis_cannot_be_asked_the_pods_are_and_where_they_cannot_the_log_is(
    pods: Near, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def unknown(*_: object, **__: object) -> None:
        return None

    monkeypatch.setattr(care_of(pods.east)._views._phones._presence, "count", unknown)
    ann = await pods.connect("ann", "clinician")
    assert not await is_online(ann)
    pat = await pods.connect("pat", "patient", "device")
    assert isinstance(await pat.ask("AttachDevice", CLAIM, answer=AttachAnswer), AttachAnswer)
    assert await is_online(ann)
    # Its pod is dead, as far as anybody hears of it, and nobody has told the log.
    answers_nothing(pods)
    assert not await is_online(ann)
    pods.bus(BusState.DEGRADED)
    assert await is_online(ann)

    async def is_away() -> bool:
        return not await is_online(ann)

    await gone(pods, pat)
    # The log hears of it behind the end of the connection.
    await eventually_asked(is_away)
