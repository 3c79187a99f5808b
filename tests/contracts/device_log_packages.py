"""What every device log does with packages: they wait, give way, are collected, and are asked about later."""

from typing import Any

from fitting.log_values import Accepted, Delivery, LeaseGranted, Recorded
from protocol.contract.base import EARS, Refusal
from protocol.contract.fitting import Content
from protocol.contract.sessions import ReportDevice
from tests.contracts.device_log_bench import (
    BOTH_LOUDER,
    DEVICE,
    FRESH,
    LIMITS,
    Bench,
    both_louder,
    digest,
    images,
    refused,
)

__all__ = ["PackageContract", "install", "package", "try_package", "wait_for_install"]

QUIETER = both_louder(FRESH, by=-20)
LOUDER = both_louder(FRESH, by=30)
WEEK_S = 7 * 24 * 3_600.0


async def package(bench: Bench, wanted: Content = BOTH_LOUDER, **more: Any) -> Accepted:
    outcome = await try_package(bench, wanted, **more)
    assert isinstance(outcome, Accepted), outcome
    return outcome


async def try_package(bench: Bench, wanted: Content = BOTH_LOUDER, **more: Any) -> Accepted | Refusal:
    under = (await bench.head()).ground
    fields: dict[str, Any] = {
        "kind": "persist",
        "mode": "standard",
        "fence": 0,
        "ears": EARS,
        "expires_in_s": WEEK_S,
        "ground": "" if under is None else under.revision_id,
    }
    return await bench.log.append(await bench.proposal(wanted, **(fields | more)))


async def wait_for_install(bench: Bench, seq: int) -> Delivery:
    offered = await bench.offer()
    assert offered.seq == seq
    await bench.report(seq, "received")
    for ear in EARS:
        await bench.report(seq, "awaiting_install", ear)
    return offered


async def install(bench: Bench, offered: Delivery) -> Recorded:
    content = offered.revision.content
    for ear in EARS:
        await bench.report(offered.seq, "confirmed", ear, source="ram", digest=digest(content, ear))
    for ear in EARS:
        recorded = await bench.report(offered.seq, "active", ear, source="nvm", digest=digest(content, ear))
    return recorded


async def state(bench: Bench, seq: int) -> tuple[str, str | None]:
    found = await bench.log.delivery(DEVICE, seq)
    assert found is not None
    return found.state, found.code


class PackageContract:
    async def test_a_package_needs_no_lease_waits_for_the_phone_and_is_kept(self, bench: Bench) -> None:
        await bench.attach()
        await bench.log.detach(DEVICE, bench.generation)
        accepted = await package(bench)
        bench.clock.pass_s(3 * 24 * 3_600)
        await bench.attach()
        offered = await wait_for_install(bench, accepted.seq)
        assert (offered.kind, offered.mode, offered.base.content) == ("persist", "standard", FRESH)
        recorded = await install(bench, offered)
        assert (recorded.ended, recorded.delivery.state) == (True, "active")
        head = await bench.head()
        assert head.ground is not None
        assert head.ground.content == BOTH_LOUDER
        assert head.revision == head.ground

    async def test_a_newer_one_ends_what_no_phone_has_seen(self, bench: Bench) -> None:
        await bench.attach()
        first = await package(bench)
        second = await package(bench, LOUDER)
        assert [one.delivery.seq for one in second.ended] == [first.seq]
        assert await state(bench, first.seq) == ("superseded", None)
        offered = await bench.offer()
        # Written over what the aids keep, not over what never came.
        assert (offered.seq, offered.base.content, offered.revision.parent) == (2, FRESH, first.revision_id)

    async def test_a_newer_one_asks_back_what_waits_for_its_wearer_and_stays(self, bench: Bench) -> None:
        await bench.attach()
        first = await package(bench)
        await wait_for_install(bench, first.seq)
        second = await package(bench, LOUDER)
        third = await package(bench, QUIETER)
        assert [one.delivery.seq for one in third.ended] == [second.seq]
        asked = await bench.offer()
        assert (asked.seq, asked.withdrawn) == (first.seq, "superseded")
        for ear in EARS:
            await bench.report(first.seq, "superseded", ear)
        offered = await bench.offer()
        assert (offered.seq, offered.base.content) == (third.seq, FRESH)
        await bench.report(third.seq, "received")
        assert (await install(bench, offered)).delivery.state == "active"

    async def test_one_over_what_the_aids_keep_stays_when_another_of_that_content_ends(self, bench: Bench) -> None:
        await bench.attach()
        await install(bench, await wait_for_install(bench, (await package(bench)).seq))
        again = await package(bench)
        await wait_for_install(bench, again.seq)
        back = await package(bench, FRESH)
        for ear in EARS:
            await bench.report(again.seq, "superseded", ear)
        assert await state(bench, again.seq) == ("superseded", None)
        offered = await bench.offer()
        assert (offered.seq, offered.base.content, offered.revision.content) == (back.seq, BOTH_LOUDER, FRESH)

    async def test_one_that_is_being_written_is_waited_for(self, bench: Bench) -> None:
        await bench.attach()
        first = await package(bench)
        await wait_for_install(bench, first.seq)
        await bench.report(first.seq, "writing", "right")
        refusal = refused(await try_package(bench, LOUDER))
        assert (refusal.code, refusal.retryable) == ("not_confirmed", True)
        leased = await bench.log.acquire(DEVICE, session="s-1", holder="ann")
        assert isinstance(leased, LeaseGranted)
        assert await bench.log.make_way(DEVICE, fence=leased.fence, holder="ann") == ()

    async def test_somebody_elses_lease_keeps_it_out_and_ones_own_does_not(self, bench: Bench) -> None:
        await bench.attach()
        await bench.log.acquire(DEVICE, session="s-1", holder="ann")
        refusal = refused(await try_package(bench, author="bob"))
        assert (refusal.code, refusal.retryable, refusal.retry_after_ms) == ("lease_held", True, 15_000)
        assert (await package(bench, author="ann")).seq == 1

    async def test_a_lease_alone_does_not_keep_out_what_its_wearer_wants_back(self, bench: Bench) -> None:
        await bench.attach()
        lease = await bench.log.acquire(DEVICE, session="s-2", holder="bob")
        assert isinstance(lease, LeaseGranted)
        wished = await package(bench, QUIETER, author="pat", is_wish=True, origin="rollback")
        await install(bench, await wait_for_install(bench, wished.seq))
        assert (await bench.head()).lease is not None
        # Nor does he lose it, or what he may do with it.
        opened = await bench.log.open_session(DEVICE, fence=lease.fence, holder="bob")
        assert not isinstance(opened, Refusal), opened
        assert opened.base.content == QUIETER
        refusal = refused(await try_package(bench, LOUDER, author="pat", is_wish=True, origin="rollback"))
        assert refusal.code == "in_session"

    async def test_live_work_keeps_it_out(self, bench: Bench) -> None:
        await bench.fitted()
        assert (await bench.head()).ground is None
        ground = (await bench.newest()).revision_id
        assert refused(await try_package(bench, ground=ground)).code == "in_session"

    async def test_live_work_begins_once_packages_have_made_way(self, bench: Bench) -> None:
        await bench.attach()
        first = await package(bench)
        await wait_for_install(bench, first.seq)
        second = await package(bench, LOUDER)
        bench.fence = (await bench.log.acquire(DEVICE, session="s-1", holder="ann")).fence  # type: ignore[union-attr]  # a refusal has none, and fails the test
        opened = await bench.log.open_session(DEVICE, fence=bench.fence, holder="ann")
        assert refused(opened).code == "not_read_back"
        given = await bench.log.make_way(DEVICE, fence=bench.fence, holder="ann")
        assert not isinstance(given, Refusal)
        assert [(one.delivery.seq, one.ended is not None) for one in given] == [(second.seq, True)]
        for ear in EARS:
            await bench.report(first.seq, "superseded", ear)
        assert not isinstance(await bench.log.open_session(DEVICE, fence=bench.fence, holder="ann"), Refusal)
        assert (await bench.newest()).content == FRESH

    async def test_it_does_not_make_way_to_live_work_that_cannot_begin(self, bench: Bench) -> None:
        """The patient may think for longer than the lease lives."""
        await bench.attach()
        accepted = await package(bench)
        leased = await bench.log.acquire(DEVICE, session="s-1", holder="ann")
        assert isinstance(leased, LeaseGranted)
        bench.clock.pass_s(LIMITS.lease_ttl_s)
        for fence, holder in ((leased.fence, "ann"), (leased.fence + 1, "ann"), (leased.fence, "bob")):
            refusal = refused(await bench.log.make_way(DEVICE, fence=fence, holder=holder))
            assert refusal.code == "lease_lost"
        assert [one.seq for one in await bench.log.pending(DEVICE)] == [accepted.seq]

    async def test_it_does_not_make_way_before_what_a_session_has_left_was_read(self, bench: Bench) -> None:
        await bench.fitted()
        await bench.apply(LOUDER)
        await bench.log.end_session(DEVICE, cause="phone_lost", actor="server")
        accepted = await package(bench)
        refusal = refused(await bench.log.make_way(DEVICE, fence=bench.fence, holder="ann"))
        assert (refusal.code, refusal.retryable) == ("not_read_back", True)
        assert [one.seq for one in await bench.log.pending(DEVICE)] == [accepted.seq]

    async def test_one_that_would_be_refused_now_is_taken_back_with_its_reason(self, bench: Bench) -> None:
        await bench.attach()
        first = await package(bench)
        [taken] = await bench.log.take_back_package(DEVICE, first.seq, code="unsafe")
        assert taken.ended is not None
        assert await state(bench, first.seq) == ("cancelled", "unsafe")
        assert await bench.log.take_back_package(DEVICE, first.seq, code="unsafe") == ()
        second = await package(bench)
        await wait_for_install(bench, second.seq)
        [asked] = await bench.log.take_back_package(DEVICE, second.seq, code="E_CONSENT")
        assert (asked.ended, asked.delivery.withdrawn) == (None, "cancelled")
        assert await bench.log.take_back_package(DEVICE, second.seq, code="unsafe") == ()
        for ear in EARS:
            await bench.report(second.seq, "cancelled", ear)
        assert await state(bench, second.seq) == ("cancelled", "E_CONSENT")
        third = await package(bench)
        await wait_for_install(bench, third.seq)
        await bench.report(third.seq, "writing", "right")
        assert await bench.log.take_back_package(DEVICE, third.seq, code="unsafe") == ()

    async def test_what_was_judged_must_be_what_the_aids_keep(self, bench: Bench) -> None:
        await bench.attach()
        assert refused(await try_package(bench, ground="id-none")).code == "base_mismatch"

    async def test_without_a_read_back_there_is_nothing_to_write_over(self, bench: Bench) -> None:
        await bench.attach()
        odd = "sha256:" + "1" * 64
        await bench.attach(right=images(FRESH, "right", nvm=odd), left=images(FRESH, "left", nvm=odd))
        refusal = refused(await try_package(bench, ground="id-1"))
        assert (refusal.code, refusal.retryable) == ("not_read_back", True)

    async def test_what_was_tried_and_lost_is_no_base(self, bench: Bench) -> None:
        await bench.fitted()
        await bench.apply(LOUDER)
        await bench.log.end_session(DEVICE, cause="phone_lost", actor="server")
        head = await bench.head()
        assert head.revision is not None
        assert head.revision.content == LOUDER
        assert head.ground is not None
        assert head.ground.content == FRESH
        accepted = await package(bench, LOUDER)
        await bench.attach()
        offered = await bench.offer()
        assert (offered.seq, offered.base.content) == (accepted.seq, FRESH)

    async def test_it_is_not_offered_over_what_a_session_has_left(self, bench: Bench) -> None:
        await bench.fitted()
        await bench.apply(LOUDER)
        await bench.log.end_session(DEVICE, cause="phone_lost", actor="server")
        accepted = await package(bench)
        nvm = {ear: digest(FRESH, ear) for ear in EARS}
        left = {ear: images(LOUDER, ear, nvm=nvm[ear]) for ear in EARS}
        await bench.attach(right=left["right"], left=left["left"])
        assert await bench.log.next_offer(DEVICE, bench.generation) is None
        # It says why, for as long as that is so.
        assert await state(bench, accepted.seq) == ("accepted", "over_trial")
        assert [one.code for one in await bench.log.pending(DEVICE)] == ["over_trial"]
        read = {ear: images(FRESH, ear) for ear in EARS}
        told = ReportDevice(device=DEVICE, cause="dead_man", right=read["right"], left=read["left"])
        await bench.log.report_device(told, generation=bench.generation)
        assert await state(bench, accepted.seq) == ("accepted", None)
        assert (await bench.offer()).code is None

    async def test_it_expires_before_and_after_the_phone_has_it(self, bench: Bench) -> None:
        await bench.attach()
        first = await package(bench)
        bench.clock.pass_s(WEEK_S)
        [late] = await bench.log.expire()
        assert (late.delivery.seq, late.ended is not None) == (first.seq, True)
        assert await state(bench, first.seq) == ("expired", None)
        second = await package(bench)
        await wait_for_install(bench, second.seq)
        bench.clock.pass_s(WEEK_S)
        [late] = await bench.log.expire()
        assert (late.delivery.seq, late.ended) == (second.seq, None)
        for ear in EARS:
            await bench.report(second.seq, "expired", ear)
        assert await state(bench, second.seq) == ("expired", None)

    async def test_an_undo_of_live_work_leaves_it_waiting(self, bench: Bench) -> None:
        await bench.attach()
        accepted = await package(bench)
        await bench.log.report_device(ReportDevice(device=DEVICE, cause="undo"), generation=bench.generation)
        assert [one.seq for one in await bench.log.pending(DEVICE)] == [accepted.seq]

    async def test_split_ears_take_nothing_but_what_brings_them_together(self, bench: Bench) -> None:
        await bench.attach()
        first = await package(bench)
        offered = await wait_for_install(bench, first.seq)
        await bench.report(first.seq, "active", "right", source="nvm", digest=digest(BOTH_LOUDER, "right"))
        await bench.report(first.seq, "failed", "left", code="E_NVM")
        assert "split" in (await bench.head()).alarms
        refusal = refused(await try_package(bench, LOUDER))
        assert refusal.code == "split"
        assert offered.seq == first.seq

    async def test_one_request_is_accepted_once(self, bench: Bench) -> None:
        await bench.attach()
        first = await package(bench, key="k", request_hash="h")
        again = await package(bench, key="k", request_hash="h")
        assert (again.seq, again.replayed) == (first.seq, True)
        assert refused(await try_package(bench, key="k", request_hash="other")).code == "idempotency_conflict"

    async def test_a_phone_that_comes_and_goes_while_its_wearer_thinks_it_over_dies_of_nothing(
        self, bench: Bench
    ) -> None:
        await bench.attach()
        accepted = await package(bench)
        await wait_for_install(bench, accepted.seq)
        for _ in range(2 * LIMITS.max_unanswered):
            await bench.attach()
            assert (await bench.offer()).withdrawn is None
        assert (await bench.head()).alarms == frozenset()

    # What its wearer is asked

    async def test_its_wearer_is_asked_once_it_was_worn_and_the_answer_is_recorded(self, bench: Bench) -> None:
        await bench.attach()
        accepted = await package(bench)
        assert refused(await bench.log.ask_question(DEVICE, accepted.seq)).code == "not_worn"
        await install(bench, await wait_for_install(bench, accepted.seq))
        asked = await bench.log.ask_question(DEVICE, accepted.seq)
        assert isinstance(asked, Delivery)
        assert asked.base.content == FRESH
        assert (await bench.attach(BOTH_LOUDER)).question == accepted.seq
        answered = await bench.log.answer_question(DEVICE, accepted.seq, state="kept", actor="pat", text="5 good")
        assert answered is not None
        assert (await bench.attach(BOTH_LOUDER)).question is None
        assert await bench.log.answer_question(DEVICE, accepted.seq, state="kept", actor="pat") is None
        events = [e for e in await bench.log.changed_since(DEVICE, 0) if e.kind == "device" and e.seq == accepted.seq]
        assert [(e.state, e.actor, e.text) for e in events] == [("question", "server", None), ("kept", "pat", "5 good")]

    async def test_what_its_wearer_wants_back_does_not_wait_for_what_nobody_has_saved(self, bench: Bench) -> None:
        await bench.attach()
        first = await package(bench)
        await install(bench, await wait_for_install(bench, first.seq))
        tried = {ear: images(QUIETER, ear, nvm=digest(BOTH_LOUDER, ear)) for ear in EARS}
        told = ReportDevice(device=DEVICE, cause="other_app", left=tried["left"], right=tried["right"])
        assert not isinstance(await bench.log.report_device(told), Refusal)
        back = await package(bench, FRESH, origin="rollback")
        assert await bench.log.next_offer(DEVICE, bench.generation) is None
        answered = await bench.log.answer_question(DEVICE, first.seq, state="undone", actor="pat", wish=back.seq)
        assert answered is not None
        assert not bench.log.is_quiet(DEVICE, bench.generation)
        offered = await bench.offer()
        assert (offered.seq, offered.base.content) == (back.seq, BOTH_LOUDER)
        # Said again it names the way that is open now.
        for ear in EARS:
            await bench.report(back.seq, "rejected", ear, code="E_BASE", digest=digest(QUIETER, ear))
        again = await package(bench, FRESH, origin="rollback")
        assert await bench.log.next_offer(DEVICE, bench.generation) is None
        assert await bench.log.answer_question(DEVICE, first.seq, state="undone", actor="pat", wish=again.seq)
        assert (await bench.offer()).seq == again.seq

    async def test_nobody_is_asked_about_what_is_worn_no_more(self, bench: Bench) -> None:
        await bench.attach()
        first = await package(bench)
        await install(bench, await wait_for_install(bench, first.seq))
        assert isinstance(await bench.log.ask_question(DEVICE, first.seq), Delivery)
        second = await package(bench, LOUDER)
        refusal = refused(await bench.log.ask_question(DEVICE, first.seq))
        assert (refusal.code, refusal.retryable) == ("not_confirmed", True)
        await install(bench, await wait_for_install(bench, second.seq))
        assert await bench.log.answer_question(DEVICE, first.seq, state="kept", actor="pat") is None
        refusal = refused(await bench.log.ask_question(DEVICE, first.seq))
        assert (refusal.code, refusal.retryable) == ("not_worn", False)

    async def test_what_was_changed_elsewhere_is_asked_about_no_more(self, bench: Bench) -> None:
        await bench.attach()
        accepted = await package(bench)
        await install(bench, await wait_for_install(bench, accepted.seq))
        assert isinstance(await bench.log.ask_question(DEVICE, accepted.seq), Delivery)
        assert (await bench.attach(QUIETER)).question is None

    async def test_live_work_puts_the_question_off(self, bench: Bench) -> None:
        await bench.attach()
        accepted = await package(bench)
        await install(bench, await wait_for_install(bench, accepted.seq))
        await bench.acquire()
        assert refused(await bench.log.ask_question(DEVICE, accepted.seq)).retryable
        await bench.log.end_session(DEVICE, cause="left", actor="ann")
        assert isinstance(await bench.log.ask_question(DEVICE, accepted.seq), Delivery)
