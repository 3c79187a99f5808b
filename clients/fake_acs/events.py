"""Event Grid's part: a subscription is validated once, then each message of a thread is told to it. Read ``EventGrid``.

Public: the handshake, the shape of events, that they come at least once and in no order, and again for a while when the
other end does not answer 2xx, but for 400 and 413; that a token of Entra comes with each when the subscription names an
application. Read: what a message's event says. Assumed: that the headers of a subscription, and a token, come with its
validation too.
"""

import asyncio
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from ssl import SSLContext
from typing import Any, Final

import aiohttp

from .state import Message, Thread, iso

__all__ = ["TOPIC", "EventGrid"]

TOPIC: Final = "/subscriptions/s/resourceGroups/g/providers/microsoft.communication/communicationservices/fake"
_TRIES: Final = 4
_TIMEOUT_S: Final = 5.0
# Of those that wait to be told.
_MOST: Final = 10_000
_MOST_ANSWERS: Final = 1_000
# Public: what is wrong with an event will be wrong again.
_FINAL: Final = (400, 413)


@dataclass(slots=True)
class EventGrid:
    """One subscription, none while ``url`` is empty. ``headers``: its delivery properties. ``told``: what was taken.

    ``muted``: events are lost, as if the subscription had been deleted. ``audience``: the application that stands for
    the endpoint, for which ``sign`` makes a token; "" for none. ``answers``: the statuses that came, the newest last.
    """

    url: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    ssl: SSLContext | bool = True
    validated: bool = False
    muted: bool = False
    told: int = 0
    repeats: int = 1
    audience: str = ""
    sign: Callable[[str], str] = str
    answers: list[int] = field(default_factory=list)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def subscribe(self, url: str, headers: Mapping[str, str], *, audience: str = "") -> bool:
        """Public: the endpoint repeats the code, or the subscription is not made."""
        self.url, self.headers, self.audience, code = url, dict(headers), audience, uuid.uuid4().hex
        event = _event("Microsoft.EventGrid.SubscriptionValidationEvent", "", {"validationCode": code}, 0.0)
        status, answer = await self._post([event], kind="SubscriptionValidation")
        self.validated = status == 200 and answer.get("validationResponse") == code
        return self.validated

    def written(self, thread: Thread, message: Message) -> None:
        """Tell of a message, soon."""
        if not self.validated or self.muted or len(self._tasks) >= _MOST:
            return
        data = {
            "messageBody": message.content.get("message", ""),
            "messageId": message.id,
            "senderCommunicationIdentifier": {"rawId": message.sender, "communicationUser": {"id": message.sender}},
            "senderDisplayName": message.sender_name,
            "composeTime": iso(message.at_s),
            "type": message.kind.title(),
            "version": int(message.id),
            "threadId": thread.id,
            "metadata": message.metadata,
        }
        kind = "Microsoft.Communication.ChatMessageReceivedInThread"
        event = _event(kind, f"thread/{thread.id}/sender/{message.sender}", data, message.at_s)
        task = asyncio.get_running_loop().create_task(self._deliver(event))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Stop telling."""
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _deliver(self, event: dict[str, Any]) -> None:
        for _ in range(self.repeats):
            for attempt in range(_TRIES):
                status, _ = await self._post([event], kind="Notification")
                if status // 100 == 2:
                    self.told += 1
                if status // 100 == 2 or status in _FINAL:
                    break
                await asyncio.sleep(0.2 * 2**attempt)

    async def _post(self, events: list[dict[str, Any]], *, kind: str) -> tuple[int, dict[str, Any]]:
        """The status, 0 for no answer, and the body, {} when it has none."""
        headers = {**self.headers, "aeg-event-type": kind}
        if self.audience:
            headers["Authorization"] = f"Bearer {self.sign(self.audience)}"
        timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout) as http,
                http.post(self.url, json=events, headers=headers, ssl=self.ssl, allow_redirects=False) as answer,
            ):
                self.answers.append(answer.status)
                del self.answers[:-_MOST_ANSWERS]
                found = await answer.json(content_type=None) if answer.content_length else {}
                return answer.status, found if isinstance(found, dict) else {}
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError):
            return 0, {}


def _event(kind: str, subject: str, data: dict[str, Any], at_s: float) -> dict[str, Any]:
    return {
        "id": str(uuid.uuid4()),
        "topic": TOPIC,
        "subject": subject,
        "eventType": kind,
        "eventTime": iso(at_s),
        "dataVersion": "1.0",
        "metadataVersion": "1",
        "data": data,
    }
