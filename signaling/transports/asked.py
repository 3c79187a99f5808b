"""Which transport a GET asks for. Knows no connection."""

from aiohttp import web

__all__ = ["transport_of"]


def transport_of(request: web.Request) -> str:
    """What a GET asks for. An upgrade to something else than a WebSocket is a wish that may be ignored."""
    if _names(request, "Upgrade", "websocket") and _names(request, "Connection", "upgrade"):
        return "WebSockets"
    return "ServerSentEvents" if "text/event-stream" in request.headers.get("Accept", "") else "LongPolling"


def _names(request: web.Request, header: str, token: str) -> bool:
    return any(
        token == part.strip().lower() for value in request.headers.getall(header, []) for part in value.split(",")
    )
