"""What every device log tells of the deliveries of a device, page by page: those on their way and those with an end."""

from fitting.log_values import Delivery
from tests.contracts.device_log_bench import DEVICE, Bench

__all__ = ["DeliveryPagesContract"]


def seqs(found: tuple[Delivery, ...]) -> list[int]:
    return [one.seq for one in found]


class DeliveryPagesContract:
    async def test_deliveries_are_told_newest_first_with_an_end_or_without(self, bench: Bench) -> None:
        await bench.fitted()
        await bench.apply()
        await bench.apply()
        await bench.submit()
        found = await bench.log.deliveries(DEVICE)
        assert [(one.seq, one.state) for one in found] == [(3, "accepted"), (2, "confirmed"), (1, "confirmed")]
        assert found == tuple([await bench.log.delivery(DEVICE, seq) for seq in (3, 2, 1)])

    async def test_they_come_in_pages(self, bench: Bench) -> None:
        await bench.fitted()
        await bench.apply()
        for _ in range(2):
            await bench.submit()
        assert seqs(await bench.log.deliveries(DEVICE, limit=2)) == [3, 2]
        assert seqs(await bench.log.deliveries(DEVICE, before=3, limit=1)) == [2]
        assert seqs(await bench.log.deliveries(DEVICE, before=2, limit=2)) == [1]
        assert await bench.log.deliveries(DEVICE, before=1) == ()
        assert await bench.log.deliveries(DEVICE, limit=0) == ()

    async def test_what_the_phone_has_said_of_one_is_told_before_it_is_written_down(self, bench: Bench) -> None:
        await bench.fitted()
        await bench.submit()
        await bench.offer()
        await bench.report(1, "received")
        assert [one.state for one in await bench.log.deliveries(DEVICE)] == ["received"]

    async def test_one_that_ended_before_an_older_one_keeps_its_place(self, bench: Bench) -> None:
        await bench.fitted()
        await bench.apply()
        await bench.submit()
        await bench.offer()
        await bench.submit()
        await bench.log.cancel(DEVICE, 3, actor="ann")
        found = await bench.log.deliveries(DEVICE)
        assert [(one.seq, one.state) for one in found] == [(3, "cancelled"), (2, "offered"), (1, "confirmed")]

    async def test_an_unknown_device_has_none(self, bench: Bench) -> None:
        assert await bench.log.deliveries("d-9") == ()
        await bench.fitted()
        assert await bench.log.deliveries(DEVICE) == ()
