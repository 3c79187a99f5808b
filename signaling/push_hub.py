"""Sends pushes through Azure Notification Hubs, over HTTPS and aiohttp's client.

The token of a phone travels in a header and nowhere else: in no URL, no log line, no error. What may be sent, and what
an answer means, is decided in ``fitting``; here it is carried out, within bounds: so many sends at a time, so long
each, and none while the service is away. Read ``HubPush.send`` first.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import aiohttp

from fitting.notification_hubs import DEFAULT_RETRY_S, Answer, HubAddress, outcome_of, sas_token
from fitting.push import Later, PushNote, PushOutcome, PushTarget, Refused, Sent
from fitting.push_messages import NativePush, native

from .log import LogBook
from .metrics import Metrics
from .push_breaker import Breaker, Happening, State, step, wait_s

__all__ = ["HubPush", "PushLimits", "Signatures"]

# A signature lasts an hour, so that a clock that is some minutes off does no harm, and is renewed in time.
_SIGNATURE_S: Final = 3_600
_RENEWED_S: Final = 300
_BUSY_RETRY_S: Final = 1.0
# Of an answer only the beginning is read, for the name of what was wrong.
_MAX_DETAIL_BYTES: Final = 4_096
# The service asks to be left alone: too many requests, or a quota is used up.
_HELD: Final = (403, 429)


@dataclass(frozen=True, slots=True)
class PushLimits:
    """``timeout_s``: how long one send may take. ``max_sends``: sends at a time."""

    timeout_s: float
    max_sends: int


class Signatures:
    """The ``Authorization`` header, made anew shortly before it ends, or when the clock has jumped."""

    def __init__(self, address: HubAddress) -> None:
        self._address = address
        self._token = ""
        self._ends_s = 0

    def at(self, now_s: float) -> str:
        """A header that is good for some minutes from ``now_s``, Unix time."""
        if not _RENEWED_S < self._ends_s - now_s <= _SIGNATURE_S:
            self._ends_s = int(now_s) + _SIGNATURE_S
            self._token = sas_token(self._address, expires_at_s=self._ends_s)
        return self._token

    def forget(self) -> None:
        """Make the next one anew: this one was not accepted."""
        self._ends_s = 0


class HubPush:
    """``fitting.push.PushNotifier`` over a notification hub. Opens its connections with the first push."""

    def __init__(
        self,
        address: HubAddress,
        *,
        text: str,
        limits: PushLimits,
        metrics: Metrics,
        log: LogBook,
        clock: Callable[[], float],
        monotonic: Callable[[], float],
    ) -> None:
        """``text``: what people see."""
        self._url = address.send_url
        self._signatures = Signatures(address)
        self._text = text
        self._limits = limits
        self._metrics = metrics
        self._log = log
        self._clock = clock
        self._monotonic = monotonic
        self._breaker = Breaker()
        self._sends = 0
        self._last_refusal = ""
        self._http: aiohttp.ClientSession | None = None
        self._closed = False

    async def send(self, to: PushTarget, note: PushNote) -> PushOutcome:
        """See ``PushNotifier``. ``Later`` at once when the service is away, or ``max_push_sends`` are on their way."""
        outcome = await self._send(to, note)
        self._metrics.pushes.of(to.platform, type(outcome).__name__.lower()).value += 1
        return outcome

    async def close(self) -> None:
        """See ``PushNotifier``."""
        self._closed = True
        http, self._http = self._http, None
        if http is not None:
            await http.close()

    async def _send(self, to: PushTarget, note: PushNote) -> PushOutcome:
        if self._closed:
            return Later(DEFAULT_RETRY_S)
        if self._sends >= self._limits.max_sends:
            self._metrics.reached("max_push_sends")
            return Later(_BUSY_RETRY_S)
        if wait := wait_s(self._breaker, self._monotonic()):
            return Later(max(wait, _BUSY_RETRY_S))
        if self._breaker.state is State.OPEN:
            self._step(Happening.TIME_UP)
        self._sends += 1
        try:
            return await self._attempt(to, note)
        finally:
            self._sends -= 1

    async def _attempt(self, to: PushTarget, note: PushNote) -> PushOutcome:
        """One request, and what it says of the service."""
        # What is not caught below is a cancelled send, or a bug: neither may leave the breaker trying for ever.
        happening, cause, held_s = Happening.GIVEN_UP, "", 0.0
        try:
            answer = await self._post(to, native(to.platform, note, text=self._text, now_s=self._clock()))
            outcome = outcome_of(answer, now_s=self._clock())
            happening, cause = Happening.ANSWERED, f"status {answer.status}"
            if answer.status == 401:
                self._signatures.forget()
            if isinstance(outcome, Later):
                asks = answer.status in _HELD or answer.retry_after is not None
                happening, held_s = (Happening.HELD, outcome.retry_after_s) if asks else (Happening.FAILED, 0.0)
            self._note(outcome)
        except TimeoutError:
            self._metrics.reached("push_timeout_s")
            happening, cause, outcome = Happening.FAILED, "timeout", Later(DEFAULT_RETRY_S)
        except (aiohttp.ClientError, OSError) as error:
            # Its text quotes addresses; its class says enough.
            happening, cause, outcome = Happening.FAILED, type(error).__name__, Later(DEFAULT_RETRY_S)
        finally:
            self._step(happening, cause=cause, held_s=held_s)
        return outcome

    async def _post(self, to: PushTarget, push: NativePush) -> Answer:
        """Raises TimeoutError, aiohttp.ClientError or OSError when there is no answer."""
        if self._http is None:
            # How many at a time is counted here, not there, where they would queue. What is packed is left so.
            self._http = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=self._limits.timeout_s),
                connector=aiohttp.TCPConnector(limit=0),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
            )
        headers = {
            "Authorization": self._signatures.at(self._clock()),
            "Content-Type": "application/json;charset=utf-8",
            "ServiceBusNotification-Format": push.format,
            "ServiceBusNotification-DeviceHandle": to.token,
            **push.headers,
        }
        # Neither signature nor token may follow a redirect to somebody else.
        async with self._http.post(self._url, data=push.body, headers=headers, allow_redirects=False) as answer:
            detail = await _beginning(answer.content)
            return Answer(answer.status, answer.headers.get("Retry-After"), detail.decode(errors="replace"))

    def _note(self, outcome: PushOutcome) -> None:
        """What is somebody's fault is told once, until a push has gone through."""
        if isinstance(outcome, Sent):
            self._last_refusal = ""
        elif isinstance(outcome, Refused):
            if outcome.code != self._last_refusal:
                self._log.push_refused(code=outcome.code)
            self._last_refusal = outcome.code

    def _step(self, happening: Happening, *, cause: str = "", held_s: float = 0.0) -> None:
        before, self._breaker = self._breaker, step(self._breaker, happening, now_s=self._monotonic(), held_s=held_s)
        was_closed, is_closed = before.state is State.CLOSED, self._breaker.state is State.CLOSED
        if was_closed and not is_closed:
            self._log.push_service_away(cause=cause)
        elif is_closed and not was_closed:
            self._log.push_service_back()


async def _beginning(content: aiohttp.StreamReader) -> bytes:
    """At most ``_MAX_DETAIL_BYTES`` of a body."""
    read = b""
    while more := await content.read(_MAX_DETAIL_BYTES - len(read)):
        read += more
    return read
