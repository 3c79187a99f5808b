"""What every device log knows of the aids themselves, and what its head is when a change fails."""

import msgspec
import pytest
from msgspec import UNSET

from fitting.digest import content_digests
from fitting.log_values import Learned, LiveSession
from protocol.contract.base import EARS, Refusal
from protocol.contract.devices import EarTruth
from protocol.contract.fitting import Content
from protocol.contract.sessions import ReportDevice
from tests.contracts.device_log_bench import BOTH_LOUDER, DEVICE, FALSE, FRESH, Bench, digest, images, louder

__all__ = ["TruthContract"]


async def read_back(bench: Bench, held: Content, **ears: object) -> None:
    """The phone has read both aids in one go, or those that are given."""
    read = {ear: images(held, ear) for ear in EARS} | ears
    told = ReportDevice(device=DEVICE, cause="read_back", **read)  # type: ignore[arg-type]  # a test names ears
    assert isinstance(await bench.log.report_device(told), Learned)


class TruthContract:
    @pytest.mark.parametrize("state", ["rejected", "failed", "rolled_back"])
    async def test_a_head_that_came_to_nothing_gives_way_to_what_is_in_the_aids(self, bench: Bench, state: str) -> None:
        await bench.fitted()
        await bench.submit()
        fallen = await bench.newest()
        await bench.offer()
        await bench.report(1, state, "right", code="E_BASE")
        revision = await bench.newest()
        assert (revision.origin, revision.parent) == ("readback", fallen.revision_id)
        assert (revision.content, revision.digests) == (FRESH, content_digests(FRESH))
        assert (await bench.apply()).seq == 2

    async def test_one_ear_done_and_one_not_makes_a_head_of_both_truths(self, bench: Bench) -> None:
        await bench.fitted()
        await bench.submit(BOTH_LOUDER)
        await bench.offer()
        await bench.report(1, "confirmed", "right", digest=digest(BOTH_LOUDER, "right"))
        done = await bench.report(1, "rolled_back", "left", digest=digest(FRESH, "left"))
        assert (done.delivery.state, done.changed) == ("rolled_back", ())
        assert (await bench.newest()).content == louder(FRESH, "right")

    async def test_what_was_thought_of_on_a_change_that_failed_falls_away_with_it(self, bench: Bench) -> None:
        await bench.fitted()
        for _ in range(2):
            await bench.submit()
        third = await bench.submit()
        await bench.offer()
        assert (await bench.newest()).revision_id == third.revision_id
        done = await bench.report(1, "rejected")
        # The third was thought of on the second, and that on what has failed.
        ends = [(other.delivery.seq, other.delivery.state, other.delivery.code) for other in done.others]
        assert ends == [(2, "cancelled", "E_BASE"), (3, "cancelled", "E_BASE")]
        assert (done.last_terminal, *(other.last_terminal for other in done.others)) == (3, 2, 3)
        assert (await bench.newest()).content == FRESH
        assert await bench.log.pending(DEVICE) == ()

    async def test_what_another_program_wrote_becomes_the_head_when_a_change_is_refused_for_it(
        self, bench: Bench
    ) -> None:
        await bench.fitted()
        elsewhere = louder(louder(FRESH, "left", by=60), "right", by=60)
        await bench.attach(elsewhere)
        await bench.submit()
        await bench.offer()
        await bench.report(1, "rejected", "right", code="E_BASE", digest=digest(elsewhere, "right"))
        assert (await bench.newest()).content == elsewhere

    async def test_and_what_was_read_while_the_change_was_on_its_way_stays_known_when_that_is_what_it_met(
        self, bench: Bench
    ) -> None:
        await bench.fitted()
        elsewhere = louder(louder(FRESH, "left", by=60), "right", by=60)
        await bench.submit()
        await bench.offer()
        await read_back(bench, elsewhere)
        await bench.report(1, "rejected", "right", code="E_BASE", digest=digest(elsewhere, "right"))
        assert (await bench.newest()).content == elsewhere

    async def test_a_head_that_was_taken_back_gives_way_when_the_change_before_it_is_in_the_aids(
        self, bench: Bench
    ) -> None:
        await bench.fitted()
        await bench.submit()
        first, delivery = await bench.newest(), await bench.offer()
        await bench.submit()
        await bench.log.cancel(DEVICE, 2, actor="ann")
        await bench.confirm(delivery)
        assert (await bench.newest()).content == first.content
        assert (await bench.apply()).seq == 3

    async def test_a_change_that_expired_gives_way_too(self, bench: Bench) -> None:
        await bench.fitted()
        await bench.submit(expires_in_s=1.0)
        bench.clock.pass_s(1)
        assert len(await bench.log.expire()) == 1
        assert (await bench.newest()).content == FRESH

    async def test_without_knowing_what_the_aid_holds_the_head_stays(self, bench: Bench) -> None:
        await bench.fitted()
        accepted = await bench.submit()
        await bench.offer()
        await bench.try_report(1, "confirmed", "right", digest=FALSE)
        assert (await bench.newest()).revision_id == accepted.revision_id

    async def test_two_aids_that_no_longer_fit_together_leave_the_head_alone(self, bench: Bench) -> None:
        await bench.fitted()
        accepted = await bench.submit()
        program = msgspec.structs.replace(FRESH.programs[0], name="Music")
        await bench.attach(left=images(msgspec.structs.replace(FRESH, programs=(program,)), "left"))
        await bench.offer()
        await bench.report(1, "rejected", code="E_BASE")
        assert (await bench.newest()).revision_id == accepted.revision_id

    async def test_nvm_is_known_by_its_own_read_back(self, bench: Bench) -> None:
        await bench.fitted()
        await bench.submit(kind="persist")
        await bench.offer()
        proof = digest((await bench.newest()).content, "right")
        await bench.report(1, "confirmed", "right", source="ram", digest=proof)
        stored = await bench.report(1, "failed", "right", source="nvm", digest=FALSE)
        assert isinstance(stored.in_aid.right, EarTruth)
        assert (stored.in_aid.right.ram, stored.in_aid.right.nvm) == (proof, FALSE)
        assert stored.changed == ("right",)

    async def test_a_report_can_bring_both_digests(self, bench: Bench) -> None:
        await bench.fitted()
        await bench.submit()
        await bench.offer()
        proof = digest((await bench.newest()).content, "right")
        done = await bench.report(1, "confirmed", "right", digest=proof, nvm=proof)
        assert isinstance(done.in_aid.right, EarTruth)
        assert (done.in_aid.right.ram, done.in_aid.right.nvm) == (proof, proof)

    async def test_live_work_waits_for_an_aid_that_was_never_read_back(self, bench: Bench) -> None:
        """What the other one holds is no base for it to go back to."""
        await bench.attach(None, right=images(FRESH, "right"))
        await bench.acquire()
        refused = await bench.log.open_session(DEVICE, fence=bench.fence, holder="ann")
        assert isinstance(refused, Refusal)
        assert (refused.code, refused.retryable) == ("not_read_back", True)
        assert (await bench.head()).in_aid.left is UNSET
        await bench.attach()
        assert isinstance(await bench.log.open_session(DEVICE, fence=bench.fence, holder="ann"), LiveSession)

    async def test_one_ear_that_was_changed_elsewhere_alone_is_an_alarm_until_somebody_has_chosen(
        self, bench: Bench
    ) -> None:
        await bench.fitted()
        elsewhere = louder(FRESH, "right", by=60)
        await read_back(bench, elsewhere)
        head = await bench.head()
        assert head.alarms == {"split"}
        assert await bench.log.held(DEVICE) == elsewhere
        # What nobody has chosen is nothing that a package may be counted from.
        assert [moment.revision.content for moment in head.active] == [FRESH]
        await read_back(bench, elsewhere)
        assert (await bench.head()).alarms == {"split"}
        await read_back(bench, FRESH)
        assert (await bench.head()).alarms == frozenset()

    async def test_one_ear_that_keeps_what_was_chosen_for_it_is_no_alarm(self, bench: Bench) -> None:
        await bench.fitted()
        await bench.apply(louder(FRESH))
        await read_back(bench, louder(FRESH))
        head = await bench.head()
        assert head.alarms == frozenset()
        assert [moment.revision.content for moment in head.active] == [FRESH, louder(FRESH)]

    async def test_two_ears_that_were_changed_elsewhere_are_taken_for_one_pair(self, bench: Bench) -> None:
        await bench.fitted()
        elsewhere = louder(louder(FRESH, "left", by=60), "right", by=60)
        await read_back(bench, elsewhere)
        head = await bench.head()
        assert head.alarms == frozenset()
        assert [moment.revision.content for moment in head.active] == [FRESH, elsewhere]

    async def test_what_only_plays_in_one_ear_is_no_alarm(self, bench: Bench) -> None:
        await bench.fitted()
        elsewhere = louder(FRESH, "right", by=60)
        await read_back(bench, elsewhere, right=images(elsewhere, "right", nvm=digest(FRESH, "right")))
        assert (await bench.head()).alarms == frozenset()

    async def test_ears_are_compared_when_both_were_read_at_one_time(self, bench: Bench) -> None:
        """A clinic may have written both, and one of them comes into reach later."""
        await bench.fitted()
        elsewhere = louder(louder(FRESH, "left", by=60), "right", by=60)
        await read_back(bench, elsewhere, left=UNSET)
        assert (await bench.head()).alarms == frozenset()
        await read_back(bench, elsewhere)
        assert (await bench.head()).alarms == frozenset()
        await read_back(bench, louder(elsewhere, "right", by=10))
        assert (await bench.head()).alarms == {"split"}

    async def test_a_log_that_has_lost_its_end_does_not_know_what_was_kept_last(self, bench: Bench) -> None:
        await bench.fitted()
        saved = louder(FRESH, "right", by=10)
        epoch = (await bench.head()).epoch
        await bench.attach(saved, epoch=epoch, last_terminal=7)
        head = await bench.head()
        assert head.alarms == {"history_lost"}
        assert [moment.revision.content for moment in head.active] == [FRESH, saved]

    async def test_one_device_does_not_know_of_another(self, bench: Bench) -> None:
        await bench.fitted()
        await bench.log.create("d-2", (await bench.head()).aids)
        await bench.apply()
        assert await bench.log.changed_since("d-2", 0) == ()
        assert await bench.log.pending("d-2") == ()

    async def test_a_phone_that_lost_its_journal_does_not_block_its_device(self, bench: Bench) -> None:
        """A new journal numbers its reports anew: a number alone must not make a report a repeat."""
        await bench.fitted()
        await bench.submit()
        offered = await bench.offer()
        await bench.report(1, "received")
        await bench.report(1, "writing", "right")
        bench.numbers.clear()
        await bench.report(1, "received")
        proof = digest(offered.revision.content, "right")
        done = await bench.report(1, "confirmed", "right", source="ram", digest=proof)
        assert (done.repeated, done.ended, done.delivery.state) == (False, True, "confirmed")

    async def test_what_a_new_phone_finds_half_written_is_a_failure_that_blocks_nothing(self, bench: Bench) -> None:
        await bench.fitted()
        await bench.submit()
        await bench.offer()
        await bench.report(1, "writing", "right")
        bench.numbers.clear()
        done = await bench.report(1, "rejected", "right", code="E_BASE", digest=FALSE)
        assert (done.ended, done.delivery.state, done.delivery.code) == (True, "failed", "E_BASE")
        assert await bench.log.pending(DEVICE) == ()
