"""What may be kept: a save is judged against what NVM is known to hold, wherever RAM came from."""

from typing import Any

import msgspec

from protocol.contract.base import Failure
from protocol.contract.devices import AttachAnswer
from protocol.contract.fitting import (
    BAND_PATHS,
    Base,
    Content,
    EarProgram,
    Patch,
    PatchOp,
    Program,
    Submit,
    SubmitAnswer,
)
from protocol.contract.sessions import ExpectedDigests, Save
from tests.signaling.care import BANDS_HZ, CLAIM, CONTENT, Connect, change, lease, louder
from tests.signaling.visit import Told, Visit, images_of, refused, visit


def of(gain_ddb: int, mpo_ddb: int = 1_000) -> Content:
    level = (gain_ddb,) * 10
    program = EarProgram(g50_ddb=level, g65_ddb=level, g80_ddb=level, mpo_ddb=(mpo_ddb,) * 10)
    return Content(bands_hz=BANDS_HZ, programs=(Program(slot=1, name="Universal", right=program),))


LOUD = of(400, 1_230)


async def keep(here: Visit, held: Content) -> SubmitAnswer | Failure:
    expect = ExpectedDigests(right=images_of(held, held).ram)
    request = Save(device="d1", fence=here.leased.fence, expect=expect, reason="good so", idempotency_key="save")
    return await here.ann.ask("Save", request, answer=SubmitAnswer)


def rules(answer: object) -> set[object]:
    assert isinstance(answer, Failure)
    return {refusal.rule for refusal in answer.errors}


def everywhere(ddb: int) -> Patch:
    """All gains in all bands."""
    ops = [PatchOp(op="set", ear="right", path=p, band=b, value=ddb) for p in BAND_PATHS[:3] for b in range(10)]
    return Patch(slot=1, ops=tuple(ops))


async def found(connect: Connect, held: Content, kept: Content) -> Visit:
    """A first phone whose aid holds something else in RAM than it keeps."""
    fitter, phone = Told(), Told()
    ann = await connect("ann", "clinician", heard=fitter)
    pat = await connect("pat", "patient", "device", heard=phone)
    claim = msgspec.structs.replace(CLAIM, right=images_of(held, kept))
    attached = await pat.ask("AttachDevice", claim, answer=AttachAnswer)
    assert isinstance(attached, AttachAnswer)
    here = Visit(ann, pat, fitter, phone, await lease(ann), attached.epoch)
    await here.go_live()
    return here


async def on_newest(here: Visit, *ops: PatchOp, **more: Any) -> Submit:
    """A change on what is the head now."""
    newest = (await lease(here.ann)).head
    assert isinstance(newest, msgspec.Struct)
    return change(here.leased, *ops, base=Base(revision=newest.revision), **more)


def patched(held: Content, ddb: int) -> Content:
    """``held`` after ``louder(ddb)``."""
    [program] = held.programs
    part = program.right
    assert isinstance(part, EarProgram)
    gains = {
        name: tuple(value + ddb * (band == 3) for band, value in enumerate(getattr(part, name)))
        for name in ("g50_ddb", "g65_ddb", "g80_ddb")
    }
    right = msgspec.structs.replace(part, **gains)
    return msgspec.structs.replace(held, programs=(msgspec.structs.replace(program, right=right),))


async def test_what_another_app_made_loud_is_not_kept_by_way_of_a_small_change(connect: Connect) -> None:
    here = await visit(connect, live=False)
    await here.tell("other_app", LOUD, CONTENT)
    await here.go_live()
    assert refused(await keep(here, LOUD)).rule == "K3"
    await here.apply(await on_newest(here, *louder(-10), key="down"))
    refusal = refused(await keep(here, patched(LOUD, -10)))
    assert (refusal.code, refusal.rule, refusal.limit) == ("unsafe", "K3", 1_000)


async def test_gain_that_was_found_in_ram_is_kept_only_within_what_a_session_may_add_to_nvm(connect: Connect) -> None:
    here = await visit(connect, live=False)
    await here.tell("other_app", of(230), CONTENT)
    await here.go_live()
    await here.apply(await on_newest(here, *louder(-10), key="down"))
    refusal = refused(await keep(here, patched(of(230), -10)))
    assert (refusal.rule, refusal.value, refusal.limit) == ("K8", 130, 120)
    await here.apply(await on_newest(here, key="all-down", patch=everywhere(220)))
    assert isinstance(await keep(here, of(220)), SubmitAnswer)


async def test_what_stands_in_place_of_something_unknown_is_not_kept(connect: Connect) -> None:
    here = await found(connect, CONTENT, of(50))
    assert rules(await keep(here, CONTENT)) == {"K3", "K8"}
    # In RAM it may be lowered, but nobody knows whether that is lower than what NVM holds.
    await here.apply(await on_newest(here, *louder(-10), key="down"))
    assert rules(await keep(here, patched(CONTENT, -10))) == {"K3", "K8"}


async def test_a_lower_content_is_kept_though_what_it_replaces_is_unknown(connect: Connect) -> None:
    here = await visit(connect, live=False)
    # Another application has written both, and only what RAM holds is read.
    await here.tell("other_app", of(110), of(20))
    await here.go_live()
    assert refused(await keep(here, of(110))).rule == "K8"
    await here.apply(await on_newest(here, key="down", patch=everywhere(90)))
    assert isinstance(await keep(here, of(90)), SubmitAnswer)


async def test_a_first_fit_is_what_may_be_kept_though_what_it_replaces_is_unknown(connect: Connect) -> None:
    here = await found(connect, CONTENT, of(50))
    await here.apply(await on_newest(here, key="fit", origin="first_fit", patch=msgspec.UNSET, content=of(300, 900)))
    # Without an audiogram no maximum output may stand in place of an unknown one.
    assert rules(await keep(here, of(300, 900))) == {"K3"}
