"""Errors over HTTP: one table from an error to a status, and one shape (RFC 9457) for all of them."""

from http import HTTPStatus
from typing import Final

import msgspec
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from protocol.errors import (
    AuricleError,
    BadArgument,
    NotAllowed,
    NotFound,
    Overloaded,
    StorageFull,
    Unauthenticated,
    Unavailable,
    UnknownOutcome,
)
from signaling.log import LogBook

__all__ = ["Conflict", "problem", "problem_middleware"]


class Conflict(AuricleError):
    """The resource exists already, or has changed."""

    code = "already_exists"


STATUS: Final[dict[type[AuricleError], HTTPStatus]] = {
    BadArgument: HTTPStatus.BAD_REQUEST,
    Unauthenticated: HTTPStatus.UNAUTHORIZED,
    NotAllowed: HTTPStatus.FORBIDDEN,
    NotFound: HTTPStatus.NOT_FOUND,
    Conflict: HTTPStatus.CONFLICT,
    Overloaded: HTTPStatus.TOO_MANY_REQUESTS,
    Unavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    StorageFull: HTTPStatus.INSUFFICIENT_STORAGE,
    UnknownOutcome: HTTPStatus.SERVICE_UNAVAILABLE,
}


def problem(status: HTTPStatus, code: str, detail: str) -> web.Response:
    """A problem document; ``code`` is stable, ``detail`` is for people."""
    body = {
        "type": "about:blank",
        "title": status.phrase,
        "status": status.value,
        "code": code,
        "detail": detail,
    }
    headers = {"WWW-Authenticate": "Bearer"} if status is HTTPStatus.UNAUTHORIZED else None
    return web.Response(
        status=status,
        body=msgspec.json.encode(body),
        content_type="application/problem+json",
        headers=headers,
    )


def problem_middleware(log: LogBook) -> Middleware:
    """Turn every error of a handler into a problem document; nothing unexpected is told to the caller."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except web.HTTPException as error:
            status = HTTPStatus(error.status)
            answer = problem(status, status.name.lower(), status.description)
            if "Allow" in error.headers:
                answer.headers["Allow"] = error.headers["Allow"]
            if status is HTTPStatus.REQUEST_TIMEOUT:
                # The rest of the request is still to come, and nobody reads it.
                answer.force_close()
            return answer
        except AuricleError as error:
            known = STATUS.get(type(error), HTTPStatus.INTERNAL_SERVER_ERROR)
            return problem(known, error.code, error.public_message)
        except Exception as error:  # noqa: BLE001  # the boundary of a request: logged by class, told as "internal"
            resource = request.match_info.route.resource
            log.request_crashed(route=resource.canonical if resource else "", error=error)
            return problem(HTTPStatus.INTERNAL_SERVER_ERROR, "internal", "An unexpected error occurred.")

    return middleware
