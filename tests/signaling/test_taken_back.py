"""A wearer who does not want an installed package can always go back, whatever has happened since."""

from collections.abc import AsyncIterator

import pytest

from protocol.contract.devices import Offer
from protocol.contract.packages import KeepAnswered, KeepAsked
from protocol.contract.sessions import ModeAnswer, SetMode
from tests.signaling.care import CONTENT, FLAT, Connect, lease
from tests.signaling.conftest import House
from tests.signaling.package_desk import DAY_S, Desk, desk, quieter, state
from tests.signaling.visit import refused


@pytest.fixture
async def here(house: House, connect: Connect) -> AsyncIterator[Desk]:
    async with desk(house, connect) as found:
        yield found


async def taken_back(here: Desk, accepted: object) -> KeepAnswered:
    answer = await here.answer(accepted, keep=False)  # type: ignore[arg-type]  # what ``deliver`` gave
    assert isinstance(answer, KeepAnswered), answer
    return answer


async def test_after_live_work_that_left_nothing(here: Desk) -> None:
    accepted = await here.deliver(quieter(80))
    leased = await lease(here.ann)
    begin = SetMode(device="d1", mode="advanced", reason="a visit", fence=leased.fence)
    assert isinstance(await here.ann.ask("SetMode", begin, answer=ModeAnswer), ModeAnswer)
    tried = quieter(90)
    before = len(here.phone.of(Offer))
    live = await here.send(kind="volatile", mode="advanced", fence=leased.fence, content=tried)
    offer = await here.phone.first(Offer, before)
    await here.report(offer, 1, "received")
    await here.report(offer, 2, "confirmed", ear="right", source="ram", digest=live.digests.right)
    leave = SetMode(device="d1", mode="standard", reason="over", fence=leased.fence, discard=True)
    assert isinstance(await here.ann.ask("SetMode", leave, answer=ModeAnswer), ModeAnswer)
    await here.come()
    # The professional has his lease still: it keeps others out, and not the wearer.
    answer = await taken_back(here, accepted)
    back = await here.phone.first(Offer)
    assert (back.seq, back.body.right[0].program) == (answer.seq, FLAT)


async def test_while_a_professional_has_the_lease_and_does_not_work_live(here: Desk, connect: Connect) -> None:
    accepted = await here.deliver(quieter(80))
    abe = await connect("abe", "clinician")
    await lease(abe, "s2")
    assert refused(await here.try_send(content=quieter(90))).code == "lease_held"
    answer = await taken_back(here, accepted)
    back = await here.phone.first(Offer, 1)
    assert (back.seq, back.body.right[0].program) == (answer.seq, FLAT)
    await here.set_aside(back)
    await here.install(back, CONTENT)
    assert (await state(here, back.seq))[0] == "active"


async def test_not_while_somebody_works_live(here: Desk) -> None:
    accepted = await here.deliver(quieter(80))
    leased = await lease(here.ann)
    begin = SetMode(device="d1", mode="advanced", reason="a visit", fence=leased.fence)
    assert isinstance(await here.ann.ask("SetMode", begin, answer=ModeAnswer), ModeAnswer)
    assert refused(await here.answer(accepted, keep=False)).code == "in_session"


@pytest.mark.parametrize("end", ["declined", "superseded"])
async def test_again_when_the_way_back_came_to_nothing(here: Desk, end: str) -> None:
    accepted = await here.deliver(quieter(80))
    first = await taken_back(here, accepted)
    offer = await here.phone.first(Offer, 1)
    if end == "superseded":
        await here.send(content=quieter(90))
        await here.report(offer, 1, "superseded", ear="right")
        offer = await here.phone.first(Offer, 2)
    await here.set_aside(offer)
    await here.report(offer, 3, "declined", ear="right", code="E_DECLINED")
    assert (await state(here, first.seq))[0] == end  # type: ignore[arg-type]  # it has one
    before = len(here.phone.of(Offer))
    second = await taken_back(here, accepted)
    back = await here.phone.first(Offer, before)
    assert (back.seq, back.body.right[0].program) == (second.seq, FLAT)
    assert second.seq != first.seq
    # Said again while it waits, it is that one.
    assert (await taken_back(here, accepted)).seq == second.seq
    await here.set_aside(back)
    await here.install(back, CONTENT)
    assert refused(await here.answer(accepted, keep=False)).code == "not_worn"
    assert (await here.device()).last_seq == second.seq


async def test_long_after_it_was_installed(here: Desk) -> None:
    """What was there before it was active once, however long ago: the wearer may have been away for a month."""
    accepted = await here.deliver(quieter(80))
    await here.go()
    await here.pass_s(30 * DAY_S)
    await here.come()
    assert (await here.phone.first(KeepAsked)).seq == accepted.seq
    answer = await taken_back(here, accepted)
    back = await here.phone.first(Offer)
    assert (back.seq, back.body.right[0].program) == (answer.seq, FLAT)
