"""What every device log does about the lease and live work: who holds a device, what begins and what ends."""

from collections.abc import Awaitable
from typing import TypeVar

from msgspec import UNSET

from fitting.log_values import (
    Accepted,
    Learned,
    LeaseGranted,
    LiveSession,
    Released,
    SessionEnded,
    Stolen,
    Withdrawn,
    first_hash,
)
from fitting.model import content_from_images
from protocol.contract.base import EARS, Refusal
from protocol.contract.fitting import Content
from protocol.contract.sessions import ReportDevice
from tests.contracts.device_log_bench import (
    BOTH_LOUDER,
    DEVICE,
    FRESH,
    LIMITS,
    Bench,
    digest,
    images,
    louder,
    refused,
)

__all__ = ["SaveContract", "SessionContract"]

T = TypeVar("T")


async def got(kind: type[T], outcome: Awaitable[object]) -> T:
    value = await outcome
    assert isinstance(value, kind), value
    return value


async def live(bench: Bench) -> LiveSession:
    session = (await bench.head()).live
    assert session is not None
    return session


class SessionContract:
    async def test_a_holder_renews_under_the_same_fence_and_nobody_else_does(self, bench: Bench) -> None:
        await bench.fitted()
        bench.clock.pass_s(10)
        again = await got(LeaseGranted, bench.log.renew(DEVICE, session="s-1", holder="ann", fence=bench.fence))
        assert (again.fence, again.renewed) == (bench.fence, True)
        bench.clock.pass_s(10)
        assert await bench.log.alive(DEVICE) is not None
        for session, holder, fence, code in (
            ("s-2", "ann", bench.fence, "lease_lost"),
            ("s-1", "bob", bench.fence, "lease_lost"),
            ("s-1", "ann", bench.fence - 1, "fence_stale"),
        ):
            outcome = await bench.log.renew(DEVICE, session=session, holder=holder, fence=fence)
            assert refused(outcome).code == code
        bench.clock.pass_s(LIMITS.lease_ttl_s)
        outcome = await bench.log.renew(DEVICE, session="s-1", holder="ann", fence=bench.fence)
        assert refused(outcome).code == "lease_lost"

    async def test_nothing_is_changed_live_before_live_work_began(self, bench: Bench) -> None:
        await bench.attach()
        granted = await got(LeaseGranted, bench.log.acquire(DEVICE, session="s-1", holder="ann"))
        bench.fence = granted.fence
        assert refused(await bench.log.append(await bench.proposal())).code == "not_live"
        opened = await got(LiveSession, bench.log.open_session(DEVICE, fence=granted.fence, holder="ann"))
        assert opened.base == await bench.newest()
        assert await bench.log.open_session(DEVICE, fence=granted.fence, holder="ann") == opened
        for fence, holder in ((granted.fence, "bob"), (granted.fence + 1, "ann")):
            refusal = refused(await bench.log.open_session(DEVICE, fence=fence, holder=holder))
            assert refusal.code == "lease_lost"
        await bench.submit()

    async def test_a_lease_that_is_not_renewed_ends_live_work_and_asks_for_the_base(self, bench: Bench) -> None:
        await bench.fitted()
        await bench.apply()
        assert await bench.log.lapsed() == ()
        bench.clock.pass_s(LIMITS.lease_ttl_s)
        assert await bench.log.alive(DEVICE) is None
        [(device, ended)] = await bench.log.lapsed()
        assert (device, ended.cause, ended.restore) == (DEVICE, "lease_lost", True)
        assert ended.live.base.content == FRESH
        assert await bench.log.lapsed() == ()

    async def test_after_it_nothing_begins_before_the_aids_were_read_again(self, bench: Bench) -> None:
        await bench.fitted()
        await bench.apply()
        bench.clock.pass_s(LIMITS.lease_ttl_s)
        await bench.log.lapsed()
        granted = await got(LeaseGranted, bench.log.acquire(DEVICE, session="s-2", holder="bob"))
        early = refused(await bench.log.open_session(DEVICE, fence=granted.fence, holder="bob"))
        assert (early.code, early.retryable) == ("not_read_back", True)
        left, right = images(FRESH, "left"), images(FRESH, "right")
        await bench.log.report_device(ReportDevice(device=DEVICE, cause="lease_lost", left=left, right=right))
        opened = await got(LiveSession, bench.log.open_session(DEVICE, fence=granted.fence, holder="bob"))
        assert opened.base.content == FRESH

    async def test_a_lease_is_given_back_when_what_was_tried_is_saved_or_given_up(self, bench: Bench) -> None:
        await bench.fitted()
        await bench.apply()
        given = {"session": "s-1", "holder": "ann", "fence": bench.fence}
        kept = await bench.log.release(DEVICE, **given)  # type: ignore[arg-type]  # one dict for both calls
        assert refused(kept).code == "unsaved"
        released = await got(Released, bench.log.release(DEVICE, **given, discard=True))  # type: ignore[arg-type]  # ditto
        assert released.session is not None
        assert (released.session.cause, released.session.restore) == ("released", True)
        assert (await bench.head()).lease is None
        assert refused(await bench.log.release(DEVICE, **given)).code == "lease_lost"  # type: ignore[arg-type]  # ditto

    async def test_a_thief_gets_the_next_fence_and_the_reason_is_kept(self, bench: Bench) -> None:
        await bench.fitted()
        stolen = await got(Stolen, bench.log.steal(DEVICE, session="s-2", holder="bob", reason="the patient waits"))
        assert stolen.granted.fence == bench.fence + 1
        assert stolen.loser is not None
        assert (stolen.loser.holder, stolen.session is not None) == ("ann", True)
        assert refused(await bench.log.append(await bench.proposal())).code == "fence_stale"
        events = await bench.log.changed_since(DEVICE, 0)
        [theft] = [event for event in events if event.state == "stolen" and event.kind == "lease"]
        assert (theft.actor, theft.text) == ("bob", "the patient waits")
        again = await got(Stolen, bench.log.steal(DEVICE, session="s-2", holder="bob", reason="again"))
        assert (again.granted.fence, again.granted.renewed, again.loser) == (stolen.granted.fence, True, None)

    async def test_what_was_never_offered_falls_away_when_live_work_ends(self, bench: Bench) -> None:
        await bench.fitted()
        await bench.submit()
        await bench.submit()
        await bench.offer()
        ended = await got(SessionEnded, bench.log.end_session(DEVICE, cause="stop", actor="pat", fence=bench.fence))
        assert [(one.delivery.seq, one.delivery.state) for one in ended.ended] == [(2, "cancelled")]
        assert [(one.seq, one.withdrawn) for one in ended.withdraw] == [(1, "cancelled")]
        assert ended.restore
        assert await bench.log.end_session(DEVICE, cause="stop", actor="pat") is None
        late = await bench.log.end_session(DEVICE, cause="left", actor="ann", fence=bench.fence)
        assert refused(late).code == "fence_stale"

    async def test_the_newest_waits_and_the_one_between_falls_away(self, bench: Bench) -> None:
        await bench.fitted()
        await bench.submit()
        await bench.offer()
        base = await bench.newest()
        second = await bench.submit(louder(base.content, "left"))
        waiting = (await bench.head()).waiting
        assert waiting is not None
        third = await bench.submit(louder((await bench.newest()).content, "right"), supersedes=waiting.seq)
        [fallen] = third.ended
        assert (fallen.delivery.seq, fallen.delivery.state, fallen.last_terminal) == (second.seq, "superseded", 0)
        found = await bench.log.delivery(DEVICE, third.seq)
        assert found is not None
        assert (found.base, list(found.ears)) == (base, ["right", "left"])
        first = await bench.log.delivery(DEVICE, 1)
        assert first is not None
        done = await bench.confirm(first)
        assert done.last_terminal == 2
        assert (await bench.offer()).after == 2

    async def test_the_first_in_line_never_falls_away_for_a_newer_one(self, bench: Bench) -> None:
        await bench.fitted()
        first = await bench.submit()
        assert (await bench.head()).waiting is None
        second = await bench.submit(supersedes=first.seq)
        assert second.ended == ()
        assert len(await bench.log.pending(DEVICE)) == 2

    async def test_a_change_is_taken_back_before_it_began_and_not_after(self, bench: Bench) -> None:
        await bench.fitted()
        await bench.submit()
        outcome = await bench.log.cancel(DEVICE, 1, actor="ann")
        assert not isinstance(outcome, Refusal)
        [taken] = outcome
        assert taken.ended is not None
        assert (taken.delivery.state, taken.ended.events[0].actor) == ("cancelled", "ann")
        assert (await bench.newest()).content == FRESH
        await bench.submit()
        await bench.offer()
        outcome = await bench.log.cancel(DEVICE, 2, actor="ann")
        assert not isinstance(outcome, Refusal)
        assert outcome == (Withdrawn(outcome[0].delivery),)
        await bench.report(2, "writing", "right")
        assert refused(await bench.log.cancel(DEVICE, 2, actor="ann")).code == "too_late"
        assert refused(await bench.log.cancel(DEVICE, 1, actor="ann")).code == "unknown_delivery"

    async def test_only_so_much_is_accepted_within_the_time_that_budgets_are_counted_over(self, bench: Bench) -> None:
        await bench.fitted()
        assert LIMITS.max_moments == 6
        for _ in range(LIMITS.max_moments - 1):
            await bench.apply()
        refusal = refused(await bench.log.append(await bench.proposal()))
        assert (refusal.code, refusal.retryable) == ("overloaded", True)
        bench.clock.pass_s(11)
        await bench.log.renew(DEVICE, session="s-1", holder="ann", fence=bench.fence)
        await bench.apply()
        held = (await live(bench)).held
        assert held[0].revision.content == FRESH
        assert len(held) == 3

    async def test_an_undo_is_learned_and_the_base_is_the_head_again(self, bench: Bench) -> None:
        await bench.fitted()
        await bench.apply()
        left, right = images(FRESH, "left"), images(FRESH, "right")
        told = ReportDevice(device=DEVICE, cause="undo", battery=41, left=left, right=right)
        learned = await got(Learned, bench.log.report_device(told))
        assert learned.changed == ("right",)
        head = await bench.head()
        assert head.revision is not None
        assert (head.revision.content, head.battery, head.live is not None) == (FRESH, 41, True)
        assert head.in_aid.right is not UNSET
        assert head.in_aid.right.cause == "undo"

    async def test_a_report_of_another_aid_is_refused(self, bench: Bench) -> None:
        await bench.fitted()
        other = images(FRESH, "right", serial="right-2")
        told = ReportDevice(device=DEVICE, cause="read_back", right=other)
        assert refused(await bench.log.report_device(told)).code == "wrong_device"

    async def test_events_are_chained_from_the_name_of_the_device(self, bench: Bench) -> None:
        await bench.fitted()
        await bench.apply()
        events = await bench.log.changed_since(DEVICE, 0)
        before = first_hash(DEVICE)
        for event in events:
            assert event.chained(event.n, before) == event
            before = event.hash
        assert len({event.hash for event in events}) == len(events)


class SaveContract:
    async def save(self, bench: Bench, **more: object) -> object:
        head = await bench.newest()
        expect = {ear: digest(head.content, ear) for ear in EARS}
        given = {"kind": "persist", "origin": "save", "ears": EARS, "expect": expect} | more
        return await bench.log.append(await bench.proposal(head.content, **given))

    async def test_what_was_saved_is_the_base_of_the_session_from_then_on(self, bench: Bench) -> None:
        await bench.fitted()
        await bench.apply(BOTH_LOUDER)
        assert not (await bench.head()).is_saved
        await self.save(bench)
        await bench.offer()
        for ear in EARS:
            proof = digest(BOTH_LOUDER, ear)
            await bench.report(2, "confirmed", ear, source="ram", digest=proof)
            await bench.report(2, "committing", ear)
        for ear in EARS:
            proof = digest(BOTH_LOUDER, ear)
            done = await bench.report(2, "active", ear, source="nvm", digest=proof)
        assert (done.ended, done.delivery.state) == (True, "active")
        head = await bench.head()
        assert head.is_saved
        assert (await live(bench)).base.content == BOTH_LOUDER
        assert [moment.revision.content for moment in head.active] == [FRESH, BOTH_LOUDER]
        assert head.alarms == frozenset()
        ended = await got(SessionEnded, bench.log.end_session(DEVICE, cause="left", actor="ann", discard=False))
        assert not ended.restore

    async def test_nothing_is_saved_that_the_aids_are_not_known_to_hold(self, bench: Bench) -> None:
        await bench.fitted()
        await bench.submit(BOTH_LOUDER)
        on_its_way = await self.save(bench)
        assert (refused(on_its_way).code, refused(on_its_way).retryable) == ("not_confirmed", True)
        await bench.confirm(await bench.offer())
        wrong = await self.save(bench, expect={ear: digest(FRESH, ear) for ear in EARS})
        assert refused(wrong).code == "base_mismatch"

    async def test_ears_that_were_saved_apart_are_an_alarm_until_both_hold_the_same(self, bench: Bench) -> None:
        await bench.fitted()
        await bench.apply(BOTH_LOUDER)
        await self.save(bench)
        await bench.offer()
        for ear in EARS:
            await bench.report(2, "confirmed", ear, source="ram", digest=digest(BOTH_LOUDER, ear))
        await bench.report(2, "active", "right", source="nvm", digest=digest(BOTH_LOUDER, "right"))
        await bench.report(2, "failed", "left", code="E_NVM")
        assert (await bench.head()).alarms == {"split"}
        assert refused(await bench.log.append(await bench.proposal())).code == "split"
        await bench.attach(BOTH_LOUDER)
        assert (await bench.head()).alarms == frozenset()
        events = [event for event in await bench.log.changed_since(DEVICE, 0) if event.kind == "alarm"]
        assert [(event.state, event.code) for event in events] == [("split", None), ("split", "cleared")]

    async def split(self, bench: Bench) -> Content:
        """The right ear keeps what was to be saved, the left one does not; what they play now, read back."""
        await bench.fitted()
        await bench.apply(BOTH_LOUDER)
        await self.save(bench)
        await bench.offer()
        for ear in EARS:
            await bench.report(2, "confirmed", ear, source="ram", digest=digest(BOTH_LOUDER, ear))
            await bench.report(2, "committing", ear)
        proof = digest(BOTH_LOUDER, "right")
        await bench.report(2, "failed", "right", code="E_NVM", source="ram", digest=proof, nvm=proof)
        was = digest(FRESH, "left")
        await bench.report(2, "rolled_back", "left", code="E_PARTIAL", source="ram", digest=was, nvm=was)
        mixed = content_from_images({"right": images(BOTH_LOUDER, "right").image, "left": images(FRESH, "left").image})
        left, right = images(mixed, "left"), images(mixed, "right")
        await bench.log.report_device(ReportDevice(device=DEVICE, cause="read_back", left=left, right=right))
        return mixed

    async def test_an_ear_that_could_not_be_given_back_what_it_kept_is_an_alarm_too(self, bench: Bench) -> None:
        await self.split(bench)
        assert (await bench.head()).alarms == {"split"}

    async def test_reading_ears_that_keep_two_revisions_does_not_make_them_one(self, bench: Bench) -> None:
        mixed = await self.split(bench)
        await bench.attach(mixed)
        head = await bench.head()
        assert head.alarms == {"split"}
        assert head.active[-1].revision.content == FRESH

    async def test_ears_that_keep_two_revisions_are_one_again_when_they_keep_an_earlier_one(self, bench: Bench) -> None:
        await self.split(bench)
        await bench.attach(FRESH)
        assert (await bench.head()).alarms == frozenset()

    async def test_a_save_in_a_live_session_brings_ears_that_keep_two_revisions_together(self, bench: Bench) -> None:
        mixed = await self.split(bench)
        assert refused(await bench.log.append(await bench.proposal())).code == "split"
        accepted = await self.save(bench)
        assert isinstance(accepted, Accepted), accepted
        await bench.offer()
        for ear in EARS:
            await bench.report(3, "confirmed", ear, source="ram", digest=digest(mixed, ear))
        for ear in EARS:
            await bench.report(3, "active", ear, source="nvm", digest=digest(mixed, ear))
        assert (await bench.head()).alarms == frozenset()

    async def test_a_save_that_both_ears_gave_back_is_no_alarm(self, bench: Bench) -> None:
        await bench.fitted()
        await bench.apply(BOTH_LOUDER)
        await self.save(bench)
        await bench.offer()
        for ear in EARS:
            await bench.report(2, "confirmed", ear, source="ram", digest=digest(BOTH_LOUDER, ear))
            await bench.report(2, "committing", ear)
        for ear in EARS:
            was = digest(FRESH, ear)
            await bench.report(2, "rolled_back", ear, code="E_NVM", source="ram", digest=was, nvm=was)
        assert (await bench.head()).alarms == frozenset()

    async def test_a_write_without_proof_is_an_alarm_until_it_is_resolved(self, bench: Bench) -> None:
        await bench.fitted()
        accepted = await bench.submit()
        await bench.offer()
        await bench.report(1, "writing", "right")
        await bench.report(1, "indeterminate", "right", code="E_BLE_DURING")
        assert (await bench.head()).alarms == {"indeterminate"}
        await bench.report(1, "confirmed", "right", digest=accepted.digests.right)
        assert (await bench.head()).alarms == frozenset()
