"""One write per connection and turn of the loop, and a broadcast that leaves the loop to others in between."""

import asyncio
import time

import pytest

from protocol.signalr.connection import HubConnection, HubLimits
from signaling.outbox import AT_ONCE, Flusher, Outbox
from signaling.transport import NOWHERE, SessionTransport


class Wire:
    """A transport that remembers what was written, and may be broken."""

    def __init__(self, *, broken: bool = False) -> None:
        self.written: list[bytes] = []
        self._broken = broken

    name = "wire"
    inherent_keep_alive = False
    is_quiet = True
    waiting_bytes = 0

    def write(self, payload: bytes) -> None:
        if self._broken:
            raise RuntimeError("broken on purpose")
        self.written.append(payload)

    def use_binary(self) -> None: ...
    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...
    def tick(self, now: float) -> None: ...
    def close(self) -> None: ...
    def abort(self) -> None: ...


def outbox(flusher: Flusher, transport: SessionTransport = NOWHERE) -> Outbox:
    return Outbox(
        HubConnection(HubLimits(), now=0.0),
        transport,
        flusher=flusher,
        limit_bytes=1_000,
        monotonic=time.monotonic,
        on_overflow=lambda: None,
        on_full=lambda: None,
    )


async def test_what_one_turn_puts_leaves_in_one_write() -> None:
    flusher, wires = Flusher(), [Wire(), Wire()]
    boxes = [outbox(flusher, wire) for wire in wires]
    for frame in (b"a", b"b"):
        for box in boxes:
            box.put(frame)
    assert wires[0].written == []
    await asyncio.sleep(0)
    assert [wire.written for wire in wires] == [[b"ab"], [b"ab"]]


async def test_a_broadcast_leaves_the_loop_to_others_in_between() -> None:
    flusher, wires = Flusher(), [Wire() for _ in range(2 * AT_ONCE + 1)]
    for wire in wires:
        outbox(flusher, wire).put(b"x")
    reached = []
    for _ in range(3):
        await asyncio.sleep(0)
        reached.append(sum(len(wire.written) for wire in wires))
    assert reached == [AT_ONCE, 2 * AT_ONCE, 2 * AT_ONCE + 1]


async def test_one_that_fails_does_not_keep_the_others_waiting() -> None:
    flusher, good = Flusher(), Wire()
    failures: list[str] = []
    loop = asyncio.get_running_loop()
    before = loop.get_exception_handler()
    loop.set_exception_handler(lambda _, context: failures.append(str(context["exception"])))
    try:
        outbox(flusher, Wire(broken=True)).put(b"x")
        outbox(flusher, good).put(b"y")
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    finally:
        loop.set_exception_handler(before)
    assert (good.written, failures) == ([b"y"], ["broken on purpose"])


@pytest.mark.parametrize("frames", [1, 5])
async def test_what_is_held_leaves_with_the_release_and_needs_no_turn(frames: int) -> None:
    wire = Wire()
    box = outbox(Flusher(), wire)
    box.held = True
    for _ in range(frames):
        box.put(b"x")
    assert wire.written == []
    box.held = False
    box.flush()
    assert wire.written == [b"x" * frames]
