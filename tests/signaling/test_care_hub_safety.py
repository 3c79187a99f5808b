"""The safety rules over the wire: what is on file and what was given before counts, and a refusal says all of it."""

from typing import Any

import msgspec
import pytest

from clients.hub_client import HubClient
from fitting.audiogram import STANDARD_AUDIOGRAMS
from protocol.contract.base import Failure
from protocol.contract.devices import AttachAnswer, HeadView, Offer
from protocol.contract.fitting import CheckAnswer, Content, Patch, PatchOp, Program, SubmitAnswer
from protocol.contract.sessions import Done, Heartbeat, ModeAnswer
from signaling.flows.candidates import MAX_REASONS
from tests.eventually import eventually
from tests.signaling.care import (
    BANDS_HZ,
    CLAIM,
    FLAT,
    Connect,
    Heard,
    apply,
    change,
    live,
    louder,
    submit,
)
from tests.signaling.conftest import House
from tests.signaling.visit import visit

N3 = {str(hz): tenths / 10 for hz, tenths in STANDARD_AUDIOGRAMS["N3"].ears["right"]}


async def fitted(connect: Connect, heard: Heard, device: str = "d1") -> tuple[HubClient, HubClient]:
    """A fitter, and a phone that has read its aids back."""
    ann, phone = await connect("ann", "clinician"), await connect("pat", "device", heard=heard)
    await phone.ask("AttachDevice", msgspec.structs.replace(CLAIM, device=device), answer=AttachAnswer)
    return ann, phone


async def applied(ann: HubClient, phone: HubClient, heard: Heard, *ops: PatchOp, key: str) -> SubmitAnswer | Failure:
    """Ask for a change and let the phone confirm it."""
    answer = await submit(ann, change(await live(ann), *ops, key=key))
    if isinstance(answer, SubmitAnswer):
        await eventually(lambda: any(offer.seq == answer.seq for offer in heard.offers))
        await apply(phone, heard.offers[-1])
    return answer


async def test_a_session_cannot_climb_faster_than_6_db_in_10_seconds_nor_higher_than_12_db(
    connect: Connect, house: House
) -> None:
    heard = Heard()
    ann, phone = await fitted(connect, heard)
    height, refusals = 0, []
    for step in range(40):
        answer = await applied(ann, phone, heard, *louder(30), key=f"k{step}")
        if isinstance(answer, SubmitAnswer):
            height += 30
        else:
            refusals.append(answer.error)
        house.pass_s(2.5)
    assert height == 120
    first, last = refusals[0], refusals[-1]
    assert (first.code, first.rule, first.slot, first.ear, first.band) == ("unsafe", "K8", 1, "right", 3)
    assert (first.value, first.limit, first.source) == (90, 60, "last 10 seconds")
    assert (last.rule, last.value, last.limit, last.source) == ("K8", 150, 120, "session base")
    assert last.message == (
        "K8: right 1000 Hz gain may rise by at most 12.0 dB in a session, asked for 15.0 dB (session base)"
    )
    assert isinstance(await applied(ann, phone, heard, *louder(-30), key="down"), SubmitAnswer)


async def test_what_was_saved_is_counted_in_the_next_session_too(connect: Connect, house: House) -> None:
    here = await visit(connect)
    for step in range(4):
        answer = await here.apply(change(await live(here.ann), *louder(30), key=f"k{step}"))
        house.pass_s(12)
        await live(here.ann)
    await here.save(answer.digests)
    assert isinstance(await here.set_mode("standard"), ModeAnswer)
    house.pass_s(60)
    await here.call("Heartbeat", Heartbeat(device="d1"), Done, by=here.pat)
    refused = await submit(here.ann, change(await live(here.ann, session="s2"), *louder(30), key="again"))
    assert isinstance(refused, Failure)
    assert (refused.error.rule, refused.error.source) == ("K8", "lowest active value of the last 7 days")


async def test_without_an_audiogram_no_limit_rises_and_a_refusal_says_so(connect: Connect) -> None:
    ann, _ = await fitted(connect, Heard())
    patch = Patch(slot=1, ops=(PatchOp(op="add", ear="right", path="mpoDdb", band=0, value=10),))
    refused = await submit(ann, change(await live(ann), patch=patch))
    assert isinstance(refused, Failure)
    assert (refused.error.rule, refused.error.source) == ("K3", "no audiogram on file")


@pytest.mark.parametrize(("mpo_ddb", "accepted"), [(1_130, True), (1_140, False)])
async def test_the_audiogram_that_a_device_is_registered_with_bounds_its_output(
    connect: Connect, house: House, mpo_ddb: int, accepted: bool
) -> None:
    aid = {"serial": "R-1", "model": "ref10", "firmware": "2.3.1"}
    body = {"device": "d2", "patient": "pat", "assignments": ["ann"], "right": aid, "audiogram": {"right": N3}}
    async with house.http.post(f"{house.url}/api/v1/devices", json=body, headers=house.bearer("ann")) as answer:
        assert answer.status == 201
    ann, phone = await connect("ann", "clinician"), await connect("pat", "device", heard=Heard())
    await phone.ask("AttachDevice", msgspec.structs.replace(CLAIM, device="d2"), answer=AttachAnswer)
    fit = Content(
        bands_hz=BANDS_HZ,
        programs=(Program(slot=1, name="Universal", right=msgspec.structs.replace(FLAT, mpo_ddb=(mpo_ddb,) * 10)),),
    )
    leased: Any = await ann.invoke("AcquireLease", {"device": "d2", "session": "s1"}, result=dict)
    agreed = {"device": "d2", "mode": "advanced", "reason": "first fit", "fence": leased["fence"]}
    assert (await ann.invoke("SetMode", agreed, result=dict))["ok"]
    request = {
        "device": "d2",
        "kind": "volatile",
        "mode": "advanced",
        "fence": leased["fence"],
        "base": {"revision": leased["head"]["revision"]},
        "content": msgspec.to_builtins(fit),
        "origin": "first_fit",
        "reason": "first fit",
        "idempotencyKey": "k1",
    }
    checked = await ann.ask("Check", request, answer=CheckAnswer)
    assert isinstance(checked, CheckAnswer) == accepted
    if isinstance(checked, Failure):
        assert {(r.rule, r.value, r.limit, r.source) for r in checked.errors} == {
            ("K3", 1_140, 1_135, "audiogram on file")
        }


async def test_the_whole_report_is_kept_with_the_revision_and_answered(connect: Connect) -> None:
    ann, _ = await fitted(connect, Heard())
    ops = (PatchOp(op="add", ear="right", path="g50Ddb", band=3, value=30),)
    leased = await live(ann)
    answer = await submit(ann, change(leased, *ops))
    assert isinstance(answer, SubmitAnswer)
    assert answer.safety.rules == ("K1", "K2", "K3", "K4", "K5", "K6", "K7", "K8", "K10", "K11", "K12")
    assert answer.safety.limits["liveRiseDdb"] == 30
    assert len(answer.safety.limits) > 20
    assert await submit(ann, change(leased, *ops)) == answer


async def test_a_change_that_breaks_everything_has_a_bounded_answer_that_names_every_rule(connect: Connect) -> None:
    ann, _ = await fitted(connect, Heard())
    wild = msgspec.structs.replace(
        FLAT, g50_ddb=(0, 600) * 5, g65_ddb=(600, 0) * 5, g80_ddb=(600, 100) * 5, mpo_ddb=(1_240,) * 10, nr_ddb=75
    )
    slots = tuple(Program(slot=slot, name="Wild", right=wild) for slot in range(1, 5))
    content = Content(bands_hz=BANDS_HZ, programs=slots)
    refused = await submit(ann, change(await live(ann), patch=msgspec.UNSET, content=content))
    assert isinstance(refused, Failure)
    assert len(refused.errors) == MAX_REASONS
    assert refused.error == refused.errors[0]
    assert {r.rule for r in refused.errors} == {"K1", "K3", "K4", "K7", "K8", "K12"}
    assert {r.slot for r in refused.errors} == {1, 2, 3, 4}
    assert len(msgspec.json.encode(refused)) < 32_768


def first_fit(gain_ddb: int) -> dict[str, Any]:
    """All three gains of a first fit, and what else such a submit has."""
    part = msgspec.structs.replace(FLAT, **dict.fromkeys(("g50_ddb", "g65_ddb", "g80_ddb"), (gain_ddb,) * 10))
    fit = Content(bands_hz=BANDS_HZ, programs=(Program(slot=1, name="Universal", right=part),))
    return {"patch": msgspec.UNSET, "content": fit, "origin": "first_fit"}


async def test_a_session_is_counted_from_its_first_fit_however_much_later(connect: Connect, house: House) -> None:
    here = await visit(connect)
    await here.apply(change(await live(here.ann), key="fit", **first_fit(300)))
    for step in range(4):
        house.pass_s(12)
        await here.apply(change(await live(here.ann), *louder(30), key=f"k{step}"))
    house.pass_s(12)
    refused = await submit(here.ann, change(await live(here.ann), *louder(30), key="more"))
    assert isinstance(refused, Failure)
    assert (refused.error.rule, refused.error.value, refused.error.limit) == ("K8", 150, 120)


async def test_a_first_fit_that_came_to_nothing_is_nothing_to_count_from(connect: Connect, house: House) -> None:
    here = await visit(connect)
    asked = await here.call("Submit", change(await live(here.ann), key="fit", **first_fit(300)), SubmitAnswer)
    offer = await here.phone.first(Offer)
    await here.report(offer, 1, "received")
    await here.report(offer, 2, "rejected", ear="right", code="E_BASE")
    assert offer.seq == asked.seq
    for step in range(2):
        await here.apply(change(await live(here.ann), *louder(30), key=f"k{step}"))
    refused = await submit(here.ann, change(await live(here.ann), *louder(30), key="more"))
    assert isinstance(refused, Failure)
    assert (refused.error.rule, refused.error.value, refused.error.source) == ("K8", 90, "last 10 seconds")


async def test_a_first_fit_is_asked_for_again_until_one_has_come_about(connect: Connect, house: House) -> None:
    here = await visit(connect)
    for number in range(2):
        await here.call("Submit", change(await live(here.ann), key=f"fit{number}", **first_fit(300)), SubmitAnswer)
        under_way = await submit(here.ann, change(await live(here.ann), key=f"two{number}", **first_fit(310)))
        assert isinstance(under_way, Failure)
        assert under_way.error.code == "not_first_fit"
        offer = await here.phone.first(Offer, number)
        await here.report(offer, 1, "received")
        await here.report(offer, 2, "rejected", ear="right", code="E_BUSY")
    await here.apply(change(await live(here.ann), key="fit", **first_fit(300)))
    again = await submit(here.ann, change(await live(here.ann), key="again", **first_fit(310)))
    assert isinstance(again, Failure)
    assert again.error.code == "not_first_fit"


async def test_saving_does_not_begin_the_count_anew_even_after_a_first_fit(connect: Connect, house: House) -> None:
    here = await visit(connect)
    await here.apply(change(await live(here.ann), key="fit", **first_fit(300)))
    for step in range(4):
        house.pass_s(12)
        answer = await here.apply(change(await live(here.ann), *louder(30), key=f"k{step}"))
    await here.save(answer.digests)
    assert isinstance(await here.set_mode("standard"), ModeAnswer)
    house.pass_s(60)
    await here.call("Heartbeat", Heartbeat(device="d1"), Done, by=here.pat)
    refused = await submit(here.ann, change(await live(here.ann, session="s2"), *louder(30), key="again"))
    assert isinstance(refused, Failure)
    assert (refused.error.rule, refused.error.source) == ("K8", "lowest active value of the last 7 days")


async def test_only_what_was_active_comes_back_at_once_and_only_when_it_is_asked_for_by_its_name(
    connect: Connect, house: House
) -> None:
    here = await visit(connect)
    active = (await live(here.ann)).head
    assert isinstance(active, HeadView)
    tried = await here.apply(change(await live(here.ann), *louder(30), key="up"))
    house.pass_s(12)
    await here.apply(change(await live(here.ann), *louder(-90), key="down"))

    async def asked(key: str, **wanted: Any) -> SubmitAnswer | Failure:
        return await submit(here.ann, change(await live(here.ann), key=key, patch=msgspec.UNSET, **wanted))

    house.pass_s(12)
    # 9 dB up to what was only tried, 6 dB up to what was active: both too much for one change.
    for key, wanted in (("tried", {"revision": tried.revision_id}), ("content", {"content": active.content})):
        refused = await asked(key, **wanted)
        assert isinstance(refused, Failure)
        assert refused.error.rule == "K7"
    assert isinstance(await asked("active", revision=active.revision), SubmitAnswer)
