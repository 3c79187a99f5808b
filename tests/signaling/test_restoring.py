"""What is restored comes back in steps, and a retry of a try that was cut off goes on with them."""

from typing import Any

import msgspec
import pytest

from fitting.log_values import Accepted, Proposal
from protocol.contract.base import Refusal
from protocol.contract.devices import Offer
from protocol.contract.fitting import BAND_PATHS, Base, PatchOp, Submit, SubmitAnswer
from protocol.errors import Unavailable
from signaling.app import PARTS
from tests.signaling.care import Connect, change, lease, louder
from tests.signaling.conftest import House
from tests.signaling.visit import Visit, refused, visit


class CutLog:
    """The log, whose appends fail from one on: before they are written, or after."""

    def __init__(self, log: Any) -> None:
        self.log = log
        self.left: int | None = None
        self.is_written = False
        self.refusal: Refusal | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.log, name)

    async def append(self, proposal: Proposal) -> Accepted | Refusal:
        if self.left is None or self.left > 0:
            self.left = None if self.left is None else self.left - 1
            outcome: Accepted | Refusal = await self.log.append(proposal)
            return outcome
        self.left = None
        if self.is_written:
            await self.log.append(proposal)
        if self.refusal is not None:
            return self.refusal
        raise Unavailable("the database is away")


async def lowered(connect: Connect, house: House) -> tuple[Visit, CutLog, Submit]:
    """A visit after which 9 dB less are kept, and what asks for the 9 dB again."""
    here = await visit(connect)
    before = here.leased.head
    assert isinstance(before, msgspec.Struct)
    low = [PatchOp(op="add", ear="right", path=path, band=b, value=-90) for path in BAND_PATHS[:3] for b in range(10)]
    saved = await here.save((await here.apply(change(here.leased, *low, key="low"))).digests)
    hub: Any = house.app[PARTS].hubs[0].hub
    submits = hub._submit
    submits._log = log = CutLog(submits._log)
    assert (await lease(here.ann)).head.revision == saved.revision_id  # type: ignore[union-attr]  # there is one
    back = change(here.leased, key="back", patch=msgspec.UNSET, revision=before.revision)
    return here, log, msgspec.structs.replace(back, base=Base(revision=saved.revision_id))


async def played(here: Visit, first: int, count: int) -> list[int]:
    """The gain of each offer that follows, all of them confirmed."""
    gains = []
    for number in range(first, first + count):
        offer = await here.phone.first(Offer, number)
        gains.append(offer.body.right[0].program.g50_ddb[0])
        await here.confirm(offer)
    return gains


@pytest.mark.parametrize(("left", "is_written"), [(0, False), (0, True), (1, False), (1, True)])
async def test_a_retry_goes_on_where_the_first_try_was_cut_off(
    connect: Connect, house: House, left: int, is_written: bool
) -> None:
    here, log, back = await lowered(connect, house)
    log.left, log.is_written = left, is_written
    with pytest.raises(Exception, match="away"):
        await here.ann.ask("Submit", back, answer=SubmitAnswer)
    done = await here.call("Submit", back, SubmitAnswer)
    assert await played(here, 2, 2) == [70, 100]
    assert await here.call("Submit", back, SubmitAnswer) == done
    assert (await lease(here.ann)).head.revision == done.revision_id  # type: ignore[union-attr]  # there is one


async def test_a_retry_after_overloaded_goes_on_and_after_another_change_does_not(
    connect: Connect, house: House
) -> None:
    here, log, back = await lowered(connect, house)
    log.left, log.refusal = 1, Refusal(code="overloaded", message="too many", retryable=True)
    assert refused(await here.ann.ask("Submit", back, answer=SubmitAnswer)).code == "overloaded"
    assert await played(here, 2, 1) == [70]
    head = (await lease(here.ann)).head
    assert isinstance(head, msgspec.Struct)
    await here.apply(change(here.leased, *louder(-10), key="other", base=Base(revision=head.revision)))
    assert refused(await here.ann.ask("Submit", back, answer=SubmitAnswer)).code == "base_mismatch"
