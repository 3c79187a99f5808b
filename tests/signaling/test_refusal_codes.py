"""Refusals that need a story of their own before they are said, and that each code of the contract is said at all."""

import re
from pathlib import Path
from typing import Any

import msgspec

from fitting.digest import content_digests, ear_digest
from fitting.model import ear_image
from protocol.contract.base import EARS, Answer, Ear
from protocol.contract.devices import AcquireLease, AttachAnswer, Images, LeaseAnswer, Offer, Report, ReportAnswer
from protocol.contract.fitting import Base, Content, Program, SubmitAnswer
from protocol.contract.sessions import ExpectedDigests, ModeAnswer, ReportDevice, Save, SetMode
from tests.signaling.care import BANDS_HZ, CLAIM, CONTENT, FLAT, Connect, change, louder, submit
from tests.signaling.conftest import House
from tests.signaling.visit import Told, images_of, refused, visit

ROOT = Path(__file__).parents[2]
FALSE = "sha256:" + "0" * 64
BOTH = Content(bands_hz=BANDS_HZ, programs=(Program(slot=1, name="Universal", right=FLAT, left=FLAT),))


def read(ear: Ear) -> Images:
    image = ear_image(BOTH, ear)
    digest = ear_digest(image)
    return Images(serial=f"{ear}-2", firmware="2.3.1", ram=digest, nvm=digest, image=image)


async def test_an_image_that_its_digest_is_not_of(connect: Connect) -> None:
    here = await visit(connect, live=False)
    false = msgspec.structs.replace(images_of(CONTENT, CONTENT), ram=FALSE)
    told = ReportDevice(device="d1", cause="read_back", right=false)
    answer = refused(await here.pat.ask("ReportDevice", told, answer=Answer))
    assert (answer.code, answer.ear) == ("wrong_digest", "right")


async def test_reports_that_cannot_be(connect: Connect) -> None:
    here = await visit(connect)
    await submit(here.ann, change(here.leased))
    offer = await here.phone.first(Offer)
    assert refused(await here.report(offer, 1, "writing", ear="left")).code == "wrong_ear"
    assert refused(await here.report(offer, 2, "writing")).code == "wrong_ear"
    assert refused(await here.report(offer, 3, "committing", ear="right")).code == "illegal_report"
    await here.confirm(offer, first=4)


async def test_more_changes_than_budgets_are_counted_over(connect: Connect) -> None:
    here = await visit(connect)
    assert here.leased.head is not msgspec.UNSET
    base = here.leased.head.revision
    for number in range(200):
        step = louder(10 if number % 2 == 0 else -10)
        request = change(here.leased, *step, key=f"k{number}", base=Base(revision=base))
        answer = await submit(here.ann, request)
        if not isinstance(answer, SubmitAnswer):
            break
        base = answer.revision_id
    refusal = refused(answer)
    assert (refusal.code, refusal.retryable, number) == ("overloaded", True, 128 - 1)
    assert isinstance(refusal.retry_after_ms, int)


async def test_ears_that_keep_two_revisions(connect: Connect, house: House) -> None:
    aids: dict[str, object] = {ear: {"serial": f"{ear}-2", "model": "ref10", "firmware": "2.3.1"} for ear in EARS}
    body: dict[str, object] = {"device": "d2", "patient": "pat", "assignments": ["ann"], **aids}
    async with house.http.post(f"{house.url}/api/v1/devices", json=body, headers=house.bearer("ann")) as answer:
        assert answer.status == 201
    phone = Told()
    ann = await connect("ann", "clinician")
    pat = await connect("pat", "patient", "device", heard=phone)
    claim = msgspec.structs.replace(CLAIM, device="d2", right=read("right"), left=read("left"))
    assert isinstance(await pat.ask("AttachDevice", claim, answer=AttachAnswer), AttachAnswer)
    leased = await ann.ask("AcquireLease", AcquireLease(device="d2", session="s1"), answer=LeaseAnswer)
    assert isinstance(leased, LeaseAnswer), leased
    asked = SetMode(device="d2", mode="advanced", reason="a visit", fence=leased.fence)
    assert isinstance(await ann.ask("SetMode", asked, answer=ModeAnswer), ModeAnswer)
    ops = tuple(msgspec.structs.replace(op, ear=ear) for ear in EARS for op in louder(20))
    request = change(leased, *ops, device="d2")

    numbers = iter(range(1, 20))

    async def report(offer: Offer, ear: Ear, state: Any, **more: Any) -> None:
        given = {"device": "d2", "epoch": offer.epoch, "seq": offer.seq, "attempt": 1, "n": next(numbers)}
        told = Report(**given, ear=ear, state=state, **more)  # type: ignore[arg-type]  # texts and numbers
        assert isinstance(await pat.ask("Report", told, answer=ReportAnswer), ReportAnswer)

    accepted = await submit(ann, request)
    assert isinstance(accepted, SubmitAnswer), accepted
    offer = await phone.first(Offer)
    held = {"right": accepted.digests.right, "left": accepted.digests.left}
    for ear in EARS:
        await report(offer, ear, "confirmed", source="ram", digest=held[ear])
    expect = ExpectedDigests(right=accepted.digests.right, left=accepted.digests.left)
    save = Save(device="d2", fence=leased.fence, expect=expect, reason="good so", idempotency_key="save")
    assert isinstance(await ann.ask("Save", save, answer=SubmitAnswer), SubmitAnswer)
    kept = await phone.first(Offer, 1)
    for ear in EARS:
        await report(kept, ear, "confirmed", source="ram", digest=held[ear])
    await report(kept, "right", "active", source="nvm", digest=held["right"])
    await report(kept, "left", "active", source="nvm", digest=content_digests(BOTH).left)
    leased = await ann.ask("AcquireLease", AcquireLease(device="d2", session="s1"), answer=LeaseAnswer)
    assert isinstance(leased, LeaseAnswer), leased
    assert refused(await submit(ann, change(leased, *ops, device="d2", key="k2"))).code == "split"


def test_every_code_of_the_contract_is_named_by_a_test_through_the_wire() -> None:
    """That it is said there too is for the test that names it to show."""
    _, _, rest = (ROOT / "docs/contract.md").read_text().partition("## Codes of refusals")
    table, _, _ = rest.partition("\n## ")
    cells = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    codes = [code for cell in cells for code in re.findall(r"`(\w+)`", cell)]
    assert len(codes) > 30
    tests = [path for folder in ("signaling", "e2e") for path in (ROOT / "tests" / folder).glob("test_*.py")]
    said = "".join(path.read_text() for path in tests)
    assert [code for code in codes if f'"{code}"' not in said] == []
