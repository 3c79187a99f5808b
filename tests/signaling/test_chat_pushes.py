"""Phones that sleep are woken for what is written, once, with nothing of it, and by one process of several."""

import asyncio

import pytest

from clients.hub_client import HubClient
from fitting.push import Gone, Later, PushNote, PushOutcome, PushTarget, Sent
from signaling.flows.chat import ChatFlow
from signaling.stores.visits import MemoryVisitStore
from tests.eventually import eventually
from tests.media.visits import NOON_S
from tests.signaling.care import Connect
from tests.signaling.conftest import House, OpenHouse
from tests.signaling.rest.desk import ask
from tests.signaling.visiting import chat_of, flow_of, join, said, scheduled

SECRET = "My left ear whistles since Tuesday"


class Pushes:
    """A push service that keeps what it was given, and answers what a test says."""

    def __init__(self) -> None:
        self.sent: list[tuple[PushTarget, PushNote]] = []
        self.outcome: PushOutcome = Sent()

    async def send(self, to: PushTarget, note: PushNote) -> PushOutcome:
        self.sent.append((to, note))
        return self.outcome

    async def close(self) -> None:
        pass


async def asleep(house: House, connect: Connect) -> tuple[HubClient, ChatFlow, Pushes]:
    """Pat's phone is registered and sleeps; Ann is in the visit."""
    await scheduled(house)
    chat, pushes = chat_of(house), Pushes()
    chat._notifier = pushes
    await chat._tokens.put("d1", PushTarget("fcm", "token-1"), NOON_S)
    ann = await connect("ann", "clinician", expires_in_s=1e6)
    await join(ann)
    return ann, chat, pushes


async def test_a_phone_that_sleeps_is_woken_once_with_nothing_of_what_was_written(
    house: House, connect: Connect
) -> None:
    ann, chat, pushes = await asleep(house, connect)
    await said(ann, SECRET)
    await said(ann, "and more", "c2")
    await chat.sweep()
    assert pushes.sent == [], "who is there has read it by then"
    house.wall.now_s += 5
    await asyncio.gather(chat.sweep(), chat.sweep(), chat.sweep())
    [(target, note)] = pushes.sent
    assert (target.token, note.kind) == ("token-1", "message")
    for word in ("whistles", "v1", "pat", "ann", "d1"):
        assert word not in f"{note.pointer} {note.nonce}"
    house.wall.now_s += 3_600
    await chat.sweep()
    assert len(pushes.sent) == 1, "nothing new was written"


async def test_a_phone_is_not_woken_too_often(house: House, connect: Connect) -> None:
    ann, chat, pushes = await asleep(house, connect)
    await said(ann, "one")
    house.wall.now_s += 5
    await chat.sweep()
    await said(ann, "two", "c2")
    house.wall.now_s += 299
    await chat.sweep()
    assert len(pushes.sent) == 1
    house.wall.now_s += 1
    await chat.sweep()
    assert len(pushes.sent) == 2
    assert pushes.sent[0][1] == pushes.sent[1][1], "the same matter shows once"


async def test_who_has_read_it_or_is_there_is_not_woken(house: House, connect: Connect) -> None:
    ann, chat, pushes = await asleep(house, connect)
    pat = await connect("pat", "patient", expires_in_s=1e6)
    await join(pat)
    await said(ann, "one")
    house.wall.now_s += 5
    await chat.sweep()
    assert pushes.sent == [], "he is there"
    await pat.stop()
    visits = flow_of(house).visits
    assert isinstance(visits, MemoryVisitStore)
    await eventually(lambda: not visits._visits["v1"].participants[1].connections)
    house.wall.now_s += 60
    await chat.sweep()
    assert len(pushes.sent) == 1, "he has gone without reading it"
    await said(ann, "two", "c2")
    await ask(house, "PUT /visits/v1/read-to", {"n": 2}, by="pat patient")
    house.wall.now_s += 1_000
    await chat.sweep()
    assert len(pushes.sent) == 1


async def test_a_push_service_that_is_away_is_asked_again_and_a_dead_token_is_not(
    house: House, connect: Connect
) -> None:
    ann, chat, pushes = await asleep(house, connect)
    pushes.outcome = Later(1.0)
    await said(ann, "one")
    house.wall.now_s += 5
    await chat.sweep()
    await chat.sweep()
    assert len(pushes.sent) == 1
    house.wall.now_s += 60
    pushes.outcome = Gone()
    await chat.sweep()
    assert len(pushes.sent) == 2
    assert await chat._tokens.get("d1") is None
    await said(ann, "two", "c2")
    house.wall.now_s += 1_000
    await chat.sweep()
    assert len(pushes.sent) == 2


async def test_a_process_that_dies_over_a_push_leaves_it_to_another(house: House, connect: Connect) -> None:
    ann, chat, pushes = await asleep(house, connect)
    await said(ann, "one")
    house.wall.now_s += 5

    class Dies(Pushes):
        async def send(self, to: PushTarget, note: PushNote) -> PushOutcome:
            raise ConnectionResetError

    chat._notifier = Dies()
    with pytest.raises(ConnectionResetError):
        await chat.sweep()
    chat._notifier = pushes
    await chat.sweep()
    assert pushes.sent == []
    house.wall.now_s += 60
    await chat.sweep()
    assert len(pushes.sent) == 1


async def test_one_look_at_phones_has_a_bound(open_house: OpenHouse) -> None:
    house = await open_house(max_due_chats=1)
    chat = chat_of(house)
    for name in ("v1", "v2"):
        await chat.store.wake_at(name, "p2", 1.0)
    await chat.sweep()
    assert house.metric("auricle_bound_reached_total", bound="max_due_chats") == 1
    assert len(await chat.store.due(house.wall.now_s, 9)) == 1


async def test_who_seems_to_be_there_and_never_reads_is_woken_after_some_minutes(
    house: House, connect: Connect
) -> None:
    """A process that died has told nobody that his connection is gone."""
    ann, chat, pushes = await asleep(house, connect)
    pat = await connect("pat", "patient", expires_in_s=1e6)
    await join(pat)
    await said(ann, "one")
    house.wall.now_s += 5
    looks = 0
    while not pushes.sent:
        looks += 1
        assert looks < 10
        await chat.sweep()
        house.wall.now_s += 60
    assert looks == 6
