"""Questions to a client: an invocation with an id of ours, and the completion that answers it."""

import asyncio
from collections.abc import Callable

from msgspec import Raw

from protocol.errors import HubException, Overloaded, Unavailable
from protocol.signalr.codec import Codec
from protocol.signalr.messages import Completion, Invocation

__all__ = ["ClientResults"]


class ClientResults:
    """The questions that one client has not answered yet, at most ``limit``, each for ``timeout_s``.

    ``reached`` is told which of the two bounds was.
    """

    __slots__ = ("_last_id", "_limit", "_open", "_over", "_reached", "_timeout_s")

    def __init__(self, *, limit: int, timeout_s: float, reached: Callable[[str], None]) -> None:
        self._limit = limit
        self._timeout_s = timeout_s
        self._reached = reached
        self._open: dict[str, asyncio.Future[Raw]] = {}
        self._last_id = 0
        self._over = ""

    async def ask(self, send: Callable[[Invocation], None], target: str, arguments: tuple[object, ...]) -> Raw:
        """Send the question and wait for the answer. Raises as ``ClientLink.ask`` says."""
        if self._over:
            raise Unavailable(self._over)
        if len(self._open) >= self._limit:
            self._reached("max_pending_results")
            raise Overloaded("the client owes too many results")
        self._last_id += 1
        invocation_id = f"s{self._last_id}"
        answer: asyncio.Future[Raw] = asyncio.get_running_loop().create_future()
        self._open[invocation_id] = answer
        try:
            send(Invocation(target=target, arguments=arguments, invocation_id=invocation_id))
            async with asyncio.timeout(self._timeout_s):
                return await answer
        except TimeoutError:
            self._reached("client_result_timeout_s")
            raise Unavailable("the client did not answer in time") from None
        finally:
            del self._open[invocation_id]

    def resolve(self, completion: Completion, codec: Codec) -> None:
        """An answer came; answers to nothing are ignored."""
        answer = self._open.get(completion.invocation_id)
        if answer is None or answer.done():
            return
        if completion.error is not None:
            answer.set_exception(HubException(completion.error))
        else:
            result = completion.result
            answer.set_result(result if isinstance(result, Raw) else codec.encode_value(None))

    def fail_all(self, text: str) -> None:
        """The connection has ended: nobody will answer any more."""
        self._over = text
        for answer in self._open.values():
            if not answer.done():
                answer.set_exception(Unavailable(text))
