"""Event Grid's part: a subscription is validated once, then each message of a thread is told to it. Read ``EventGrid``.

Public: the handshake, the shape of events, that they come at least once and in no order, and again for a while when the
other end does not answer 2xx. Read: what a message's event says. Assumed: that the headers of a subscription come with
its validation too.
"""

import asyncio
import uuid
from collections.abc import Mapping
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


@dataclass(slots=True)
class EventGrid:
    """One subscription, none while ``url`` is empty. ``headers``: its delivery properties. ``told``: what was taken.

    ``muted``: events are lost, as if the subscription had been deleted.
    """

    url: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    ssl: SSLContext | bool = True
    validated: bool = False
    muted: bool = False
    told: int = 0
    repeats: int = 1
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def subscribe(self, url: str, headers: Mapping[str, str]) -> bool:
        """Public: the endpoint repeats the code, or the subscription is not made."""
        self.url, self.headers, code = url, dict(headers), uuid.uuid4().hex
        event = _event("Microsoft.EventGrid.SubscriptionValidationEvent", "", {"validationCode": code}, 0.0)
        answer = await self._post([event], kind="SubscriptionValidation")
        self.validated = answer is not None and answer.get("validationResponse") == code
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
                if await self._post([event], kind="Notification") is not None:
                    self.told += 1
                    break
                await asyncio.sleep(0.2 * 2**attempt)

    async def _post(self, events: list[dict[str, Any]], *, kind: str) -> dict[str, Any] | None:
        """The answer's body, {} when it has none; None when it was not 2xx."""
        headers = {**self.headers, "aeg-event-type": kind}
        timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout) as http,
                http.post(self.url, json=events, headers=headers, ssl=self.ssl, allow_redirects=False) as answer,
            ):
                if answer.status // 100 != 2:
                    return None
                found = await answer.json(content_type=None) if answer.content_length else {}
                return found if isinstance(found, dict) else {}
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError):
            return None


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
