"""Questions from one pod to another over the bus: at most once, answered or not, and over after a time.

What must come about must not depend on an answer. An answer is as old as its question at most, whatever clocks say: who
asks dates it by when he asked. Read ``PodAsks.put`` first.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterator

import msgspec

from signaling.backplane import Backplane
from signaling.bus.in_time import have_come

__all__ = ["Asker", "PodAsks"]


class Asker(msgspec.Struct, frozen=True, array_like=True):
    """Who asked: a pod, and the number of its question."""

    pod: str
    number: int


class _Answer(msgspec.Struct, frozen=True, array_like=True):
    """``number`` 0: something said unasked."""

    number: int
    body: bytes


_decode = msgspec.msgpack.Decoder(_Answer).decode


class PodAsks:
    """The questions of one pod, at most ``max_open`` at a time; ``reached`` is told when there are so many.

    ``on_said`` is given what another pod says unasked.
    """

    def __init__(self, pod: str, backplane: Backplane, *, max_open: int, reached: Callable[[str], None]) -> None:
        self.pod = pod
        self._backplane = backplane
        self._max_open = max_open
        self._reached = reached
        self._open: dict[int, asyncio.Future[bytes]] = {}
        self._last = 0
        self.on_said: Callable[[bytes], None] = lambda _: None

    def open(self) -> None:
        """Begin to hear answers."""
        self._backplane.subscribe(_channel(self.pod), self._heard)

    def close(self) -> None:
        """Hear none any more."""
        self._backplane.unsubscribe(_channel(self.pod))

    async def put(self, channel: str, question: Callable[[Asker], bytes], *, timeout_s: float) -> bytes | None:
        """Put a question to whoever listens to the channel: the first answer, None when none came in time."""
        with self._expected() as expected:
            if expected is None:
                return None
            asker, answer = expected
            self._backplane.publish(channel, lambda: question(asker))
            return await _within(timeout_s, answer)

    async def put_twice(
        self, channel: str, question: Callable[[tuple[Asker, Asker]], bytes], *, taken_s: float, timeout_s: float
    ) -> bytes | None:
        """The same for an answer that takes its time: whoever will give it says so first, within ``taken_s``."""
        with self._expected() as expected:
            if expected is None:
                return None
            asker, answer = expected
            taken = await self.put(channel, lambda taker: question((taker, asker)), timeout_s=taken_s)
            return None if taken is None else await _within(timeout_s, answer)

    @contextlib.contextmanager
    def _expected(self) -> Iterator[tuple[Asker, asyncio.Future[bytes]] | None]:
        """One more answer is waited for; None: there are too many."""
        if len(self._open) >= self._max_open:
            self._reached("max_pod_asks")
            yield None
            return
        self._last += 1
        asker = Asker(self.pod, self._last)
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._open[asker.number] = answer
        try:
            yield asker, answer
        finally:
            del self._open[asker.number]

    def answer(self, asker: Asker, body: bytes) -> None:
        """Answer a question; one that nobody waits for any more is no error."""
        self._backplane.publish(_channel(asker.pod), lambda: msgspec.msgpack.encode(_Answer(asker.number, body)))

    def say(self, pod: str, body: bytes) -> None:
        """Tell a pod something that it has not asked."""
        self._backplane.publish(_channel(pod), lambda: msgspec.msgpack.encode(_Answer(0, body)))

    def _heard(self, payload: bytes) -> None:
        said = _decode(payload)
        if said.number == 0:
            self.on_said(said.body)
            return
        answer = self._open.get(said.number)
        if answer is not None and not answer.done():
            answer.set_result(said.body)


async def _within(timeout_s: float, answer: asyncio.Future[bytes]) -> bytes | None:
    return answer.result() if await have_come((answer,), timeout_s) else None


def _channel(pod: str) -> str:
    return f"pod:{pod}"
