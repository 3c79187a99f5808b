"""Capability sheets: what each model of hearing aid can be told."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import ClassVar

from fitting.capability import SHEETS, CapabilitySheet, sheet
from protocol.contract.base import Id
from protocol.contract.device_reads import SheetAnswer, SheetView
from protocol.contract.rest import Page, PageQuery
from signaling.policy import ANYONE, Rule

from .pages import page, text_after
from .resource import Call, Resource, route

__all__ = ["Sheets"]


class Sheets(Resource):
    """The sheets that this server knows; they say nothing of anybody, so everybody with a token may read them."""

    tag: ClassVar[str] = "sheets"
    policy: ClassVar[Mapping[str, Rule]] = {"GET /api/v1/sheets": ANYONE, "GET /api/v1/sheets/{model}": ANYONE}

    @route("GET /api/v1/sheets", links={"readSheet": {"model": "$response.body#/items/0/model"}})
    async def list_sheets(self, call: Call, query: PageQuery) -> Page[SheetView]:
        """The sheets of all models, by name."""
        after = text_after(query.after) or ""
        found = [_view(SHEETS[model]) for model in sorted(SHEETS) if model > after]
        return page(found, query, lambda one: one.model)

    @route("GET /api/v1/sheets/{model}", problems=("not_found",))
    async def read_sheet(self, call: Call, model: Id) -> SheetAnswer:
        """The sheet of one model."""
        return SheetAnswer(sheet=_view(sheet(model)))


def _view(one: CapabilitySheet) -> SheetView:
    return SheetView(**asdict(one))
