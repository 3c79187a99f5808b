"""The second part of the script: the phone's connection is pulled while an aid is being written.

Nobody is told to reconnect; phone and server find together by themselves, and the change is there once.
Read ``pulled_cable`` first.
"""

import asyncio
from dataclasses import replace
from typing import Final

from clients.demo.delivering import check_aids, choose, confirmed, submit
from clients.demo.stage import Stage
from protocol.contract.base import Ear
from protocol.contract.fitting import Content

__all__ = ["pulled_cable"]

# The write that is cut off takes 0.6 s, so that there is a middle of it on a busy machine too.
_SLOW: Final = 6.0
_AWAY_S: Final = 0.8
_WAIT_S: Final = 10.0


async def pulled_cable(stage: Stage) -> Content:
    """Pull the cable when the last ear's write has begun; plug it in later; see one application of it."""
    chosen = await choose(stage, 20, where=" with the cable pulled")
    last = stage.pair.aid(stage.ears[-1])
    usual, last.faults = last.faults, replace(last.faults, slow_link=_SLOW)
    writes = {ear: stage.pair.aid(ear).writes_completed for ear in stage.ears}
    link = stage.phone_hub.connection_id
    answer = await submit(stage, chosen.change, chosen.name)
    await _pull(stage, answer.seq, writes)
    await asyncio.sleep(_AWAY_S)
    last.faults = usual
    stage.checks.expect("the phone is without a connection meanwhile", stage.phone_hub.connection_id == "")
    stage.cable.plug_in()
    async with asyncio.timeout(_WAIT_S):
        await stage.phone_hub.connected()
    stage.printer.tell("reconnected", "the phone is back by itself, on a new connection")
    stage.checks.expect("the phone has a new connection", stage.phone_hub.connection_id not in ("", link))
    await confirmed(stage, answer, chosen.name)
    await check_aids(stage, answer, chosen.wanted, chosen.name, writes)
    for ear in stage.ears:
        written = stage.pair.aid(ear).writes_completed - writes[ear]
        stage.printer.tell("written", f"the {ear} aid was written {written} time(s)", ear=ear, times=written)
    _check_news(stage, answer.seq)
    return chosen.wanted


async def _pull(stage: Stage, seq: int, writes: dict[Ear, int]) -> None:
    last = stage.ears[-1]
    async with asyncio.timeout(_WAIT_S):
        await stage.news.wait_for(seq, last, "writing")
    stage.cable.pull()
    done = {ear: stage.pair.aid(ear).writes_completed - writes[ear] for ear in stage.ears}
    stage.checks.expect("the cable is pulled in the middle of the change", done[last] == 0, str(done))
    stage.checks.expect("the other ear is written by then", all(done[ear] == 1 for ear in stage.ears[:-1]), str(done))
    stage.printer.tell(
        "cable_pulled", f"the phone's cable is pulled while the {last} aid is being written", ear=last, seq=seq
    )


def _check_news(stage: Stage, seq: int) -> None:
    """The record of this change has one end per ear and one for all, and nothing after it."""
    ends = [new.ear for new in stage.news.events if new.seq == seq and new.state == "confirmed"]
    stage.checks.expect("the record has one end per ear and one for all", len(ends) == len(stage.ears) + 1, str(ends))
