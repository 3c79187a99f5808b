"""The middle of the script: what was tried is saved, taken back, and not kept by one of the aids.

A save is for both ears or for neither, and an end that is not the good one is told as what it is. Read ``saved`` first.
"""

from dataclasses import replace
from typing import Final

from msgspec import UNSET

from clients.demo.changes import program_of
from clients.demo.delivering import (
    WAIT_S,
    DemoFailed,
    apply,
    base_of,
    choose,
    digests_in,
    lease,
    until_head_is,
)
from clients.demo.sound import TOLERANCE_DB, expected_db, measure, worst_error_db
from clients.demo.stage import DEVICE, Asked, Stage
from protocol.contract.base import Ear, Failure
from protocol.contract.devices import DeliveryState
from protocol.contract.fitting import Content, SubmitAnswer
from protocol.contract.sessions import Relayed

__all__ = ["not_kept", "reverted", "saved"]

# More often than the phone tries it.
_NEVER_KEPT: Final = 1_000


async def saved(stage: Stage) -> Content:
    """Both aids keep what they hold in RAM; what the session began with is this from now on."""
    content, state, answer = await _save(stage, "saved")
    if state != "active":
        raise DemoFailed(f"the save ended as {state}")
    ram, nvm = digests_in(stage, "ram"), digests_in(stage, "nvm")
    stage.checks.expect("what was tried is in NVM of every aid", nvm == ram, str(nvm))
    wanted = {ear: getattr(answer.digests, ear) for ear in stage.ears}
    stage.checks.expect("what is in NVM is what was saved", nvm == wanted, str(nvm))
    stage.printer.tell("saved", "saved: active by reading NVM of every aid back", seq=answer.seq)
    return content


async def reverted(stage: Stage, base: Content) -> None:
    """Try something, do not like it, and have both aids hold what was saved, which is heard."""
    chosen = await choose(stage, 20, -30, -20, where=" to be taken back")
    before, heard_before = digests_in(stage, "ram"), await measure(stage.pair)
    await apply(stage, chosen.change, chosen.wanted, chosen.name)
    stage.checks.expect("what is to be taken back is in the aids", digests_in(stage, "ram") != before)
    answer = await stage.fitter.revert(DEVICE, chosen.change.fence)
    stage.checks.expect("a phone was there to hear the revert", answer == Relayed(relayed=True), str(answer))
    await until_head_is(stage, base)
    held = digests_in(stage, "ram")
    stage.checks.expect("after a revert every aid holds what was saved", held == before, str(held))
    heard = await measure(stage.pair)
    for ear in stage.ears:
        error_db = worst_error_db(heard[ear], expected_db(program_of(base, ear)))
        stage.checks.expect(f"the {ear} ear hears the revert", error_db <= TOLERANCE_DB, f"{error_db:.2f} dB off")
        change_db = worst_error_db(heard[ear], heard_before[ear])
        stage.checks.expect(f"the {ear} ear hears what it heard before", change_db <= TOLERANCE_DB, f"{change_db:.2f}")
    stage.printer.tell("reverted", "reverted: every aid was read to hold what was saved, and sounds like it")


async def not_kept(stage: Stage, base: Content) -> None:
    """One aid does not keep what it is given: then the other does not either, and the end says so."""
    chosen = await choose(stage, 20, -30, -20, where=" that one aid will not keep")
    kept = digests_in(stage, "nvm")
    await apply(stage, chosen.change, chosen.wanted, chosen.name)
    bad = stage.ears[-1]
    aid = stage.pair.aid(bad)
    usual, aid.faults = aid.faults, replace(aid.faults, nvm_failures=_NEVER_KEPT)
    _, state, answer = await _save(stage, "a save that one aid does not keep")
    aid.faults = usual
    _check_not_kept(stage, answer, state, bad)
    nvm = digests_in(stage, "nvm")
    stage.checks.expect("no aid keeps what one of them could not keep", nvm == kept, str(nvm))
    differ = len({nvm[ear] == kept[ear] for ear in stage.ears}) > 1
    stage.checks.expect("ears that differ raise an alarm", not differ or "split" in stage.news.alarms)
    answered = await stage.fitter.revert(DEVICE, chosen.change.fence)
    stage.checks.expect("a phone was there to hear the second revert", answered == Relayed(relayed=True), str(answered))
    await until_head_is(stage, base)
    ram = digests_in(stage, "ram")
    stage.checks.expect("then every aid holds what was saved before", ram == digests_in(stage, "nvm") == kept, str(ram))


def _check_not_kept(stage: Stage, answer: SubmitAnswer, state: DeliveryState, bad: Ear) -> None:
    codes = {ear: stage.news.code_of(answer.seq, ear) for ear in stage.ears}
    told = ", ".join(f"{ear} {code}" for ear, code in codes.items())
    stage.printer.tell(
        "not_kept",
        f"the {bad} aid does not keep it: {state} on both ears ({told})",
        seq=answer.seq,
        state=state,
        codes=codes,
    )
    stage.checks.expect("a save that one aid does not keep ends as rolled back", state == "rolled_back", state)
    expected = {ear: "E_NVM" if ear == bad else "E_PARTIAL" for ear in stage.ears}
    stage.checks.expect("the end names the ear that did not keep it", codes == expected, told)


async def _save(stage: Stage, name: str) -> tuple[Content, DeliveryState, SubmitAnswer]:
    granted = await lease(stage)
    _, content = base_of(granted)
    if granted.head is UNSET:
        raise DemoFailed("there is nothing to save")
    answer = await stage.fitter.save(DEVICE, granted.fence, granted.head.digests, name)
    if isinstance(answer, Failure):
        raise DemoFailed(f"{name} was refused: {answer.error.message}")
    stage.asked.append(Asked(name, answer.revision_id))
    stage.printer.tell("accepted", f"{name}: accepted as change {answer.seq}", name=name, seq=answer.seq)
    return content, await stage.fitter.wait_until(DEVICE, answer, timeout_s=2 * WAIT_S), answer
