"""Cursors: where a page ended, packed so that nobody is tempted to build one. Holds nothing secret: a caller can only
ask with it for what he may read anyway.
"""

import base64
import binascii

from msgspec import UNSET, UnsetType

from protocol.contract.base import MAX_SAFE_INTEGER
from protocol.errors import BadArgument

__all__ = ["cursor", "number_after", "text_after"]


def cursor(place: str | int) -> str:
    """The cursor behind an item that is sorted by ``place``."""
    return base64.urlsafe_b64encode(f"1{place}".encode()).decode().rstrip("=")


def text_after(given: str | UnsetType) -> str | None:
    """The place that a cursor names, None without one. Raises BadArgument for what is no cursor."""
    if given is UNSET:
        return None
    try:
        text = base64.b64decode(given + "=" * (-len(given) % 4), altchars=b"-_", validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        text = ""
    # PostgreSQL cannot keep that character, nor look for it.
    if text[:1] != "1" or "\0" in text:
        raise BadArgument("after: not a cursor of this server")
    return text[1:]


def number_after(given: str | UnsetType) -> int | None:
    """As ``text_after``, for what is sorted by a number."""
    text = text_after(given)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 16 and int(text) <= MAX_SAFE_INTEGER):
        raise BadArgument("after: not a cursor of this server")
    return int(text)
