"""The care hub over real sockets: what each method answers, and what becomes of a change.

The phone here is a script; the real one is tested with the clients.
"""

import msgspec
import pytest

from clients.hub_client import HubCallError, HubClient
from protocol.contract.base import Failure
from protocol.contract.devices import (
    AcquireLease,
    AttachAnswer,
    DeliveryAnswer,
    DeliveryQuery,
    DeviceAnswer,
    DeviceQuery,
    EarStates,
    LeaseAnswer,
    ReportAnswer,
)
from protocol.contract.fitting import (
    SubmitAnswer,
)
from protocol.contract.session import Hello, HelloAnswer, WhoAmIAnswer
from tests.eventually import eventually, eventually_asked
from tests.signaling.care import (
    CLAIM,
    CONTENT,
    DIGEST,
    RIGHT,
    Connect,
    Heard,
    apply,
    change,
    lease,
    live,
    louder,
    report,
    submit,
)
from tests.signaling.conftest import House


async def test_hello_and_who_am_i(connect: Connect) -> None:
    ann = await connect("ann", "clinician")
    hello = await ann.invoke("Hello", Hello(contract=9), result=HelloAnswer)
    assert hello.contract == 1
    assert hello.server.startswith("auricle/")
    me = await ann.invoke("WhoAmI", result=WhoAmIAnswer)
    assert (me.user, me.clinic, me.roles, me.connection_id) == ("ann", "c1", ("clinician",), ann.connection_id)
    with pytest.raises(HubCallError) as refused:
        await ann.invoke("Hello", Hello(contract=0), result=HelloAnswer)
    assert refused.value.code == "bad_argument"


async def test_one_change_from_lease_to_settled(connect: Connect, house: House) -> None:
    heard, fitter_heard = Heard(), Heard()
    ann = await connect("ann", "clinician", heard=fitter_heard)
    phone = await connect("pat", "patient", "device", heard=heard)
    attached = await phone.ask("AttachDevice", CLAIM, answer=AttachAnswer)
    assert isinstance(attached, AttachAnswer)
    assert attached.resume == "ok"
    leased = await live(ann)
    assert leased.phone.online
    assert isinstance(leased.head, msgspec.Struct)
    assert leased.head.content == CONTENT

    answer = await submit(ann, change(leased))
    assert isinstance(answer, SubmitAnswer), answer
    await eventually(lambda: heard.offers)
    offer = heard.offers[0]
    assert (offer.seq, offer.attempt, offer.after) == (answer.seq, 1, 0)
    assert offer.body.right[0].program.g65_ddb[3] == 120
    assert offer.target.right is not msgspec.UNSET
    assert offer.target.left is msgspec.UNSET

    await apply(phone, offer)
    await eventually(lambda: heard.settled)
    await eventually(lambda: [d for d in fitter_heard.deliveries if d.state == "confirmed" and d.ear is msgspec.UNSET])
    numbers = [d.n for d in fitter_heard.deliveries if isinstance(d.n, int)]
    assert numbers == sorted(set(numbers))
    assert [(change.ear, change.ram) for change in fitter_heard.in_aid] == [("right", answer.digests.right)]
    device = await ann.invoke("GetDevice", DeviceQuery(device="d1"), result=DeviceAnswer)
    assert isinstance(device.in_aid.right, msgspec.Struct)
    assert device.in_aid.right.ram == answer.digests.right
    assert device.in_aid.right.nvm == DIGEST
    assert house.metric("auricle_delivery_state_total", mode="advanced", state="confirmed") > 0


async def test_a_retry_gets_the_first_answer_and_changes_nothing(connect: Connect) -> None:
    heard = Heard()
    ann, phone = await connect("ann", "clinician"), await connect("pat", "device", heard=heard)
    await phone.ask("AttachDevice", CLAIM, answer=AttachAnswer)
    leased = await live(ann)
    first = await submit(ann, change(leased))
    assert isinstance(first, SubmitAnswer)
    assert await submit(ann, change(leased)) == first
    other = await submit(ann, change(leased, *louder(10)))
    assert isinstance(other, Failure)
    assert other.error.code == "idempotency_conflict"
    await eventually(lambda: heard.offers)
    assert len(heard.offers) == 1


async def test_a_lease_has_one_holder_and_a_new_holder_a_higher_fence(connect: Connect, house: House) -> None:
    ann, abe = await connect("ann", "clinician"), await connect("abe", "clinician")
    first = await lease(ann)
    assert (await lease(ann)).fence == first.fence
    held = await abe.ask("AcquireLease", AcquireLease(device="d1", session="s2"), answer=LeaseAnswer)
    assert isinstance(held, Failure)
    assert (held.error.code, held.error.retryable) == ("lease_held", True)
    house.pass_s(16)
    assert (await lease(abe, "s2")).fence > first.fence


async def test_a_change_waits_for_a_phone_that_is_away_and_is_offered_again_after_a_cut(connect: Connect) -> None:
    ann = await connect("ann", "clinician")
    phone = await connect("pat", "device", heard=Heard())
    await phone.ask("AttachDevice", CLAIM, answer=AttachAnswer)
    leased = await live(ann)
    await phone.stop()
    await eventually_offline(ann)
    assert isinstance(await submit(ann, change(leased)), SubmitAnswer)

    heard = Heard()
    phone = await connect("pat", "device", heard=heard)
    await phone.ask("AttachDevice", CLAIM, answer=AttachAnswer)
    await eventually(lambda: heard.offers)
    await phone.ask("Report", report(heard.offers[0], 1, "received"), answer=ReportAnswer)
    await phone.stop()

    again = Heard()
    phone = await connect("pat", "device", heard=again)
    await phone.ask("AttachDevice", CLAIM, answer=AttachAnswer)
    await eventually(lambda: again.offers)
    assert again.offers[0].attempt > heard.offers[0].attempt
    assert again.offers[0].revision_id == heard.offers[0].revision_id
    await apply(phone, again.offers[0])
    await eventually(lambda: again.settled)


async def eventually_offline(fitter: HubClient) -> None:
    async def is_offline() -> bool:
        return not (await fitter.invoke("GetDevice", DeviceQuery(device="d1"), result=DeviceAnswer)).phone.online

    # A dead socket is not announced to the fitter.
    await eventually_asked(is_offline)


async def test_the_newest_phone_wins_and_the_older_one_is_ended(connect: Connect) -> None:
    old_heard, new_heard = Heard(), Heard()
    ann = await connect("ann", "clinician")
    old = await connect("pat", "device", heard=old_heard)
    await old.ask("AttachDevice", CLAIM, answer=AttachAnswer)
    new = await connect("pat", "device", heard=new_heard)
    answer = await new.ask("AttachDevice", CLAIM, answer=AttachAnswer)
    assert isinstance(answer, AttachAnswer)
    assert answer.generation == 2
    await eventually(lambda: old.state.value == "closed")
    await submit(ann, change(await live(ann)))
    await eventually(lambda: new_heard.offers)
    assert old_heard.offers == []


async def test_the_wrong_aid_is_refused_and_nothing_is_known_of_it(connect: Connect) -> None:
    ann, phone = await connect("ann", "clinician"), await connect("pat", "device")
    wrong = msgspec.structs.replace(CLAIM, right=msgspec.structs.replace(RIGHT, serial="R-2"))
    refused = await phone.ask("AttachDevice", wrong, answer=AttachAnswer)
    assert isinstance(refused, Failure)
    assert refused.error.code == "wrong_device"
    device = await ann.invoke("GetDevice", DeviceQuery(device="d1"), result=DeviceAnswer)
    assert device.in_aid.right is msgspec.UNSET
    assert not device.phone.online


async def test_a_lie_about_the_read_back_is_recorded_as_a_failure(connect: Connect) -> None:
    heard, fitter_heard = Heard(), Heard()
    ann = await connect("ann", "clinician", heard=fitter_heard)
    phone = await connect("pat", "device", heard=heard)
    await phone.ask("AttachDevice", CLAIM, answer=AttachAnswer)
    await submit(ann, change(await live(ann)))
    await eventually(lambda: heard.offers)
    offer = heard.offers[0]
    await phone.ask("Report", report(offer, 1, "received"), answer=ReportAnswer)
    await phone.ask("Report", report(offer, 2, "writing", ear="right"), answer=ReportAnswer)
    lie = report(offer, 3, "confirmed", ear="right", source="ram", digest=DIGEST)
    await phone.ask("Report", lie, answer=ReportAnswer)
    await eventually(lambda: [d for d in fitter_heard.deliveries if d.state == "failed"])
    assert not [d for d in fitter_heard.deliveries if d.state == "confirmed"]


async def test_a_delivery_can_be_asked_for_from_acceptance_to_its_end(connect: Connect) -> None:
    heard = Heard()
    ann = await connect("ann", "clinician")
    phone = await connect("pat", "device", heard=heard)
    await phone.ask("AttachDevice", CLAIM, answer=AttachAnswer)
    accepted = await submit(ann, change(await live(ann)))
    assert isinstance(accepted, SubmitAnswer)
    query = DeliveryQuery(device="d1", epoch=accepted.epoch, seq=accepted.seq)
    await eventually(lambda: heard.offers)
    answer = await ann.ask("GetDelivery", query, answer=DeliveryAnswer)
    offered = DeliveryAnswer(
        device="d1", epoch=accepted.epoch, seq=accepted.seq, state="offered", ears=EarStates(right="offered")
    )
    assert answer == offered
    refusal = report(heard.offers[0], 1, "rejected", code="E_BASE")
    await phone.ask("Report", refusal, answer=ReportAnswer)
    ended = await phone.ask("GetDelivery", query, answer=DeliveryAnswer)
    ears = EarStates(right="rejected")
    assert ended == msgspec.structs.replace(offered, state="rejected", ears=ears, code="E_BASE")
    for unknown in ({"seq": 2}, {"epoch": "another-log"}):
        refused = await ann.ask("GetDelivery", msgspec.structs.replace(query, **unknown), answer=DeliveryAnswer)
        assert isinstance(refused, Failure)
        assert refused.error.code == "unknown_delivery"


async def test_a_change_that_expires_is_told_and_the_next_one_flows(connect: Connect, house: House) -> None:
    """Its phone is away: an end is a recorded outcome, never silence."""
    heard = Heard()
    ann = await connect("ann", "clinician", heard=heard)
    phone = await connect("pat", "device", heard=Heard())
    await phone.ask("AttachDevice", CLAIM, answer=AttachAnswer)
    leased = await live(ann)
    await phone.stop()
    await eventually_offline(ann)
    accepted = await submit(ann, change(leased, expires_in_s=1))
    assert isinstance(accepted, SubmitAnswer)
    house.pass_s(1)
    await house.sweep_deliveries()
    await eventually(lambda: heard.deliveries)
    assert [(told.seq, told.state, told.ear) for told in heard.deliveries] == [(accepted.seq, "expired", msgspec.UNSET)]
