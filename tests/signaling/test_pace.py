"""How fast it may become louder when the phone is slow, over the wire, and what waits when a session freezes."""

import msgspec

from protocol.contract.base import Failure
from protocol.contract.devices import DeliveryChanged, Offer
from protocol.contract.fitting import Base, SubmitAnswer
from protocol.contract.sessions import Done, Heartbeat, Hold, LeaseRenewed, Withdraw
from tests.eventually import eventually
from tests.signaling.care import Connect, change, lease, louder
from tests.signaling.conftest import House
from tests.signaling.visit import Visit, visit


async def ask(here: Visit, ddb: int, key: str) -> SubmitAnswer | Failure:
    """A change on what is the head now."""
    head = (await lease(here.ann)).head
    assert isinstance(head, msgspec.Struct)
    request = change(here.leased, *louder(ddb), key=key, base=Base(revision=head.revision))
    return await here.ann.ask("Submit", request, answer=SubmitAnswer)


async def wait(here: Visit, house: House, seconds: float) -> None:
    """Time passes, and both ends are there."""
    house.pass_s(seconds)
    await here.call("Heartbeat", Heartbeat(device="d1"), Done, by=here.pat)
    await here.call("RenewLease", Hold(device="d1", session="s1", fence=here.leased.fence), LeaseRenewed)
    await house.sweep_care()


async def offer(here: Visit, seq: int) -> Offer:
    await eventually(lambda: any(one.seq == seq for one in here.phone.of(Offer)))
    return next(one for one in here.phone.of(Offer) if one.seq == seq)


async def test_a_phone_that_held_its_offer_does_not_become_loud_all_at_once(connect: Connect, house: House) -> None:
    here = await visit(connect)
    for number in range(4):
        assert isinstance(await ask(here, 30, f"up{number}"), SubmitAnswer)
        await wait(here, house, 6)
    await here.confirm(await offer(here, 1))
    await here.confirm(await offer(here, 2))
    await wait(here, house, 6)
    assert {one.seq for one in here.phone.of(Offer)} == {1, 2}
    await wait(here, house, 4)
    await here.confirm(await offer(here, 3))
    await here.confirm(await offer(here, 4))


async def test_what_only_lowers_passes_a_rise_that_is_held_back(connect: Connect, house: House) -> None:
    here = await visit(connect)
    for number in range(3):
        assert isinstance(await ask(here, 30, f"up{number}"), SubmitAnswer)
        await wait(here, house, 6)
    await here.confirm(await offer(here, 1))
    await here.confirm(await offer(here, 2))
    lower = await ask(here, -50, "down")
    assert isinstance(lower, SubmitAnswer)
    assert (await offer(here, 4)).body.right[0].program.g50_ddb[3] == 140
    # He hears it over a connection of his own.
    await eventually(lambda: (3, "superseded") in {(told.seq, told.state) for told in here.fitter.of(DeliveryChanged)})
    assert 3 not in {one.seq for one in here.phone.of(Offer)}


async def test_no_rise_that_waits_is_offered_while_nobody_may_be_there(connect: Connect, house: House) -> None:
    here = await visit(connect)
    for number in range(2):
        assert isinstance(await ask(here, 30, f"up{number}"), SubmitAnswer)
    first = await offer(here, 1)
    await here.report(first, 1, "received")
    # The fitter has gone silent.
    house.pass_s(11)
    await here.call("Heartbeat", Heartbeat(device="d1"), Done, by=here.pat)
    await house.sweep_care()
    asked = await here.phone.first(Withdraw)
    assert (asked.seq, asked.cause) == (1, "cancelled")
    await here.report(first, 2, "cancelled", ear="right")
    await eventually(lambda: (1, "cancelled") in {(t.seq, t.state) for t in here.fitter.of(DeliveryChanged)})
    told = [(one.seq, one.state, one.code) for one in here.fitter.of(DeliveryChanged)]
    assert (2, "cancelled", "frozen") in told
    await house.sweep_care()
    assert {one.seq for one in here.phone.of(Offer)} == {1}
