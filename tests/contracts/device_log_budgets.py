"""What a log keeps of what NVM held: bounded, whoever wrote it, and never in the way of a save."""

from collections.abc import Collection
from typing import Any

import pytest

from fitting.ledger import budgets_of, was_in_nvm
from fitting.log_values import Accepted
from protocol.contract.base import EARS, Ear
from protocol.contract.fitting import Content
from protocol.contract.sessions import ReportDevice
from tests.contracts.device_log_bench import DEVICE, FRESH, LIMITS, Bench, both_louder, digest, images, louder, refused
from tests.contracts.device_log_packages import WEEK_S, install, package, wait_for_install

__all__ = ["BudgetHistoryContract"]

DAY_S = 24 * 3_600.0
MONTH_S = 30 * DAY_S


async def found(bench: Bench, held: Content) -> None:
    """Another program has written it, to RAM and NVM."""
    await bench.log.report_device(
        ReportDevice(device=DEVICE, cause="other_app", left=images(held, "left"), right=images(held, "right"))
    )


async def saved(bench: Bench, held: Content) -> None:
    """Try it, and keep it on both ears."""
    bench.clock.pass_s(11)
    await bench.log.renew(DEVICE, session="s-1", holder="ann", fence=bench.fence)
    await bench.apply(held)
    expect = {ear: digest(held, ear) for ear in EARS}
    save = await bench.proposal(held, kind="persist", origin="save", ears=EARS, expect=expect)
    accepted = await bench.log.append(save)
    assert isinstance(accepted, Accepted), accepted
    await bench.offer()
    for ear in EARS:
        recorded = await bench.report(accepted.seq, "active", ear, source="nvm", digest=digest(held, ear))
    assert recorded.ended


async def lowest(bench: Bench, band: int = 3, ear: Ear = "right") -> int:
    """What a package is counted from, in one band."""
    levels = budgets_of(await bench.head()).lowest_active_7d
    assert levels is not None
    return levels[1, ear].g50_ddb[band]


async def taken_back(bench: Bench, wanted: Content, copied: Collection[Ear]) -> None:
    """A package whose copy has begun on some ears when its wearer stops it: they are given back what they kept."""
    await package(bench, wanted)
    offered = await bench.offer()
    for ear in EARS:
        await bench.report(offered.seq, "confirmed", ear, source="ram", digest=digest(wanted, ear))
    for ear in copied:
        await bench.report(offered.seq, "committing", ear)
    for ear in EARS:
        kept = {"digest": digest(offered.base.content, ear), "nvm": digest(offered.base.content, ear)}
        told = await bench.report(offered.seq, "rolled_back", ear, code="E_USER_STOP", source="ram", **kept)
    assert told.ended


async def kept_apart(bench: Bench, wanted: Content) -> None:
    """A package that only the left ear takes."""
    await package(bench, wanted)
    offered = await bench.offer()
    for ear in EARS:
        await bench.report(offered.seq, "confirmed", ear, source="ram", digest=digest(wanted, ear))
    await bench.report(offered.seq, "committing", "left")
    await bench.report(offered.seq, "active", "left", source="nvm", digest=digest(wanted, "left"))
    old = digest(FRESH, "right")
    told = await bench.report(offered.seq, "rolled_back", "right", code="E_NVM", source="ram", digest=old, nvm=old)
    assert told.ended
    assert "split" in (await bench.head()).alarms


async def reads(bench: Bench, left: Content, right: Content) -> None:
    """The phone attaches anew and finds that in RAM and NVM."""
    await bench.attach(None, left=images(left, "left"), right=images(right, "right"))


async def counted(bench: Bench) -> dict[Ear, int]:
    return {ear: await lowest(bench, ear=ear) for ear in EARS}


class BudgetHistoryContract:
    async def test_what_was_read_back_is_bounded_and_the_lowest_is_kept(self, bench: Bench) -> None:
        await bench.attach()
        low = both_louder(FRESH, by=-150)
        await found(bench, low)
        for number in range(4 * LIMITS.max_moments):
            bench.clock.pass_s(60)
            await found(bench, both_louder(FRESH, by=10 * (number % 2)))
        head = await bench.head()
        assert len(head.active) <= LIMITS.max_moments
        assert await lowest(bench) == 50
        assert head.revision is not None
        assert head.active[-1].revision == head.revision

    async def test_what_cannot_be_told_apart_any_more_is_counted_at_its_lowest(self, bench: Bench) -> None:
        await bench.attach()
        held = [both_louder(FRESH, by=-100, band=number % 10) for number in range(2 * LIMITS.max_moments)]
        for one in held:
            bench.clock.pass_s(60)
            await found(bench, one)
        head = await bench.head()
        assert len(head.active) == LIMITS.max_moments
        assert {await lowest(bench, band) for band in range(10)} == {100}
        made = head.active[0].revision
        assert await bench.log.revision(DEVICE, made.revision_id) == made
        assert head.revision is not None
        assert head.revision.content == held[-1]

    async def test_a_save_is_accepted_however_many_there_were(self, bench: Bench) -> None:
        await bench.fitted()
        for number in range(2 * LIMITS.max_moments):
            await saved(bench, louder(FRESH, by=10 * (number % 3 + 1)))
        assert len((await bench.head()).active) <= LIMITS.max_moments
        assert await lowest(bench) == 200

    @pytest.mark.parametrize("copied", [EARS, ("left",), ()])
    async def test_what_an_ear_may_have_kept_before_it_was_taken_back_counts_for_a_week(
        self, bench: Bench, copied: Collection[Ear]
    ) -> None:
        await bench.attach()
        bench.clock.pass_s(DAY_S)
        await taken_back(bench, both_louder(FRESH, by=-100), copied)
        counted = {ear: 100 if ear in copied else 200 for ear in EARS}
        for _ in range(2):
            assert {ear: await lowest(bench, ear=ear) for ear in EARS} == counted
            bench.clock.pass_s(WEEK_S - 1)
        bench.clock.pass_s(2)
        assert {ear: await lowest(bench, ear=ear) for ear in EARS} == dict.fromkeys(EARS, 200)

    async def test_what_was_taken_back_is_not_what_was_active(self, bench: Bench) -> None:
        await bench.attach()
        quieter = both_louder(FRESH, by=-100)
        await taken_back(bench, quieter, EARS)
        head = await bench.head()
        assert {held.content for held in was_in_nvm(head)} == {FRESH}
        assert head.active[-1].revision.content == FRESH
        made = [moment.revision for moment in head.active if moment.revision.content == quieter]
        assert [await bench.log.revision(DEVICE, one.revision_id) for one in made] == made
        assert len(made) == 1
        # Nobody has worn it, so its wearer is asked the next time.
        again = await package(bench, quieter)
        assert (await install(bench, await wait_for_install(bench, again.seq))).ended
        assert bench.outbox is not None
        bench.clock.pass_s(LIMITS.question_after_s)
        due = await bench.outbox.take(9, hold_s=60)
        assert ("question", again.seq) in {(item.kind, item.seq) for item in due}

    async def test_what_another_has_saved_while_a_copy_was_on_its_way_is_counted_from(self, bench: Bench) -> None:
        await bench.attach()
        await package(bench, both_louder(FRESH, by=50))
        offered = await bench.offer()
        for ear in EARS:
            await bench.report(offered.seq, "committing", ear)
        theirs = both_louder(FRESH, by=-50)
        await found(bench, theirs)
        for ear, code in (("right", "E_BASE"), ("left", "E_PARTIAL")):
            told = await bench.report(offered.seq, "rolled_back", ear, code=code)
        assert told.ended
        head = await bench.head()
        assert [head.revision.content if head.revision else None, was_in_nvm(head)[-1].content] == [theirs, theirs]
        assert {ear: await lowest(bench, ear=ear) for ear in EARS} == dict.fromkeys(EARS, 150)

    @pytest.mark.parametrize("days", [1, 8, 30])
    async def test_what_one_ear_keeps_counts_until_a_week_after_both_are_one_pair_again(
        self, bench: Bench, days: int
    ) -> None:
        await bench.attach()
        quieter = both_louder(FRESH, by=-100)
        await kept_apart(bench, quieter)
        for _ in range(days):
            bench.clock.pass_s(DAY_S)
            await reads(bench, quieter, FRESH)
            assert await counted(bench) == {"left": 100, "right": 200}
        back = await package(bench, FRESH, origin="rollback")
        assert (await install(bench, await wait_for_install(bench, back.seq))).ended
        assert "split" not in (await bench.head()).alarms
        bench.clock.pass_s(WEEK_S - 1)
        assert await counted(bench) == {"left": 100, "right": 200}
        bench.clock.pass_s(2)
        assert await counted(bench) == dict.fromkeys(EARS, 200)

    async def test_an_ear_that_keeps_something_else_unseen_counts_from_when_that_was_found(self, bench: Bench) -> None:
        await bench.attach()
        bench.clock.pass_s(DAY_S)
        quieter = both_louder(FRESH, by=-100)
        await reads(bench, quieter, FRESH)
        assert "split" in (await bench.head()).alarms
        bench.clock.pass_s(8 * DAY_S)
        await reads(bench, quieter, FRESH)
        assert await counted(bench) == {"left": 100, "right": 200}
        # Whoever has changed it has set it right again, too.
        await reads(bench, FRESH, FRESH)
        assert "split" not in (await bench.head()).alarms
        bench.clock.pass_s(WEEK_S - 1)
        assert await counted(bench) == {"left": 100, "right": 200}
        bench.clock.pass_s(2)
        assert await counted(bench) == dict.fromkeys(EARS, 200)
        assert (await bench.head()).active[-1].revision.content == FRESH

    async def test_what_is_found_in_one_ear_counts_though_the_other_is_out_of_reach(self, bench: Bench) -> None:
        await bench.attach()
        quieter = both_louder(FRESH, by=-100)
        await bench.attach(None, left=images(quieter, "left"))
        bench.clock.pass_s(8 * DAY_S)
        await reads(bench, FRESH, FRESH)
        assert "split" not in (await bench.head()).alarms
        assert await counted(bench) == {"left": 100, "right": 200}
        bench.clock.pass_s(WEEK_S + 1)
        assert await counted(bench) == dict.fromkeys(EARS, 200)

    async def test_what_came_beside_what_one_ear_keeps_counts_with_it(self, bench: Bench) -> None:
        await bench.attach()
        quieter = both_louder(FRESH, by=-100)
        await kept_apart(bench, quieter)
        await reads(bench, quieter, FRESH)
        # To bring them together fails too, in the other ear.
        other = both_louder(FRESH, by=-50)
        back = await package(bench, other, origin="rollback")
        offered = await bench.offer()
        for ear in EARS:
            await bench.report(back.seq, "committing", ear)
        for ear in EARS:
            old = digest(offered.base.content, ear)
            await bench.report(back.seq, "rolled_back", ear, code="E_NVM", source="ram", digest=old, nvm=old)
        bench.clock.pass_s(30 * DAY_S)
        assert await counted(bench) == {"left": 100, "right": 150}
        head = await bench.head()
        assert "split" in head.alarms
        assert was_in_nvm(head)[-1].content == FRESH

    async def test_what_was_said_once_too_often_counts_all_the_same(self, bench: Bench) -> None:
        await bench.attach()
        quieter = both_louder(FRESH, by=-100)
        await package(bench, quieter)
        offered = await bench.offer()
        await bench.report(offered.seq, "received")
        proof = {"source": "ram", "digest": digest(quieter, "left")}
        for number in range(LIMITS.max_reports):
            state: dict[str, Any] = {"state": "confirmed", **proof} if number % 2 else {"state": "indeterminate"}
            last = await bench.try_report(offered.seq, ear="left", **state)
        assert refused(last).code == "overloaded"
        refusal = refused(await bench.try_report(offered.seq, "committing", "right"))
        assert refusal.code == "overloaded"
        for ear in EARS:
            told = await bench.report(offered.seq, "rolled_back", ear, code="E_USER_STOP")
        assert told.ended
        assert await counted(bench) == {"left": 200, "right": 100}

    async def test_what_was_louder_and_taken_back_says_nothing(self, bench: Bench) -> None:
        await bench.attach()
        before = (await bench.head()).active
        await taken_back(bench, both_louder(FRESH, by=50), EARS)
        assert (await bench.head()).active == before

    async def test_a_first_fit_that_is_not_kept_yet_is_counted_from_whatever_was_taken_back(self, bench: Bench) -> None:
        await bench.fitted()
        fit = both_louder(FRESH, by=150)
        accepted = await bench.submit(fit, origin="first_fit")
        assert (await bench.confirm(await bench.offer())).ended
        expect = {ear: digest(fit, ear) for ear in EARS}
        save = await bench.log.append(
            await bench.proposal(fit, kind="persist", origin="save", ears=EARS, expect=expect)
        )
        assert isinstance(save, Accepted), save
        await bench.offer()
        for ear in EARS:
            await bench.report(save.seq, "committing", ear)
        for ear in EARS:
            await bench.report(save.seq, "rolled_back", ear, code="E_NVM", digest=digest(FRESH, ear), source="ram")
        assert await lowest(bench) == 350
        assert (await bench.head()).active[-1].revision.revision_id == accepted.revision_id

    async def test_what_lowers_a_first_fit_and_is_taken_back_from_its_save_counts(self, bench: Bench) -> None:
        await bench.fitted()
        fit = both_louder(FRESH, by=150)
        await bench.submit(fit, origin="first_fit")
        assert (await bench.confirm(await bench.offer())).ended
        lower = both_louder(fit, by=-200)
        await bench.apply(lower)
        expect = {ear: digest(lower, ear) for ear in EARS}
        proposal = await bench.proposal(lower, kind="persist", origin="save", ears=EARS, expect=expect)
        save = await bench.log.append(proposal)
        assert isinstance(save, Accepted), save
        await bench.offer()
        await bench.report(save.seq, "committing", "left")
        for ear in EARS:
            await bench.report(save.seq, "rolled_back", ear, code="E_NVM", digest=digest(FRESH, ear), source="ram")
        assert await counted(bench) == {"left": 150, "right": 350}
        await bench.log.end_session(DEVICE, cause="released", actor="ann", discard=True)
        bench.clock.pass_s(DAY_S)
        await reads(bench, FRESH, FRESH)
        bench.clock.pass_s(WEEK_S - 1)
        assert (await counted(bench))["left"] == 150
        bench.clock.pass_s(2)
        assert await counted(bench) == dict.fromkeys(EARS, 200)

    async def test_what_is_older_than_a_week_is_not_counted_whoever_looks(self, bench: Bench) -> None:
        await bench.fitted()
        await saved(bench, louder(FRESH, by=30))
        assert await lowest(bench) == 200
        bench.clock.pass_s(MONTH_S)
        head = await bench.head()
        assert [moment.revision.content for moment in head.active] == [louder(FRESH, by=30)]
        assert await lowest(bench) == 230
