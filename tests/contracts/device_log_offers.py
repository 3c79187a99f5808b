"""What every device log does on the way to the aids: offers, and the phone's word on them."""

from typing import Any

from msgspec import UNSET

from fitting.log_values import Delivery
from protocol.contract.base import EARS
from protocol.contract.devices import EarTruth, InFlight
from tests.contracts.device_log_bench import BOTH_LOUDER, DEVICE, FALSE, FRESH, LIMITS, Bench, digest, refused

__all__ = ["OfferContract", "PoisonContract", "ReportContract"]


async def delivery(bench: Bench, seq: int) -> Delivery:
    found = await bench.log.delivery(DEVICE, seq)
    assert found is not None
    return found


class OfferContract:
    async def test_changes_are_offered_one_at_a_time_and_in_order(self, bench: Bench) -> None:
        await bench.fitted()
        for _ in range(3):
            await bench.submit()
        for seq in (1, 2, 3):
            bench.clock.pass_s(1)
            offered = await bench.offer()
            assert (offered.seq, offered.after, offered.attempt) == (seq, seq - 1, 1)
            assert (offered.state, offered.offered_at_s) == ("offered", bench.clock.now_s)
            assert await bench.log.next_offer(DEVICE, bench.generation) is None
            await bench.confirm(offered)
        assert await bench.log.pending(DEVICE) == ()
        assert (await bench.head()).last_terminal == 3
        assert await bench.log.next_offer(DEVICE, bench.generation) is None

    async def test_a_change_on_its_way_is_not_offered_again_to_the_same_phone(self, bench: Bench) -> None:
        await bench.fitted()
        await bench.submit()
        await bench.offer()
        for state in ("received", "writing", "indeterminate"):
            await bench.report(1, state, UNSET if state == "received" else "right")
            assert await bench.log.next_offer(DEVICE, bench.generation) is None

    async def test_nothing_is_offered_to_a_phone_that_is_gone(self, bench: Bench) -> None:
        await bench.fitted()
        await bench.submit()
        old = bench.generation
        await bench.attach()
        assert await bench.log.next_offer(DEVICE, old) is None
        await bench.log.detach(DEVICE, old)
        assert (await bench.offer()).attempt == 1
        await bench.log.detach(DEVICE, bench.generation)
        assert await bench.log.next_offer(DEVICE, bench.generation) is None
        assert await bench.log.reoffer(DEVICE, bench.generation, older_than_s=0) is None

    async def test_after_a_reconnect_the_change_is_offered_again_and_what_had_begun_stays(self, bench: Bench) -> None:
        await bench.fitted()
        await bench.submit(BOTH_LOUDER)
        await bench.offer()
        await bench.report(1, "received")
        await bench.report(1, "confirmed", "right", digest=digest(BOTH_LOUDER, "right"))
        await bench.report(1, "writing", "left")
        await bench.attach(in_flight=InFlight(seq=1, phase="writing"))
        offered = await bench.offer()
        assert (offered.seq, offered.attempt) == (1, 2)
        assert (offered.ears, offered.state) == ({"right": "confirmed", "left": "writing"}, "writing")
        again = await bench.report(1, "received", attempt=2)
        assert again.delivery.state == "writing"
        done = await bench.report(1, "confirmed", "left", attempt=2, digest=digest(BOTH_LOUDER, "left"))
        assert (done.delivery.state, done.ended) == ("confirmed", True)

    async def test_a_phone_that_has_done_it_already_answers_from_its_journal(self, bench: Bench) -> None:
        epoch = (await bench.attach()).epoch
        await bench.acquire()
        accepted = await bench.submit()
        await bench.offer()
        held = (await bench.newest()).content
        attached = await bench.attach(held, epoch=epoch, last_terminal=accepted.seq)
        assert (attached.resume, attached.from_seq, attached.changed) == ("ok", 1, ("right",))
        assert (await bench.offer()).attempt == 2
        done = await bench.report(1, "confirmed", "right", attempt=1, digest=digest(held, "right"))
        assert (done.ended, done.changed) == (True, ())

    async def test_a_silent_phone_is_offered_the_same_again_after_a_while(self, bench: Bench) -> None:
        await bench.fitted()
        await bench.submit()
        assert await bench.log.reoffer(DEVICE, bench.generation, older_than_s=0) is None
        await bench.offer()
        bench.clock.pass_s(1.9)
        assert await bench.log.reoffer(DEVICE, bench.generation, older_than_s=2) is None
        bench.clock.pass_s(0.1)
        again = await bench.log.reoffer(DEVICE, bench.generation, older_than_s=2)
        assert again is not None
        assert (again.attempt, again.offered_at_s, again.state) == (2, bench.clock.now_s, "offered")
        assert await bench.log.reoffer(DEVICE, bench.generation, older_than_s=2) is None
        await bench.report(1, "received")
        bench.clock.pass_s(60)
        assert await bench.log.reoffer(DEVICE, bench.generation, older_than_s=2) is None

    async def test_a_change_that_waited_too_long_expires_and_what_was_thought_of_on_it_falls_away(
        self, bench: Bench
    ) -> None:
        await bench.fitted()
        await bench.submit(expires_in_s=10.0)
        await bench.submit(expires_in_s=60.0)
        assert await bench.log.expire() == ()
        bench.clock.pass_s(10)
        assert await bench.log.next_offer(DEVICE, bench.generation) is None
        late = await bench.log.expire()
        ends = [(one.delivery.seq, one.delivery.state, one.delivery.code) for one in late]
        assert ends == [(1, "expired", None), (2, "cancelled", "E_BASE")]
        assert [[event.state for event in one.ended.events] for one in late if one.ended] == [
            ["expired"],
            ["cancelled"],
        ]
        assert await bench.log.expire() == ()
        assert (await delivery(bench, 1)).state == "expired"
        await bench.submit()
        offered = await bench.offer()
        assert (offered.seq, offered.after) == (3, 2)

    async def test_a_change_that_was_offered_expires_when_the_phone_says_that_it_has_not_begun(
        self, bench: Bench
    ) -> None:
        await bench.fitted()
        await bench.submit(expires_in_s=10.0)
        await bench.offer()
        bench.clock.pass_s(60)
        [late] = await bench.log.expire()
        assert (late.ended, late.delivery.withdrawn) == (None, "expired")
        assert await bench.log.expire() == ()
        asked = await bench.log.next_offer(DEVICE, bench.generation)
        assert asked is not None
        assert (asked.withdrawn, asked.attempt) == ("expired", 1)
        assert await bench.log.next_offer(DEVICE, bench.generation) is None
        bench.clock.pass_s(2)
        again = await bench.log.reoffer(DEVICE, bench.generation, older_than_s=2)
        assert again is not None
        assert again.withdrawn == "expired"
        await bench.attach()
        after_a_cut = await bench.log.next_offer(DEVICE, bench.generation)
        assert after_a_cut is not None
        assert after_a_cut.withdrawn == "expired"
        done = await bench.report(1, "expired", "right")
        assert (done.ended, done.delivery.state) == (True, "expired")

    async def test_a_phone_that_has_begun_finishes_what_was_withdrawn(self, bench: Bench) -> None:
        await bench.fitted()
        accepted = await bench.submit(expires_in_s=10.0)
        await bench.offer()
        bench.clock.pass_s(60)
        await bench.log.expire()
        await bench.report(1, "writing", "right")
        done = await bench.report(1, "confirmed", "right", digest=accepted.digests.right)
        assert (done.ended, done.delivery.state) == (True, "confirmed")

    async def test_under_another_epoch_what_waits_is_offered_under_it(self, bench: Bench) -> None:
        epoch = (await bench.attach()).epoch
        await bench.acquire()
        await bench.submit()
        await bench.offer()
        other = (await bench.attach(epoch=epoch, last_terminal=9)).epoch
        assert (await bench.offer()).epoch == other
        assert refused(await bench.try_report(1, "received", epoch=epoch)).code == "unknown_delivery"
        await bench.report(1, "received", epoch=other)


class PoisonContract:
    """A phone that dies of what it is offered comes back for the same again."""

    async def lose(self, bench: Bench, times: int, **claim: Any) -> None:
        for _ in range(times):
            await bench.offer()
            await bench.attach(**claim)

    async def test_an_offer_that_a_phone_is_lost_over_again_and_again_is_asked_back(self, bench: Bench) -> None:
        await bench.fitted()
        await bench.submit(BOTH_LOUDER)
        await bench.submit()
        await self.lose(bench, LIMITS.max_unanswered - 1)
        assert (await bench.head()).alarms == frozenset()
        offered = await bench.offer()
        assert (offered.withdrawn, offered.attempt) == (None, LIMITS.max_unanswered)
        attached = await bench.attach()
        assert attached.alarm_moves == {"poison": True}
        asked = await bench.offer()
        assert (asked.seq, asked.withdrawn, asked.code) == (1, "cancelled", "poison")
        # Until the phone has said so, nobody knows that it has not begun.
        assert [one.seq for one in await bench.log.pending(DEVICE)] == [1, 2]
        for ear in EARS:
            done = await bench.report(1, "cancelled", ear)
        assert (done.ended, done.delivery.code, done.alarm_moves) == (True, "poison", {"poison": False})
        last = [event for event in await bench.log.changed_since(DEVICE, 0) if event.state == "cancelled"]
        assert {event.code for event in last if event.seq == 1} == {"poison"}

    async def test_what_waits_behind_it_and_stands_on_its_own_goes_on(self, bench: Bench) -> None:
        await bench.fitted()
        await bench.submit(BOTH_LOUDER)
        await self.lose(bench, LIMITS.max_unanswered)
        await bench.offer()
        for ear in EARS:
            await bench.report(1, "cancelled", ear)
        await bench.submit()
        offered = await bench.offer()
        await bench.confirm(offered)
        assert (await delivery(bench, 2)).state == "confirmed"

    async def test_a_phone_that_has_heard_of_it_is_asked_nothing(self, bench: Bench) -> None:
        await bench.fitted()
        await bench.submit(BOTH_LOUDER)
        await self.lose(bench, 2 * LIMITS.max_unanswered, in_flight=InFlight(seq=1, phase="received"))
        assert (await bench.offer()).withdrawn is None

    async def test_a_word_in_between_counts_anew(self, bench: Bench) -> None:
        await bench.fitted()
        await bench.submit(BOTH_LOUDER)
        for _ in range(2):
            await self.lose(bench, LIMITS.max_unanswered - 1)
            await bench.offer()
            await bench.report(1, "received")
            await bench.attach()
        assert (await bench.offer()).withdrawn is None

    async def test_a_phone_that_was_offered_nothing_may_come_and_go(self, bench: Bench) -> None:
        await bench.fitted()
        await bench.submit(BOTH_LOUDER)
        for _ in range(2 * LIMITS.max_unanswered):
            await bench.attach()
        assert (await bench.offer()).withdrawn is None


class ReportContract:
    async def test_each_ear_is_confirmed_by_its_digest_and_then_it_has_ended(self, bench: Bench) -> None:
        await bench.fitted()
        await bench.submit(BOTH_LOUDER)
        await bench.offer()
        first = await bench.report(1, "received")
        assert [(e.state, e.ear) for e in first.events] == [("received", None)]
        writing = await bench.report(1, "writing", "right")
        assert [(e.state, e.ear) for e in writing.events] == [("writing", "right")]
        proof = digest(BOTH_LOUDER, "right")
        right = await bench.report(1, "confirmed", "right", digest=proof, battery=55)
        assert (right.ended, right.changed, right.delivery.state) == (False, ("right",), "received")
        assert [(e.state, e.ear, e.digest) for e in right.events] == [("confirmed", "right", proof)]
        left = await bench.report(1, "confirmed", "left", digest=digest(BOTH_LOUDER, "left"))
        assert (left.ended, left.changed, left.delivery.state) == (True, ("left",), "confirmed")
        assert [(e.state, e.ear) for e in left.events] == [("confirmed", "left"), ("confirmed", None)]
        assert isinstance(left.in_aid.right, EarTruth)
        assert (left.in_aid.right.ram, left.in_aid.right.nvm) == (proof, digest(FRESH, "right"))
        assert (left.in_aid.right.cause, (await bench.head()).battery) == ("delivery", 55)

    async def test_a_report_that_comes_twice_counts_once(self, bench: Bench) -> None:
        await bench.fitted()
        await bench.submit()
        await bench.offer()
        await bench.report(1, "received", n=1)
        before = await bench.log.changed_since(DEVICE, 0)
        again = await bench.report(1, "received", n=1)
        assert (again.repeated, again.events, again.ended) == (True, (), False)
        proof = digest((await bench.newest()).content, "right")
        await bench.report(1, "confirmed", "right", n=2, digest=proof)
        late = await bench.report(1, "confirmed", "right", n=2, digest=proof)
        other_number = await bench.report(1, "confirmed", "right", n=3, digest=proof)
        assert (late.repeated, late.ended, late.events) == (True, True, ())
        assert (other_number.repeated, other_number.ended) == (True, True)
        assert len(await bench.log.changed_since(DEVICE, 0)) == len(before) + 2

    async def test_reports_of_an_older_generation_count(self, bench: Bench) -> None:
        await bench.fitted()
        await bench.submit()
        await bench.offer()
        old = bench.generation
        await bench.attach()
        await bench.offer()
        bench.generation, newest = old, bench.generation
        await bench.report(1, "received")
        bench.clock.pass_s(5)
        # The older phone's word does not make the newer one any less silent.
        assert await bench.log.reoffer(DEVICE, newest, older_than_s=2) is not None

    async def test_what_was_never_offered_is_unknown(self, bench: Bench) -> None:
        await bench.fitted()
        await bench.submit()
        assert refused(await bench.try_report(1, "received")).code == "unknown_delivery"
        await bench.offer()
        assert refused(await bench.try_report(2, "received")).code == "unknown_delivery"
        assert refused(await bench.try_report(1, "received", epoch="e-0")).code == "unknown_delivery"
        await bench.report(1, "received")

    async def test_an_ear_that_does_not_change_and_a_step_back_are_refused(self, bench: Bench) -> None:
        await bench.fitted()
        await bench.apply()
        assert refused(await bench.try_report(1, "writing", "left")).code == "wrong_ear"
        assert refused(await bench.try_report(1, "rolled_back", "right")).code == "illegal_report"
        assert (await bench.report(1, "writing", "right")).repeated
        assert (await delivery(bench, 1)).state == "confirmed"

    async def test_a_confirmation_without_the_expected_digest_is_a_failure(self, bench: Bench) -> None:
        await bench.fitted()
        await bench.submit()
        await bench.offer()
        lie = await bench.report(1, "confirmed", "right", source="ram", digest=FALSE)
        assert (lie.delivery.state, lie.delivery.code, lie.ended) == ("failed", "E_READBACK", True)
        assert [(e.state, e.code, e.ear, e.digest) for e in lie.events] == [
            ("failed", "E_READBACK", "right", FALSE),
            ("failed", "E_READBACK", None, None),
        ]
        assert isinstance(lie.in_aid.right, EarTruth)
        assert (lie.in_aid.right.ram, lie.changed) == (FALSE, ("right",))

    async def test_indeterminate_blocks_what_comes_after_until_a_read_back(self, bench: Bench) -> None:
        await bench.fitted()
        await bench.submit()
        await bench.submit()
        await bench.offer()
        await bench.report(1, "writing", "right")
        unsure = await bench.report(1, "indeterminate", "right", code="E_TIMEOUT")
        assert (unsure.ended, unsure.delivery.state, unsure.delivery.code) == (
            False,
            "indeterminate",
            "E_TIMEOUT",
        )
        await bench.attach()
        assert (await bench.offer()).seq == 1
        done = await bench.report(1, "confirmed", "right", digest=digest(unsure.delivery.revision.content, "right"))
        assert done.ended
        assert (await bench.offer()).seq == 2

    async def test_events_are_numbered_from_one_without_a_gap(self, bench: Bench) -> None:
        await bench.fitted()
        await bench.apply()
        events = await bench.log.changed_since(DEVICE, 0)
        assert [event.n for event in events] == list(range(1, len(events) + 1))
        assert [(e.kind, e.state, e.actor) for e in events[:4]] == [
            ("device", "attached", "phone"),
            ("lease", "granted", "ann"),
            ("session", "live", "ann"),
            ("delivery", "accepted", "ann"),
        ]
        assert [(e.state, e.ear) for e in events[3:]] == [
            ("accepted", None),
            ("offered", None),
            ("received", None),
            ("confirmed", "right"),
            ("confirmed", None),
        ]
        assert await bench.log.changed_since(DEVICE, 3) == events[3:]
        assert await bench.log.changed_since(DEVICE, 1, limit=2) == events[1:3]
        assert await bench.log.changed_since(DEVICE, len(events)) == ()

    async def test_only_so_many_reports_move_a_delivery_and_an_end_is_always_taken(self, bench: Bench) -> None:
        await bench.fitted()
        await bench.submit(kind="persist")
        await bench.offer()
        proof = digest((await bench.newest()).content, "right")
        for number in range(LIMITS.max_reports):
            state = ("confirmed", "indeterminate")[number % 2]
            await bench.report(1, state, "right", digest=proof if state == "confirmed" else UNSET)
        over = refused(await bench.try_report(1, "confirmed", "right", digest=proof))
        assert over.code == "overloaded"
        assert (await bench.report(1, "rolled_back", "right")).ended
