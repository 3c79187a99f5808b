"""What happens on the way between a client and the server. Each function says whether the fault has landed."""

import asyncio
from contextlib import nullcontext

from tests.chaos.profile import Fault
from tests.chaos.proxy import Proxy
from tests.chaos.stage import Stage
from tests.chaos.waiting import LANDS_S, holds_within

__all__ = [
    "black_hole",
    "cut_byte",
    "cut_frame",
    "deaf",
    "delay",
    "fin",
    "half_open",
    "mirror",
    "mute",
    "rate",
    "reset",
]

DELAY_S = 0.05
RATE_BYTES_S = 2_000


def _link(stage: Stage, fault: Fault) -> Proxy:
    return stage.proxies[fault.lane]


async def cut_frame(stage: Stage, fault: Fault) -> bool:
    """Between two WebSocket frames."""
    link, count = _link(stage, fault), int(fault.value)
    cuts = link.cuts
    link.cut_after_frames(count)
    return await _is_cut(stage, fault, link, cuts)


async def cut_byte(stage: Stage, fault: Fault) -> bool:
    """Anywhere, in the middle of a frame most of the time."""
    link, count = _link(stage, fault), int(fault.value)
    cuts = link.cuts
    link.cut_after_bytes(count)
    return await _is_cut(stage, fault, link, cuts)


async def _is_cut(stage: Stage, fault: Fault, link: Proxy, cuts: int) -> bool:
    """Wait for it while they talk; a phone is given something to do meanwhile. What is missed does not happen later."""
    phone = stage.phones.get(fault.lane)
    with nullcontext() if phone is None else stage.tally.wishes.open(phone.name):
        landed = await holds_within(LANDS_S, lambda: link.cuts > cuts)
    link.cut_no_more()
    return landed


async def reset(stage: Stage, fault: Fault) -> bool:
    """RST on both sides."""
    link = _link(stage, fault)
    if not await _is_connected(link):
        return False
    accepted = link.accepted
    link.reset()
    return await holds_within(LANDS_S, lambda: link.accepted > accepted)


async def fin(stage: Stage, fault: Fault) -> bool:
    """FIN on both sides, with no word of the protocol before."""
    link = _link(stage, fault)
    if not await _is_connected(link):
        return False
    accepted = link.accepted
    link.finish()
    return await holds_within(LANDS_S, lambda: link.accepted > accepted)


async def half_open(stage: Stage, fault: Fault) -> bool:
    """The client is cut off and comes back while the server still believes in its old connection."""
    link = _link(stage, fault)
    if not await _is_connected(link):
        return False
    link.half_open()
    await asyncio.sleep(fault.length_s)
    link.heal()
    return True


async def black_hole(stage: Stage, fault: Fault) -> bool:
    """Nothing arrives any more, and nobody is told."""
    link = _link(stage, fault)
    landed = await _is_connected(link)
    link.black_hole()
    await asyncio.sleep(fault.length_s)
    link.heal()
    return landed


async def deaf(stage: Stage, fault: Fault) -> bool:
    """What the server says does not arrive; what the client says does."""
    link = _link(stage, fault)
    landed = await _is_connected(link)
    link.black_hole(of_client=False)
    await asyncio.sleep(fault.length_s)
    link.heal()
    return landed


async def mute(stage: Stage, fault: Fault) -> bool:
    """The other way round."""
    link = _link(stage, fault)
    landed = await _is_connected(link)
    link.black_hole(of_server=False)
    await asyncio.sleep(fault.length_s)
    link.heal()
    return landed


async def rate(stage: Stage, fault: Fault) -> bool:
    """Everything trickles."""
    link = _link(stage, fault)
    link.rate_bytes_s = RATE_BYTES_S
    await asyncio.sleep(fault.length_s)
    link.rate_bytes_s = 0
    return True


async def delay(stage: Stage, fault: Fault) -> bool:
    """Everything is late."""
    link = _link(stage, fault)
    link.delay_s = DELAY_S
    await asyncio.sleep(fault.length_s)
    link.delay_s = 0.0
    return True


async def mirror(stage: Stage, fault: Fault) -> bool:
    """The next connection reaches the server twice, byte for byte."""
    link = _link(stage, fault)
    accepted = link.accepted
    link.mirrors = True
    link.reset()
    landed = await holds_within(LANDS_S, lambda: link.accepted > accepted)
    link.mirrors = False
    return landed


async def _is_connected(link: Proxy) -> bool:
    return await holds_within(LANDS_S, lambda: link.connected)
