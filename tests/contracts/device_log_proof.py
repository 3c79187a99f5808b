"""What every device log asks for before it believes: proof of NVM, and a read-back of each ear that is due."""

from typing import Any

import pytest
from msgspec import UNSET

from fitting.log_values import Accepted, Recorded
from protocol.contract.base import EARS
from tests.contracts.device_log_bench import BOTH_LOUDER, DEVICE, FALSE, FRESH, Bench, digest

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
