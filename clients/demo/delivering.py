"""How the demo gets one change into the aids, and what it checks each time.

Read ``apply`` first, or ``send`` for what goes as a package.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from msgspec import UNSET

from clients.demo.changes import program_of, some_change
from clients.demo.sound import TOLERANCE_DB, Heard, expected_db, measure, worst_error_db
from clients.demo.stage import DEVICE, Asked, Stage
from clients.device_driver import Memory
from clients.fitter import Change
from fitting.digest import content_digests
from fitting.model import apply_patch
from protocol.contract.base import EARS, Ear, Failure
from protocol.contract.devices import DeviceAnswer, LeaseAnswer
from protocol.contract.fitting import Base, Content, Digests, SubmitAnswer

__all__ = [
    "WAIT_S",
    "Chosen",
    "DemoFailed",
    "apply",
    "base_of",
    "check_aids",
    "choose",
    "choose_package",
    "confirmed",
    "digest_of",
    "digests_in",
    "head_of",
    "lease",
    "release",
    "submit",
    "until_head_is",
]

SESSION: Final = "demo-session"
WAIT_S: Final = 15.0


class DemoFailed(Exception):
    """A scene cannot go on; the message says what did not happen."""


async def lease(stage: Stage) -> LeaseAnswer:
    """Take or renew the lease, and see where the device stands. Raises DemoFailed."""
    answer = await stage.fitter.acquire_lease(DEVICE, SESSION)
    if isinstance(answer, Failure):
        raise DemoFailed(f"no lease: {answer.error.message}")
    if answer.mode != "advanced":
        live = await stage.fitter.go_live(DEVICE, answer.fence)
        if isinstance(live, Failure):
            raise DemoFailed(f"no live session: {live.error.message}")
    return answer


async def release(stage: Stage) -> None:
    """Give the device back, which nobody works on live. Raises DemoFailed."""
    fence = stage.fitter.fence_of(DEVICE)
    if fence is not None and isinstance(await stage.fitter.release(DEVICE, SESSION, fence), Failure):
        raise DemoFailed("the lease cannot be given back")


def base_of(granted: LeaseAnswer | DeviceAnswer) -> tuple[Base, Content]:
    """The newest revision as a base for the next change, and its content. Raises DemoFailed."""
    if granted.head is UNSET:
        raise DemoFailed("the phone has attached, but the device has no first revision")
    head = granted.head
    return Base(revision=head.revision, left=head.digests.left, right=head.digests.right), head.content


async def head_of(stage: Stage) -> tuple[Base, Content]:
    """As ``base_of``, without a lease."""
    return base_of(await stage.fitter.get_device(DEVICE))


@dataclass(frozen=True, slots=True)
class Chosen:
    """A change that the server said it would accept; ``bands`` are indices, contents before and after."""

    name: str
    change: Change
    bands: tuple[int, ...]
    before: Content
    wanted: Content


async def choose(stage: Stage, *by_ddb: int, where: str = "") -> Chosen:
    """The first change, by the first of these amounts that any band allows, that ``Check`` finds safe.

    Raises DemoFailed when there is none.
    """
    granted = await lease(stage)
    base, content = base_of(granted)
    return await _first_safe(stage, Change(DEVICE, granted.fence, base, ""), content, by_ddb, where)


async def choose_package(stage: Stage, *by_ddb: int, where: str = "") -> Chosen:
    """As ``choose``, for a package: it needs no lease, and the limits of Standard mode are narrower."""
    base, content = await head_of(stage)
    return await _first_safe(stage, Change(DEVICE, 0, base, "", package=True), content, by_ddb, where)


async def _first_safe(stage: Stage, like: Change, content: Content, by_ddb: Sequence[int], where: str) -> Chosen:
    for amount in by_ddb:
        name = f"{amount / 10:+g} dB{where}"
        for bands, patch in some_change(content, stage.ears, amount):
            change = replace(like, reason=name, patch=patch)
            if not isinstance(await stage.fitter.check(change), Failure):
                return Chosen(name, change, bands, content, apply_patch(content, patch))
    raise DemoFailed("no band of this fit can be changed safely")


async def submit(stage: Stage, change: Change, name: str) -> SubmitAnswer:
    """Ask for a change. Raises DemoFailed when it is refused."""
    answer = await stage.fitter.submit(change)
    if isinstance(answer, Failure):
        refusal = answer.error
        rule = refusal.code if refusal.rule is UNSET else refusal.rule
        raise DemoFailed(f"{name} was refused by {rule}: {refusal.message}")
    stage.asked.append(Asked(name, answer.revision_id))
    stage.printer.tell("accepted", f"{name}: accepted as change {answer.seq}", name=name, seq=answer.seq)
    return answer


async def apply(stage: Stage, change: Change, wanted: Content, name: str) -> Heard:
    """Submit, wait for the end, and check digest and sound of every aid. Raises DemoFailed."""
    writes = {ear: stage.pair.aid(ear).writes_completed for ear in stage.ears}
    answer = await submit(stage, change, name)
    await confirmed(stage, answer, name)
    return await check_aids(stage, answer, wanted, name, writes)


async def confirmed(stage: Stage, answer: SubmitAnswer, name: str) -> None:
    """Wait for the end of a change. Raises DemoFailed when it is not the good one."""
    state = await stage.fitter.wait_until(DEVICE, answer, timeout_s=WAIT_S)
    stage.printer.tell(state, f"{name}: {state} by reading every aid back", name=name, seq=answer.seq)
    if state != "confirmed":
        raise DemoFailed(f"{name} ended as {state}")


async def check_aids(stage: Stage, answer: SubmitAnswer, wanted: Content, name: str, writes: dict[Ear, int]) -> Heard:
    """Each aid holds ``wanted``, was written once since ``writes`` were counted, and sounds like it."""
    expected = content_digests(wanted)
    heard = await measure(stage.pair)
    for ear in stage.ears:
        aid, digest = stage.pair.aid(ear), digest_of(expected, ear)
        held, written = aid.read_digest("ram"), aid.writes_completed - writes[ear]
        error_db = worst_error_db(heard[ear], expected_db(program_of(wanted, ear)))
        expect = stage.checks.expect
        expect(f"{name}: the {ear} aid holds what was wanted", held == digest, held)
        expect(f"{name}: the server named that digest", digest_of(answer.digests, ear) == digest)
        expect(f"{name}: the {ear} aid was written once", written == 1, f"{written} times")
        expect(f"{name}: the {ear} ear hears it", error_db <= TOLERANCE_DB, f"{error_db:.2f} dB off")
    return heard


def digests_in(stage: Stage, memory: Memory) -> dict[Ear, str]:
    """What a memory of every aid truly holds."""
    return {ear: stage.pair.aid(ear).read_digest(memory) for ear in stage.ears}


def digest_of(digests: Digests, ear: Ear) -> str:
    """The digest of one ear. Raises DemoFailed when there is none."""
    digest = digests.left if ear == "left" else digests.right
    if digest is UNSET:
        raise DemoFailed(f"there is no digest of the {ear} ear")
    return digest


async def until_head_is(stage: Stage, wanted: Content) -> None:
    """Wait until the server knows that the aids hold it."""
    async with asyncio.timeout(WAIT_S):
        while True:
            heard = stage.news.heard
            device = await stage.fitter.get_device(DEVICE)
            if device.head is not UNSET and device.head.content == wanted and _is_in_aids(device):
                return
            await stage.news.more_than(heard)


def _is_in_aids(device: DeviceAnswer) -> bool:
    truths = [(ear, getattr(device.in_aid, ear)) for ear in EARS if getattr(device, ear) is not UNSET]
    digests = UNSET if device.head is UNSET else device.head.digests
    return all(truth is not UNSET and truth.ram == getattr(digests, ear) for ear, truth in truths)
