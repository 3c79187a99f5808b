"""What a client may send and wants to get: ``Content-Type`` and ``Accept`` (RFC 9110, 8.3 and 12.5.1)."""

from collections.abc import Iterator

from aiohttp import web

__all__ = ["check_acceptable", "check_sent"]

_MAX_RANGES = 32


def check_sent(request: web.Request, wanted: str) -> None:
    """The body says that it is what the route takes. Raises HTTPUnsupportedMediaType."""
    given = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if given != wanted:
        raise web.HTTPUnsupportedMediaType(text=f"The body must be {wanted}")


def check_acceptable(request: web.Request, offered: str) -> None:
    """The client takes what the route gives. Raises HTTPNotAcceptable."""
    header = ",".join(request.headers.getall("Accept", []))
    if header.strip() and _quality(header, offered) <= 0:
        raise web.HTTPNotAcceptable(text=f"The answer is {offered}")


def _quality(header: str, offered: str) -> float:
    """That of the most specific range which covers what is offered, 0 when none does."""
    kind = offered.partition("/")[0]
    specific = {"*/*": 1, f"{kind}/*": 2, offered: 3}
    found = [(specific[name], quality) for name, quality in _ranges(header) if name in specific]
    return max(found)[1] if found else 0.0


def _ranges(header: str) -> Iterator[tuple[str, float]]:
    for part in header.split(",")[:_MAX_RANGES]:
        name, *parameters = (piece.strip().lower() for piece in part.split(";"))
        quality = 1.0
        for parameter in parameters:
            if parameter.startswith("q="):
                try:
                    quality = float(parameter[2:])
                except ValueError:
                    quality = 0.0
        yield name, quality
