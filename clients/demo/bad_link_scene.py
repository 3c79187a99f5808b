"""Live work on a link that gets bad: it ends by itself, the aids get their base back, and what was tried goes on as a
package, because the fitter sends it as one. Nothing becomes a package by itself.

Read ``bad_link`` first.
"""

import asyncio
from typing import Final

from msgspec import UNSET

from clients.demo.changes import program_of
from clients.demo.delivering import (
    WAIT_S,
    Chosen,
    DemoFailed,
    apply,
    base_of,
    choose,
    digest_of,
    digests_in,
    head_of,
    lease,
    submit,
    until_head_is,
)
from clients.demo.sound import TOLERANCE_DB, Heard, expected_db, measure, worst_error_db
from clients.demo.stage import DEVICE, Stage
from clients.fitter import Change
from protocol.contract.base import Failure
from protocol.contract.fitting import Content, SubmitAnswer
from protocol.contract.packages import PackageAnswered
from protocol.contract.sessions import ModeChanged

__all__ = ["bad_link", "check_sound", "installed"]

# Each way; a round trip of 1.5 s is too slow for live work.
_DELAY_S: Final = 0.8


async def bad_link(stage: Stage) -> Content:
    """Try something live, make the link slow, see everything given back, and send what was lost as a package."""
    _, base = base_of(await lease(stage))
    held, heard = digests_in(stage, "nvm"), len(stage.news.news)
    chosen = await choose(stage, -20, -30, 20, where=" on a link that gets bad")
    await apply(stage, chosen.change, chosen.wanted, chosen.name)
    stage.checks.expect("something is tried that nobody has saved", digests_in(stage, "ram") != held)
    stage.cable.delay_s = _DELAY_S
    stage.printer.tell(
        "link_slow", f"the phone's link is slow now: {2 * _DELAY_S:g} s there and back", roundTripS=2 * _DELAY_S
    )
    ended = await _ended(stage, heard)
    await until_head_is(stage, base)
    ram = digests_in(stage, "ram")
    stage.checks.expect("on a slow link every aid gets back what was saved", ram == held, str(ram))
    await check_sound(stage, base, "what was saved")
    stage.printer.tell("fell_back", "every aid was read to hold what was saved, and sounds like it")
    stage.cable.delay_s = 0.0
    return await _sent_as_package(stage, chosen, ended)


async def _ended(stage: Stage, heard: int) -> ModeChanged:
    """Wait until the fitter is told that live work is over, and why."""
    async with asyncio.timeout(WAIT_S):
        ended = await stage.news.first(ModeChanged, heard, lambda mode: mode.state == "none")
    stage.printer.tell(
        "session_ended",
        f"live work has ended by itself: {ended.reason}; the device is in {ended.mode} mode, what was tried is a draft",
        reason=ended.reason,
        mode=ended.mode,
    )
    stage.checks.expect("live work ends by the slow link", ended.reason == "link_slow", ended.reason)
    stage.checks.expect("the device is in standard mode then", ended.mode == "standard", ended.mode)
    return ended


async def _sent_as_package(stage: Stage, chosen: Chosen, ended: ModeChanged) -> Content:
    if not isinstance(ended.draft, str):
        raise DemoFailed("the fitter was told of no draft")
    draft = await stage.fitter.revision(DEVICE, ended.draft)
    if isinstance(draft, Failure):
        raise DemoFailed(f"no draft: {draft.error.message}")
    stage.checks.expect("the draft is what was tried", draft.content == chosen.wanted)
    base, _ = await head_of(stage)
    name = "the draft as a package"
    accepted = await submit(stage, Change(DEVICE, 0, base, name, revision=ended.draft, package=True), name)
    await installed(stage, accepted, chosen.wanted, name)
    await _asked_about(stage, accepted)
    return chosen.wanted


async def installed(stage: Stage, accepted: SubmitAnswer, wanted: Content, name: str) -> Heard:
    """Wait until the wearer has installed it, and NVM of every aid holds it; what is heard then. Raises DemoFailed."""
    state = await stage.fitter.wait_until(DEVICE, accepted, timeout_s=2 * WAIT_S)
    if state != "active":
        raise DemoFailed(f"{name} ended as {state}")
    nvm = digests_in(stage, "nvm")
    expected = {ear: digest_of(accepted.digests, ear) for ear in stage.ears}
    stage.checks.expect(f"{name}: NVM of every aid holds it", nvm == expected, str(nvm))
    stage.checks.expect(f"{name}: so does RAM", digests_in(stage, "ram") == expected)
    stage.printer.tell(
        "installed",
        f"{name}: its wearer has tapped Install, {state} by reading NVM of every aid back",
        name=name,
        seq=accepted.seq,
        nvm=nvm,
    )
    return await check_sound(stage, wanted, name)


async def check_sound(stage: Stage, wanted: Content, name: str) -> Heard:
    """Every ear hears what ``wanted`` says. What it hears."""
    heard = await measure(stage.pair)
    for ear in stage.ears:
        error_db = worst_error_db(heard[ear], expected_db(program_of(wanted, ear)))
        stage.checks.expect(f"the {ear} ear hears {name}", error_db <= TOLERANCE_DB, f"{error_db:.2f} dB off")
    return heard


async def _asked_about(stage: Stage, accepted: SubmitAnswer) -> None:
    """After a while the wearer is asked, and the fitter hears the answer."""
    async with asyncio.timeout(WAIT_S):
        answered = await stage.news.first(PackageAnswered, 0, lambda said: said.seq == accepted.seq)
    rating = None if answered.rating is UNSET else answered.rating
    stage.checks.expect("the wearer was asked whether to keep it", answered.keep, str(answered))
    stage.printer.tell(
        "kept",
        f"its wearer was asked, and keeps it: {rating} of 5",
        keep=answered.keep,
        rating=rating,
        seq=answered.seq,
    )
