"""Calls that are over, over REST: who took part, for how long, and how good it was."""

from collections.abc import Mapping
from datetime import datetime
from typing import ClassVar, Final

from protocol.contract.base import Id
from protocol.contract.call_records import CallRecord
from protocol.contract.rest import Page, PageQuery
from protocol.errors import NotFound
from signaling.calls.records import CallRecorder
from signaling.policy import Relation, Rule
from signaling.stores.call_records import CallPlace

from .pages import page, text_after
from .resource import Call, Resource, route

__all__ = ["Calls"]

_CALLS: Final = "/api/v1/visits/{visit}/calls"


class Calls(Resource):
    """The calls of visits. They name everybody who took part, so they are not for guests."""

    tag: ClassVar[str] = "visits"
    policy: ClassVar[Mapping[str, Rule]] = {
        f"GET {_CALLS}": Rule(
            dict.fromkeys(("clinician", "assistant", "patient", "representative"), Relation.PARTICIPANT), "visit"
        )
    }

    def __init__(self, recorder: CallRecorder) -> None:
        self._recorder = recorder

    @route(f"GET {_CALLS}")
    async def list_calls(self, _: Call, visit: Id, query: PageQuery) -> Page[CallRecord]:
        """The calls of a visit that are over, the latest first."""
        found = await self._recorder.of_visit(visit, _place(query), query.limit + 1)
        return page(found, query, lambda call: f"{call.ended_at}/{call.call_id}")


def _place(query: PageQuery) -> CallPlace | None:
    text = text_after(query.after)
    if text is None:
        return None
    at, _, call_id = text.partition("/")
    try:
        return CallPlace(datetime.fromisoformat(at).timestamp(), call_id)
    except (ValueError, OverflowError):
        raise NotFound("no such page") from None
