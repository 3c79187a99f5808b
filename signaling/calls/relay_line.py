"""What the connections of this pod say to the peer of the server that passes a call's media on, on whichever pod it is.

A word is a question over the bus, answered or not, so that whoever speaks knows whether it was heard; what one
connection says is said in order, because its next call waits for this one. Descriptions are in no log. Knows no peer
connection; who has them is ``host``. Read ``RelayLine.say`` first.
"""

from collections.abc import Awaitable, Callable
from typing import Final, Literal

import msgspec

from media.call import Call
from protocol.contract.base import Refusal
from signaling.backplane import Backplane
from signaling.pods.asks import Asker, PodAsks
from signaling.tasks import TaskSet

__all__ = ["RelayLine", "RelaySaid", "RelayWord"]

_AWAY: Final = Refusal(
    code="relay_away", message="the server that passes media on does not answer, try again", retryable=True
)
_NOBODY: Final = Asker("", 0)


class RelayWord(msgspec.Struct, frozen=True, array_like=True):
    """Something that participant ``peer`` says with ``connection``. ``look``: nobody speaks, but the call has changed.

    ``text`` is a description or a candidate. ``may_talk``: what he sends is passed on.
    """

    kind: Literal["offer", "restart", "candidate", "look"]
    visit: str
    call_id: str
    peer: int = 0
    connection: str = ""
    text: str = ""
    may_talk: bool = False
    mid: str | None = None
    line: int | None = None
    asker: Asker = _NOBODY


class RelaySaid(msgspec.Struct, frozen=True, array_like=True):
    """What came of it: ``code`` and ``message`` of a refusal, empty for none."""

    code: str = ""
    message: str = ""


Host = Callable[[RelayWord], Awaitable[RelaySaid]]


class RelayLine:
    """The line of one pod; ``asks`` is None where there is one pod. ``timeout_s``: how long an answer may take."""

    def __init__(
        self,
        pod: str,
        backplane: Backplane,
        asks: PodAsks | None,
        *,
        tasks: TaskSet,
        timeout_s: float,
        reached: Callable[[str], None],
    ) -> None:
        self.pod = pod
        self._backplane = backplane
        self._asks = asks
        self._tasks = tasks
        self._timeout_s = timeout_s
        self._reached = reached
        self._host: Host | None = None

    def serve(self, host: Host) -> None:
        """Have ``host`` hear what is said to this pod."""
        self._host = host
        self._backplane.subscribe(_channel(self.pod), self._heard)

    async def say(self, pod: str, word: RelayWord) -> Refusal | None:
        """Say something to the pod that passes media on; why it was not taken."""
        if pod == self.pod:
            said = None if self._host is None else await self._host(word)
        else:
            said = await self._ask(pod, word)
        if said is None:
            return _AWAY
        return Refusal(code=said.code, message=said.message, retryable=said.code == "relay_busy") if said.code else None

    def changed(self, before: Call | None, after: Call) -> None:
        """A call was changed here: who passes its media on looks at it at once, if it hears this."""
        pod = after.relay or ("" if before is None else before.relay)
        if not pod:
            return
        word = RelayWord("look", after.visit, after.call_id)
        if pod != self.pod:
            self._backplane.publish(_channel(pod), lambda: msgspec.msgpack.encode(word))
        elif self._host is not None:
            self._tasks.spawn(self._look(self._host, word))

    async def _ask(self, pod: str, word: RelayWord) -> RelaySaid | None:
        if self._asks is None:
            return None

        def question(asker: Asker) -> bytes:
            return msgspec.msgpack.encode(msgspec.structs.replace(word, asker=asker))

        answer = await self._asks.put(_channel(pod), question, timeout_s=self._timeout_s)
        if answer is None:
            self._reached("relay_answer_s")
            return None
        return msgspec.msgpack.decode(answer, type=RelaySaid)

    def _heard(self, payload: bytes) -> None:
        if self._host is not None:
            word = msgspec.msgpack.decode(payload, type=RelayWord)
            work = self._look if word.kind == "look" else self._answer
            self._tasks.spawn(work(self._host, word))

    async def _look(self, host: Host, word: RelayWord) -> None:
        await host(word)

    async def _answer(self, host: Host, word: RelayWord) -> None:
        said = await host(word)
        if self._asks is not None:
            self._asks.answer(word.asker, msgspec.msgpack.encode(said))


def _channel(pod: str) -> str:
    return f"relay:{pod}"
