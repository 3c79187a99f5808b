"""What is written in visits: it arrives once and in order, nobody else reads it, and no log nor push tells of it."""

import asyncio
from typing import Any

import pytest

from clients.hub_client import HubClient
from clients.hub_errors import HubCallError
from media.visit import Participant
from protocol.contract.base import Failure
from protocol.contract.chat import (
    Attachment,
    MarkRead,
    MessageReceived,
    MessageSent,
    ReadTo,
    SendMessage,
    SendText,
    SetTyping,
)
from protocol.contract.sessions import Done
from protocol.contract.visits import Invited, JoinVisitAnswer
from protocol.errors import Unavailable
from tests.bus_pods import settled
from tests.eventually import eventually
from tests.postgres import PostgresServer
from tests.signaling.care import Connect
from tests.signaling.conftest import House, OpenHouse
from tests.signaling.pods import bus_of, is_connected
from tests.signaling.rest.desk import ask, register
from tests.signaling.visit import Told
from tests.signaling.visiting import (
    KIM,
    MIA,
    admitted,
    apart,
    chat_of,
    flow_of,
    guest_of,
    join,
    let_in,
    live,
    said,
    say,
    scheduled,
)

SECRET = "My left ear whistles since Tuesday"
PHOTO = Attachment(ref="blob/7", name="earmould.png", media_type="image/png", size_bytes=1_000)


async def test_a_message_is_stored_and_told_to_everybody_in_the_visit(house: House, connect: Connect) -> None:
    scene = await live(house, connect)
    sent = await said(scene.ann, "Good morning", attachments=(PHOTO,))
    assert (sent.n, sent.at) == (1, "2027-01-15T08:00:00.000Z")
    await eventually(lambda: scene.ann_told.heard["MessageReceived"] and scene.pat_told.heard["MessageReceived"])
    for told in (scene.ann_told, scene.pat_told):
        message = told.heard["MessageReceived"][0].message
        assert (message.id, message.n, message.participant, message.text) == (sent.id, 1, "p1", "Good morning")
        assert message.attachments == (PHOTO,)
    assert (await said(scene.pat, "Hello", "c1")).n == 2


async def test_sent_again_it_is_there_once_and_gets_its_first_answer(house: House, connect: Connect) -> None:
    scene = await live(house, connect)
    first, second = await said(scene.ann, "Good morning"), await said(scene.ann, "Good morning")
    assert first == second
    other = await say(scene.ann, "Good night")
    assert isinstance(other, Failure)
    assert other.error.code == "idempotency_conflict"
    assert await chat_of(house).store.last_n("v1") == 1


async def test_who_comes_back_gets_what_he_missed_and_how_much_he_has_not_read(house: House, connect: Connect) -> None:
    scene = await live(house, connect)
    for number in range(60):
        await said(scene.ann if number % 2 else scene.pat, f"text {number}", f"c{number}")
    read = await scene.pat.ask("MarkRead", MarkRead(visit="v1", n=40), answer=ReadTo)
    assert read == ReadTo(n=40, unread=10)
    await eventually(lambda: scene.ann_told.heard["MessagesRead"])
    assert (await scene.pat.ask("MarkRead", MarkRead(visit="v1", n=3), answer=ReadTo)) == read
    assert (await scene.pat.ask("MarkRead", MarkRead(visit="v1", n=10**6), answer=ReadTo)) == ReadTo(n=60, unread=0)
    back = await join(scene.ann, after=5)
    assert isinstance(back, JoinVisitAnswer)
    assert (back.missed, back.unread, back.read_to) == (55, 30, 0)
    assert [one.n for one in back.messages] == list(range(11, 61)), "the newest; the others over REST"
    few = await join(scene.ann, after=58)
    assert isinstance(few, JoinVisitAnswer)
    assert [one.n for one in few.messages] == [59, 60]
    page = await ask(house, "GET /visits/v1/messages?limit=7")
    assert [one["n"] for one in page.body["items"]] == [1, 2, 3, 4, 5, 6, 7]
    more = await ask(house, f"GET /visits/v1/messages?limit=100&after={page.body['next']}", by="pat patient")
    assert [one["n"] for one in more.body["items"]] == list(range(8, 61))
    assert (await ask(house, "GET /visits/v1/read-to")).body == {"ok": True, "n": 0, "unread": 30}
    put = await ask(house, "PUT /visits/v1/read-to", {"n": 60})
    assert put.body == {"ok": True, "n": 60, "unread": 0}


async def test_who_was_not_let_in_reads_and_writes_nothing_but_the_patient_may(house: House, connect: Connect) -> None:
    await scheduled(house, MIA)
    told, pats = Told(), Told()
    ann, pat = await connect("ann", "clinician"), await connect("pat", "patient", heard=pats)
    mia = await guest_of(house, "p3", told)
    for one in (ann, pat, mia):
        assert isinstance(await join(one), JoinVisitAnswer)
    await said(ann, "I am five minutes late")
    await eventually(lambda: pats.heard["MessageReceived"])
    assert (await said(pat, "Never mind")).n == 2
    with pytest.raises(HubCallError, match="unauthorized"):
        await say(mia, "Hello")
    with pytest.raises(HubCallError, match="unauthorized"):
        await mia.ask("MarkRead", MarkRead(visit="v1", n=1), answer=ReadTo)
    assert not told.heard["MessageReceived"]
    assert isinstance(await admitted(ann, "p3"), Invited)
    joined = await join(mia)
    assert isinstance(joined, JoinVisitAnswer)
    assert [one.text for one in joined.messages] == ["I am five minutes late", "Never mind"]
    await mia.stop()


async def test_a_trainee_reads_and_does_not_write(house: House, connect: Connect) -> None:
    scene = await live(house, connect, Participant("p5", "trainee"))
    eve = await guest_of(house, "p5")
    await join(eve)
    await admitted(scene.ann, "p5")
    await said(scene.ann, "Good morning")
    read = await eve.ask("MarkRead", MarkRead(visit="v1", n=1), answer=ReadTo)
    assert read == ReadTo(n=1, unread=0)
    for call in (say(eve, "Hello"), eve.ask("SetTyping", SetTyping(visit="v1", typing=True), answer=Done)):
        with pytest.raises(HubCallError, match="unauthorized"):
            await call
    await eve.stop()


async def test_a_visit_that_is_over_takes_no_more_messages_and_keeps_those_that_it_has(
    house: House, connect: Connect
) -> None:
    scene = await live(house, connect)
    await said(scene.ann, "Good bye")
    await flow_of(house).end("v1", by="ann", reason="done")
    answer = await say(scene.pat, "Wait", "c2")
    assert isinstance(answer, Failure)
    assert answer.error.code == "visit_over"
    assert (await ask(house, "GET /visits/v1/messages", by="pat patient")).body["items"][0]["text"] == "Good bye"


async def test_over_rest_a_message_is_written_once_too(house: House, connect: Connect) -> None:
    scene = await live(house, connect)
    body = {"clientId": "c1", "text": "Good morning"}
    one, two = [await ask(house, "POST /visits/v1/messages", body) for _ in range(2)]
    assert (one.status, one.body) == (201, two.body)
    await eventually(lambda: scene.pat_told.heard["MessageReceived"])
    assert (await ask(house, "POST /visits/v1/messages", body | {"text": "x"})).code == "idempotency_conflict"
    assert (await ask(house, "POST /visits/v1/messages", body, by="eve clinician")).code == "not_found"


@pytest.mark.parametrize(
    "bad",
    [
        {"text": ""},
        {"text": "x" * 4_001},
        {"text": f"{SECRET}\0"},
        {"attachments": [{"ref": "r", "name": "n", "mediaType": "text/html", "sizeBytes": 1}]},
        {"attachments": [{"ref": "r", "name": "n", "mediaType": "image/png", "sizeBytes": 20_971_521}]},
        {"attachments": [{"ref": "r", "name": "n", "mediaType": "image/png", "sizeBytes": 1}] * 6},
        {"diagnosis": SECRET},
    ],
)
async def test_what_is_too_much_or_of_another_kind_is_refused(house: House, connect: Connect, bad: Any) -> None:
    await live(house, connect)
    answer = await ask(house, "POST /visits/v1/messages", {"clientId": "c1", "text": SECRET} | bad)
    assert answer.code == "bad_argument"
    assert SECRET not in str(answer.body)
    assert await chat_of(house).store.last_n("v1") == 0


async def test_nothing_of_what_is_written_is_told_elsewhere(house: House, connect: Connect) -> None:
    scene = await live(house, connect)
    await said(scene.pat, SECRET, attachments=(PHOTO,))
    conflict = await say(scene.pat, f"{SECRET}!")
    await scene.pat.ask("SendText", SendText(visit="v1", n=1, text=SECRET[:200]), answer=Done)
    with pytest.raises(HubCallError) as failed:
        await say(scene.pat, SECRET, "bad id")
    await flow_of(house).end("v1", by="ann", reason="done")
    over = await say(scene.pat, SECRET, "c3")
    everything = [house.log.getvalue(), house.parts.hubs[0].metrics.page().decode(), str(conflict), str(over)]
    everything += [str(failed.value), repr(scene.ann_told.heard["MessageReceived"])]
    wanted = SendMessage(visit="v1", client_id="c", text=SECRET, attachments=(PHOTO,))
    stored = await chat_of(house).store.after("v1", 0, 9)
    everything += [repr(wanted), repr(stored), repr(SendText(visit="v1", n=1, text=SECRET)), repr(PHOTO)]
    for text in everything:
        assert "whistles" not in text
        assert "earmould" not in text


async def test_typing_is_told_to_the_others_only(house: House, connect: Connect) -> None:
    scene = await live(house, connect)
    await scene.ann.ask("SetTyping", SetTyping(visit="v1", typing=True), answer=Done)
    await eventually(lambda: scene.pat_told.heard["Typing"])
    typing = scene.pat_told.heard["Typing"][0]
    assert (typing.participant, typing.typing, typing.for_ms) == ("p1", True, 6_000)
    assert not scene.ann_told.heard["Typing"]
    stranger = await connect("abe", "clinician")
    with pytest.raises(HubCallError, match="not_found"):
        await stranger.ask("SetTyping", SetTyping(visit="v1", typing=True), answer=Done)


async def test_keystrokes_go_to_who_reads_along_and_are_not_kept(house: House, connect: Connect) -> None:
    scene = await live(house, connect, KIM)
    kims = Told()
    kim = await guest_of(house, "p4", kims)
    assert isinstance(await join(kim, live_text=True), JoinVisitAnswer)
    await scene.ann.ask("SendText", SendText(visit="v1", n=1, text="before"), answer=Done)
    await admitted(scene.ann, "p4")
    for n, (text, erase) in enumerate((("Can y", 0), ("ou hare", 0), ("ear me?", 3)), 2):
        await scene.ann.ask("SendText", SendText(visit="v1", n=n, text=text, erase=erase), answer=Done)
    await eventually(lambda: len(kims.heard["LiveText"]) == 3)
    read = ""
    for group in kims.heard["LiveText"]:
        read = read[: len(read) - group.erase] + group.text
    assert read == "Can you hear me?"
    assert not scene.pat_told.heard["LiveText"], "he has not asked for it"
    assert not scene.ann_told.heard["LiveText"]
    assert await chat_of(house).store.last_n("v1") == 0
    assert isinstance(await join(kim, live_text=False), JoinVisitAnswer)
    await scene.ann.ask("SendText", SendText(visit="v1", n=9, text="!"), answer=Done)
    await said(scene.ann, "a message, to wait for")
    await eventually(lambda: kims.heard["MessageReceived"])
    assert len(kims.heard["LiveText"]) == 3
    await kim.stop()


async def test_what_one_connection_may_send_has_a_bound(open_house: OpenHouse) -> None:
    house = await open_house(max_visit_signals=3)
    await register(house)
    await scheduled(house)
    client = HubClient(f"{house.url}/hub", token=house.token("ann", "clinician"), reconnect=None)
    await client.start()
    await join(client)
    for n in range(3):
        await client.ask("SendText", SendText(visit="v1", n=n, text="x"), answer=Done)
    for call in (
        client.ask("SendText", SendText(visit="v1", n=4, text="x"), answer=Done),
        client.ask("SetTyping", SetTyping(visit="v1", typing=True), answer=Done),
        say(client, "Hello"),
    ):
        with pytest.raises(HubCallError, match="overloaded"):
            await call
    assert house.metric("auricle_bound_reached_total", bound="max_visit_signals") == 3
    house.monotonic.now_s += 10
    assert isinstance(await say(client, "Hello"), MessageSent)
    await client.stop()


async def test_over_two_pods_all_messages_are_in_one_order_for_everybody(postgres: PostgresServer) -> None:
    told = Told()
    async with apart(postgres, told) as (_, _, west, ann, pat):
        await let_in(ann, told)
        await asyncio.gather(
            *(said(who, f"{name} {n}", f"c{n}") for n in range(10) for who, name in ((ann, "ann"), (pat, "pat")))
        )
        await eventually(lambda: len(told.heard["MessageReceived"]) == 20)
        heard: list[MessageReceived] = told.heard["MessageReceived"]
        assert sorted(one.message.n for one in heard) == list(range(1, 21))
        kept = await chat_of(west).store.after("v1", 0, 99)
        assert {one.message.id: one.message.n for one in heard} == {one.id: one.n for one in kept}
        await ann.ask("SetTyping", SetTyping(visit="v1", typing=True), answer=Done)
        await eventually(lambda: told.heard["Typing"])


async def test_what_is_written_while_pods_do_not_hear_each_other_is_told_all_the_same(postgres: PostgresServer) -> None:
    told = Told()
    async with apart(postgres, told) as (bus, east, west, ann, _):
        await let_in(ann, told)
        chat = chat_of(west)
        await said(ann, "before")
        await eventually(lambda: told.heard["MessageReceived"])
        bus.kill()
        await eventually(lambda: not is_connected(west))
        await said(ann, "while it is away", "c2")
        await chat.sweep()
        await eventually(lambda: [one.message.n for one in told.heard["MessageReceived"]][-1] == 2)
        await chat.sweep()
        await said(ann, "just before it is back", "c3")
        bus.start()
        await eventually(lambda: is_connected(west))
        await chat.sweep()
        await eventually(lambda: [one.message.n for one in told.heard["MessageReceived"]][-1] == 3)
        # Until each has heard that the other one was away.
        await settled(bus_of(east), bus_of(west))
        await chat.sweep()
        await said(ann, "the last one", "c4")
        await eventually(lambda: [one.message.n for one in told.heard["MessageReceived"]][-1] == 4)
        heard = len(told.heard["MessageReceived"])
        await chat.sweep()
        await said(ann, "behind it", "c5")
        await eventually(lambda: [one.message.n for one in told.heard["MessageReceived"]][-1] == 5)
        assert len(told.heard["MessageReceived"]) == heard + 1
        assert {one.message.n for one in told.heard["MessageReceived"]} == {1, 2, 3, 4, 5}


async def test_what_is_written_while_pods_do_not_hear_each_other_for_less_than_a_sweep_is_told(
    postgres: PostgresServer,
) -> None:
    told = Told()
    async with apart(postgres, told) as (bus, east, west, ann, _):
        await let_in(ann, told)
        chat = chat_of(west)
        await chat.sweep()
        bus.kill()
        await eventually(lambda: not is_connected(east) and not is_connected(west))
        await said(ann, "while nobody looked")
        bus.start()
        await eventually(lambda: is_connected(east) and is_connected(west))
        # A database that is away at that moment loses nothing.
        with pytest.MonkeyPatch.context() as meanwhile:
            meanwhile.setattr(chat.store, "last_n", _away)
            with pytest.raises(Unavailable):
                await chat.sweep()
        await chat.sweep()
        await eventually(lambda: told.heard["MessageReceived"])
        assert told.heard["MessageReceived"][0].message.text == "while nobody looked"


async def _away(_: str) -> int:
    raise Unavailable("away")
