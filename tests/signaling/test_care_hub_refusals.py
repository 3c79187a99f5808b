"""The care hub says no: each refusal with its code, each stranger with the same answer."""

from typing import Any

import msgspec
import pytest

from clients.hub_client import HubCallError
from protocol.contract.base import Failure
from protocol.contract.devices import (
    AcquireLease,
    AttachAnswer,
    DeviceAnswer,
    DeviceQuery,
    Report,
    ReportAnswer,
)
from protocol.contract.fitting import (
    Base,
    CheckAnswer,
    Content,
    EarProgram,
    Patch,
    Program,
    SubmitAnswer,
)
from tests.eventually import eventually
from tests.signaling.care import BANDS_HZ, CLAIM, CONTENT, Connect, Heard, change, lease, live, louder, report, submit
from tests.signaling.conftest import House


@pytest.mark.parametrize(
    ("options", "code", "rule"),
    [
        ({"patch": Patch(slot=1, ops=louder(60))}, "unsafe", "K7"),
        ({"patch": Patch(slot=1, ops=louder(-5))}, "unsafe", "K1"),
        ({"fence": 99}, "fence_stale", None),
        ({"base": Base(revision="elsewhere")}, "base_mismatch", None),
        ({"kind": "persist"}, "kind_unsupported", None),
        ({"mode": "standard"}, "kind_unsupported", None),
        ({"patch": Patch(slot=1, ops=louder(0))}, "no_change", None),
        ({"origin": "first_fit"}, "not_first_fit", None),
    ],
)
async def test_every_refusal_is_a_result_with_a_code(
    connect: Connect, options: dict[str, Any], code: str, rule: str | None
) -> None:
    heard = Heard()
    ann, phone = await connect("ann", "clinician"), await connect("pat", "device", heard=heard)
    await phone.ask("AttachDevice", CLAIM, answer=AttachAnswer)
    leased = await live(ann)
    refused = await submit(ann, change(leased, **options))
    assert isinstance(refused, Failure), refused
    assert refused.error.code == code
    assert (refused.error.rule or None) == rule
    if rule == "K7":
        assert (refused.error.ear, refused.error.band, refused.error.value, refused.error.limit) == ("right", 3, 60, 30)
    device = await ann.invoke("GetDevice", DeviceQuery(device="d1"), result=DeviceAnswer)
    assert device.last_seq == 0
    assert heard.offers == []


async def test_the_lease_of_another_lets_nobody_else_write(connect: Connect) -> None:
    ann, abe = await connect("ann", "clinician"), await connect("abe", "clinician")
    phone = await connect("pat", "device", heard=Heard())
    await phone.ask("AttachDevice", CLAIM, answer=AttachAnswer)
    request = change(await live(ann))
    for refused in (await submit(abe, request), await abe.ask("Check", request, answer=CheckAnswer)):
        assert isinstance(refused, Failure)
        assert refused.error.code == "lease_lost"
    stale = await ann.ask("Check", msgspec.structs.replace(request, fence=99), answer=CheckAnswer)
    assert isinstance(stale, Failure)
    assert stale.error.code == "fence_stale"


async def test_a_first_fit_is_only_the_first_change_ever(connect: Connect) -> None:
    """Also after a change that came to nothing, when what was read back is the head again."""
    heard = Heard()
    ann, phone = await connect("ann", "clinician"), await connect("pat", "device", heard=heard)
    await phone.ask("AttachDevice", CLAIM, answer=AttachAnswer)
    await submit(ann, change(await live(ann)))
    await eventually(lambda: heard.offers)
    rejected = report(heard.offers[0], 1, "rejected", ear="right", code="E_BASE")
    await phone.ask("Report", rejected, answer=ReportAnswer)
    leased = await lease(ann)
    loud = (500,) * 10
    louder_by_40 = EarProgram(g50_ddb=loud, g65_ddb=loud, g80_ddb=loud, mpo_ddb=(1_000,) * 10)
    content = Content(bands_hz=BANDS_HZ, programs=(Program(slot=1, name="Universal", right=louder_by_40),))
    again = await submit(ann, change(leased, key="k2", origin="first_fit", content=content, patch=msgspec.UNSET))
    assert isinstance(again, Failure)
    assert again.error.code == "not_first_fit"


async def test_check_says_what_submit_would_and_changes_nothing(connect: Connect) -> None:
    ann, phone = await connect("ann", "clinician"), await connect("pat", "device", heard=Heard())
    await phone.ask("AttachDevice", CLAIM, answer=AttachAnswer)
    leased = await live(ann)
    checked = await ann.ask("Check", change(leased), answer=CheckAnswer)
    assert isinstance(checked, CheckAnswer)
    refused = await ann.ask("Check", change(leased, *louder(60)), answer=CheckAnswer)
    assert isinstance(refused, Failure)
    submitted = await submit(ann, change(leased))
    assert isinstance(submitted, SubmitAnswer)
    assert (submitted.digests, submitted.seq) == (checked.digests, 1)


@pytest.mark.parametrize(
    ("change_of", "says"),
    [
        ({"patch": {"slot": 1, "ops": [], "surprise": 1}}, "patch"),
        ({"patch": {"slot": 1, "ops": [{"op": "add", "ear": "up", "path": "g65Ddb", "value": 1}]}}, "ear"),
        ({"patch": {"slot": 1, "ops": [{"op": "add", "ear": "right", "path": "x", "value": 1}]}}, "path"),
        ({"patch": {"slot": 1, "ops": [{"op": "add", "ear": "right", "path": "g65Ddb", "value": 1.5}]}}, "value"),
        ({"fence": True}, "fence"),
        ({"fence": msgspec.UNSET}, "fence"),
        ({"content": CONTENT}, "exactly one"),
    ],
)
async def test_a_malformed_change_is_an_error_of_the_call_that_names_the_place(
    connect: Connect, change_of: dict[str, Any], says: str
) -> None:
    ann, phone = await connect("ann", "clinician"), await connect("pat", "device", heard=Heard())
    await phone.ask("AttachDevice", CLAIM, answer=AttachAnswer)
    request = msgspec.to_builtins(change(await live(ann))) | change_of
    request = {key: value for key, value in request.items() if value is not msgspec.UNSET}
    with pytest.raises(HubCallError) as refused:
        await ann.ask("Submit", request, answer=SubmitAnswer)
    assert refused.value.code == "bad_argument"
    assert says in str(refused.value)


async def test_unknown_fields_are_refused_in_a_patch_but_elsewhere_only_counted(connect: Connect, house: House) -> None:
    ann, phone = await connect("ann", "clinician"), await connect("pat", "device", heard=Heard())
    await phone.ask("AttachDevice", CLAIM, answer=AttachAnswer)
    request = msgspec.to_builtins(change(await live(ann))) | {"mood": "good", "weather": {"rain": True}}
    assert isinstance(await ann.ask("Submit", request, answer=SubmitAnswer), SubmitAnswer)
    assert house.metric("auricle_unknown_fields_total") == 2


STRANGERS = [
    ("eve", ("clinician",), "c1"),
    ("ann", ("clinician",), "c2"),
    ("pat", ("patient", "device"), "c2"),
    ("eve", ("patient", "device"), "c1"),
]


@pytest.mark.parametrize(("user", "roles", "clinic"), STRANGERS)
async def test_a_device_that_is_not_yours_looks_like_one_that_does_not_exist(
    connect: Connect, user: str, roles: tuple[str, ...], clinic: str
) -> None:
    owner, phone = await connect("ann", "clinician"), await connect("pat", "device", heard=Heard())
    await phone.ask("AttachDevice", CLAIM, answer=AttachAnswer)
    request = change(await live(owner))
    stranger = await connect(user, *roles, clinic=clinic)
    is_phone = "device" in roles
    theirs: list[tuple[str, Any]] = [("GetDevice", DeviceQuery(device="d1"))]
    if is_phone:
        ok = Report(device="d1", epoch="e", seq=1, attempt=1, n=1, state="received")
        theirs += [("AttachDevice", CLAIM), ("Report", ok)]
    else:
        theirs += [("AcquireLease", AcquireLease(device="d1", session="s")), ("Submit", request), ("Check", request)]
    for method, payload in theirs:
        answers = set()
        for device in ("d1", "does-not-exist"):
            with pytest.raises(HubCallError) as refused:
                await stranger.invoke(method, msgspec.structs.replace(payload, device=device), result=object)
            answers.add((refused.value.code, str(refused.value)))
        assert len(answers) == 1
        assert answers.pop()[0] == "not_found"


async def test_roles_that_may_not_call_at_all_are_told_so(connect: Connect) -> None:
    pat = await connect("pat", "patient")
    with pytest.raises(HubCallError, match="user is unauthorized"):
        await pat.invoke("AcquireLease", AcquireLease(device="d1", session="s"), result=object)
    with pytest.raises(HubCallError, match="user is unauthorized"):
        await pat.invoke("AttachDevice", CLAIM, result=object)
