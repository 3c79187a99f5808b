"""What every device log does about a theft that is asked for twice, and about sessions that are to be found."""

from fitting.log_values import LeaseGranted, Stolen
from protocol.contract.base import Refusal
from tests.contracts.device_log_bench import DEVICE, LIMITS, Bench, refused

__all__ = ["TheftContract", "steal"]


async def steal(bench: Bench, *, session: str, holder: str, key: str, request_hash: str = "h") -> Stolen:
    asked = {"session": session, "holder": holder, "key": key, "request_hash": request_hash}
    outcome = await bench.log.steal(DEVICE, reason="the patient waits", **asked)
    assert isinstance(outcome, Stolen), outcome
    return outcome


class TheftContract:
    async def test_a_theft_that_is_asked_for_again_takes_nothing_again(self, bench: Bench) -> None:
        await bench.fitted()
        first = await steal(bench, session="s-2", holder="bob", key="steal-1")
        bench.clock.pass_s(5)
        again = await steal(bench, session="s-2", holder="bob", key="steal-1")
        left_s = LIMITS.lease_ttl_s - 5
        assert again == Stolen(LeaseGranted(first.granted.fence, left_s, renewed=False))
        back = await steal(bench, session="s-1", holder="ann", key="steal-2")
        await bench.log.open_session(DEVICE, fence=back.granted.fence, holder="ann")
        late = await steal(bench, session="s-2", holder="bob", key="steal-1")
        assert late == Stolen(LeaseGranted(first.granted.fence, 0.0, renewed=False))
        head = await bench.head()
        assert head.lease is not None
        assert (head.lease.holder, head.live is not None) == ("ann", True)

    async def test_the_key_of_a_theft_stands_for_one_request_of_one_holder(self, bench: Bench) -> None:
        await bench.fitted()
        await bench.submit()
        changed = f"k-{bench.keys}"
        await steal(bench, session="s-2", holder="bob", key="steal-1")
        for holder, request_hash in (("abe", "h"), ("bob", "another")):
            asked = {"session": "s-2", "holder": holder, "request_hash": request_hash}
            outcome = await bench.log.steal(DEVICE, reason="again", key="steal-1", **asked)
            assert refused(outcome).code == "idempotency_conflict"
        change = await bench.log.append(await bench.proposal(key="steal-1", request_hash="h bob"))
        assert refused(change).code == "idempotency_conflict"
        outcome = await bench.log.steal(DEVICE, session="s-3", holder="abe", reason="again", key=changed)
        assert refused(outcome).code == "idempotency_conflict"

    async def test_a_theft_of_ones_own_lease_is_remembered_too(self, bench: Bench) -> None:
        await bench.fitted()
        first = await steal(bench, session="s-1", holder="ann", key="steal-1")
        assert (first.granted.fence, first.granted.renewed) == (bench.fence, True)
        await steal(bench, session="s-2", holder="bob", key="steal-2")
        late = await steal(bench, session="s-1", holder="ann", key="steal-1")
        assert (late.granted.fence, late.granted.lease_for_s) == (bench.fence, 0.0)
        assert (await bench.head()).fence == bench.fence + 1

    async def test_only_the_holder_takes_back_while_there_is_one(self, bench: Bench) -> None:
        await bench.fitted()
        accepted = await bench.submit()
        other = await bench.log.cancel(DEVICE, accepted.seq, actor="ann", epoch="of another log")
        assert refused(other).code == "unknown_delivery"
        assert refused(await bench.log.cancel(DEVICE, accepted.seq, actor="bob")).code == "lease_lost"
        [waiting] = await bench.log.pending(DEVICE)
        assert (waiting.state, waiting.withdrawn) == ("accepted", None)
        bench.clock.pass_s(LIMITS.lease_ttl_s)
        outcome = await bench.log.cancel(DEVICE, accepted.seq, actor="bob", epoch=accepted.epoch)
        assert not isinstance(outcome, Refusal)
        assert [one.delivery.state for one in outcome] == ["cancelled"]

    async def test_every_live_session_is_found_until_its_end_is_recorded(self, bench: Bench) -> None:
        await bench.attach()
        await bench.acquire()
        assert await bench.log.in_session() == (DEVICE,)
        bench.clock.pass_s(10)
        await bench.log.renew(DEVICE, session="s-1", holder="ann", fence=bench.fence)
        assert await bench.log.in_session() == (DEVICE,)
        bench.clock.pass_s(10 * LIMITS.lease_ttl_s)
        assert await bench.log.in_session() == (DEVICE,)
        await bench.log.lapsed()
        assert await bench.log.in_session() == ()
