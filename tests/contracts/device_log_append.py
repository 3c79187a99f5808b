"""What every device log does with a change: one answer per key, one seq, one head."""

import asyncio

import pytest
from msgspec import UNSET
from msgspec.structs import replace

from fitting.digest import content_digests
from fitting.log_values import Accepted, DeviceHead, LeaseGranted
from protocol.contract.base import Refusal
from protocol.errors import BadArgument
from tests.contracts.device_log_bench import DEVICE, FRESH, LIMITS, Bench, louder, refused

__all__ = ["AppendContract"]


class AppendContract:
    async def test_a_change_gets_the_next_number_and_becomes_the_head(self, bench: Bench) -> None:
        await bench.fitted()
        before = await bench.newest()
        after = louder(FRESH, "left")
        accepted = await bench.submit(after)
        assert (accepted.seq, accepted.digests, accepted.replayed) == (1, content_digests(after), False)
        head = await bench.head()
        revision = await bench.newest()
        assert accepted.epoch == head.epoch
        assert (revision.revision_id, revision.parent) == (accepted.revision_id, before.revision_id)
        assert (revision.content, revision.author, revision.reason) == (after, "ann", "a little louder")
        (waiting,) = await bench.log.pending(DEVICE)
        assert (waiting.state, waiting.ears, waiting.attempt) == ("accepted", {"left": "accepted"}, 0)
        assert (waiting.base, waiting.revision) == (before, revision)
        assert await bench.log.delivery(DEVICE, 1) == waiting
        assert await bench.log.delivery(DEVICE, 2) is None

    async def test_the_same_key_gives_the_first_answer_even_after_the_head_moved(self, bench: Bench) -> None:
        await bench.fitted()
        proposal = await bench.proposal()
        first = await bench.log.append(proposal)
        await bench.submit()
        bench.clock.pass_s(60)
        again = await bench.log.append(proposal)
        assert isinstance(first, Accepted)
        assert again == replace(first, replayed=True)
        assert (await bench.head()).last_seq == 2
        asked = await bench.log.head(DEVICE, key=proposal.key, request_hash=proposal.request_hash)
        assert isinstance(asked, DeviceHead)
        assert asked.answered == again

    async def test_the_same_key_for_another_request_is_a_conflict(self, bench: Bench) -> None:
        await bench.fitted()
        proposal = await bench.proposal()
        await bench.log.append(proposal)
        other = replace(proposal, request_hash="another")
        assert refused(await bench.log.append(other)).code == "idempotency_conflict"
        asked = await bench.log.head(DEVICE, key=proposal.key, request_hash="another")
        assert isinstance(asked, DeviceHead)
        assert refused(asked.answered).code == "idempotency_conflict"
        unknown = await bench.log.head(DEVICE, key="k-99", request_hash="x")
        assert isinstance(unknown, DeviceHead)
        assert unknown.answered is None

    async def test_a_refused_key_may_be_tried_again(self, bench: Bench) -> None:
        await bench.fitted()
        proposal = await bench.proposal()
        bench.clock.pass_s(15)
        assert refused(await bench.log.append(proposal)).code == "lease_lost"
        await bench.acquire()
        assert isinstance(await bench.log.append(replace(proposal, fence=bench.fence)), Accepted)

    async def test_a_change_of_an_older_head_is_refused(self, bench: Bench) -> None:
        await bench.fitted()
        stale = await bench.proposal()
        await bench.submit()
        assert refused(await bench.log.append(stale)).code == "base_mismatch"
        assert (await bench.head()).last_seq == 1

    async def test_nothing_can_be_changed_before_the_first_read_back(self, bench: Bench) -> None:
        await bench.attach()
        await bench.acquire()
        proposal = await bench.proposal()
        await bench.log.create("d-2", {})
        granted = await bench.log.acquire("d-2", session="s", holder="ann")
        assert isinstance(granted, LeaseGranted)
        for expected in ("", proposal.expected_head):
            early = replace(proposal, device="d-2", fence=granted.fence, expected_head=expected)
            assert refused(await bench.log.append(early)).code == "not_live"
        opened = await bench.log.open_session("d-2", fence=granted.fence, holder="ann")
        assert (refused(opened).code, refused(opened).retryable) == ("not_read_back", True)

    async def test_a_change_of_no_ear_is_a_bad_argument(self, bench: Bench) -> None:
        await bench.fitted()
        with pytest.raises(BadArgument, match="changes nothing"):
            await bench.log.append(await bench.proposal(ears=()))

    async def test_of_two_changes_at_once_on_one_head_one_is_accepted(self, bench: Bench) -> None:
        await bench.fitted()
        rivals = [await bench.proposal(louder(FRESH, by=by)) for by in (10, 20)]
        outcomes = await asyncio.gather(*(bench.log.append(rival) for rival in rivals))
        assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Accepted", "Refusal"]
        assert [o.code for o in outcomes if isinstance(o, Refusal)] == ["base_mismatch"]

    async def test_the_same_change_sent_twice_at_once_is_one_change(self, bench: Bench) -> None:
        await bench.fitted()
        proposal = await bench.proposal()
        outcomes = await asyncio.gather(*(bench.log.append(proposal) for _ in range(2)))
        answers = [outcome for outcome in outcomes if isinstance(outcome, Accepted)]
        assert [answer.seq for answer in answers] == [1, 1]
        assert {answer.replayed for answer in answers} == {False, True}

    async def test_numbers_rise_without_a_gap_whatever_is_refused_between(self, bench: Bench) -> None:
        await bench.fitted()
        seqs = []
        for _ in range(4):
            stale = await bench.proposal(expected_head="r-0")
            assert refused(await bench.log.append(stale)).code == "base_mismatch"
            seqs.append((await bench.apply()).seq)
        assert seqs == [1, 2, 3, 4]

    async def test_only_so_many_changes_wait(self, bench: Bench) -> None:
        await bench.fitted()
        for _ in range(LIMITS.max_pending):
            await bench.submit()
        over = await bench.proposal()
        refusal = refused(await bench.log.append(over))
        assert (refusal.code, refusal.retryable) == ("overloaded", True)
        assert refusal.retry_after_ms is not UNSET
        await bench.confirm(await bench.offer())
        assert isinstance(await bench.log.append(over), Accepted)

    async def test_only_so_many_keys_are_remembered(self, bench: Bench) -> None:
        await bench.fitted()
        first = await bench.proposal()
        await bench.log.append(first)
        await bench.confirm(await bench.offer())
        for _ in range(LIMITS.max_keys - 1):
            await bench.apply()
        assert isinstance(await bench.log.append(first), Accepted)
        await bench.apply()
        assert refused(await bench.log.append(first)).code == "base_mismatch"
