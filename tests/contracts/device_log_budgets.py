"""What a log keeps of what NVM held: bounded, whoever wrote it, and never in the way of a save."""

from fitting.ledger import budgets_of
from fitting.log_values import Accepted
from protocol.contract.base import EARS
from protocol.contract.fitting import Content
from protocol.contract.sessions import ReportDevice
from tests.contracts.device_log_bench import DEVICE, FRESH, LIMITS, Bench, both_louder, digest, images, louder

__all__ = ["BudgetHistoryContract"]

MONTH_S = 30 * 24 * 3_600.0


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


async def lowest(bench: Bench, band: int = 3) -> int:
    """What a package is counted from, in one band."""
    levels = budgets_of(await bench.head()).lowest_active_7d
    assert levels is not None
    return levels[1, "right"].g50_ddb[band]


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

    async def test_what_is_older_than_a_week_is_not_counted_whoever_looks(self, bench: Bench) -> None:
        await bench.fitted()
        await saved(bench, louder(FRESH, by=30))
        assert await lowest(bench) == 200
        bench.clock.pass_s(MONTH_S)
        head = await bench.head()
        assert [moment.revision.content for moment in head.active] == [louder(FRESH, by=30)]
        assert await lowest(bench) == 230
