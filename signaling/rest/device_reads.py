"""Reading devices: what is known of one now, its revisions and how they compare, its deliveries, what was recorded.

Answers what the hub's methods answer, to whom they answer it, from the same flows.
"""

from collections.abc import Mapping
from typing import ClassVar, Final

from msgspec import UNSET, structs

from protocol.contract.base import EARS, Failure, Id, Ordinal
from protocol.contract.device_reads import DeliveryView, DeviceView, DiffQuery
from protocol.contract.history import (
    Compare,
    CompareAnswer,
    GetHistory,
    GetRevision,
    HistoryEvent,
    RevisionAnswer,
    RevisionView,
)
from protocol.contract.rest import Page, PageQuery
from protocol.errors import NotFound
from signaling.flows.device_views import DeviceViews
from signaling.flows.history import DeviceHistory
from signaling.policy import DEVICE_READERS, Rule
from signaling.stores.assignments import Assignments
from signaling.stores.devices import DeviceStore

from .pages import cursor, number_after, page, text_after
from .resource import Call, Resource, route

__all__ = ["DeviceReads"]

_DEVICE: Final = "/api/v1/devices/{device}"
_OF_ITEM: Final = {"device": "$request.path.device"}


class DeviceReads(Resource):
    """What is known of devices."""

    tag: ClassVar[str] = "devices"
    policy: ClassVar[Mapping[str, Rule]] = dict.fromkeys(
        (
            f"GET {_DEVICE}",
            f"GET {_DEVICE}/revisions",
            f"GET {_DEVICE}/revisions/{{revision}}",
            f"GET {_DEVICE}/diff",
            f"GET {_DEVICE}/deliveries",
            f"GET {_DEVICE}/deliveries/{{seq}}",
            f"GET {_DEVICE}/history",
        ),
        DEVICE_READERS,
    )

    def __init__(
        self, devices: DeviceStore, assignments: Assignments, views: DeviceViews, history: DeviceHistory
    ) -> None:
        self._devices = devices
        self._assignments = assignments
        self._views = views
        self._history = history

    @route(
        f"GET {_DEVICE}",
        links={
            "listRevisions": {"device": "$response.body#/device"},
            "listDeliveries": {"device": "$response.body#/device"},
            "listEvents": {"device": "$response.body#/device"},
        },
    )
    async def read_device(self, call: Call, device: Id) -> DeviceView:
        """What is worn, what was wanted, what is in the aids, and how the device was registered."""
        record = await self._devices.get(device)
        if record is None:
            raise NotFound("no such device")
        known = await self._views.device(device)
        return DeviceView(
            **structs.asdict(known),
            patient=record.patient,
            assignments=tuple(await self._assignments.of(record)),
            red_flags=record.red_flags,
            sheets={ear: f"/api/v1/sheets/{record.aids[ear].model}" for ear in EARS if ear in record.aids},
        )

    @route(
        f"GET {_DEVICE}/revisions",
        links={"readRevision": _OF_ITEM | {"revision": "$response.body#/items/0/revision"}},
    )
    async def list_revisions(self, call: Call, device: Id, query: PageQuery) -> Page[RevisionView]:
        """Who changed what by how many decibels, newest first."""
        before = text_after(query.after)
        found = await self._history.page(
            GetHistory(device=device, limit=query.limit, before=UNSET if before is None else before)
        )
        return Page(items=found.revisions, next=UNSET if found.next is UNSET else cursor(found.next))

    @route(f"GET {_DEVICE}/revisions/{{revision}}")
    async def read_revision(self, call: Call, device: Id, revision: Id) -> RevisionAnswer:
        """One revision with its whole content."""
        return await self._history.revision(GetRevision(device=device, revision=revision))

    @route(f"GET {_DEVICE}/diff", problems=("not_read_back",))
    async def compare_revisions(self, call: Call, device: Id, query: DiffQuery) -> CompareAnswer | Failure:
        """What one revision changes of another, and with ``aid`` what the aids hold beside both."""
        return await self._history.compare(
            Compare(device=device, base=query.from_, wanted=query.to, aid=query.aid),
        )

    @route(
        f"GET {_DEVICE}/deliveries",
        links={"readDelivery": _OF_ITEM | {"seq": "$response.body#/items/0/seq"}},
    )
    async def list_deliveries(self, call: Call, device: Id, query: PageQuery) -> Page[DeliveryView]:
        """Changes on their way to the aids and those that have ended, newest first."""
        found = await self._views.deliveries(device, before=number_after(query.after), limit=query.limit + 1)
        return page(found, query, lambda delivery: delivery.seq)

    @route(f"GET {_DEVICE}/deliveries/{{seq}}", problems=("unknown_delivery",))
    async def read_delivery(self, call: Call, device: Id, seq: Ordinal) -> DeliveryView | Failure:
        """Where one change is now."""
        return await self._views.delivery_view(device, seq)

    @route(f"GET {_DEVICE}/history")
    async def list_events(self, call: Call, device: Id, query: PageQuery) -> Page[HistoryEvent]:
        """What was recorded of the device, oldest first; each event's hash covers all before it."""
        after = number_after(query.after) or 0
        found = await self._history.events(device, after=after, limit=query.limit + 1)
        return page(found, query, lambda event: event.n)
