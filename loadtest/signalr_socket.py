"""A SignalR connection for greenlets: connect, call and wait, hear pushes, keep alive, close.

What the bytes mean is decided by ``protocol.signalr``; this moves them over a WebSocket with gevent and bounds every
wait. It works with and without Locust's monkey patching, and must not know Locust, nor what is measured. JSON and
MessagePack, calls and pushes; no streams, no reconnect: a connection is used once. Read ``SignalRSocket.open`` first,
then ``SignalRSocket.invoke``.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Final, Protocol
from urllib.parse import quote, urlsplit

import gevent  # type: ignore[import-untyped]  # the library ships no types
from gevent import socket as gevent_socket
from gevent.event import AsyncResult  # type: ignore[import-untyped]  # the library ships no types
from gevent.lock import BoundedSemaphore  # type: ignore[import-untyped]  # the library ships no types
from msgspec import UNSET, Raw
from websocket import (
    ABNF,
    WebSocket,
    WebSocketBadStatusException,
    WebSocketException,
    WebSocketTimeoutException,
)

from clients.hub_errors import HubOverloaded, HubRefused, LinkLost, NotConnected, call_error
from protocol.signalr.client_connection import HubClientConnection
from protocol.signalr.codec import CODECS, Codec, ProtocolName
from protocol.signalr.endpoint import HubLimits
from protocol.signalr.events import Broken, Event, KeepAliveDue, Opened, PeerClosed, Refused, TimedOut
from protocol.signalr.messages import Completion, Invocation, Message

__all__ = ["ClientCore", "SignalRSocket", "SocketOptions"]

_NO_HANDLER: Final = "Client didn't provide a result."


@dataclass(frozen=True, slots=True)
class SocketOptions:
    """Bounds of one connection, times in seconds.

    ``connect_timeout_s``: for the TCP connection, the upgrade and the handshake together. ``call_timeout_s``: for
    sending a call and for its answer. ``tick_s``: how often the deadlines of ``limits`` are looked at.
    """

    limits: HubLimits = field(default_factory=lambda: HubLimits(max_message_bytes=1_048_576))
    connect_timeout_s: float = 10.0
    call_timeout_s: float = 10.0
    tick_s: float = 1.0
    max_pending_calls: int = 256


class ClientCore(Protocol):
    """What a connection needs of the protocol that it speaks; ``HubClientConnection`` is SignalR's."""

    sent_at: float

    def hello(self) -> bytes: ...
    def receive_data(self, data: bytes, now: float) -> list[Event]: ...
    def receive_eof(self) -> list[Event]: ...
    def tick(self, now: float) -> list[Event]: ...
    def close(self) -> bytes: ...


class SignalRSocket:
    """One connection to the hub at ``url``, for example ``http://127.0.0.1:8080/hub``.

    ``lost`` says why it ended, "" before that; ``on_lost`` is told once, unless the end came from here.
    """

    def __init__(
        self,
        url: str,
        *,
        protocol: ProtocolName = "json",
        headers: Mapping[str, str] | None = None,
        options: SocketOptions | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.codec: Codec = CODECS[protocol]
        self.lost = ""
        self.on_lost: Callable[[str], None] = _nobody_listens
        self._url, self._headers = url, dict(headers or {})
        self._options, self._clock = options or SocketOptions(), clock
        self._hub: ClientCore = HubClientConnection(protocol, self._options.limits, now=clock())
        self._opcode = ABNF.OPCODE_BINARY if self.codec.binary else ABNF.OPCODE_TEXT
        self._socket: WebSocket | None = None
        self._handlers: dict[str, tuple[Callable[..., object], Callable[[Raw], Any]]] = {}
        self._calls: dict[str, AsyncResult] = {}
        self._count = 0

    def on(self, target: str, handler: Callable[..., object], payload: Any = Any) -> None:
        """Run ``handler`` for every ``target`` of the server, with its arguments as ``payload``.

        It runs in the greenlet that reads, so it must not wait: not for a call to this hub either. What it returns
        answers a client result.
        """
        self._handlers[target.lower()] = (handler, self.codec.binder(payload))

    def open(self, connection_token: str = "") -> None:
        """Connect and shake hands; ``connection_token`` is that of the negotiation, "" when there was none.

        Raises HubRefused.
        """
        limit_s = self._options.connect_timeout_s
        try:
            with _limit(limit_s, "no connection"):
                self._connect(connection_token)
                early = self._shake_hands()
        except BaseException as error:
            self._end("refused")
            if isinstance(error, WebSocketException | OSError):
                raise _refusal(error, limit_s) from None
            raise
        gevent.spawn(self._read, early)
        gevent.spawn(self._keep_time)

    def invoke(self, target: str, *arguments: object, timeout_s: float | None = None) -> Raw | None:
        """Call ``target`` and wait for its result, None when it has none.

        Raises:
            HubCallError: the server answered with an error.
            NotConnected, HubOverloaded: the call was not sent.
            LinkLost, TimeoutError: it was sent, and what became of it is not known.
        """
        limit_s = self._options.call_timeout_s if timeout_s is None else timeout_s
        with self._call() as (call_id, answer), _limit(limit_s, "no answer"):
            self._write(self.codec.encode(Invocation(target=target, arguments=arguments, invocation_id=call_id)))
            result: Raw | None = answer.get()
            return result

    def send(self, target: str, *arguments: object) -> None:
        """Call ``target`` and ask for no answer. Raises NotConnected, LinkLost or TimeoutError."""
        with _limit(self._options.call_timeout_s, "the network took no data"):
            self._write(self.codec.encode(Invocation(target=target, arguments=arguments)))

    def close(self) -> None:
        """Say goodbye and end the connection; never raises and does not wait for the server."""
        if self._socket is None:
            return
        self.on_lost = _nobody_listens
        # There may be nobody left to say goodbye to.
        with suppress(WebSocketException, OSError), _limit(self._options.tick_s, "the network took no data"):
            self._write(self._hub.close())
            self._socket.send_close()  # closes the WebSocket as the message before closed the hub connection
        self._end("closed here")

    def _connect(self, connection_token: str) -> None:
        parts = urlsplit(self._url)
        secure = parts.scheme in ("https", "wss")
        query = self._query(connection_token)
        host, port = parts.hostname or "", parts.port or (443 if secure else 80)
        link = gevent_socket.create_connection((host, port))
        try:
            link.setsockopt(gevent_socket.IPPROTO_TCP, gevent_socket.TCP_NODELAY, 1)
            if secure:
                # Imported late: importing ssl before Locust has patched it breaks TLS for everybody.
                from gevent import ssl

                link = ssl.create_default_context().wrap_socket(link, server_hostname=host)
            socket = WebSocket(enable_multithread=False, skip_utf8_validation=True)
            # The library's own lock would block the whole thread, not one greenlet.
            socket.lock = BoundedSemaphore(1)
            socket.connect(  # type: ignore[no-untyped-call]  # the library types only part of itself
                f"{'wss' if secure else 'ws'}://{parts.netloc}{parts.path}{query}",
                socket=link,
                header=self._headers,
                suppress_origin=True,
                redirect_limit=0,
            )
        except BaseException:
            link.close()
            raise
        self._socket = socket

    def _query(self, connection_token: str) -> str:
        return f"?id={quote(connection_token, safe='')}" if connection_token else ""

    def _shake_hands(self) -> list[Event]:
        """What came together with the answer to the handshake."""
        self._write(self._hub.hello())
        while not (events := self._receive()):
            if self.lost:
                raise HubRefused("the link ended in the handshake")
        first, *early = events
        if isinstance(first, Opened):
            return early
        detail = first.error if isinstance(first, Refused) else "the link ended in it"
        raise HubRefused(f"the handshake failed: {detail}")

    def _read(self, events: list[Event]) -> None:
        try:
            while True:
                for event in events:
                    self._take(event)
                if self.lost:
                    return
                events = self._receive()
        except Exception as error:
            # The boundary of this greenlet: whatever a handler raised must not leave callers waiting.
            self._lose(f"a handler failed: {type(error).__name__}")
            raise

    def _receive(self) -> list[Event]:
        socket = self._socket
        if socket is None:
            return []
        try:
            opcode, data = socket.recv_data()
        except (WebSocketException, OSError) as error:
            if isinstance(error, TimeoutError | WebSocketTimeoutException):
                raise
            self._lose("the connection broke off")
            return []
        if opcode == ABNF.OPCODE_CLOSE:
            return self._hub.receive_eof()
        return self._hub.receive_data(data, self._clock())

    def _take(self, event: Event) -> None:
        if isinstance(event, Completion):
            self._settle(event)
        elif isinstance(event, Invocation):
            self._handle(event)
        elif isinstance(event, PeerClosed):
            self._lose(f"the server closed the connection: {event.error}" if event.error else "the server closed it")
        elif isinstance(event, Broken):
            self._lose(f"the server broke the protocol: {event.detail}")
        elif isinstance(event, KeepAliveDue):
            with suppress(LinkLost, NotConnected):  # the loss is told on its own
                self._write(event.data)

    @contextmanager
    def _call(self) -> Iterator[tuple[str, AsyncResult]]:
        if len(self._calls) >= self._options.max_pending_calls:
            raise HubOverloaded(f"{self._options.max_pending_calls} calls wait for an answer already")
        call_id, answer = str(self._count), AsyncResult()
        self._count += 1
        self._calls[call_id] = answer
        try:
            yield call_id, answer
        finally:
            self._calls.pop(call_id, None)

    def _settle(self, completion: Completion) -> None:
        answer = self._calls.pop(completion.invocation_id, None)
        if answer is None:
            return  # its caller waits no more
        if completion.error is not None:
            answer.set_exception(call_error(completion.error))
        else:
            answer.set(None if completion.result is UNSET else completion.result)

    def _handle(self, invocation: Invocation) -> None:
        handler, bind = self._handlers.get(invocation.target.lower(), (None, None))
        if handler is not None and bind is not None:
            result = handler(*(bind(value) for value in invocation.arguments if isinstance(value, Raw)))
            if invocation.invocation_id is not None:
                self._answer(Completion(invocation.invocation_id, result=result))
        elif invocation.invocation_id is not None:
            self._answer(Completion(invocation.invocation_id, error=_NO_HANDLER))

    def _answer(self, message: Message) -> None:
        with suppress(LinkLost, NotConnected):  # the loss is told on its own
            self._write(self.codec.encode(message))

    def _keep_time(self) -> None:
        while not self.lost:
            gevent.sleep(self._options.tick_s)
            for event in self._hub.tick(self._clock()):
                if isinstance(event, TimedOut):
                    self._lose("the server was silent for too long")
                elif isinstance(event, KeepAliveDue):
                    with suppress(LinkLost, NotConnected), _limit(self._options.call_timeout_s, "no room for a ping"):
                        self._write(event.data)

    def _write(self, data: bytes) -> None:
        if self._socket is None:
            raise NotConnected(self.lost or "not connected")
        try:
            self._socket.send(data, self._opcode)
        except (WebSocketException, OSError) as error:
            # Part of a frame may be out, so nothing can follow it.
            slow = isinstance(error, TimeoutError | WebSocketTimeoutException)
            reason = "the network took no data for too long" if slow else "the connection broke off"
            self._lose(reason)
            raise LinkLost(reason) from None
        self._hub.sent_at = self._clock()

    def _lose(self, reason: str) -> None:
        if not self.lost:
            self._end(reason)
            self.on_lost(reason)

    def _end(self, reason: str) -> None:
        self.lost = self.lost or reason
        socket, self._socket = self._socket, None
        if socket is not None:
            socket.shutdown()  # type: ignore[no-untyped-call]  # the library types only part of itself
        for answer in self._calls.values():
            answer.set_exception(LinkLost(self.lost))
        self._calls.clear()


def _refusal(error: Exception, limit_s: float) -> HubRefused:
    if isinstance(error, HubRefused):
        return error
    if isinstance(error, WebSocketBadStatusException):
        # Only the status: the message holds headers, and they differ from answer to answer.
        return HubRefused(f"the WebSocket was refused with {error.status_code}", error.status_code)
    if isinstance(error, TimeoutError | WebSocketTimeoutException):
        return HubRefused(f"no connection within {limit_s:g} s")
    return HubRefused(f"no connection: {type(error).__name__}")


def _limit(seconds: float, text: str) -> Any:
    """A block that ends with TimeoutError when it takes longer."""
    return gevent.Timeout(seconds, TimeoutError(f"{text} within {seconds:g} s"))


def _nobody_listens(_reason: str) -> None:
    """Until somebody wants to know."""
