"""What is written in visits, over REST: read page by page, written, and how far one has read."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import ClassVar, Final

from msgspec import structs

from protocol.contract.base import Failure, Id
from protocol.contract.chat import (
    Attachment,
    MarkRead,
    MessageSent,
    MessageView,
    ReadTo,
    ReadUpTo,
    SendMessage,
    WriteMessage,
)
from protocol.contract.rest import Page, PageQuery
from signaling.flows.chat import ChatFlow
from signaling.policy import Relation, Rule

from .pages import number_after, page
from .resource import Call, Resource, route

__all__ = ["Messages"]

_MESSAGES: Final = "/api/v1/visits/{visit}/messages"
_READ_TO: Final = "/api/v1/visits/{visit}/read-to"
_IN_VISIT: Final = Rule(
    dict.fromkeys(("clinician", "assistant", "patient", "representative", "guest"), Relation.PARTICIPANT), "visit"
)


class Messages(Resource):
    """The chat of visits. A patient may read and write before he is let in, others may not."""

    tag: ClassVar[str] = "visits"
    policy: ClassVar[Mapping[str, Rule]] = dict.fromkeys(
        (f"GET {_MESSAGES}", f"POST {_MESSAGES}", f"GET {_READ_TO}", f"PUT {_READ_TO}"), _IN_VISIT
    )

    def __init__(self, chat: ChatFlow) -> None:
        self._chat = chat

    @route(f"GET {_MESSAGES}")
    async def list_messages(self, call: Call, visit: Id, query: PageQuery) -> Page[MessageView]:
        """What was written, oldest first. ``n`` has no gap."""
        after = number_after(query.after) or 0
        found = await self._chat.page(call.principal, visit, after, query.limit + 1)
        return page(found, query, lambda message: message.n)

    @route(
        f"POST {_MESSAGES}",
        status=HTTPStatus.CREATED,
        problems=("visit_over", "idempotency_conflict"),
        body_example={"clientId": "phone-17", "text": "Good morning"},
    )
    async def write_message(self, call: Call, visit: Id, body: WriteMessage) -> MessageSent | Failure:
        """Write to everybody in the visit. Sent again with the same ``clientId`` it is there once."""
        attachments = tuple(Attachment(**structs.asdict(one)) for one in body.attachments)
        wanted = SendMessage(visit=visit, client_id=body.client_id, text=body.text, attachments=attachments)
        return await self._chat.write(call.principal, wanted)

    @route(f"GET {_READ_TO}")
    async def read_reading(self, call: Call, visit: Id) -> ReadTo:
        """How far the caller has read, and how many of others' messages he has not."""
        return await self._chat.reading(call.principal, visit)

    @route(f"PUT {_READ_TO}", body_example={"n": 3})
    async def mark_as_read(self, call: Call, visit: Id, body: ReadUpTo) -> ReadTo:
        """The caller has read everything up to a message."""
        return await self._chat.mark_read(call.principal, MarkRead(visit=visit, n=body.n))
