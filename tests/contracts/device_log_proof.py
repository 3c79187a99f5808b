"""What every device log asks for before it believes: proof of NVM, and a read-back of each ear that is due."""

from typing import Any

import pytest
from msgspec import UNSET

from fitting.log_values import Accepted, Learned, LiveSession, Recorded, Stolen
from protocol.contract.base import EARS
from protocol.contract.sessions import ReportDevice
from tests.contracts.device_log_bench import BOTH_LOUDER, DEVICE, FALSE, FRESH, Bench, digest, images, refused

__all__ = ["ProofContract"]


class ProofContract:
    async def committing(self, bench: Bench) -> None:
        """Both ears play what is to be saved and are about to keep it."""
        await bench.fitted()
        await bench.apply(BOTH_LOUDER)
        expect = {ear: digest(BOTH_LOUDER, ear) for ear in EARS}
        proposal = await bench.proposal(BOTH_LOUDER, kind="persist", origin="save", ears=EARS, expect=expect)
        assert isinstance(await bench.log.append(proposal), Accepted)
        await bench.offer()
        for ear in EARS:
            await bench.report(2, "confirmed", ear, source="ram", digest=digest(BOTH_LOUDER, ear))
            await bench.report(2, "committing", ear)

    @pytest.mark.parametrize("proof", ["none", "of RAM", "of something else"])
    async def test_nothing_is_kept_without_proof_of_nvm(self, bench: Bench, proof: str) -> None:
        await self.committing(bench)
        done: Recorded | None = None
        for ear in EARS:
            given: dict[str, Any] = {"source": "nvm", "digest": FALSE}
            if proof == "none":
                given = {"source": UNSET, "digest": UNSET}
            elif proof == "of RAM":
                given = {"source": "ram", "digest": digest(BOTH_LOUDER, ear)}
            done = await bench.report(2, "active", ear, **given)
        assert done is not None
        assert (done.ended, done.delivery.state, done.delivery.code) == (True, "failed", "E_NVM")
        head = await bench.head()
        assert not head.is_saved
        assert [moment.revision.content for moment in head.active] == [FRESH]
        assert head.in_aid.right is not UNSET
        assert head.in_aid.right.nvm == (FALSE if proof == "of something else" else digest(FRESH, "right"))
        told = {event.state for event in await bench.log.changed_since(DEVICE, 0) if event.seq == 2}
        assert "active" not in told

    async def test_one_ear_that_does_not_prove_it_leaves_two_revisions(self, bench: Bench) -> None:
        await self.committing(bench)
        await bench.report(2, "active", "right", source="nvm", digest=digest(BOTH_LOUDER, "right"))
        await bench.report(2, "active", "left", source="nvm", digest=digest(FRESH, "left"))
        assert (await bench.head()).alarms == {"split"}

    async def test_a_thief_waits_until_each_ear_was_read_again(self, bench: Bench) -> None:
        await bench.fitted()
        await bench.apply(BOTH_LOUDER)
        stolen = await bench.log.steal(DEVICE, session="s-2", holder="bob", reason="ann is away")
        assert isinstance(stolen, Stolen)
        fence = stolen.granted.fence
        kept = {ear: digest(FRESH, ear) for ear in EARS}
        for told in (
            ReportDevice(device=DEVICE, cause="read_back", left=images(BOTH_LOUDER, "left", nvm=kept["left"])),
            ReportDevice(device=DEVICE, cause="read_back"),
            ReportDevice(device=DEVICE, cause="lease_lost", left=images(FRESH, "left")),
        ):
            await bench.log.report_device(told)
            refusal = refused(await bench.log.open_session(DEVICE, fence=fence, holder="bob"))
            assert (refusal.code, refusal.retryable) == ("not_read_back", True)
        right = ReportDevice(device=DEVICE, cause="lease_lost", right=images(FRESH, "right"))
        await bench.log.report_device(right)
        session = await bench.log.open_session(DEVICE, fence=fence, holder="bob")
        assert isinstance(session, LiveSession), session
        assert session.base.content == FRESH

    async def locked(self, bench: Bench, *ears: Any) -> None:
        await bench.fitted()
        await bench.submit(BOTH_LOUDER)
        await bench.offer()
        for ear in ears:
            await bench.report(1, "rejected", ear, code="E_DEVICE")
        assert refused(await bench.log.append(await bench.proposal())).code == "locked"

    async def test_aids_that_are_not_those_signed_for_lock_the_device_until_they_were_read(self, bench: Bench) -> None:
        await self.locked(bench, "right", "left")
        await bench.attach()
        await bench.submit()

    async def test_the_other_ear_does_not_unlock_it(self, bench: Bench) -> None:
        await self.locked(bench, UNSET)
        for ear, alarms in (("left", {"locked"}), ("right", set())):
            await bench.attach(None, **{ear: images(FRESH, ear)})  # type: ignore[arg-type]  # a name of an ear
            assert (await bench.head()).alarms == alarms

    async def test_one_strange_ear_is_enough_whatever_the_other_says_after_it(self, bench: Bench) -> None:
        await self.locked(bench, "right")
        await bench.report(1, "rejected", "left", code="E_PARTIAL")
        await bench.attach(None, left=images(FRESH, "left"))
        assert (await bench.head()).alarms == {"locked"}
        strange = await bench.try_attach(None, right=images(FRESH, "right", serial="another"))
        assert refused(strange).code == "wrong_device"
        assert (await bench.head()).alarms == {"locked"}
        await bench.attach(None, right=images(FRESH, "right"))
        assert (await bench.head()).alarms == frozenset()

    async def test_a_history_that_was_lost_is_an_alarm_until_somebody_has_saved_since(self, bench: Bench) -> None:
        epoch = (await bench.attach()).epoch
        epoch = (await bench.attach(epoch=epoch, last_terminal=50)).epoch
        for _ in range(2):
            assert (await bench.attach(epoch=epoch)).resume == "ok"
            assert (await bench.head()).alarms == {"history_lost"}
        await self.committing(bench)
        assert (await bench.head()).alarms == {"history_lost"}
        for ear in EARS:
            await bench.report(2, "active", ear, source="nvm", digest=digest(BOTH_LOUDER, ear))
        assert (await bench.head()).alarms == frozenset()

    async def test_only_the_phone_that_is_attached_says_what_the_aids_hold(self, bench: Bench) -> None:
        await bench.fitted()
        older = bench.generation
        await bench.attach(BOTH_LOUDER)
        read = {ear: images(FRESH, ear) for ear in EARS}
        for cause in ("read_back", "dead_man"):
            told = ReportDevice(device=DEVICE, cause=cause, left=read["left"], right=read["right"])
            for generation in (older, 0, bench.generation + 1):
                assert refused(await bench.log.report_device(told, generation=generation)).code == "not_attached"
        assert (await bench.newest()).content == BOTH_LOUDER
        await bench.log.report_device(told, generation=bench.generation)
        assert (await bench.newest()).content == FRESH

    async def test_before_it_attaches_a_phone_tells_what_is_still_due(self, bench: Bench) -> None:
        await bench.fitted()
        await bench.attach()
        await bench.log.detach(DEVICE, bench.generation)
        told = ReportDevice(device=DEVICE, cause="dead_man", right=images(BOTH_LOUDER, "right"))
        assert refused(await bench.log.report_device(told, generation=bench.generation - 1)).code == "not_attached"
        learned = await bench.log.report_device(told, generation=0)
        assert isinstance(learned, Learned), learned
        assert learned.changed == ("right",)
