"""Cursors: where a page ended, packed so that nobody is tempted to build one. Holds nothing secret: a caller can only
ask with it for what he may read anyway.
"""

import base64
import binascii
from collections.abc import Callable, Sequence
from typing import TypeVar

from msgspec import UNSET, UnsetType

from protocol.contract.base import MAX_SAFE_INTEGER
from protocol.contract.rest import Page, PageQuery
from protocol.errors import NotFound

__all__ = ["cursor", "number_after", "page", "text_after"]

T = TypeVar("T")


def cursor(place: str | int) -> str:
    """The cursor behind an item that is sorted by ``place``."""
    return base64.urlsafe_b64encode(f"1{place}".encode()).decode().rstrip("=")


def page(found: Sequence[T], query: PageQuery, place: Callable[[T], str | int]) -> Page[T]:
    """A page of what was looked for, which was one more than the page holds; ``place`` is what items are sorted by."""
    items = tuple(found[: query.limit])
    return Page(items=items, next=cursor(place(items[-1])) if len(found) > len(items) else UNSET)


def text_after(given: str | UnsetType) -> str | None:
    """The place that a cursor names, None without one. Raises NotFound when it is none of this server."""
    if given is UNSET:
        return None
    try:
        text = base64.b64decode(given + "=" * (-len(given) % 4), altchars=b"-_", validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        text = ""
    # PostgreSQL cannot keep that character, nor look for it.
    if text[:1] != "1" or "\0" in text:
        raise NotFound("no such page")
    return text[1:]


def number_after(given: str | UnsetType) -> int | None:
    """As ``text_after``, for what is sorted by a number."""
    text = text_after(given)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 16 and int(text) <= MAX_SAFE_INTEGER):
        raise NotFound("no such page")
    return int(text)
