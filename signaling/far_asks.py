"""Questions to clients that hang on other pods: asked over the bus, and answered as if the client were here.

A pod that has the client says so at once, so that nobody waits long for one that is nowhere; then the client has the
same time, and owes as many answers at most, as for a question of its own pod. Must not know hubs nor groups. Read
``FarAsks.ask`` first.
"""

from collections.abc import Callable
from typing import Final

import msgspec
from msgspec import Raw

from protocol.errors import HubError, HubException, Overloaded, Unavailable
from protocol.signalr.codec import CODECS, Codec

from .outbound import ClientLink, invocation_of_another_pod
from .pods.asks import Asker, PodAsks
from .tasks import TaskSet

__all__ = ["Askers", "FarAsks"]

Askers = tuple[Asker, Asker]
"""Who waits to hear that the client is there, and for what it says."""

# Any other error of a question is one of the way there.
_ERRORS: Final[dict[str, type[HubError]]] = {HubException.code: HubException, Overloaded.code: Overloaded}


class _Outcome(msgspec.Struct, frozen=True, array_like=True):
    """``value`` in ``format``, or the code and the text of an error."""

    format: str
    value: bytes
    code: str = ""
    text: str = ""


_decode = msgspec.msgpack.Decoder(_Outcome).decode


class FarAsks:
    """``taken_s``: how long a pod may take to say that the client is there. ``timeout_s``: what a client has."""

    def __init__(self, asks: PodAsks, tasks: TaskSet, *, taken_s: float, timeout_s: float) -> None:
        self._asks = asks
        self._tasks = tasks
        self._taken_s = taken_s
        # The other pod says that it was too long.
        self._timeout_s = timeout_s + taken_s

    async def ask(self, channel: str, question: Callable[[Askers], bytes]) -> tuple[Raw, Codec]:
        """Put a question to the client that listens to a channel: its answer, and the format of that.

        Raises:
            HubException: the client answered with an error; its text.
            Unavailable: there is no such client, it ended, or no answer came in time.
            Overloaded: the client owes too many answers already.
        """
        found = await self._asks.put_twice(channel, question, taken_s=self._taken_s, timeout_s=self._timeout_s)
        if found is None:
            raise Unavailable("no such connection, or no answer")
        outcome = _decode(found)
        if outcome.code:
            raise _ERRORS.get(outcome.code, Unavailable)(outcome.text)
        return Raw(outcome.value), CODECS[outcome.format]

    def asked(self, link: ClientLink, frames: dict[str, bytes], askers: Askers) -> None:
        """Put the question of another pod to a client of this one."""
        self._tasks.spawn(self._answer(link, frames, askers))

    async def _answer(self, link: ClientLink, frames: dict[str, bytes], askers: Askers) -> None:
        taken, answered = askers
        self._asks.answer(taken, b"")
        try:
            message, source = invocation_of_another_pod(frames)
            value = await link.ask(message.target, message.arguments, source)
            outcome = _Outcome(link.codec.values, bytes(value))
        except HubError as error:
            outcome = _Outcome("", b"", error.code, error.public_message)
        self._asks.answer(answered, msgspec.msgpack.encode(outcome))
