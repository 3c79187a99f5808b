"""From a message to a hub method and back: binding, the policy check, the call, the completion.

The error texts are Microsoft's, word for word, because clients show and match them. Nothing of an unexpected
exception reaches a client. Knows no socket: it is given a session that sends. Read ``Dispatcher.receive`` first.
"""

import asyncio
from collections.abc import Mapping
from typing import Any, Final, Protocol

from msgspec import Raw
from protocol.signalr.codec import CODECS, Codec

from protocol.errors import BadArgument, HubError, NotAllowed
from protocol.signalr.messages import Completion, Invocation, Message, StreamInvocation

from .auth import Principal
from .hub import Caller, Endpoint, Hub, HubException, Lane, endpoints_of
from .log import LogBook
from .metrics import Metrics
from .policy import Grants, authorize, relations_of
from .turns import Turn, TurnQueue

__all__ = ["DispatchSession", "Dispatcher"]


FIELDS: Final = {name: codec.binder(dict[str, Raw]) for name, codec in CODECS.items()}


class DispatchSession(Protocol):
    """What the dispatcher needs of a connection."""

    @property
    def codec(self) -> Codec: ...
    @property
    def principal(self) -> Principal: ...
    @property
    def caller(self) -> Caller: ...
    @property
    def connection_id(self) -> str: ...
    def turns(self, lane: Lane) -> TurnQueue: ...
    def complete(self, completion: Completion) -> None: ...
    def resolve(self, completion: Completion) -> None: ...


class Dispatcher:
    """Serves the methods of one hub to all its connections."""

    def __init__(self, hub: Hub, *, grants: Grants, log: LogBook, metrics: Metrics) -> None:
        """Raises IncompletePolicy when a method of the hub has no rule."""
        self._hub = hub
        self._grants = grants
        self._log = log
        self._metrics = metrics
        self._endpoints: Mapping[str, Endpoint] = endpoints_of(hub)
        self._counts = {
            (endpoint.name, outcome): metrics.invocations.labels(hub.name, endpoint.name, outcome)
            for endpoint in self._endpoints.values()
            for outcome in ("ok", "error", "crash")
        }
        self._unknown = metrics.invocations.labels(hub.name, "(unknown)", "error")

    def receive(self, session: DispatchSession, message: Message) -> None:
        """Handle one message of an open connection; never waits and never raises."""
        if isinstance(message, Invocation):
            self._invoke(session, message)
        elif isinstance(message, Completion):
            session.resolve(message)
        elif isinstance(message, StreamInvocation):
            self._refuse_stream(session, message)
        # Items and cancels of streams that do not exist are ignored, as Microsoft's server does.

    def _invoke(self, session: DispatchSession, message: Invocation) -> None:
        endpoint = self._endpoints.get(message.target.lower())
        if endpoint is None:
            self._unknown.inc()
            _fail(session, message, _failed(message.target, "HubException: Method does not exist."))
            return
        turns = session.turns(endpoint.lane)
        if endpoint.runs_inline and turns.idle:
            self._run_inline(session, endpoint, message)
        else:
            turns.submit(lambda turn: self._run(session, endpoint, message, turn))

    def _run_inline(self, session: DispatchSession, endpoint: Endpoint, message: Invocation) -> None:
        try:
            arguments = self._bind(session, endpoint, message)
            if not relations_of(endpoint.rule, session.principal):
                raise NotAllowed("not allowed")
            result = endpoint.call(session.caller, *arguments)
        except Exception as error:  # noqa: BLE001  # the boundary of a call: nothing of it may end the connection
            self._failed(session, endpoint, message, error)
        else:
            self._succeeded(session, endpoint, message, result)

    async def _run(self, session: DispatchSession, endpoint: Endpoint, message: Invocation, turn: Turn) -> None:
        try:
            arguments = self._bind(session, endpoint, message)
            object_id = endpoint.object_of(arguments[0]) if endpoint.object_of is not None else ""
            await authorize(endpoint.rule, session.principal, object_id, self._grants)
            result = endpoint.call(session.caller.in_turn(turn), *arguments)
            if endpoint.is_async:
                result = await result
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001  # the boundary of a call: nothing of it may end the connection
            self._failed(session, endpoint, message, error)
        else:
            self._succeeded(session, endpoint, message, result)

    def _bind(self, session: DispatchSession, endpoint: Endpoint, message: Invocation) -> list[Any]:
        given: tuple[Any, ...] = message.arguments
        name = session.codec.name
        binders = endpoint.binders[name]
        if len(given) != len(binders) and (endpoint.rest is None or len(given) < len(binders)):
            raise BadArgument(f"{len(binders)} arguments expected, {len(given)} given")
        bound = [bind(raw) for bind, raw in zip(binders, given, strict=False)]
        if endpoint.rest is not None:
            bind_rest = endpoint.rest[name]
            bound += [bind_rest(raw) for raw in given[len(binders) :]]
        self._count_unknown_fields(session.codec, endpoint, given)
        return bound

    def _count_unknown_fields(self, codec: Codec, endpoint: Endpoint, given: tuple[Any, ...]) -> None:
        """A newer client may say more than we know: never refused, but never unnoticed either."""
        for raw, known in zip(given, endpoint.fields, strict=False):
            if known is not None:
                unknown = FIELDS[codec.name](raw).keys() - known
                if unknown:
                    self._metrics.unknown_fields.inc(len(unknown))

    def _succeeded(self, session: DispatchSession, endpoint: Endpoint, message: Invocation, result: object) -> None:
        self._counts[endpoint.name, "ok"].inc()
        if message.invocation_id:
            session.complete(Completion(invocation_id=message.invocation_id, result=result))

    def _failed(self, session: DispatchSession, endpoint: Endpoint, message: Invocation, error: Exception) -> None:
        crashed = not isinstance(error, HubError)
        self._counts[endpoint.name, "crash" if crashed else "error"].inc()
        if crashed:
            self._log.call_crashed(
                connection=session.connection_id, hub=self._hub.name, method=endpoint.name, error=error
            )
        _fail(session, message, self._error_text(message.target, error))

    def _error_text(self, method: str, error: Exception) -> str:
        if isinstance(error, NotAllowed):
            return f"Failed to invoke '{method}' because user is unauthorized"
        if isinstance(error, BadArgument):
            detail = f"HubException: [{error.code}] {error.public_message}"
            return _failed(method, detail if self._hub.explains_arguments else "")
        text = f"An unexpected error occurred invoking '{method}' on the server."
        if isinstance(error, HubException):
            return f"{text} HubException: {error.public_message}"
        if isinstance(error, HubError):
            return f"{text} HubException: [{error.code}] {error.public_message}"
        return text

    def _refuse_stream(self, session: DispatchSession, message: StreamInvocation) -> None:
        endpoint = self._endpoints.get(message.target.lower())
        if endpoint is None:
            self._unknown.inc()
            text = _failed(message.target, "HubException: Method does not exist.")
        else:
            text = (
                f"The client attempted to invoke the non-streaming '{message.target}' method "
                "with a streaming invocation."
            )
        session.complete(Completion(invocation_id=message.invocation_id, error=text))


def _failed(method: str, detail: str) -> str:
    return f"Failed to invoke '{method}' due to an error on the server. {detail}".rstrip()


def _fail(session: DispatchSession, message: Invocation, error: str) -> None:
    if message.invocation_id:
        session.complete(Completion(invocation_id=message.invocation_id, error=error))
