"""From a message to a hub method and back: binding, the policy check, the call, the completion.

Nothing of an unexpected exception reaches a client. Knows no socket: it is given a session that sends. Streams are
in ``stream_calls``. Read ``Dispatcher.receive`` first.
"""

import asyncio
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from msgspec import Raw

from protocol.errors import HubError, NotAllowed
from protocol.signalr.codec import CODECS, Codec
from protocol.signalr.messages import CancelInvocation, Completion, Invocation, StreamInvocation, StreamItem

from . import call_errors
from .dispatch_session import DispatchSession
from .hub import Endpoint, Hub, endpoints_of
from .log import LogBook
from .metrics import Metrics
from .policy import Grants, authorize
from .stream_calls import StreamCalls, WrongStreams, fail
from .streams import RunningStream
from .tasks import is_cancelled
from .turns import Turn

__all__ = ["Dispatcher"]

FIELDS: Final = {name: codec.binder(dict[str, Raw]) for name, codec in CODECS.items()}


class Dispatcher:
    """Serves the methods of one hub to all its connections."""

    def __init__(
        self,
        hub: Hub,
        *,
        grants: Grants,
        grants_of: Mapping[str, Grants] = MappingProxyType({}),
        log: LogBook,
        metrics: Metrics,
        max_streams: int,
        upload_buffer_items: int,
    ) -> None:
        """``grants_of`` are those of objects that ``grants`` does not know, by the field of payloads that names them.

        Raises what ``endpoints_of`` raises.
        """
        self._hub = hub
        self._grants = grants
        self._grants_of = grants_of
        self._log = log
        self._metrics = metrics
        # Under their own names too: nearly all clients write them so.
        endpoints = endpoints_of(hub)
        self._endpoints: Mapping[str, Endpoint] = endpoints | {one.name: one for one in endpoints.values()}
        self._streams = StreamCalls(self, max_streams=max_streams, upload_buffer_items=upload_buffer_items)
        self._counts = {
            (endpoint.name, outcome): metrics.calls.of(hub.name, endpoint.name, outcome)
            for endpoint in self._endpoints.values()
            for outcome in ("error", "crash")
        }
        self._ok = {name: metrics.calls.of(hub.name, name, "ok") for name, _ in self._counts}
        self._unknown = metrics.calls.of(hub.name, "(unknown)", "error")

    def receive(
        self,
        session: DispatchSession,
        message: Invocation | Completion | StreamInvocation | StreamItem | CancelInvocation,
    ) -> None:
        """Handle one message of an open connection; never waits and never raises."""
        if isinstance(message, Invocation):
            self.invoke(session, message)
        elif isinstance(message, StreamItem):
            session.uploads.item(message)
        elif isinstance(message, Completion):
            session.resolve(message)
        elif isinstance(message, StreamInvocation):
            self._invoke_stream(session, message)
        else:
            self._streams.cancel(session, message.invocation_id)

    def invoke(self, session: DispatchSession, message: Invocation) -> None:
        """``receive`` for the most frequent message."""
        endpoint = self._endpoints.get(message.target) or self._endpoint(session, message)
        if endpoint is None:
            return
        if message.stream_ids or not (endpoint.runs_inline and session.lanes.is_idle(endpoint.lane)):
            self._invoke_beside(session, endpoint, message)
            return
        call_id = message.invocation_id
        try:
            # ``bind``, without another call for each message.
            given: tuple[Any, ...] = message.arguments
            arguments = endpoint.arguments[session.codec.values](given)
            if endpoint.has_payload:
                self._count_unknown_fields(session.codec, endpoint, given)
            if endpoint.roles.isdisjoint(session.principal.roles):
                raise NotAllowed("not allowed")
            result = endpoint.call(session.caller, *arguments)
            if call_id:
                session.answer(call_id, result)
            self._ok[endpoint.name].value += 1
        except Exception as error:  # noqa: BLE001  # the boundary of a call: nothing of it may end the connection
            fail(session, message, self.failed(session, endpoint, message.target, error))

    def _invoke_beside(self, session: DispatchSession, endpoint: Endpoint, message: Invocation) -> None:
        if endpoint.is_stream:
            stream = session.stream_of(message)
            if stream is None:
                fail(session, message, call_errors.streams(message.target))
            else:
                self._streams.start(session, endpoint, stream)
        elif endpoint.runs_beside:
            self._streams.start(session, endpoint, message)
        elif message.stream_ids:
            error = WrongStreams("a plain method takes no streams")
            fail(session, message, self.failed(session, endpoint, message.target, error))
        elif endpoint.cancellable and message.invocation_id:
            running = RunningStream(sends=False, cancellable=True)
            # From now on it can be stopped. Of two with one id, a mistake of the client, the first one can.
            session.lanes.stoppable.setdefault(message.invocation_id, running)
            session.lanes.queue(endpoint.lane).submit(
                lambda turn: self._run_cancellable(session, endpoint, message, turn, running)
            )
        else:
            session.lanes.queue(endpoint.lane).submit(lambda turn: self._run(session, endpoint, message, turn))

    def _invoke_stream(self, session: DispatchSession, message: StreamInvocation) -> None:
        endpoint = self._endpoint(session, message)
        if endpoint is None:
            return
        if not endpoint.is_stream:
            fail(session, message, call_errors.does_not_stream(message.target))
        else:
            self._streams.start(session, endpoint, message)

    def _endpoint(self, session: DispatchSession, message: Invocation | StreamInvocation) -> Endpoint | None:
        endpoint = self._endpoints.get(message.target.lower())
        if endpoint is None:
            self._unknown.value += 1
            fail(session, message, call_errors.unknown(message.target))
        return endpoint

    async def _run(self, session: DispatchSession, endpoint: Endpoint, message: Invocation, turn: Turn) -> None:
        try:
            arguments = self.bind(session.codec, endpoint, message)
            guard = self._hub.guards.get(endpoint.name)
            if guard is None:
                result = await self._call(session, endpoint, arguments, turn)
            elif endpoint.roles.isdisjoint(session.principal.roles):
                raise NotAllowed("not allowed")
            else:
                result = await guard(arguments[0], lambda: self._call(session, endpoint, arguments, turn))
            self.succeeded(session, endpoint, message, result)
        except asyncio.CancelledError:
            if is_cancelled():
                raise
            # Something that the method waited for was cancelled; its caller still waits for an answer.
            fail(session, message, self.failed(session, endpoint, message.target, RuntimeError("cancelled inside")))
        except Exception as error:  # noqa: BLE001  # the boundary of a call: nothing of it may end the connection
            fail(session, message, self.failed(session, endpoint, message.target, error))

    async def _call(self, session: DispatchSession, endpoint: Endpoint, arguments: list[Any], turn: Turn) -> object:
        await self.check(session, endpoint, arguments)
        caller = session.caller.in_turn(turn)
        try:
            result = endpoint.call(caller, *arguments)
            return await result if endpoint.is_async else result
        finally:
            caller.end_turn()

    async def _run_cancellable(
        self, session: DispatchSession, endpoint: Endpoint, message: Invocation, turn: Turn, running: RunningStream
    ) -> None:
        call_id = message.invocation_id or ""
        try:
            running.begin()
            await self._run(session, endpoint, message, turn)
        except asyncio.CancelledError:
            if running.has_begun and not running.take_back():
                raise
            fail(session, message, self.failed(session, endpoint, message.target, call_errors.CallCancelled()))
        else:
            running.take_back()
        finally:
            if session.lanes.stoppable.get(call_id) is running:
                del session.lanes.stoppable[call_id]

    async def check(self, session: DispatchSession, endpoint: Endpoint, arguments: list[Any]) -> None:
        """The policy, before anything of the method runs. Raises NotAllowed, NotFound."""
        object_id = endpoint.object_of(arguments[0]) if endpoint.object_of is not None else ""
        grants = self._grants_of.get(endpoint.rule.object_field or "", self._grants)
        await authorize(endpoint.rule, session.principal, object_id, grants)

    def bind(self, codec: Codec, endpoint: Endpoint, message: Invocation | StreamInvocation) -> list[Any]:
        """The decoded arguments, without the streams. Raises BadArgument."""
        given: tuple[Any, ...] = message.arguments
        bound = endpoint.arguments[codec.values](given)
        if endpoint.has_payload:
            self._count_unknown_fields(codec, endpoint, given)
        return bound

    def _count_unknown_fields(self, codec: Codec, endpoint: Endpoint, given: tuple[Any, ...]) -> None:
        """A newer client may say more than we know: never refused, but never unnoticed either."""
        for raw, known in zip(given, endpoint.fields, strict=False):
            unknown = FIELDS[codec.values](raw).keys() - known if known is not None else ()
            if unknown:
                self._metrics.unknown_fields.inc(len(unknown))

    def succeeded(self, session: DispatchSession, endpoint: Endpoint, message: Invocation, result: object) -> None:
        """Count it, and answer if an answer is wanted."""
        if message.invocation_id:
            # What has no encoding raises here, and is an error of the call.
            session.answer(message.invocation_id, result)
        self._ok[endpoint.name].value += 1

    def count_ok(self, endpoint: Endpoint) -> None:
        """One more call that went well."""
        self._ok[endpoint.name].value += 1

    def count_bound(self, name: str) -> None:
        """A bound of the configuration was reached."""
        self._metrics.reached(name)

    def failed(
        self, session: DispatchSession, endpoint: Endpoint, target: str, error: Exception, *, streaming: bool = False
    ) -> call_errors.CallError:
        """Count and log it; what the client is told."""
        crashed = not isinstance(error, HubError | WrongStreams | call_errors.CallCancelled)
        self._counts[endpoint.name, "crash" if crashed else "error"].value += 1
        if crashed:
            self._log.call_crashed(
                connection=session.connection_id, hub=self._hub.name, method=endpoint.name, error=error
            )
        if streaming:
            return call_errors.while_streaming(error)
        return call_errors.of_call(target, error, explains_arguments=self._hub.explains_arguments)
