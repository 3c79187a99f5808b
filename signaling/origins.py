"""Which web pages may talk to this server, and what a browser is told so that it lets them (Fetch, "CORS protocol").

A browser names the page's origin; other clients name none and need nothing of this. An origin is allowed when it
is the server's own or configured, letter for letter. Knows neither hubs nor resources.
"""

import re
from http import HTTPStatus
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler

__all__ = ["Origins"]

METHODS: Final = "GET, POST, PUT, PATCH, DELETE"
EXPOSED: Final = "ETag, Link, Location, Retry-After, WWW-Authenticate"
# How long a browser may remember the answer to a preflight.
MAX_AGE_S: Final = 600
MAX_ASKED_CHARS: Final = 1_024
_HEADER_NAMES: Final = re.compile(r"[\w!#$%&'*+.^`|~-]+(?:[ \t]*,[ \t]*[\w!#$%&'*+.^`|~-]+)*", re.ASCII)


class Origins:
    """``allowed``: the configured origins, in lower case."""

    def __init__(self, allowed: frozenset[str]) -> None:
        self._allowed = allowed

    def refuses(self, request: web.BaseRequest) -> bool:
        """Whether the request comes from a page that may not talk to us."""
        return bool(request.headers.getall("Origin", [])) and self._allowed_origin(request) is None

    def register(self, app: web.Application) -> None:
        """Answer preflights before anything else, and put the headers on every response, errors and streams too."""
        app.middlewares.insert(0, self._preflight)
        app.on_response_prepare.append(self._decorate)

    @web.middleware
    async def _preflight(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        is_preflight = (
            request.method == "OPTIONS"
            and "Origin" in request.headers
            and "Access-Control-Request-Method" in request.headers
        )
        if not is_preflight:
            return await handler(request)
        if self.refuses(request):
            return web.Response(status=HTTPStatus.FORBIDDEN, text="Origin not allowed")
        headers = {"Access-Control-Allow-Methods": METHODS, "Access-Control-Max-Age": str(MAX_AGE_S)}
        asked = request.headers.get("Access-Control-Request-Headers", "")
        # Whose token it is decides what a request may do; which headers a page adds to it does not.
        if len(asked) <= MAX_ASKED_CHARS and _HEADER_NAMES.fullmatch(asked):
            headers["Access-Control-Allow-Headers"] = asked
        return web.Response(status=HTTPStatus.NO_CONTENT, headers=headers)

    async def _decorate(self, request: web.Request, response: web.StreamResponse) -> None:
        # A cache must not give one page the answer that names another.
        response.headers.add("Vary", "Origin")
        origin = self._allowed_origin(request)
        if origin is not None:
            response.headers["Access-Control-Allow-Origin"] = origin
            response.headers["Access-Control-Allow-Credentials"] = "true"
            response.headers["Access-Control-Expose-Headers"] = EXPOSED

    def _allowed_origin(self, request: web.BaseRequest) -> str | None:
        """The origin as it was named, None if there is none, or two, or one that may not."""
        named = request.headers.getall("Origin", [])
        if len(named) != 1:
            return None
        own = {f"{scheme}://{request.host}".lower() for scheme in ("http", "https")}
        return named[0] if named[0].lower() in own | self._allowed else None
