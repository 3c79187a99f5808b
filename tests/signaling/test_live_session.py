"""Live work over real sockets: how it begins, what it needs, and what it may do."""

from typing import Any

import msgspec
import pytest

from fitting.digest import ear_digest
from fitting.model import ear_image
from fitting.signing import is_genuine
from protocol.contract.devices import (
    AcquireLease,
    AttachAnswer,
    DeliveryAnswer,
    DeviceAnswer,
    DeviceQuery,
    LeaseAnswer,
    Offer,
    Settled,
)
from protocol.contract.fitting import EarProgram, Patch, PatchOp, SubmitAnswer
from protocol.contract.sessions import (
    Cancel,
    ConsentAnswer,
    ConsentAsked,
    Done,
    ExpectedDigests,
    Heartbeat,
    Hold,
    LeaseRenewed,
    ModeAnswer,
    ModeChanged,
    RevertNow,
    Save,
    SessionAlive,
    Withdraw,
)
from signaling.stores.decisions import Decision
from tests.eventually import eventually
from tests.signaling.care import CLAIM, CONTENT, Connect, change, louder, submit
from tests.signaling.conftest import House
from tests.signaling.visit import Visit, refused, visit

LOUDER = Patch(slot=1, ops=louder(20))


def hold(here: Visit) -> Hold:
    return Hold(device="d1", session="s1", fence=here.leased.fence)


async def sweep(house: House, seconds: float = 0.0) -> None:
    """Time passes for the server: both its clocks."""
    house.pass_s(seconds)
    await house.sweep_care()


async def base_of(here: Visit) -> LeaseAnswer:
    return await here.call("AcquireLease", AcquireLease(device="d1", session="s1"), LeaseAnswer)


# How it begins


async def test_the_patient_is_asked_and_live_work_begins_when_he_agrees(connect: Connect) -> None:
    here = await visit(connect, live=False)
    assert here.leased.mode == "standard"
    early = await submit(here.ann, change(here.leased))
    assert refused(early).code == "not_live"
    assert await here.set_mode() == ModeAnswer(mode="advanced", state="live")
    question = await here.phone.first(ConsentAsked)
    assert (question.device, question.fitter, question.clinic, question.scopes) == ("d1", "ann", "c1", ("live_tuning",))
    assert question.fence == here.leased.fence
    alive = await here.phone.first(SessionAlive)
    assert (alive.fence, 0 < alive.ttl_ms <= 15_000) == (here.leased.fence, True)
    for told in (here.phone, here.fitter):
        changed = await told.first(ModeChanged)
        assert (changed.mode, changed.state) == ("advanced", "live")
    assert await here.set_mode() == ModeAnswer(mode="advanced", state="live")
    assert len(here.phone.of(ConsentAsked)) == 1


async def test_a_patient_who_says_no_or_nothing_is_not_worked_on(connect: Connect) -> None:
    here = await visit(connect, live=False)
    here.phone.consent = lambda _: ConsentAnswer(accepted=False)
    answer = refused(await here.set_mode())
    assert (answer.code, answer.retryable) == ("consent_declined", False)
    here.phone.consent = lambda _: ConsentAnswer(accepted=True, scopes=("video",))
    assert refused(await here.set_mode()).code == "consent_declined"
    here.phone.consent = lambda _: None
    answer = refused(await here.set_mode())
    assert (answer.code, answer.retryable) == ("consent_declined", True)
    assert refused(await submit(here.ann, change(here.leased))).code == "not_live"


async def test_a_fitter_may_renew_while_the_patient_thinks(connect: Connect) -> None:
    here = await visit(connect, live=False)
    renewed: list[object] = []

    async def think(_: ConsentAsked) -> ConsentAnswer:
        renewed.append(await here.ann.ask("RenewLease", hold(here), answer=LeaseRenewed))
        return ConsentAnswer(accepted=True)

    here.phone.consent = think
    await here.go_live()
    [answer] = renewed
    assert isinstance(answer, LeaseRenewed)
    assert answer.state == "asking"


async def test_a_consent_that_is_withdrawn_elsewhere_while_the_patient_is_asked_counts(
    connect: Connect, house: House
) -> None:
    """Over another process: nobody there knows of the question."""
    here = await visit(connect, live=False)
    care: Any = house.parts.hubs[0].hub
    consents = care._session._beginning._consent.__self__._consents

    async def think(_: ConsentAsked) -> ConsentAnswer:
        no = Decision("c1", "pat", "live_tuning", False, "pat", "patient", "", house.wall.now_s)
        await consents.decide(no)
        return ConsentAnswer(accepted=True)

    here.phone.consent = think
    assert refused(await here.set_mode()).code == "consent_withdrawn"
    assert here.phone.of(SessionAlive) == []


@pytest.mark.parametrize(
    ("heartbeat", "code"),
    [
        ({"battery": 29}, "battery_low"),
        ({"foreground": False}, "phone_background"),
        ({"rtt_ms": 900}, "link_slow"),
    ],
)
async def test_what_must_hold_before_live_work(connect: Connect, heartbeat: dict[str, Any], code: str) -> None:
    here = await visit(connect, live=False)
    await here.call("Heartbeat", Heartbeat(device="d1", **heartbeat), Done, by=here.pat)
    answer = refused(await here.set_mode())
    assert (answer.code, answer.retryable) == (code, True)
    assert here.phone.of(ConsentAsked) == []


async def test_without_a_phone_or_with_a_silent_one_there_is_no_live_work(connect: Connect, house: House) -> None:
    here = await visit(connect, live=False)
    house.monotonic.now_s += 10
    assert refused(await here.set_mode()).code == "phone_offline"
    await here.pat.stop()
    await eventually(lambda: house.app_sessions() == 1)
    assert refused(await here.set_mode()).code == "phone_offline"


async def test_a_lease_that_is_anothers_begins_nothing(connect: Connect, house: House) -> None:
    here = await visit(connect, live=False)
    assert refused(await here.set_mode(fence=here.leased.fence + 1)).code == "lease_lost"
    house.pass_s(15)
    assert refused(await here.set_mode()).code == "lease_lost"


# What it may do


async def test_an_offer_is_signed_with_the_key_that_the_phone_was_given(connect: Connect) -> None:
    here = await visit(connect)
    attached = await here.pat.ask("AttachDevice", CLAIM, answer=AttachAnswer)
    assert isinstance(attached, AttachAnswer)
    assert isinstance(attached.public_key, str)
    await submit(here.ann, change(here.leased))
    offer = await here.phone.first(Offer)
    assert offer.key_id == attached.key_id
    assert is_genuine(offer, attached.public_key)


async def test_what_was_tried_is_saved_on_both_memories_and_is_the_base_from_then_on(connect: Connect) -> None:
    here = await visit(connect)
    tried = await here.apply(change(here.leased))
    await here.save(tried.digests)
    await eventually(lambda: len(here.phone.of(Settled)) == 2)
    device = await here.call("GetDevice", DeviceQuery(device="d1"), DeviceAnswer)
    assert device.in_aid.right
    assert (device.in_aid.right.ram, device.in_aid.right.nvm) == (tried.digests.right, tried.digests.right)
    assert await here.set_mode("standard") == ModeAnswer(mode="standard", state="none")
    assert here.phone.of(RevertNow) == []


async def test_nothing_else_than_what_the_aids_hold_is_saved(connect: Connect) -> None:
    here = await visit(connect)
    await submit(here.ann, change(here.leased))
    request = Save(
        device="d1", fence=here.leased.fence, expect=ExpectedDigests(), reason="good so", idempotency_key="s"
    )
    answer = refused(await here.ann.ask("Save", request, answer=SubmitAnswer))
    assert (answer.code, answer.retryable) == ("not_confirmed", True)
    await here.confirm(await here.phone.first(Offer))
    assert refused(await here.ann.ask("Save", request, answer=SubmitAnswer)).code == "base_mismatch"


async def test_what_another_program_left_in_ram_is_not_kept_past_the_budgets(connect: Connect) -> None:
    here = await visit(connect)
    right = CONTENT.programs[0].right
    assert isinstance(right, EarProgram)
    loud = msgspec.structs.replace(right, g50_ddb=(400,) * 10, g65_ddb=(400,) * 10, g80_ddb=(400,) * 10)
    program = msgspec.structs.replace(CONTENT.programs[0], right=loud)
    found = msgspec.structs.replace(CONTENT, programs=(program,))
    await here.tell("other_app", found, CONTENT)
    expect = ExpectedDigests(right=ear_digest(ear_image(found, "right")))
    request = Save(device="d1", fence=here.leased.fence, expect=expect, reason="good so", idempotency_key="s")
    answer = refused(await here.ann.ask("Save", request, answer=SubmitAnswer))
    assert (answer.code, answer.rule) == ("unsafe", "K8")


async def test_an_earlier_revision_comes_back_as_a_new_one(connect: Connect) -> None:
    here = await visit(connect)
    await here.apply(change(here.leased))
    leased = await base_of(here)
    assert here.leased.head
    earlier = here.leased.head.revision
    back = change(leased, key="k2", patch=msgspec.UNSET, revision=earlier)
    answer = await here.apply(back)
    assert answer.digests == here.leased.head.digests
    assert answer.revision_id != earlier
    unknown = change(await base_of(here), key="k3", patch=msgspec.UNSET, revision="elsewhere")
    assert refused(await submit(here.ann, unknown)).code == "unknown_revision"


async def test_what_was_active_comes_back_in_steps_that_nobody_is_startled_by(connect: Connect, house: House) -> None:
    here = await visit(connect)
    for key in ("a", "b", "c"):
        await here.apply(change(await base_of(here), *louder(30), key=key))
        house.pass_s(12)
        await here.call("RenewLease", hold(here), LeaseRenewed)
    loud = await base_of(here)
    assert loud.head
    await here.save(loud.head.digests)
    for key in ("d", "e"):
        await here.apply(change(await base_of(here), *louder(-50), key=key))
    back = change(await base_of(here), key="back", patch=msgspec.UNSET, revision=loud.head.revision)
    before = len(here.phone.of(Offer))
    accepted = await here.call("Submit", back, SubmitAnswer)
    levels = []
    for number in range(2):
        offer = await here.phone.first(Offer, before + number)
        levels.append(offer.body.right[0].program.g65_ddb[3])
        await here.confirm(offer)
    assert levels == [150, 190]
    assert offer.seq == accepted.seq
    assert accepted.digests == loud.head.digests


async def test_a_change_that_has_not_begun_is_taken_back(connect: Connect) -> None:
    here = await visit(connect)
    accepted = await here.call("Submit", change(here.leased), SubmitAnswer)
    offer = await here.phone.first(Offer)
    request = Cancel(device="d1", epoch=accepted.epoch, seq=accepted.seq)
    assert (await here.call("Cancel", request, DeliveryAnswer)).state == "offered"
    withdraw = await here.phone.first(Withdraw)
    assert (withdraw.seq, withdraw.cause) == (accepted.seq, "cancelled")
    await here.report(offer, 1, "cancelled", ear="right")
    assert (await here.phone.first(Settled)).seq == accepted.seq
    again = await here.ann.ask("Cancel", request, answer=DeliveryAnswer)
    assert refused(again).code == "unknown_delivery"
    second = await here.call("Submit", change(await base_of(here), key="k2"), SubmitAnswer)
    offer = await here.phone.first(Offer, 1)
    await here.report(offer, 1, "received")
    await here.report(offer, 2, "writing", ear="right")
    late = await here.ann.ask("Cancel", msgspec.structs.replace(request, seq=second.seq), answer=DeliveryAnswer)
    assert refused(late).code == "too_late"


async def test_a_change_is_taken_back_by_its_number_in_this_log_and_by_who_holds_the_device(connect: Connect) -> None:
    here = await visit(connect)
    accepted = await here.call("Submit", change(here.leased), SubmitAnswer)
    await here.phone.first(Offer)
    request = Cancel(device="d1", epoch=accepted.epoch, seq=accepted.seq)
    wrong = msgspec.structs.replace(request, epoch="of another log")
    assert refused(await here.ann.ask("Cancel", wrong, answer=DeliveryAnswer)).code == "unknown_delivery"
    abe = await connect("abe", "clinician")
    assert refused(await abe.ask("Cancel", request, answer=DeliveryAnswer)).code == "lease_lost"
    await here.call("Cancel", request, DeliveryAnswer)
    await here.phone.first(Withdraw)
    assert len(here.phone.of(Withdraw)) == 1


async def test_of_three_quick_changes_the_one_between_falls_away(connect: Connect) -> None:
    here = await visit(connect)
    step = [PatchOp(op="add", ear="right", path=path, band=3, value=10) for path in ("g50Ddb", "g65Ddb", "g80Ddb")]
    for key in ("a", "b", "c"):
        request = change(await base_of(here), *step, key=key)
        await here.call("Submit", request, SubmitAnswer)
    await here.confirm(await here.phone.first(Offer))
    offer = await here.phone.first(Offer, 1)
    assert (offer.seq, offer.after) == (3, 2)
    assert offer.body.right[0].program.g65_ddb[3] == CONTENT.programs[0].right.g65_ddb[3] + 30  # type: ignore[union-attr]  # it has one
    await here.confirm(offer)
    await eventually(lambda: [told.seq for told in here.phone.of(Settled)][-2:] == [2, 3])


async def test_an_alarm_keeps_everything_else_away(connect: Connect) -> None:
    here = await visit(connect)
    await submit(here.ann, change(here.leased))
    offer = await here.phone.first(Offer)
    await here.report(offer, 1, "rejected", ear="right", code="E_DEVICE")
    assert refused(await submit(here.ann, change(await base_of(here), key="k2"))).code == "locked"
