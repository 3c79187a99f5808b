"""Calls that stream: to the client, from the client, or both. They run beside the plain calls of a connection.

Back-pressure is the connection's: a stream waits while its client is slow, and a client is not read while an upload
is full. Read ``StreamCalls.start`` first.
"""

import asyncio
from typing import TYPE_CHECKING, Any

from protocol.errors import AuricleError, Overloaded
from protocol.signalr.messages import Completion, Invocation, StreamInvocation, StreamItem

from .call_errors import CallCancelled, CallError, in_use
from .dispatch_session import DispatchSession
from .hub import Endpoint
from .streams import RunningStream, Upload
from .tasks import is_cancelled

if TYPE_CHECKING:
    from .dispatcher import Dispatcher

__all__ = ["StreamCalls", "WrongStreams", "fail"]

ITEMS_PER_TURN = 64


class WrongStreams(AuricleError):
    """The call names another number of streams than the method takes; the client gets no details."""


class StreamCalls:
    """Starts, feeds and ends the streaming calls of a hub's connections."""

    def __init__(self, dispatcher: "Dispatcher", *, max_streams: int, upload_buffer_items: int) -> None:
        self._dispatcher = dispatcher
        self._max_streams = max_streams
        self._upload_buffer_items = upload_buffer_items

    def start(self, session: DispatchSession, endpoint: Endpoint, message: Invocation | StreamInvocation) -> None:
        """Open its uploads at once, since their items may be next, and run the call."""
        call_id = message.invocation_id or ""
        if call_id in session.streams:
            session.fail(call_id, in_use(call_id))
            return
        try:
            uploads = self._open_uploads(session, endpoint, message)
        except AuricleError as error:
            failed = self._dispatcher.failed(session, endpoint, message.target, error)
            if call_id:
                session.fail(call_id, failed)
            return
        # A call without an id has no name to be cancelled by, but it counts like any other.
        name = call_id or f"\0{id(message)}"
        session.streams[name] = RunningStream(sends=endpoint.is_stream, cancellable=endpoint.cancellable)
        session.tasks.spawn(self._run(session, endpoint, message, uploads, name))

    def cancel(self, session: DispatchSession, invocation_id: str) -> None:
        """The client wants no more of a call; those that it cannot stop, and unknown ids, are ignored."""
        running = session.streams.get(invocation_id) or session.lanes.stoppable.get(invocation_id)
        if running is not None and running.cancellable:
            running.cancel()

    def _open_uploads(
        self, session: DispatchSession, endpoint: Endpoint, message: Invocation | StreamInvocation
    ) -> list[Upload]:
        binders = endpoint.uploads[session.codec.values]
        if len(session.streams) >= self._max_streams:
            self._dispatcher.count_bound("max_streams")
            raise Overloaded(f"a connection may run at most {self._max_streams} streams")
        names = set(message.stream_ids)
        if not len(names) == len(message.stream_ids) == len(binders) or any(name in session.uploads for name in names):
            raise WrongStreams("another number of streams is expected")
        uploads = [Upload(bind, session.flow, self._upload_buffer_items) for bind in binders]
        for name, upload in zip(message.stream_ids, uploads, strict=True):
            session.uploads.open(name, upload)
        return uploads

    async def _run(
        self,
        session: DispatchSession,
        endpoint: Endpoint,
        message: Invocation | StreamInvocation,
        uploads: list[Upload],
        name: str,
    ) -> None:
        result: Any = None
        error: CallError | None = None
        streaming = went_well = False
        running = session.streams[name]
        try:
            running.begin()
            arguments = self._dispatcher.bind(session.codec, endpoint, message)
            await self._dispatcher.check(session, endpoint, arguments)
            call = endpoint.call(session.caller, *_merged(endpoint, arguments, uploads))
            streaming = endpoint.is_stream
            if streaming:
                await self._pump(session, message, call)
            else:
                result = await call
            went_well = True
        except asyncio.CancelledError:
            if (failed := _failure(endpoint, running)) is not None:
                error = self._dispatcher.failed(session, endpoint, message.target, failed, streaming=streaming)
        except Exception as failure:  # noqa: BLE001  # the boundary of a call: nothing of it may end the connection
            error = self._dispatcher.failed(session, endpoint, message.target, failure, streaming=streaming)
        finally:
            session.streams.pop(name, None)
            session.uploads.close(message.stream_ids)
        try:
            if error is not None:
                fail(session, message, error)
            elif message.invocation_id:
                session.complete(_completion(message, result))
            if went_well:
                self._dispatcher.count_ok(endpoint)
        except AuricleError as failure:
            # What has no encoding is an error of the call.
            fail(session, message, self._dispatcher.failed(session, endpoint, message.target, failure))

    async def _pump(self, session: DispatchSession, message: Invocation | StreamInvocation, items: Any) -> None:
        sent = 0
        try:
            async for item in items:
                await session.writable()
                session.complete(StreamItem(invocation_id=message.invocation_id or "", item=item))
                sent += 1
                if sent % ITEMS_PER_TURN == 0:
                    # A generator that never waits must not keep the loop from everybody else.
                    await asyncio.sleep(0)
        finally:
            await items.aclose()


def _failure(endpoint: Endpoint, running: RunningStream) -> Exception | None:
    """What is wrong with a call that was cancelled, None when it is an end like any other, or nobody hears of it."""
    if running.cancelled:
        return None if endpoint.is_stream else CallCancelled()
    return None if is_cancelled() else RuntimeError("cancelled inside")


def _merged(endpoint: Endpoint, arguments: list[Any], uploads: list[Upload]) -> list[Any]:
    """Arguments and streams in the order of the method's parameters."""
    plain, streams = iter(arguments), iter(uploads)
    merged = [next(streams) if is_upload else next(plain) for is_upload in endpoint.order]
    return [*merged, *plain]


def fail(session: DispatchSession, message: Invocation | StreamInvocation, error: CallError) -> None:
    """Answer with an error, if an answer is wanted."""
    if message.invocation_id:
        session.fail(message.invocation_id, error)


def _completion(message: Invocation | StreamInvocation, result: Any) -> Completion:
    call_id = message.invocation_id or ""
    if isinstance(message, StreamInvocation):
        return Completion(invocation_id=call_id)
    return Completion(invocation_id=call_id, result=result)
