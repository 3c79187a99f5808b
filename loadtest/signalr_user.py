"""A Locust user for any SignalR hub: its connections, calls and requests become Locust request events.

Subclass ``SignalRUser``, open hubs with ``hub`` and call them; anything else that takes time is measured with
``measure``. Names of events are method names, paths or words of the scenario, never ids: each name is a row of the
statistics. Whatever fails is recorded before it is raised; a task that catches ``FAILURES`` and goes on hides nothing.
It must not know Auricle's contract. Read ``SignalRUser.hub`` and ``MeasuredHub.invoke`` first.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, Final, TypeVar

import locust
import msgspec
import requests
from locust.env import Environment
from locust.exception import StopTest
from msgspec import Raw

from clients.hub_errors import HubCallError, HubRefused, LinkLost
from protocol.errors import AuricleError
from protocol.signalr.codec import Codec, ProtocolName

from .signalr_socket import SignalRSocket, SocketOptions

__all__ = ["FAILURES", "SIGNALR", "MeasuredHub", "Sample", "SignalRUser"]

T = TypeVar("T")
FAILURES: Final = (HubCallError, AuricleError, OSError)
"""What calls and requests raise; a LinkLost, a HubRefused and a TimeoutError are OSErrors."""
SIGNALR: Final = "SignalR"
"""The type of the events of connections and calls over SignalR."""


@dataclass(slots=True)
class Sample:
    """What a measured block may tell of itself."""

    response_bytes: int = 0


class _Negotiated(msgspec.Struct, frozen=True, rename="camel"):
    connection_token: str = ""
    error: str | None = None


class SignalRUser(locust.User):
    """Base of users that talk to a hub at ``host`` + ``hub_path``. ``negotiates``: ask for a connection first."""

    abstract = True
    hub_path: ClassVar[str] = "/hub"
    protocol: ProtocolName = "json"
    negotiates: bool = True
    answer_timeout_s: float = 10.0

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        if not self.host:
            raise StopTest("no host: give --host, for example --host http://127.0.0.1:8080")
        self.base_url = self.host.rstrip("/")

    @property
    def socket_options(self) -> SocketOptions:
        """The bounds of its connections."""
        return SocketOptions(connect_timeout_s=self.answer_timeout_s, call_timeout_s=self.answer_timeout_s)

    @property
    def request_type(self) -> str:
        """The type of the events of its connections and calls."""
        return SIGNALR

    def new_socket(self, token: str) -> SignalRSocket:
        """One more connection, not opened yet."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        url = self.base_url + self.hub_path
        return SignalRSocket(url, protocol=self.protocol, headers=headers, options=self.socket_options)

    def hub(self, token: str = "") -> "MeasuredHub":
        """A connection that is yet to be opened; ``token`` is a bearer token."""
        return MeasuredHub(self, token)

    @contextmanager
    def measure(self, request_type: str, name: str, *, since_s: float | None = None) -> Iterator[Sample]:
        """Time a block as one request event; it fails when the block raises, and the error goes on.

        ``since_s``: when it began by ``time.perf_counter``, if that was before the block.
        """
        began_s = time.perf_counter() if since_s is None else since_s
        sample = Sample()
        try:
            yield sample
        except Exception as error:
            self._fire(request_type, name, began_s, sample, error)
            raise
        # A user that is stopped in the middle leaves with GreenletExit: neither a success nor a failure.
        self._fire(request_type, name, began_s, sample, None)

    def post(self, path: str, *, token: str = "", body: bytes = b"", query: str = "") -> bytes:
        """POST to the server, measured under its path. Raises HubRefused for any answer but 2xx, and for none."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        if body:
            headers["Content-Type"] = "application/json"
        with self.measure("POST", path) as sample, requests.Session() as http:
            http.trust_env = False
            url = f"{self.base_url}{path}{query}"
            try:
                answer = http.post(
                    url, data=body, headers=headers, timeout=self.answer_timeout_s, allow_redirects=False
                )
            except requests.Timeout:
                raise HubRefused(f"no answer within {self.answer_timeout_s:g} s") from None
            except requests.RequestException as error:
                # Only the class: the message holds addresses of objects, and each would be a row of its own.
                raise HubRefused(f"no answer: {type(error).__name__}") from None
            if not answer.ok or answer.is_redirect:
                raise HubRefused(f"answered with {answer.status_code}", answer.status_code)
            sample.response_bytes = len(answer.content)
            return answer.content

    def negotiate(self, token: str) -> str:
        """The token of a new connection, "" for a user that does not negotiate. Raises HubRefused."""
        if not self.negotiates:
            return ""
        answer = self.post(f"{self.hub_path}/negotiate", token=token, query="?negotiateVersion=1")
        try:
            negotiated = msgspec.json.decode(answer, type=_Negotiated)
        except msgspec.DecodeError:
            raise HubRefused("negotiate was not answered by a SignalR hub") from None
        if negotiated.error is not None or not negotiated.connection_token:
            raise HubRefused("negotiate gave no connection")
        return negotiated.connection_token

    def record_failure(self, request_type: str, name: str, error: Exception) -> None:
        """A failure that no measured block saw."""
        self._fire(request_type, name, time.perf_counter(), Sample(), error)

    def _fire(self, request_type: str, name: str, began_s: float, sample: Sample, error: Exception | None) -> None:
        took_s = time.perf_counter() - began_s
        self.environment.events.request.fire(
            request_type=request_type,
            name=name,
            response_time=took_s * 1_000,
            response_length=sample.response_bytes,
            exception=error,
            context=self.context(),
            start_time=time.time() - took_s,
        )


class MeasuredHub:
    """One connection of a user. Register pushes with ``on`` before ``open``, so that none is missed."""

    def __init__(self, user: SignalRUser, token: str) -> None:
        self._user, self._token = user, token
        self._socket = user.new_socket(token)
        self._socket.on_lost = self._record_loss
        self._on_lost: Callable[[], None] = lambda: None

    @property
    def codec(self) -> Codec:
        """The format of its values."""
        return self._socket.codec

    @property
    def lost(self) -> str:
        """Why it ended, "" while it is up."""
        return self._socket.lost

    def on(self, target: str, handler: Callable[..., object], payload: Any = Any) -> None:
        """Run ``handler`` for every ``target`` of the server; it must not wait."""
        self._socket.on(target, handler, payload)

    def on_lost(self, listener: Callable[[], None]) -> None:
        """Run ``listener`` when the connection ends otherwise than by ``close``; it must not wait."""
        self._on_lost = listener

    def open(self) -> None:
        """Negotiate, connect, shake hands: the events ``.../negotiate`` and ``connect``. Raises HubRefused."""
        connection_token = self._user.negotiate(self._token)
        with self._user.measure(self._user.request_type, "connect"):
            self._socket.open(connection_token)

    def invoke(self, target: str, *arguments: object, read: Callable[[Raw | None], T] | None = None) -> T | Any:
        """Call ``target`` as one event of that name; the result goes through ``read``, or becomes plain objects.

        What ``read`` raises makes the call fail. Raises what ``SignalRSocket.invoke`` raises.
        """
        with self._user.measure(self._user.request_type, target) as sample:
            raw = self._socket.invoke(target, *arguments)
            sample.response_bytes = 0 if raw is None else len(memoryview(raw))
            if read is not None:
                return read(raw)
            return None if raw is None else self.codec.free(raw)

    def send(self, target: str, *arguments: object) -> None:
        """Call ``target`` without an answer; only a failure is an event. Raises what ``SignalRSocket.send`` raises."""
        try:
            self._socket.send(target, *arguments)
        except FAILURES as error:
            self._user.record_failure(self._user.request_type, target, error)
            raise

    def close(self) -> None:
        """Say goodbye; never raises."""
        self._socket.close()

    def _record_loss(self, reason: str) -> None:
        self._user.record_failure(self._user.request_type, "connection", LinkLost(reason))
        self._on_lost()
