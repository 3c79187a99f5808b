"""What a client may send and wants to get: ``Content-Type`` and ``Accept`` (RFC 9110, 8.3 and 12.5.1)."""

from collections.abc import Iterator, Sequence

from aiohttp import web

__all__ = ["check_acceptable", "check_sent", "most_acceptable", "sent_as"]

_MAX_RANGES = 32


def check_sent(request: web.Request, wanted: str) -> None:
    """The body says that it is what the route takes. Raises HTTPUnsupportedMediaType."""
    if _sent(request) != wanted:
        raise web.HTTPUnsupportedMediaType(text=f"The body must be {wanted}")


def sent_as(request: web.Request, taken: Sequence[str]) -> int:
    """Which of the kinds that are taken the body is; the first when it is none of them."""
    given = _sent(request)
    return taken.index(given) if given in taken else 0


def most_acceptable(request: web.Request, offered: Sequence[str]) -> int:
    """Which of the kinds that are offered the client wants most; of two that are as good the first."""
    header = _accept(request)
    if not header.strip():
        return 0
    qualities = [_quality(header, one) for one in offered]
    return qualities.index(max(qualities))


def check_acceptable(request: web.Request, offered: str) -> None:
    """The client takes what the route gives. Raises HTTPNotAcceptable."""
    header = _accept(request)
    if header.strip() and _quality(header, offered) <= 0:
        raise web.HTTPNotAcceptable(text=f"The answer is {offered}")


def _sent(request: web.Request) -> str:
    return request.headers.get("Content-Type", "").partition(";")[0].strip().lower()


def _accept(request: web.Request) -> str:
    return ",".join(request.headers.getall("Accept", []))


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
