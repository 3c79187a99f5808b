"""What a client does with the calls of the server: find the handler, decode, run, answer if asked to.

One handler that fails must not end the link that carries everybody else's events, so this is the one place
of the client that catches everything. Knows no socket. Read ``Handlers.handle`` first.
"""

import inspect
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

from msgspec import Raw

from protocol.errors import AuricleError
from protocol.signalr.codec import Codec
from protocol.signalr.messages import Completion, Invocation, Message

__all__ = ["NO_RESULT", "Handler", "Handlers", "Listener"]

T = TypeVar("T")
Handler = Callable[[T], Awaitable[object] | object]
Listener = Callable[[], Awaitable[object] | object]
Send = Callable[[Message], Awaitable[None]]
NO_RESULT: Final = "Client didn't provide a result."
_LOG: Final = logging.getLogger("auricle.clients")


class Handlers:
    """The handlers of one client by target; names are matched without regard to case, as Microsoft's do."""

    def __init__(self, codec: Codec) -> None:
        self._codec = codec
        self._by_target: dict[str, tuple[Handler[Any], Callable[[Raw], Any]]] = {}
        self._aside: set[str] = set()
        self.failures = 0

    def on(self, target: str, handler: Handler[T], payload: type[T], *, aside: bool = False) -> None:
        """Register one handler; a second one of the same target is a ValueError."""
        if target.lower() in self._by_target:
            raise ValueError(f"{target} has a handler already")
        self._by_target[target.lower()] = (handler, self._codec.binder(payload))
        if aside:
            self._aside.add(target.lower())

    def is_aside(self, target: str) -> bool:
        """Whether that handler may take its time, with others running meanwhile."""
        return target.lower() in self._aside

    async def handle(self, call: Invocation, send: Send) -> None:
        """Run the handler of ``call``; when the server waits for a result, send its completion."""
        result, error = await self._run(call)
        if call.invocation_id is None:
            return
        if error is None and result is None:
            error = NO_RESULT
        completion = (
            Completion(invocation_id=call.invocation_id, result=result)
            if error is None
            else Completion(invocation_id=call.invocation_id, error=error)
        )
        try:
            await send(completion)
        except ConnectionError:
            _LOG.info("the link ended before %s was answered", call.target)

    async def listen(self, listener: Listener) -> None:
        """Run a listener of the application; one that fails is counted, as a handler is."""
        try:
            await called(listener)
        except Exception as error:  # noqa: BLE001  # the boundary of foreign code, see the module's head
            self._failed("a listener", error, "")

    async def _run(self, call: Invocation) -> tuple[object, str | None]:
        found = self._by_target.get(call.target.lower())
        if found is None:
            return None, NO_RESULT
        handler, decode = found
        try:
            if len(call.arguments) != 1:
                return None, f"{call.target} takes one argument"
            return await called(handler, decode(call.arguments[0])), None  # type: ignore[arg-type]  # decoders leave every value raw
        except AuricleError as error:
            return None, self._failed(call.target, error, f"[{error.code}] {error.public_message}")
        except Exception as error:  # noqa: BLE001  # the boundary of foreign code, see the module's head
            return None, self._failed(call.target, error, "the handler failed")

    def _failed(self, target: str, error: Exception, public: str) -> str:
        self.failures += 1
        # Only the class: a message may quote a payload, and a payload is somebody's hearing.
        _LOG.error("the handler of %s failed: %s", target, type(error).__name__)
        _LOG.debug("its traceback", exc_info=error)
        return public


async def called(handler: Callable[..., Awaitable[object] | object], *args: object) -> object:
    """The result of a plain or an async function."""
    result = handler(*args)
    return await result if inspect.isawaitable(result) else result
