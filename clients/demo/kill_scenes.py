"""The hard part of the script: the server is killed in the middle of a change, and then the phone.

SIGKILL, so that nobody has time to finish anything. The server starts again on its data folder, the phone on its
journal, and each change is in the aids as a whole and once, or not at all. Read ``killed_server`` first, then
``killed_phone``.
"""

import asyncio
from contextlib import aclosing
from dataclasses import replace
from typing import Final

import msgspec
from msgspec import UNSET

from clients.demo.delivering import WAIT_S, Chosen, DemoFailed, check_aids, choose, confirmed, digest_of, submit
from clients.demo.phone_process import PhoneProcess
from clients.demo.stage import DEVICE, JOURNAL, LINK_TIME, MODEL, Stage, serial_of
from clients.virtual_aid.store import StoredMemory
from fitting.capability import SHEETS
from fitting.digest import content_digests
from protocol.contract.fitting import Content, SubmitAnswer
from protocol.contract.history import HistoryEvent

__all__ = ["killed_phone", "killed_server"]

# The write that a kill falls into takes so many times longer, so that there is a middle of it on a busy machine too.
_SLOW: Final = 8.0
_START_S: Final = 30.0


async def killed_server(stage: Stage) -> Content:
    """Kill the server while an aid is being written, start it again, and find everything as it was, and going on."""
    chosen = await choose(stage, 20, -30, -20, where=" with the server killed")
    record, fence = await _record(stage), chosen.change.fence
    last = stage.pair.aid(stage.ears[-1])
    usual, last.faults = last.faults, replace(last.faults, slow_link=_SLOW)
    writes = {ear: stage.pair.aid(ear).writes_completed for ear in stage.ears}
    answer = await submit(stage, chosen.change, chosen.name)
    async with asyncio.timeout(WAIT_S):
        await stage.news.wait_for(answer.seq, last.ear, "writing")
    await stage.server.kill()
    stage.checks.expect("the server is killed in the middle of the change", last.writes_completed == writes[last.ear])
    stage.printer.tell("server_killed", f"the server is killed while the {last.ear} aid is being written")
    await stage.server.start_again()
    last.faults = usual
    stage.printer.tell("server_back", "the server is back on the same data; both clients come back by themselves")
    async with asyncio.timeout(_START_S):
        await confirmed(stage, answer, chosen.name)
    await check_aids(stage, answer, chosen.wanted, chosen.name, writes)
    stage.checks.expect("the fitter holds the device under the same fence", stage.fitter.fence_of(DEVICE) == fence)
    after = await _record(stage)
    stage.checks.expect("the record begins with all that it had before", after[: len(record)] == record)
    numbers = [event.n for event in after]
    stage.checks.expect("the record has no gap", numbers == list(range(1, len(after) + 1)), str(numbers[-5:]))
    return chosen.wanted


async def killed_phone(stage: Stage) -> Content:
    """Have another phone process take over, kill it while it writes, start it again, and see the change there once."""
    chosen = await choose(stage, 20, -30, -20, where=" with the phone killed")
    await stage.hand_over()
    async with PhoneProcess(_words(stage), stage.phone_folder / "phone.log") as phone:
        answer = await submit(stage, chosen.change, chosen.name)
        await _kill(stage, phone, answer)
        await phone.start()
        state = await stage.fitter.wait_until(DEVICE, answer, timeout_s=_START_S)
    stage.printer.tell(
        "phone_back",
        f"the phone starts again on its journal: {state}",
        seq=answer.seq,
        state=state,
    )
    stage.look_at_aids()
    return _check_after_death(stage, chosen, state)


async def _kill(stage: Stage, phone: PhoneProcess, answer: SubmitAnswer) -> None:
    last = stage.ears[-1]
    async with asyncio.timeout(_START_S):
        await stage.news.wait_for(answer.seq, last, "writing")
    if not await phone.kill():
        raise DemoFailed("the phone that was to be killed has ended by itself")
    stage.printer.tell("phone_killed", f"the phone is killed while it writes the {last} aid", ear=last, seq=answer.seq)
    ram = msgspec.json.decode((stage.phone_folder / f"{last}.ram.json").read_bytes(), type=StoredMemory)
    wanted = ram.digest == digest_of(answer.digests, last)
    stage.checks.expect("the phone is killed in the middle of the write", not wanted, f"chunk {ram.chunk}")


def _check_after_death(stage: Stage, chosen: Chosen, state: str) -> Content:
    outcomes = {"confirmed": chosen.wanted, "rolled_back": chosen.before}
    stage.checks.expect("a killed phone comes to an honest end", state in outcomes, state)
    content = outcomes.get(state, chosen.before)
    expected = content_digests(content)
    for ear in stage.ears:
        held = stage.pair.aid(ear).read_digest("ram")
        stage.checks.expect(f"the {ear} aid holds what the end says", held == digest_of(expected, ear), held)
    return content


async def _record(stage: Stage) -> list[HistoryEvent]:
    """Every recorded event of the device, up to the newest that the fitter has heard of."""
    newest = max(new.n for new in stage.news.events if new.n is not UNSET)
    events: list[HistoryEvent] = []
    async with asyncio.timeout(WAIT_S), aclosing(stage.fitter.watch(DEVICE)) as watched:
        async for event in watched:
            events.append(event)
            if event.n >= newest:
                return events
    return events


def _words(stage: Stage) -> list[str]:
    folder = stage.phone_folder
    serials = [word for ear in stage.ears for word in (f"--{ear}", serial_of(ear))]
    where = ["--url", stage.server.url, "--token", stage.phone_token, "--device", DEVICE]
    write_ms = SHEETS[MODEL].write_trial_ms * LINK_TIME * _SLOW
    kept = ["--journal", str(folder / JOURNAL), "--aids", str(folder), "--write-ms", str(round(write_ms))]
    spoken = ("--protocol", stage.options.protocol, "--transport", stage.options.phone_transport)
    return [*where, *spoken, *serials, *kept]
