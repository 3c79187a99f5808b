"""A client of a hub, over SignalR or Socket.IO: calls with typed answers, typed pushes, a link that heals itself.

Handlers run one at a time and in the order in which the server sent, but for those that were registered to run
aside; a handler may call the hub. A call whose link dies raises ``LinkLost`` and is never repeated here, because only
the caller knows whether it may be. Everything runs inside one task that ``start`` makes and ``stop`` ends. It must not
know what the payloads mean. Read ``HubClient.start``, then ``HubClient._live``.
"""

import asyncio
import logging
import random
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import Any, Final, Literal, Protocol, Self, TypeVar

import aiohttp
import msgspec
from msgspec import Raw

from clients.hub_calls import Events, OpenStreams, PendingCalls
from clients.hub_errors import HubCallError, HubOverloaded, NotConnected
from clients.hub_handlers import Handler, Handlers, Listener, called
from clients.hub_link import HubLink, HubOptions, LinkEnd, Token, Whereto
from clients.reconnect import Happening, Link, ReconnectPolicy, next_state
from protocol.contract.base import Failure
from protocol.errors import BadArgument
from protocol.signalr.codec import CODECS, ProtocolName
from protocol.signalr.messages import (
    CancelInvocation,
    Completion,
    Invocation,
    Message,
    StreamInvocation,
    StreamItem,
)

__all__ = ["HubCallError", "HubClient", "HubOptions", "ReconnectPolicy", "TransportName"]

TransportName = Literal["signalr", "socketio"]

T = TypeVar("T")
_LOG: Final = logging.getLogger("auricle.clients")
_DEFAULT_RECONNECT: Final = ReconnectPolicy()


class AnyLink(Protocol):
    """One link to the hub, in whatever protocol."""

    @property
    def connection_id(self) -> str: ...
    async def send(self, message: Message, /) -> None: ...
    async def close(self) -> None: ...
    async def serve(self, take: Callable[[Message], None], /) -> LinkEnd: ...


async def _socketio_link(session: aiohttp.ClientSession, whereto: Whereto) -> AnyLink:
    # Two libraries more, which a client over SignalR never loads.
    from clients.socketio_link import SocketIoLink

    return await SocketIoLink.open(session, whereto)


class _Verdict(msgspec.Struct, frozen=True):
    ok: bool


class HubClient:
    """One client of the hub at ``url``, for example ``http://127.0.0.1:8080/hub``, whose path is Socket.IO's namespace.

    ``token`` is a bearer token, or a function that is asked for one at every connect. ``reconnect`` None
    means that the client closes with its first link. ``session`` is used and left open when given. What
    ``token`` raises at a reconnect, other than an OSError or an aiohttp.ClientError, closes the client and comes out
    of ``stop``.
    """

    def __init__(
        self,
        url: str,
        *,
        token: Token,
        protocol: ProtocolName = "json",
        transport: TransportName = "signalr",
        reconnect: ReconnectPolicy | None = _DEFAULT_RECONNECT,
        options: HubOptions | None = None,
        session: aiohttp.ClientSession | None = None,
        clock: Callable[[], float] = time.monotonic,
        uniform: Callable[[float, float], float] = random.uniform,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._options = options or HubOptions()
        self._whereto = Whereto(url, token, protocol, self._options, clock)
        # Over Socket.IO values are JSON, whatever the protocol.
        self._codec = CODECS[protocol if transport == "signalr" else "json"]
        self._new_link = HubLink.open if transport == "signalr" else _socketio_link
        self._reconnect = reconnect
        self._session, self._owns_session = session, session is None
        self._uniform, self._sleep = uniform, sleep
        self._calls = PendingCalls(self._options.max_pending_calls)
        self._streams = OpenStreams(self._options.max_streams, self._options.max_stream_items)
        self._events = Events(self._options.max_queued_events)
        self._handlers = Handlers(self._codec)
        self._on_reconnected: list[Listener] = []
        self._on_closed: list[Listener] = []
        self._state = Link.IDLE
        self._moved = asyncio.Event()
        self._link: AnyLink | None = None
        self._tasks: asyncio.TaskGroup | None = None
        self._asides: set[asyncio.Task[None]] = set()
        self._life: asyncio.Task[None] | None = None
        self._is_ending = False
        self.end: LinkEnd | None = None

    @property
    def state(self) -> Link:
        """Where this client stands."""
        return self._state

    @property
    def connection_id(self) -> str:
        """The public id of the present link; "" when there is none."""
        return "" if self._link is None else self._link.connection_id

    @property
    def handler_failures(self) -> int:
        """How many handlers raised, or were sent what they could not decode."""
        return self._handlers.failures

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    def on(self, target: str, handler: Handler[T], payload: type[T], *, aside: bool = False) -> None:
        """Run ``handler`` for every ``target`` of the server; what it returns answers a client result.

        ``aside``: it takes its time, for example to ask a person, and everything else goes on meanwhile.
        """
        self._handlers.on(target, handler, payload, aside=aside)

    def on_reconnected(self, listener: Listener) -> None:
        """Run ``listener`` in turn with the handlers, before anything that a link brings which ``start`` did not."""
        self._on_reconnected.append(listener)

    def on_closed(self, listener: Listener) -> None:
        """Run ``listener`` once, after the last handler; ``end`` says why."""
        self._on_closed.append(listener)

    async def start(self) -> None:
        """Connect once, unless the policy holds from the start: then return at once and go on trying.

        Raises HubRefused or another ConnectionError when the only try fails.
        """
        if self._state is not Link.IDLE:
            raise RuntimeError("a client starts once")
        if self._reconnect is not None and self._reconnect.from_start:
            self._move(Happening.LOST)
            await self._begin(None)
            return
        try:
            self._link = await self._open()
        except BaseException:
            self._move(Happening.ENDED)
            await self._release_session()
            raise
        self._move(Happening.OPENED)
        await self._begin(self._link)

    async def _begin(self, link: AnyLink | None) -> None:
        self._life = asyncio.get_running_loop().create_task(self._live(link))
        # A task that is cancelled before its first step never cleans up.
        await asyncio.sleep(0)

    async def stop(self) -> None:
        """Send Close and end. Safe to call twice, and from a handler."""
        if self._life is None:
            return
        if self._link is not None:
            await self._link.close()
        # Those who wait for the end are told of it, also when the link has just ended by itself.
        if not self._is_ending:
            self._life.cancel()
        if self._events.running_here:
            return
        await asyncio.wait({self._life})
        if not self._life.cancelled():
            self._life.result()

    async def fresh_token(self) -> str | None:
        """A token as for a new link, None when there is only the one. Raises what ``token`` raises."""
        return await self._whereto.fresh_token()

    async def connected(self) -> None:
        """Wait until there is a link. Raises NotConnected when there will be none any more."""
        while self._state is Link.RECONNECTING:
            await self._moved.wait()
        self._present_link()

    async def invoke(self, target: str, *args: object, result: type[T]) -> T:
        """Call ``target`` and return its decoded result.

        Raises:
            HubCallError: the server answered with an error.
            NotConnected, HubOverloaded: the call was not sent.
            LinkLost, TimeoutError: it was sent, and what became of it is not known.
            BadArgument: the result is not a ``result``.
        """
        raw = await self._call(target, args)
        answer: T = self._codec.binder(result)(self._codec.encode_value(None) if raw is None else raw)
        return answer

    async def ask(self, target: str, payload: object, *, answer: type[T]) -> T | Failure:
        """Call a method of the contract: one object in, ``answer`` or the refusal of the domain out.

        Raises what ``invoke`` raises.
        """
        raw = await self._call(target, (payload,))
        if raw is None:
            raise BadArgument(f"{target} returned nothing")
        accepted: bool = self._codec.binder(_Verdict)(raw).ok
        result: T | Failure = self._codec.binder(answer if accepted else Failure)(raw)
        return result

    async def stream(self, target: str, payload: object, *, item: type[T]) -> AsyncGenerator[T, None]:
        """Call ``target`` for its stream of ``item``; leaving the iteration (``contextlib.aclosing``) cancels it.

        Raises:
            HubCallError: the server ended it with an error.
            NotConnected, HubOverloaded: it was not begun, or items came faster than they were taken.
            LinkLost: the link died under it; how to go on, only the caller knows.
            BadArgument: an item is not an ``item``.
        """
        link, decode = self._present_link(), self._codec.binder(item)
        with self._streams.opened() as stream:
            begin = StreamInvocation(invocation_id=stream.stream_id, target=target, arguments=(payload,))
            await link.send(begin)
            try:
                while (raw := await stream.next()) is not None:
                    taken: T = decode(raw)
                    yield taken
            finally:
                if not stream.ended_by_server:
                    with suppress(ConnectionError):  # then it has ended with its link
                        await link.send(CancelInvocation(invocation_id=stream.stream_id))

    async def send(self, target: str, *args: object) -> None:
        """Call ``target`` and ask for no answer. Raises NotConnected, or LinkLost when sending failed."""
        await self._present_link().send(Invocation(target=target, arguments=args))

    async def _call(self, target: str, args: tuple[object, ...]) -> Raw | None:
        link = self._present_link()
        with self._calls.opened() as (call_id, answer):
            async with asyncio.timeout(self._options.call_timeout_s):
                await link.send(Invocation(target=target, arguments=args, invocation_id=call_id))
                return await answer

    def _present_link(self) -> AnyLink:
        if self._link is None:
            raise NotConnected(f"the client is {self._state.value}")
        return self._link

    async def _live(self, link: AnyLink | None) -> None:
        try:
            async with asyncio.TaskGroup() as tasks:
                events = tasks.create_task(self._events.run())
                self._tasks = tasks
                await self._stay_connected(link)
                self._move(Happening.ENDED)
                for aside in self._asides:
                    aside.cancel()
                await self._events.drained()
                events.cancel()
        finally:
            self._is_ending = True
            self._link = None
            self._lose_all()
            self._move(Happening.ENDED)
            await self._release_session()
            for listener in self._on_closed:
                await called(listener)

    async def _stay_connected(self, first: AnyLink | None) -> None:
        link = first
        if link is None and self._reconnect is not None:
            link = await self._open_again(self._reconnect)
        while link is not None:
            self.end = await link.serve(partial(self._take, link))
            self._link = None
            self._lose_all()
            if self._reconnect is None or not self.end.may_reconnect:
                return
            self._move(Happening.LOST)
            link = await self._open_again(self._reconnect)

    async def _open_again(self, policy: ReconnectPolicy) -> AnyLink | None:
        attempt = 0
        while not policy.gives_up(attempt):
            await self._sleep(policy.delay_s(attempt, self._uniform))
            attempt += 1
            try:
                self._link = await self._open()
            except ConnectionError as error:
                if attempt == 1:
                    _LOG.warning("no connection to the hub, it is tried again: %s", error)
                continue
            self._events.insist(self._tell_reconnected)
            self._move(Happening.OPENED)
            return self._link
        return None

    def _take(self, link: AnyLink, message: Message) -> None:
        if isinstance(message, StreamItem):
            self._streams.put(message)
        if isinstance(message, Completion) and not self._streams.settle(message):
            self._calls.settle(message)
        if isinstance(message, Invocation):
            job = partial(self._handlers.handle, message, link.send)
            if self._handlers.is_aside(message.target):
                self._run_aside(job)
            else:
                self._events.offer(job)

    def _run_aside(self, job: Callable[[], Coroutine[Any, Any, None]]) -> None:
        if self._tasks is None or len(self._asides) >= self._options.max_asides:
            raise HubOverloaded(f"{self._options.max_asides} handlers take their time already")
        aside = self._tasks.create_task(job())
        self._asides.add(aside)
        aside.add_done_callback(self._asides.discard)

    def _lose_all(self) -> None:
        self._calls.lose()
        self._streams.lose()

    async def _tell_reconnected(self) -> None:
        for listener in self._on_reconnected:
            await self._handlers.listen(listener)

    async def _open(self) -> AnyLink:
        if self._session is None:
            self._session = aiohttp.ClientSession()
        return await self._new_link(self._session, self._whereto)

    async def _release_session(self) -> None:
        if self._owns_session and self._session is not None:
            await self._session.close()

    def _move(self, happening: Happening) -> None:
        self._state = next_state(self._state, happening)
        # Wakes whoever waits for a link now, and leaves the event ready for those who wait next time.
        self._moved.set()
        self._moved.clear()
