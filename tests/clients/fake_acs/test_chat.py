"""Chat over Microsoft's own client, which takes tokens of users and https only."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from azure.communication.chat import ChatParticipant, CommunicationUserIdentifier
from azure.core.exceptions import HttpResponseError

from clients.fake_acs.service import FakeAcs
from tests.clients.fake_acs.conftest import Moved
from tests.clients.fake_acs.sdks import chat_of, identities, quick
from tests.clients.fake_acs.test_identity import status_of


def member(user: Any, name: str = "") -> ChatParticipant:
    return ChatParticipant(identifier=user, display_name=name, share_history_time=datetime.fromtimestamp(0, UTC))


async def test_two_people_write_to_each_other(acs: FakeAcs) -> None:
    async with chat_of(acs, "chat") as (service, mine), chat_of(acs, "chat.join.limited") as (pat, his):
        made = await mine.create_chat_thread("visit", thread_participants=[member(pat, "Patient")])
        assert made.errors == []
        thread = mine.get_chat_thread_client(made.chat_thread.id, **quick(acs))
        other = his.get_chat_thread_client(made.chat_thread.id, **quick(acs))
        async with thread, other:
            first = await thread.send_message("Hello", metadata={"auricle": "m-1"}, sender_display_name="Professional")
            second = await other.send_message("Good day ✓")
            assert int(second.id) > int(first.id)
            seen = [one async for one in other.list_messages(results_per_page=1)]
            assert [one.content.message for one in seen if one.type == "text"] == ["Good day ✓", "Hello"]
            assert seen[1].metadata == {"auricle": "m-1"}
            assert seen[1].sender == service
            assert [one.type for one in seen][-1] == "participantAdded"
            assert {one.identifier.raw_id async for one in thread.list_participants()} == {service.raw_id, pat.raw_id}
            since = datetime.now(UTC) + timedelta(hours=1)
            assert [one async for one in thread.list_messages(start_time=since)] == []
            await other.update_message(second.id, "Good evening")
            await other.delete_message(second.id)
            assert (await thread.get_message(second.id)).deleted_on is not None
    assert acs.breaches == []


async def test_scopes_say_what_a_token_is_good_for(acs: FakeAcs) -> None:
    async with (
        chat_of(acs, "chat") as (_, mine),
        chat_of(acs, "chat.join") as (joins, theirs),
        chat_of(acs, "chat.join.limited") as (limited, least),
        chat_of(acs, "voip") as (talks, calls),
    ):
        people = [member(one) for one in (joins, limited, talks)]
        name = (await mine.create_chat_thread("visit", thread_participants=people)).chat_thread.id
        for chat in (theirs, least, calls):
            assert await status_of(chat.create_chat_thread("mine")) == 403
        async with identities(acs) as client:
            new = await client.create_user()
        async with (
            theirs.get_chat_thread_client(name, **quick(acs)) as joined,
            least.get_chat_thread_client(name, **quick(acs)) as limited_one,
            calls.get_chat_thread_client(name, **quick(acs)) as without,
        ):
            assert await status_of(limited_one.add_participants([member(new)])) == 403
            assert await joined.add_participants([member(new)]) == []
            assert await status_of(without.send_message("x")) == 403
            assert await status_of(limited_one.remove_participant(new)) == 403
            await joined.remove_participant(new)


async def test_who_is_not_in_a_thread_reads_nothing(acs: FakeAcs) -> None:
    async with chat_of(acs) as (_, mine), chat_of(acs) as (stranger, others):
        name = (await mine.create_chat_thread("visit")).chat_thread.id
        thread = mine.get_chat_thread_client(name, **quick(acs))
        outside = others.get_chat_thread_client(name, **quick(acs))
        async with thread, outside:
            written = await thread.send_message("x")
            assert await status_of(outside.send_message("y")) == 403
            assert await thread.add_participants([member(stranger)]) == []
            assert await status_of(outside.delete_message(written.id)) == 403
            await thread.remove_participant(stranger)
            with pytest.raises(HttpResponseError):
                [one async for one in outside.list_messages()]
            await mine.delete_chat_thread(name)
            assert await status_of(thread.send_message("z")) == 404


async def test_who_is_nobody_cannot_be_added(acs: FakeAcs) -> None:
    async with chat_of(acs) as (_, mine):
        nobody = member(CommunicationUserIdentifier("8:acs:nobody"))
        made = await mine.create_chat_thread("visit", thread_participants=[nobody])
        assert len(made.errors) == 1


async def test_a_request_that_is_repeated_is_done_once(acs: FakeAcs) -> None:
    async with chat_of(acs) as (_, mine):
        names = [(await mine.create_chat_thread("visit", idempotency_token="same")).chat_thread.id for _ in range(2)]
        assert names[0] == names[1]
        assert len(acs.resource.threads) == 1
        assert await status_of(mine.create_chat_thread("other", idempotency_token="same")) == 412


async def test_a_token_that_has_ended_or_was_revoked_is_none(acs: FakeAcs, moved: Moved) -> None:
    async with chat_of(acs) as (user, mine), identities(acs) as client:
        await mine.create_chat_thread("visit")
        await client.revoke_tokens(user)
        assert await status_of(mine.create_chat_thread("visit")) == 401
    async with chat_of(acs) as (_, mine):
        moved.ahead_s = 86_401
        # The client itself believes in its token, by a clock that is a day behind.
        assert await status_of(mine.create_chat_thread("visit")) == 401
