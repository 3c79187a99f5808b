"""What every device log holds back: K8's 10 seconds by what was heard, and rises while nobody may be there."""

import msgspec

from fitting.log_values import Accepted, Delivery, Ended
from protocol.contract.fitting import Content, SafetySummary
from protocol.contract.sessions import ReportDevice
from tests.contracts.device_log_bench import DEVICE, FRESH, Bench, both_louder, images, louder
from tests.fitting.contents import flat

__all__ = ["PaceContract"]

JUDGED = SafetySummary(rules=("K1", "K8"))


async def up(bench: Bench, by: int = 30) -> Accepted:
    """A rise that the kernel has judged by K8, on the newest."""
    return await bench.submit(louder((await bench.newest()).content, by=by), safety=JUDGED)


async def offered(bench: Bench) -> Delivery | None:
    return await bench.log.next_offer(DEVICE, bench.generation)


def ended(found: tuple[Ended, ...]) -> list[tuple[int, str, str | None]]:
    return [(one.delivery.seq, one.delivery.state, one.delivery.code) for one in found]


class PaceContract:
    async def test_what_waited_for_a_slow_phone_comes_about_no_faster_than_6_db_in_10_seconds(
        self, bench: Bench
    ) -> None:
        await bench.fitted()
        first = await bench.log.delivery(DEVICE, (await up(bench)).seq)
        assert first is not None
        held = await bench.offer()
        for _ in range(2):
            bench.clock.pass_s(6)
            await bench.log.renew(DEVICE, session="s-1", holder="ann", fence=bench.fence)
            await up(bench)
        await bench.confirm(held)
        await bench.confirm(await bench.offer())
        # 6 dB within no time; the third waits until the first of them is 10 seconds old.
        assert await offered(bench) is None
        bench.clock.pass_s(9.5)
        assert await bench.log.reoffer(DEVICE, bench.generation, older_than_s=0.0) is None
        assert await offered(bench) is None
        bench.clock.pass_s(0.5)
        third = await bench.offer()
        assert (third.seq, third.attempt, third.offered_at_s) == (3, 1, bench.clock.now_s)

    async def test_a_phone_that_attaches_anew_gets_no_rise_before_its_time(self, bench: Bench) -> None:
        await bench.fitted()
        await up(bench, 60)
        await bench.confirm(await bench.offer())
        await up(bench)
        await bench.attach(None, epoch=(await bench.head()).epoch)
        assert await offered(bench) is None
        bench.clock.pass_s(10)
        assert (await bench.offer()).seq == 2

    async def test_what_k8_did_not_judge_and_what_a_clinic_allows_decide(self, bench: Bench) -> None:
        await bench.fitted()
        await up(bench, 60)
        await bench.confirm(await bench.offer())
        # A first fit and what is restored are exempt, so is what only moves another ear.
        await bench.submit(louder((await bench.newest()).content, by=200))
        await bench.confirm(await bench.offer())
        await bench.submit(louder((await bench.newest()).content, "left", by=30), safety=JUDGED)
        await bench.confirm(await bench.offer())
        bench.clock.pass_s(10)
        await bench.log.renew(DEVICE, session="s-1", holder="ann", fence=bench.fence)
        strict = SafetySummary(rules=("K8",), limits={"windowRiseDdb": 20})
        await bench.submit(louder((await bench.newest()).content, by=20), safety=strict)
        await bench.confirm(await bench.offer())
        await bench.submit(louder((await bench.newest()).content, by=10), safety=strict)
        assert await offered(bench) is None

    async def test_what_only_lowers_waits_for_no_rise_that_is_held_back(self, bench: Bench) -> None:
        await bench.fitted()
        await up(bench, 60)
        await bench.confirm(await bench.offer())
        heard = await bench.newest()
        await up(bench)
        await up(bench)
        assert await offered(bench) is None
        waiting = (await bench.head()).waiting
        assert waiting is not None
        assert waiting.seq == 3
        lower = await bench.submit(louder(heard.content, by=-50), safety=JUDGED)
        assert ended(lower.ended) == [(2, "superseded", None), (3, "superseded", None)]
        down = await bench.offer()
        assert (down.seq, down.base, down.after) == (4, heard, 3)

    async def test_what_only_lowers_takes_the_place_of_all_that_waits_but_of_nothing_under_way(
        self, bench: Bench
    ) -> None:
        await bench.fitted()
        await up(bench)
        under_way = await bench.offer()
        await bench.submit(louder((await bench.newest()).content, "left"))
        await up(bench)
        lower = await bench.submit(FRESH)
        assert ended(lower.ended) == [(2, "superseded", None), (3, "superseded", None)]
        found = await bench.log.delivery(DEVICE, 4)
        assert found is not None
        assert (found.base, list(found.ears)) == (under_way.revision, ["right", "left"])

    async def test_what_was_found_in_the_aids_was_heard(self, bench: Bench) -> None:
        await bench.fitted()
        quiet = both_louder(FRESH, by=-60)
        left, right = images(quiet, "left"), images(quiet, "right")
        await bench.log.report_device(ReportDevice(device=DEVICE, cause="other_app", left=left, right=right))
        await up(bench, 60)
        await bench.confirm(await bench.offer())
        await up(bench)
        assert await offered(bench) is None

    async def test_a_program_that_is_new_is_measured_from_the_others(self, bench: Bench) -> None:
        await bench.fitted()

        def second(gain_ddb: int) -> Content:
            program = FRESH.programs[0]
            part = flat(g50_ddb=gain_ddb)
            new = msgspec.structs.replace(program, slot=2, name="Noise", right=part, left=part)
            return msgspec.structs.replace(FRESH, programs=(program, new))

        await bench.submit(second(270), safety=JUDGED)
        assert await offered(bench) is None
        await bench.log.cancel(DEVICE, 1, actor="ann")
        await bench.submit(second(260), safety=JUDGED)
        assert (await bench.offer()).seq == 2

    async def test_while_nobody_may_be_there_no_rise_begins(self, bench: Bench) -> None:
        await bench.fitted()
        await up(bench)
        await bench.offer()
        await up(bench)
        await bench.submit(louder((await bench.newest()).content, by=-10))
        taken = await bench.log.take_back_rises(DEVICE)
        assert [(one.delivery.seq, one.delivery.state, one.delivery.code) for one in taken] == [
            (1, "offered", None),
            (2, "cancelled", "frozen"),
            (3, "cancelled", "E_BASE"),
        ]
        asked = await bench.offer()
        assert (asked.seq, asked.withdrawn) == (1, "cancelled")
        assert await bench.log.take_back_rises(DEVICE) == ()
        assert (await bench.report(1, "cancelled", "right")).ended

    async def test_what_has_begun_and_what_lowers_is_not_taken_back(self, bench: Bench) -> None:
        await bench.fitted()
        await up(bench)
        await bench.offer()
        await bench.report(1, "writing", "right")
        await bench.submit(louder((await bench.newest()).content, by=-10))
        assert await bench.log.take_back_rises(DEVICE) == ()
        assert await bench.log.take_back_rises("unknown") == ()
