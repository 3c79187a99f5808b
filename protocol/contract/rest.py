"""What all resources of ``/api/v1`` share: a page of items, what asks for one, and the shape of every error."""

from typing import Annotated, Generic, TypeVar

from msgspec import UNSET, Meta, UnsetType

from .base import Answer, Refusal, StrictWire, Wire

__all__ = ["Cursor", "Page", "PageQuery", "Problem"]

T = TypeVar("T")
Cursor = Annotated[str, Meta(min_length=1, max_length=512, pattern=r"^[A-Za-z0-9_\-]+\Z")]


class PageQuery(StrictWire, frozen=True, kw_only=True):
    """``after`` is the ``next`` of the page before; it means nothing to anybody but this server."""

    limit: Annotated[int, Meta(ge=1, le=100)] = 20
    after: Cursor | UnsetType = UNSET


class Page(Answer, Generic[T], frozen=True, kw_only=True):
    """Some of many; ``next`` is absent on the last page, and named in the ``Link`` header too."""

    items: tuple[T, ...]
    next: str | UnsetType = UNSET


class Problem(Wire, frozen=True, kw_only=True):
    """An error (RFC 9457). ``code`` is stable, ``detail`` is for people.

    When it is the domain that refused, ``error`` is what a hub method would have answered, ``errors`` every reason.
    """

    type: str
    title: str
    status: int
    code: str
    detail: str
    error: Refusal | UnsetType = UNSET
    errors: tuple[Refusal, ...] | UnsetType = UNSET
