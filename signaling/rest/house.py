"""Carries requests to the methods of resources: who asks, whether they may, what they sent, and how it is answered.

The only place of ``/api/v1`` that knows aiohttp's requests; every error is raised and becomes a problem document in
``problems``. Read ``_Served.handle`` first.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import urlencode

import msgspec
from aiohttp import web
from msgspec import UNSET

from protocol.contract.base import Failure, StrictWire
from protocol.contract.rest import Page
from protocol.errors import BadArgument, LocalProtocolError, NotFound, RemoteProtocolError, Unauthenticated
from protocol.signalr.prescan import ScanLimits, scan_json
from signaling.auth import Principal, TokenVerifier
from signaling.bearer import authenticate
from signaling.bodies import Bodies
from signaling.metrics import Metrics
from signaling.policy import Grants, IncompletePolicy, authorize
from signaling.stores.rest_answers import AnswerKey

from .entity import tag_of_bytes, tag_of_version, tags
from .media import check_acceptable, check_sent, most_acceptable, sent_as
from .problems import PROBLEM_TYPE, PreconditionFailed, PreconditionRequired, problem_of
from .replay import Answered, Replays, key_of, new_id_of, request_hash
from .resource import Call, Reply, Resource, Route, declared_routes

__all__ = ["RestHouse", "routes_of"]

_ENCODER: Final = msgspec.json.Encoder(order="deterministic")


class _NoQuery(StrictWire, frozen=True, kw_only=True):
    """Nothing may be asked for."""


@dataclass(frozen=True, slots=True)
class RestHouse:
    """What every resource is served with. ``grants`` know how people stand to objects, by the name of the parameter.

    ``new_id`` gives names that never repeat; ``scan`` bounds what a body may hold. ``verifiers``: of other bearer
    tokens than everybody's own, by the kind that a resource names.
    """

    verifier: TokenVerifier
    grants: Mapping[str, Grants]
    replays: Replays
    metrics: Metrics
    bodies: Bodies
    scan: ScanLimits
    new_id: Callable[[], str]
    verifiers: Mapping[str, TokenVerifier] = field(default_factory=dict)

    def mount(self, app: web.Application, resources: Sequence[Resource]) -> None:
        """Add the routes of resources.

        Raises:
            IncompletePolicy: a route has no rule, or its rule is about something that nobody knows.
            LocalProtocolError: two routes are the same, or a method is not what its route says.
        """
        routes_of([type(resource) for resource in resources])
        by_key: dict[str, list[_Served]] = {}
        for resource in resources:
            for route in declared_routes(type(resource)):
                about = route.rule.object_field
                if about is not None and about not in self.grants:
                    raise IncompletePolicy(f"{route.key}: nobody knows who may see a {about}")
                by_key.setdefault(route.key, []).append(_Served(self, route, resource))
        for key, served in by_key.items():
            told, _, path = key.partition(" ")
            for method in ("GET", "HEAD") if told == "GET" else (told,):
                app.router.add_route(method, path, _Negotiated(served).handle)


def routes_of(resources: Sequence[type[Resource]]) -> tuple[Route, ...]:
    """All routes of resources. Raises as ``RestHouse.mount``."""
    routes = tuple(route for resource in resources for route in declared_routes(resource))
    for what in ("form", "name"):
        if len({getattr(route, what) for route in routes}) < len(routes):
            raise LocalProtocolError(f"two routes have the same {what}")
    return routes


class _Served:
    """One route, with the decoders that it needs."""

    def __init__(self, house: RestHouse, route: Route, resource: Resource) -> None:
        self._house = house
        self.route = route
        self._function = getattr(resource, route.function)
        self._verifier = house.verifiers[resource.bearer] if resource.bearer else house.verifier
        self._body = None if route.body is None else msgspec.json.Decoder(route.body)

    async def handle(self, request: web.Request) -> web.Response:
        """One request, from the token to the answer."""
        answered = await self._answer(request)
        headers = {"Cache-Control": "no-store", **answered.headers}
        if answered.body:
            headers.setdefault("Content-Type", self.route.told.gives)
        return web.Response(status=answered.status, body=answered.body, headers=headers)

    async def _answer(self, request: web.Request) -> Answered:
        """Who asks and whether he may comes first: whoever may not learns nothing of what a request should be."""
        route, house = self.route, self._house
        principal = self._caller(request)
        arguments = _path(route, request)
        await self._authorize(principal, arguments)
        check_acceptable(request, route.told.gives)
        if_match = tags(request.headers.get("If-Match"))
        if route.told.needs_match and if_match is None:
            raise PreconditionRequired("send If-Match with the ETag of what is to be changed")
        query = _query(route.query or _NoQuery, request)
        if route.query is not None:
            arguments["query"] = query
        key = self._key(principal, request)
        body = await self._read(request)
        if route.body is not None:
            arguments["body"] = body
        hashed = "" if key is None else request_hash(route, request.match_info, _ENCODER.encode(body))
        call = Call(principal, house.new_id() if key is None else new_id_of(key, hashed), if_match)

        async def carry_out() -> Answered:
            return self._answered(request, await self._function(call, **arguments))

        if key is None:
            return _conditional(route, request, await carry_out())
        return await house.replays.once(key, hashed, carry_out)

    async def _authorize(self, principal: Principal, arguments: Mapping[str, Any]) -> None:
        rule = self.route.rule
        if rule.object_field is None:
            await authorize(rule, principal, "", _NOBODY)
        else:
            await authorize(rule, principal, str(arguments[rule.object_field]), self._house.grants[rule.object_field])

    def _caller(self, request: web.Request) -> Principal:
        try:
            return authenticate(request, self._verifier, in_query=False)
        except Unauthenticated:
            self._house.metrics.unauthenticated.inc()
            raise

    def _key(self, principal: Principal, request: web.Request) -> AnswerKey | None:
        header = request.headers.get("Idempotency-Key")
        if self.route.told.creates:
            return key_of(principal, header)
        if header is not None and self.route.method == "POST":
            raise BadArgument("Idempotency-Key: this answer is not kept, so it could not be given again")
        # Whatever else is done twice is done once.
        return None

    async def _read(self, request: web.Request) -> Any:
        """The body as the route's type, None when it takes none."""
        if self._body is None:
            return None
        check_sent(request, self.route.told.accepts)
        text = await self._house.bodies.read(request)
        try:
            scan_json(text, self._house.scan)
            return self._body.decode(text)
        except RemoteProtocolError:
            raise BadArgument("the body is not JSON, or too deep, or has a key twice") from None
        except msgspec.ValidationError as error:
            raise BadArgument(str(error)) from None
        except (msgspec.MsgspecError, RecursionError):
            raise BadArgument("the body is not JSON") from None

    def _answered(self, request: web.Request, outcome: Any) -> Answered:
        if isinstance(outcome, Failure):
            return _refusal(outcome)
        reply: Reply[Any] = outcome if isinstance(outcome, Reply) else Reply(outcome)
        headers: dict[str, str] = {}
        if reply.location is not None:
            headers["Location"] = reply.location
        if isinstance(reply.answer, Page) and reply.answer.next is not UNSET:
            headers["Link"] = f'<{_next_page(request, reply.answer.next)}>; rel="next"'
        if reply.answer is None:
            return Answered(HTTPStatus.NO_CONTENT, b"", headers)
        body = _ENCODER.encode(reply.answer)
        if self.route.has_tag:
            headers["ETag"] = tag_of_bytes(body) if reply.version is None else tag_of_version(reply.version)
        return Answered(self.route.told.status, body, headers)


class _Negotiated:
    """The routes of one path that take or give different kinds of documents; the first is for who names none."""

    def __init__(self, served: Sequence[_Served]) -> None:
        self._served = served
        self._takes = [one.route.told.accepts for one in served]
        self._gives = [one.route.told.gives for one in served]

    async def handle(self, request: web.Request) -> web.Response:
        """One request, by the route that fits it best."""
        if len(set(self._takes)) > 1:
            return await self._served[sent_as(request, self._takes)].handle(request)
        return await self._served[most_acceptable(request, self._gives)].handle(request)


class _Nobody:
    async def holds(self, *_: object) -> bool:
        """There is no object to stand to."""
        return False


_NOBODY: Final = _Nobody()


def _path(route: Route, request: web.Request) -> dict[str, Any]:
    """The path's parameters; what cannot name anything is what is not there."""
    found: dict[str, Any] = {}
    for name, kind in route.parameters.items():
        try:
            found[name] = msgspec.convert(request.match_info[name], kind, strict=False)
        except msgspec.ValidationError:
            raise NotFound(f"no such {name}") from None
    return found


def _query(kind: Any, request: web.Request) -> Any:
    """What is asked for; a parameter that the route does not know would be a wish that gets lost."""
    for name in request.query:
        if len(request.query.getall(name)) > 1:
            raise BadArgument("query: a parameter is there twice")
    try:
        return msgspec.convert(dict(request.query), kind, strict=False)
    except msgspec.ValidationError as error:
        raise BadArgument(f"query: {error}") from None


def _refusal(failure: Failure) -> Answered:
    told = problem_of(failure)
    headers = {"Content-Type": PROBLEM_TYPE}
    if isinstance(failure.error.retry_after_ms, int):
        headers["Retry-After"] = str(math.ceil(failure.error.retry_after_ms / 1_000))
    return Answered(told.status, msgspec.json.encode(told), headers)


def _next_page(request: web.Request, cursor: str) -> str:
    return f"{request.rel_url.raw_path}?{urlencode({**request.query, 'after': cursor})}"


def _conditional(route: Route, request: web.Request, answered: Answered) -> Answered:
    """What a read is answered when the caller has it already (304), or demands what is no longer there (412)."""
    tag = answered.headers.get("ETag")
    if route.may_change or route.method == "POST" or tag is None:
        return answered
    if_match = tags(request.headers.get("If-Match"))
    if if_match is not None and not if_match.match(tag):
        raise PreconditionFailed("what is there is not what If-Match names: read it again")
    known = tags(request.headers.get("If-None-Match"))
    if known is not None and known.match_weakly(tag):
        return Answered(HTTPStatus.NOT_MODIFIED, b"", answered.headers)
    return answered
