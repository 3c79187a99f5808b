"""What the OpenAPI document says in words, where no docstring of a route does."""

from collections.abc import Mapping
from typing import Any, Final

from .replay import KEY_PATTERN

__all__ = ["ABOUT", "HEADERS", "NOT_MODIFIED", "PARAMETERS"]

ABOUT: Final = (
    "What the hub stores can also be read here, and clinics register here what the hub works on. Every request carries "
    "a bearer token in its Authorization header. Every error is a problem document (RFC 9457) with a stable `code`; "
    "what the domain refuses carries the refusal of the hub's contract in `error`. What is unknown and what is not the "
    "caller's look the same. No query parameter is ignored. Nothing may be cached by anybody in between."
)
NOT_MODIFIED: Final = "The caller has it already: `If-None-Match` names what is there."
HEADERS: Final[Mapping[str, str]] = {
    "ETag": "Names what was answered; for `If-None-Match`, and `If-Match` of a change.",
    "Link": 'The next page, with `rel="next"` (RFC 8288); absent on the last one.',
    "Location": "Where the thing that was made is.",
}
PARAMETERS: Final[Mapping[str, tuple[str, dict[str, Any]]]] = {
    "Idempotency-Key": (
        "The caller's own name for this request: sent again with the same one within a day, it gets its first answer "
        "and makes nothing twice.",
        {"type": "string", "pattern": KEY_PATTERN},
    ),
    "If-Match": ("The `ETag` of what the change is a change of.", {"type": "string"}),
    "If-None-Match": ("The `ETag` of what the caller has.", {"type": "string"}),
}
