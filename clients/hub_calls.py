"""The calls of a hub client that wait for an answer, its streams, and the pushes that wait for their handler.

All are bounded and belong to one client. Knows no socket and no reconnect. Read ``PendingCalls.opened``
first, then ``Events.run``.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

from msgspec import UNSET, Raw

from clients.hub_errors import HubOverloaded, LinkLost, call_error
from protocol.signalr.messages import Completion, StreamItem

__all__ = ["Events", "OpenStream", "OpenStreams", "PendingCalls"]

Job = Callable[[], Awaitable[None]]


class PendingCalls:
    """Calls that are out, by invocation id. A result is the ``Raw`` of the completion, None for none."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._count = 0
        self._waiting: dict[str, asyncio.Future[Raw | None]] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    @contextmanager
    def opened(self) -> Iterator[tuple[str, asyncio.Future[Raw | None]]]:
        """A new id and the future of its answer, forgotten at the end. Raises HubOverloaded at the bound."""
        if len(self._waiting) >= self._limit:
            raise HubOverloaded(f"{self._limit} calls wait for an answer already")
        call_id = str(self._count)
        self._count += 1
        answer: asyncio.Future[Raw | None] = asyncio.get_running_loop().create_future()
        self._waiting[call_id] = answer
        try:
            yield call_id, answer
        finally:
            self._waiting.pop(call_id, None)
            if not answer.cancel() and not answer.cancelled():
                answer.exception()  # a caller that was cancelled in the same instant never looks at it

    def settle(self, completion: Completion) -> None:
        """Hand an answer to its caller; one that nobody waits for any more is ignored."""
        answer = self._waiting.pop(completion.invocation_id, None)
        if answer is None or answer.done():
            return
        if completion.error is not None:
            answer.set_exception(call_error(completion.error))
        elif completion.result is UNSET:
            answer.set_result(None)
        else:
            assert isinstance(completion.result, Raw)  # noqa: S101  # decoders leave every value raw
            answer.set_result(completion.result)

    def lose(self) -> None:
        """The link is gone: whether these calls were carried out is not known."""
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(LinkLost("the link was lost while the call was out"))
        self._waiting.clear()


class OpenStream:
    """One stream of the server: items in order, then its end. Items beyond ``limit`` end it with HubOverloaded."""

    def __init__(self, stream_id: str, limit: int) -> None:
        self.stream_id = stream_id
        self._limit = limit
        self._items: deque[Raw] = deque()
        self._moved = asyncio.Event()
        self._error: Exception | None = None
        self.ended_by_server = False
        self._ended = False

    async def next(self) -> Raw | None:
        """The next item, None after the last one. Raises what ended the stream, once its items are taken."""
        while not self._items and not self._ended:
            self._moved.clear()
            await self._moved.wait()
        if self._items:
            return self._items.popleft()
        if self._error is not None:
            raise self._error
        return None

    def put(self, item: Raw) -> None:
        """An item has come."""
        if self._ended:
            return
        if len(self._items) >= self._limit:
            self.end(HubOverloaded(f"{self._limit} items of a stream wait to be taken already"))
            return
        self._items.append(item)
        self._moved.set()

    def end(self, error: Exception | None) -> None:
        """Nothing more will come."""
        self._error = error if not self._ended else self._error
        self._ended = True
        self._moved.set()


class OpenStreams:
    """The streams that run, by invocation id."""

    def __init__(self, limit: int, max_items: int) -> None:
        self._limit, self._max_items = limit, max_items
        self._count = 0
        self._open: dict[str, OpenStream] = {}

    def __len__(self) -> int:
        return len(self._open)

    @contextmanager
    def opened(self) -> Iterator[OpenStream]:
        """A new stream, forgotten at the end. Raises HubOverloaded at the bound."""
        if len(self._open) >= self._limit:
            raise HubOverloaded(f"{self._limit} streams run already")
        stream = OpenStream(f"s{self._count}", self._max_items)
        self._count += 1
        self._open[stream.stream_id] = stream
        try:
            yield stream
        finally:
            self._open.pop(stream.stream_id, None)

    def put(self, message: StreamItem) -> None:
        """Hand an item to its stream; one that nobody reads any more is ignored."""
        stream = self._open.get(message.invocation_id)
        if stream is not None:
            assert isinstance(message.item, Raw)  # noqa: S101  # decoders leave every value raw
            stream.put(message.item)

    def settle(self, completion: Completion) -> bool:
        """End a stream as the server says; whether it was one."""
        stream = self._open.pop(completion.invocation_id, None)
        if stream is None:
            return False
        stream.ended_by_server = True
        stream.end(None if completion.error is None else call_error(completion.error))
        return True

    def lose(self) -> None:
        """The link is gone, and the streams with it."""
        for stream in self._open.values():
            stream.end(LinkLost("the link was lost while the stream was running"))
        self._open.clear()


class Events:
    """Runs what the server sent, one at a time and in order; a handler may itself call the hub."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._jobs: asyncio.Queue[Job] = asyncio.Queue()
        self._runner: asyncio.Task[object] | None = None

    def offer(self, job: Job) -> None:
        """Queue a job that came from outside. Raises HubOverloaded at the bound."""
        if self._jobs.qsize() >= self._limit:
            raise HubOverloaded(f"{self._limit} events wait for their handlers already")
        self._jobs.put_nowait(job)

    def insist(self, job: Job) -> None:
        """Queue a job of the client's own, at most one per link: no bound refuses it."""
        self._jobs.put_nowait(job)

    @property
    def running_here(self) -> bool:
        """Whether the caller is itself one of the jobs."""
        return self._runner is not None and asyncio.current_task() is self._runner

    async def run(self) -> None:
        """Run jobs until cancelled."""
        self._runner = asyncio.current_task()
        while True:
            job = await self._jobs.get()
            try:
                await job()
            finally:
                self._jobs.task_done()

    async def drained(self) -> None:
        """Wait until every queued job has run."""
        await self._jobs.join()
