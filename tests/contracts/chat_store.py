"""The contract suite of ``signaling.stores.chat.ChatStore``: an implementation is a subclass with a fixture."""

import asyncio
from dataclasses import replace

import pytest

from media.chat import Message, Reader
from protocol.contract.chat import Attachment
from protocol.errors import Overloaded
from signaling.stores.chat import ChatStore

__all__ = ["HELLO", "MAX_MESSAGES", "ChatStoreContract"]

MAX_MESSAGES = 30
PLAN = Attachment(ref="blob/1", name="Plan für Pat.pdf", media_type="application/pdf", size_bytes=9)
HELLO = Message("v1", 0, "m-1", "p1", "c-1", 1_000.25, "Hello ✓ 🎧\nhow are you?", (PLAN,))


def message(number: int, **changes: object) -> Message:
    named = replace(HELLO, id=f"m-{number}", client_id=f"c-{number}", text=f"text {number}")
    return replace(named, **changes)  # type: ignore[arg-type]  # a test's own words


class ChatStoreContract:
    async def test_a_message_is_kept_as_it_was_written(self, store: ChatStore) -> None:
        stored = await store.append(HELLO)
        assert stored == replace(HELLO, n=1)
        assert await store.after("v1", 0, 9) == (stored,)
        assert await store.after("v2", 0, 9) == ()
        assert (await store.last_n("v1"), await store.last_n("v2")) == (1, 0)

    async def test_a_message_that_is_sent_again_is_there_once(self, store: ChatStore) -> None:
        again = replace(HELLO, id="m-2", text="other words", at_s=2_000.0)
        both = await asyncio.gather(store.append(HELLO), store.append(again))
        assert both[0] == both[1]
        assert await store.last_n("v1") == 1
        assert (await store.append(replace(HELLO, participant="p2"))).n == 2, "another's names are his own"
        assert (await store.append(replace(HELLO, visit="v2"))).n == 1

    async def test_all_who_write_at_once_are_in_one_order_without_a_gap(self, store: ChatStore) -> None:
        await asyncio.gather(*(store.append(message(number, participant=f"p{number % 4}")) for number in range(20)))
        found = await store.after("v1", 0, 99)
        assert [one.n for one in found] == list(range(1, 21))
        assert {one.text for one in found} == {f"text {number}" for number in range(20)}

    async def test_pages_go_on_behind_a_number(self, store: ChatStore) -> None:
        for number in range(5):
            await store.append(message(number))
        assert [one.n for one in await store.after("v1", 0, 2)] == [1, 2]
        assert [one.n for one in await store.after("v1", 2, 2)] == [3, 4]
        assert [one.n for one in await store.after("v1", 4, 2)] == [5]
        assert await store.after("v1", 5, 2) == ()

    async def test_a_visit_has_a_bounded_number_of_messages(self, store: ChatStore, bounds: list[str]) -> None:
        for number in range(MAX_MESSAGES):
            await store.append(message(number))
        with pytest.raises(Overloaded):
            await store.append(message(99))
        assert bounds == ["max_visit_messages"]
        assert (await store.append(message(0))).n == 1, "what is there is there"

    async def test_unread_are_those_of_others(self, store: ChatStore) -> None:
        for number, who in enumerate(("p1", "p2", "p1", "p1")):
            await store.append(message(number, participant=who))
        assert await store.unread("v1", "p2", 0) == 3
        assert await store.unread("v1", "p2", 1) == 2
        assert await store.unread("v1", "p1", 0) == 1
        assert await store.unread("v1", "p9", 4) == 0

    async def test_nobody_unreads_anything(self, store: ChatStore) -> None:
        assert await store.reader("v1", "p2") == Reader("v1", "p2")
        assert [await store.mark_read("v1", "p2", n) for n in (3, 2, 5)] == [3, 3, 5]
        await asyncio.gather(*(store.mark_read("v1", "p3", n) for n in (4, 1, 2)))
        assert (await store.reader("v1", "p3")).read_to == 4
        assert (await store.reader("v1", "p2")).read_to == 5

    async def test_a_phone_is_due_once_and_whoever_is_second_does_nothing(self, store: ChatStore) -> None:
        await store.wake_at("v1", "p2", 10.5)
        await store.wake_at("v1", "p2", 3.0)
        await store.mark_read("v1", "p2", 7)
        assert await store.due(10.0, 9) == ()
        [seen] = await store.due(10.5, 9)
        assert seen == Reader("v1", "p2", read_to=7, due_at_s=10.5)
        held = replace(seen, due_at_s=70.5, tries=1)
        assert sorted(await asyncio.gather(store.settle(seen, held), store.settle(seen, held))) == [False, True]
        assert await store.due(60.0, 9) == ()
        await store.mark_read("v1", "p2", 8)
        done = replace(held, due_at_s=None, tries=0, pushed_at_s=70.5)
        assert await store.settle(held, done)
        assert not await store.settle(held, done)
        assert await store.reader("v1", "p2") == Reader("v1", "p2", read_to=8, pushed_at_s=70.5)
        await store.wake_at("v1", "p2", 80.0)
        assert [one.due_at_s for one in await store.due(80.0, 9)] == [80.0]

    async def test_the_longest_due_come_first(self, store: ChatStore) -> None:
        for who, due_at_s in (("p1", 3.0), ("p2", 1.0), ("p3", 2.0)):
            await store.wake_at("v1", who, due_at_s)
        assert [one.participant for one in await store.due(5.0, 2)] == ["p2", "p3"]
