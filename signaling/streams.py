"""Streams beside the calls: the ones to a client that run, and the items that a client uploads to a method.

An upload that nobody reads from fast enough stops the reading of its whole connection, as Microsoft's server does:
the client's own buffers fill up, not ours. Knows neither sockets nor hubs.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from msgspec import Raw

from protocol.errors import BadArgument, HubError, HubException
from protocol.signalr.messages import Completion, StreamItem

from .flow import Flow

__all__ = ["RunningStream", "Upload", "Uploads", "end_all"]


class RunningStream:
    """A call that runs; it may be cancelled before its task has taken its first step.

    ``sends``: a stream to the client; otherwise it has one result. ``cancellable``: the client may stop it.
    """

    __slots__ = ("_task", "cancellable", "cancelled", "sends")

    def __init__(self, *, sends: bool, cancellable: bool) -> None:
        self.sends = sends
        self.cancellable = cancellable
        self.cancelled = False
        self._task: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Called from its task, first of all. Raises CancelledError when nobody wants it any more."""
        if self.cancelled:
            raise asyncio.CancelledError
        self._task = asyncio.current_task()

    @property
    def has_begun(self) -> bool:
        """Whether its task has taken its first step."""
        return self._task is not None

    def cancel(self) -> None:
        """Nobody wants more of it; twice is once, since its clean-up must not be cancelled too."""
        if not self.cancelled and self._task is not None:
            self._task.cancel()
        self.cancelled = True

    def take_back(self) -> bool:
        """Let its task go on with other work; whether the cancellation was the one of ``cancel``, and no other."""
        return self.cancelled and self._task is not None and self._task.uncancel() == 0


def end_all(streams: Mapping[str, RunningStream]) -> None:
    """The connection has ended: nobody hears them. Those that only read carry out what was received."""
    for stream in tuple(streams.values()):
        if stream.sends:
            stream.cancel()


class Upload:
    """One uploaded stream as the hub method sees it: an async iterator of decoded items.

    It ends with the client's completion; a completion with an error raises ``HubException`` with its text, an item
    that does not fit raises one with the text of Microsoft's server. At most ``capacity`` items wait.
    """

    __slots__ = ("_arrived", "_bind", "_capacity", "_end", "_flow", "_items", "_stops")

    def __init__(self, bind: Callable[[Raw], Any], flow: Flow, capacity: int) -> None:
        self._bind = bind
        self._flow = flow
        self._capacity = capacity
        self._items: deque[Any] = deque()
        self._end: HubError | StopAsyncIteration | None = None
        self._arrived = asyncio.Event()
        self._stops = False

    def __aiter__(self) -> "Upload":
        """Itself: a stream is read once."""
        return self

    async def __anext__(self) -> Any:
        """The next item, waiting for it."""
        while not self._items:
            if self._end is not None:
                raise self._end
            self._arrived.clear()
            await self._arrived.wait()
        item = self._items.popleft()
        self._let_go(when=len(self._items) < self._capacity)
        return item

    def feed(self, raw: Raw) -> None:
        """One more item came."""
        if self._end is not None:
            return
        try:
            self._items.append(self._bind(raw))
        except BadArgument:
            self._end = HubException("Failed to bind Stream message.")
        if len(self._items) >= self._capacity and not self._stops:
            self._stops = True
            self._flow.stop("upload_buffer_items")
        self._arrived.set()

    def finish(self, error: str | None) -> None:
        """The client is done, or gave up."""
        if self._end is None:
            self._end = StopAsyncIteration() if error is None else HubException(error)
        self._arrived.set()

    def discard(self) -> None:
        """The method has ended: what still comes is of no interest."""
        self._items.clear()
        self._end = self._end or StopAsyncIteration()
        self._let_go(when=True)

    def _let_go(self, *, when: bool) -> None:
        if when and self._stops:
            self._stops = False
            self._flow.go_on()


class Uploads:
    """The running uploads of one connection by stream id."""

    __slots__ = ("_open",)

    def __init__(self) -> None:
        self._open: dict[str, Upload] = {}

    def __contains__(self, stream_id: str) -> bool:
        """Whether a stream of that id is running."""
        return stream_id in self._open

    def open(self, stream_id: str, upload: Upload) -> None:
        """A call names a stream that it will be fed."""
        self._open[stream_id] = upload

    def item(self, message: StreamItem) -> None:
        """Hand an item on; items of unknown streams are ignored."""
        upload = self._open.get(message.invocation_id)
        if upload is not None and isinstance(message.item, Raw):
            upload.feed(message.item)

    def complete(self, completion: Completion) -> bool:
        """End a stream; False when the completion is about something else."""
        upload = self._open.pop(completion.invocation_id, None)
        if upload is not None:
            upload.finish(completion.error)
        return upload is not None

    def close(self, stream_ids: tuple[str, ...]) -> None:
        """The call of these streams has ended."""
        for stream_id in stream_ids:
            upload = self._open.pop(stream_id, None)
            if upload is not None:
                upload.discard()

    def fail_all(self, error: str) -> None:
        """The connection has ended."""
        for upload in self._open.values():
            upload.finish(error)
        self._open.clear()
