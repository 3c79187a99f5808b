"""One link of a hub client over Socket.IO, inside it python-socketio's own client: the same calls, as events.

An error of a call and a refusal of the domain both come as ``{"ok": false, "error": ...}``; only the refusal has all
its reasons in ``errors``. Reconnecting is left to ``HubClient``, which knows when. It must not know what payloads mean.
Read ``SocketIoLink.open`` first, then ``SocketIoLink.serve``.
"""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, Final, Self
from urllib.parse import urlsplit

import aiohttp
import msgspec
import socketio
from msgspec import Raw
from socketio.exceptions import SocketIOError

from clients.hub_errors import HubOverloaded, HubRefused, LinkLost
from clients.hub_link import LinkEnd, Whereto
from protocol.contract.pushes import ANSWERS
from protocol.signalr.codec import JSON
from protocol.signalr.messages import CancelInvocation, Completion, Invocation, Message, StreamInvocation, StreamItem
from protocol.socketio.codec import CANCEL_STREAM, CLOSE, STREAM_ENDED, STREAM_ITEM

__all__ = ["SocketIoLink"]

# It tells a log what it sends and receives, a token among it.
_QUIET: Final = logging.Logger("auricle.clients.socketio", logging.CRITICAL + 1)
_UNAUTHENTICATED: Final = "unauthenticated"
_HTTP_UNAUTHORIZED: Final = 401


class SocketIoLink:
    """An open link. Made by ``open``; ``serve`` hands on what comes until it ends, ``send`` may be called meanwhile."""

    def __init__(self, session: aiohttp.ClientSession, whereto: Whereto) -> None:
        options = whereto.options
        parts = urlsplit(whereto.url)
        self._namespace = parts.path.rstrip("/")
        self._base = f"{parts.scheme}://{parts.netloc}"
        self._options = options
        self._client = socketio.AsyncClient(
            reconnection=False,
            handle_sigint=False,
            logger=_QUIET,
            engineio_logger=_QUIET,
            http_session=session,
            request_timeout=options.connect_timeout_s,
            websocket_extra_options={
                "max_msg_size": options.max_frame_bytes,
                "timeout": aiohttp.ClientWSTimeout(ws_close=options.close_timeout_s),
            },
        )
        self._take: Callable[[Message], None] = self._keep
        self._early: list[Message] = []
        self._questions: dict[str, asyncio.Future[object]] = {}
        self._asked = 0
        self._streams: dict[str, str] = {}
        self._refusal: HubRefused | None = None
        self._end: LinkEnd | None = None
        self._ended = asyncio.Event()

    @property
    def connection_id(self) -> str:
        """The public id, "" when there is none any more."""
        return str(self._client.namespaces.get(self._namespace, ""))

    @classmethod
    async def open(cls, session: aiohttp.ClientSession, whereto: Whereto) -> Self:
        """Connect and show the token. Raises HubRefused, and what ``token`` raises that is no network's."""
        try:
            fresh = await whereto.fresh_token()
        except ConnectionError:
            raise
        except (aiohttp.ClientError, OSError) as error:
            raise HubRefused(f"no token: {type(error).__name__}") from None
        link = cls(session, whereto)
        try:
            await link._connect(whereto.token if fresh is None else fresh)
        except (SocketIOError, aiohttp.ClientError, OSError, TimeoutError) as error:
            await link.close()
            raise link._refusal or HubRefused(f"no connection: {type(error).__name__}") from None
        except BaseException:
            await link.close()
            raise
        return link

    async def _connect(self, token: object) -> None:
        client, namespace = self._client, self._namespace
        client.on("*", self._event, namespace=namespace)
        client.on("connect_error", self._refused, namespace=namespace)
        client.on("disconnect", self._disconnected, namespace=namespace)
        async with asyncio.timeout(self._options.connect_timeout_s):
            await client.connect(
                self._base,
                auth={"token": token},
                namespaces=[namespace],
                transports=list(self._options.socketio_transports),
                wait_timeout=self._options.connect_timeout_s,
            )

    async def send(self, message: Message) -> None:
        """Send a message. Raises LinkLost when there is no link any more."""
        if isinstance(message, Completion):
            self._answer(message)
        elif isinstance(message, Invocation | StreamInvocation):
            call_id = message.invocation_id
            streams = isinstance(message, StreamInvocation)
            acknowledged = None if call_id is None else partial(self._acknowledged, call_id, streams)
            await self._emit(message.target, tuple(map(_plain, message.arguments)), acknowledged)
        elif isinstance(message, CancelInvocation):
            stream = next((name for name, own in self._streams.items() if own == message.invocation_id), None)
            if stream is not None:
                await self._emit(CANCEL_STREAM, ({"stream": stream},), None)

    async def close(self) -> None:
        """Say goodbye and close; ``serve`` then returns."""
        self._finish(LinkEnd("closed", may_reconnect=False))
        with suppress(SocketIOError, aiohttp.ClientError, OSError, TimeoutError):
            async with asyncio.timeout(self._options.close_timeout_s + 1):
                await self._client.disconnect()

    async def serve(self, take: Callable[[Message], None]) -> LinkEnd:
        """Hand every call, item and completion to ``take`` until the link ends. HubOverloaded from it ends the link."""
        self._take = partial(self._hand_on, take)
        early, self._early = self._early, []
        for message in early:
            self._take(message)
        await self._ended.wait()
        await self.close()
        return self._end or LinkEnd("lost", may_reconnect=True)

    async def _emit(self, target: str, arguments: tuple[object, ...], acknowledged: Any) -> None:
        if self._ended.is_set():
            raise LinkLost("the link is gone")
        try:
            await self._client.emit(target, arguments, namespace=self._namespace, callback=acknowledged)
        except (SocketIOError, OSError):
            raise LinkLost("the link is gone") from None

    # What comes

    async def _event(self, target: str, *arguments: object) -> object:
        """Every event; what it returns is the acknowledgement, if one is wanted."""
        if target in ANSWERS:
            self._asked += 1
            question = f"q{self._asked}"
            answer = self._questions[question] = asyncio.get_running_loop().create_future()
            self._take(Invocation(target=target, arguments=_raw_all(arguments), invocation_id=question))
            try:
                return await answer
            finally:
                del self._questions[question]
        message = self._news(target, arguments)
        if message is not None:
            self._take(message)
        return None

    def _news(self, target: str, arguments: tuple[object, ...]) -> Message | None:
        told: Any = arguments[0] if arguments else None
        if target == STREAM_ITEM:
            call_id = self._streams.get(told["stream"])
            return None if call_id is None else StreamItem(invocation_id=call_id, item=_raw(told["item"]))
        if target == STREAM_ENDED:
            call_id = self._streams.pop(told["stream"], None)
            return None if call_id is None else _completion(call_id, told, has_result=False)
        if target == CLOSE:
            self._end = self._end or LinkEnd("closed", bool(told["allowReconnect"]), told.get("error"))
            return None
        return Invocation(target=target, arguments=_raw_all(arguments))

    def _acknowledged(self, call_id: str, streams: bool, *values: Any) -> None:
        told: Any = values[0] if values else {"ok": True}
        if streams and told.get("ok") is True:
            self._streams[told["stream"]] = call_id
        else:
            self._take(_completion(call_id, told, has_result=True))

    def _answer(self, completion: Completion) -> None:
        answer = self._questions.get(completion.invocation_id)
        if answer is not None and not answer.done():
            failed = {"ok": False, "error": {"message": completion.error}}
            answer.set_result(_plain(completion.result) if completion.error is None else failed)

    def _refused(self, told: Any = None) -> None:
        code = told.get("data", {}).get("code") if isinstance(told, dict) and isinstance(told.get("data"), dict) else ""
        status = _HTTP_UNAUTHORIZED if code == _UNAUTHENTICATED else 0
        self._refusal = HubRefused(f"the hub refused: {code or 'no reason given'}", status)

    def _disconnected(self, _reason: object = None) -> None:
        self._finish(LinkEnd("lost", may_reconnect=True))

    def _finish(self, end: LinkEnd) -> None:
        self._end = self._end or end
        self._ended.set()
        for answer in self._questions.values():
            # Nobody hears the answer any more.
            if not answer.done():
                answer.set_result(None)

    def _keep(self, message: Message) -> None:
        self._early.append(message)

    def _hand_on(self, take: Callable[[Message], None], message: Message) -> None:
        if self._ended.is_set():
            return
        try:
            take(message)
        except HubOverloaded as error:
            self._finish(LinkEnd("overloaded", may_reconnect=True, error=str(error)))


def _completion(call_id: str, told: Any, *, has_result: bool) -> Completion:
    if told.get("ok") is False and "errors" not in told:
        error = told.get("error") or {}
        text = f"HubException: [{error.get('code', 'hub_error')}] {error.get('message', '')}"
        return Completion(invocation_id=call_id, error=text)
    return Completion(invocation_id=call_id, result=_raw(told)) if has_result else Completion(invocation_id=call_id)


def _plain(value: object) -> Any:
    """What python-socketio can encode: plain objects."""
    return msgspec.json.decode(bytes(JSON.encode_value(value)))


def _raw(value: object) -> Raw:
    return JSON.encode_value(value)


def _raw_all(values: tuple[object, ...]) -> tuple[Raw, ...]:
    return tuple(map(_raw, values))
