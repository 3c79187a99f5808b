"""Errors over HTTP: one table from a code to a status, and one shape (RFC 9457) for all of them."""

from http import HTTPStatus
from typing import Final

import msgspec
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from fitting.fhir_errors import FHIR_CODES
from protocol.contract.base import Failure
from protocol.contract.rest import Problem
from protocol.errors import AuricleError
from signaling.log import LogBook

__all__ = [
    "PROBLEM_TYPE",
    "Conflict",
    "InProgress",
    "KeyConflict",
    "PreconditionFailed",
    "PreconditionRequired",
    "problem",
    "problem_middleware",
    "problem_of",
    "status_of",
]

PROBLEM_TYPE: Final = "application/problem+json"
# The code says what a type would.
_NO_TYPE: Final = "about:blank"


class Conflict(AuricleError):
    """The resource exists already, or has changed."""

    code = "already_exists"


class KeyConflict(AuricleError):
    """The idempotency key has stood for another request."""

    code = "idempotency_conflict"


class InProgress(AuricleError):
    """The first request with this idempotency key has no answer yet."""

    code = "in_progress"


class PreconditionFailed(AuricleError):
    """What is there is not what ``If-Match`` names: somebody else was first."""

    code = "precondition_failed"


class PreconditionRequired(AuricleError):
    """The change must say with ``If-Match`` what it is a change of."""

    code = "precondition_required"


# Errors and refusals of the domain by their code. What is not in here is a conflict with the state of things when the
# domain refused it, and ours when it was an error.
_STATUS: Final[dict[str, HTTPStatus]] = {
    "bad_argument": HTTPStatus.BAD_REQUEST,
    "unauthenticated": HTTPStatus.UNAUTHORIZED,
    "not_allowed": HTTPStatus.FORBIDDEN,
    "not_found": HTTPStatus.NOT_FOUND,
    "unknown_delivery": HTTPStatus.NOT_FOUND,
    "unknown_revision": HTTPStatus.NOT_FOUND,
    "method_not_allowed": HTTPStatus.METHOD_NOT_ALLOWED,
    "not_acceptable": HTTPStatus.NOT_ACCEPTABLE,
    "request_timeout": HTTPStatus.REQUEST_TIMEOUT,
    "already_exists": HTTPStatus.CONFLICT,
    "idempotency_conflict": HTTPStatus.CONFLICT,
    "in_progress": HTTPStatus.CONFLICT,
    "older_audiogram": HTTPStatus.CONFLICT,
    "no_audiogram": HTTPStatus.CONFLICT,
    "not_prescribable": HTTPStatus.CONFLICT,
    "not_exportable": HTTPStatus.CONFLICT,
    "precondition_failed": HTTPStatus.PRECONDITION_FAILED,
    "request_entity_too_large": HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    "unsupported_media_type": HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    # A document that is FHIR, or nearly, and that no audiogram can be taken from.
    **dict.fromkeys(FHIR_CODES, HTTPStatus.UNPROCESSABLE_ENTITY),
    "bad_audiogram": HTTPStatus.UNPROCESSABLE_ENTITY,
    "unsafe": HTTPStatus.UNPROCESSABLE_ENTITY,
    "precondition_required": HTTPStatus.PRECONDITION_REQUIRED,
    "bad_code": HTTPStatus.FORBIDDEN,
    "bad_link": HTTPStatus.FORBIDDEN,
    "visit_live": HTTPStatus.CONFLICT,
    "visit_not_live": HTTPStatus.CONFLICT,
    "visit_over": HTTPStatus.CONFLICT,
    "visit_full": HTTPStatus.CONFLICT,
    "one_patient": HTTPStatus.CONFLICT,
    "must_stay": HTTPStatus.CONFLICT,
    "has_account": HTTPStatus.CONFLICT,
    # A time that is well formed, and none that a visit could be at.
    **dict.fromkeys(
        ("unknown_zone", "no_such_time", "visit_in_past", "visit_too_far"), HTTPStatus.UNPROCESSABLE_ENTITY
    ),
    "too_many_codes": HTTPStatus.CONFLICT,
    "overloaded": HTTPStatus.TOO_MANY_REQUESTS,
    "internal": HTTPStatus.INTERNAL_SERVER_ERROR,
    "unreadable": HTTPStatus.INTERNAL_SERVER_ERROR,
    "unavailable": HTTPStatus.SERVICE_UNAVAILABLE,
    "unknown_outcome": HTTPStatus.SERVICE_UNAVAILABLE,
    "storage_full": HTTPStatus.INSUFFICIENT_STORAGE,
}
_CODES: Final = {404: "not_found", 405: "method_not_allowed", 413: "request_entity_too_large"}
# Seconds after which trying again makes sense.
_RETRY_AFTER: Final = {"in_progress": "1", "overloaded": "1", "unavailable": "1", "unknown_outcome": "1"}


def status_of(code: str, default: HTTPStatus = HTTPStatus.CONFLICT) -> HTTPStatus:
    """The status that a code is told with."""
    return _STATUS.get(code, default)


def problem(status: HTTPStatus, code: str, detail: str) -> web.Response:
    """A problem document; ``code`` is stable, ``detail`` is for people."""
    body = Problem(type=_NO_TYPE, title=status.phrase, status=status.value, code=code, detail=detail)
    headers = {"Cache-Control": "no-store"}
    if status is HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = "Bearer"
    if code in _RETRY_AFTER:
        headers["Retry-After"] = _RETRY_AFTER[code]
    return web.Response(status=status, body=msgspec.json.encode(body), content_type=PROBLEM_TYPE, headers=headers)


def problem_of(failure: Failure) -> Problem:
    """What the domain refused, as a problem document."""
    status = status_of(failure.error.code)
    return Problem(
        type=_NO_TYPE,
        title=status.phrase,
        status=status.value,
        code=failure.error.code,
        detail=failure.error.message,
        error=failure.error,
        errors=failure.errors,
    )


def problem_middleware(log: LogBook) -> Middleware:
    """Turn every error of a handler into a problem document; nothing unexpected is told to the caller."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except web.HTTPException as error:
            status = HTTPStatus(error.status)
            # What the library itself says begins with the status.
            text = error.text or ""
            detail = status.description if text.startswith(str(error.status)) else text
            answer = problem(status, _CODES.get(status, status.name.lower()), detail)
            if "Allow" in error.headers:
                answer.headers["Allow"] = error.headers["Allow"]
            if status is HTTPStatus.REQUEST_TIMEOUT:
                # The rest of the request is still to come, and nobody reads it.
                answer.force_close()
            return answer
        except AuricleError as error:
            known = status_of(error.code, HTTPStatus.INTERNAL_SERVER_ERROR)
            return problem(known, error.code, error.public_message)
        except Exception as error:  # noqa: BLE001  # the boundary of a request: logged by class, told as "internal"
            resource = request.match_info.route.resource
            log.request_crashed(route=resource.canonical if resource else "", error=error)
            return problem(HTTPStatus.INTERNAL_SERVER_ERROR, "internal", "An unexpected error occurred.")

    return middleware
