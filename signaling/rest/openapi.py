"""The OpenAPI 3.1 document of ``/api/v1``, made of what its resources declare: routes, types, rules, docstrings.

It holds no list of routes or types of its own, so nothing that is served can be missing here. Read ``openapi`` first.
"""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from types import NoneType
from typing import Any, Final, get_origin

import msgspec

from protocol.contract import CONTRACT_VERSION
from protocol.contract.rest import Page, Problem
from signaling.plain_schema import plain_schema

from .house import routes_of
from .openapi_words import ABOUT, HEADERS, NOT_MODIFIED, PARAMETERS
from .problems import PROBLEM_TYPE, status_of
from .resource import Resource, Route

__all__ = ["openapi", "problem_codes"]

_REF: Final = "#/components/schemas/"
# Whoever reads may have to wait for what was told to be written down, so a full disk is met by all.
_ALWAYS: Final = (
    "bad_argument",
    "unauthenticated",
    "not_allowed",
    "not_acceptable",
    "overloaded",
    "internal",
    "unreadable",
    "unavailable",
    "unknown_outcome",
    "storage_full",
)

Json = dict[str, Any]


def openapi(resources: Sequence[type[Resource]], *, version: str) -> Json:
    """The document of all routes of resources.

    Raises:
        IncompletePolicy: a route has no rule.
        LocalProtocolError: two routes are the same, or a method is not what its route says.
    """
    routes = routes_of(resources)
    kinds = _kinds(routes)
    written, components = msgspec.json.schema_components(kinds, ref_template=_REF + "{name}")
    schemas = dict(zip(map(id, kinds), written, strict=True))
    queries = {schemas[id(route.query)]["$ref"].removeprefix(_REF) for route in routes if route.query is not None}
    forms: dict[str, list[Route]] = {}
    for route in routes:
        forms.setdefault(route.key, []).append(route)
    paths: dict[str, Json] = {}
    for alike in forms.values():
        paths.setdefault(alike[0].path, {})[alike[0].method.lower()] = _operation(alike, schemas, components)
    return plain_schema(
        {
            "openapi": "3.1.0",
            "info": _info(version),
            "servers": [{"url": "/"}],
            "security": [{"bearer": []}],
            "tags": [{"name": tag} for tag in dict.fromkeys(route.tag for route in routes)],
            "paths": paths,
            "components": {
                "schemas": {name: schema for name, schema in components.items() if name not in queries},
                "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
            },
        }
    )


def problem_codes(route: Route) -> tuple[str, ...]:
    """Every code that the route may answer as a problem: those that it names, and those that its shape brings along."""
    codes = [*_ALWAYS, *route.told.problems]
    if route.parameters or _is_page(route):
        codes.append("not_found")
    if route.body is not None:
        codes += ["unsupported_media_type", "request_entity_too_large", "request_timeout"]
    if route.told.creates:
        codes += ["idempotency_conflict", "in_progress"]
    if route.method != "POST":
        codes.append("precondition_failed")
    if route.told.needs_match:
        codes.append("precondition_required")
    return tuple(sorted(set(codes), key=lambda code: (status_of(code), code)))


def _is_page(route: Route) -> bool:
    return get_origin(route.answer) is Page


def _kinds(routes: Sequence[Route]) -> list[Any]:
    """Every type that is written down, once; they are told apart by identity, as annotated ones cannot be hashed."""
    named = [kind for route in routes for kind in (*route.parameters.values(), route.query, route.body, route.answer)]
    found = {id(kind): kind for kind in [*named, Problem] if kind not in (None, NoneType)}
    return list(found.values())


def _operation(forms: Sequence[Route], schemas: Mapping[int, Json], components: Mapping[str, Json]) -> Json:
    """One method at one path: the routes that answer it differ only in the kind of document that they take or give."""
    route = forms[0]
    summary, _, rest = route.words.partition("\n\n")
    operation: Json = {
        "operationId": route.name,
        "tags": [route.tag],
        "summary": " ".join(summary.split()),
        **({"description": rest} if rest else {}),
        "parameters": [*_path_parameters(route, schemas), *_query_parameters(route, schemas, components)],
        "responses": _responses(forms, schemas),
        "x-auricle-roles": {role: relation.value for role, relation in route.rule.relations.items()},
    }
    operation["parameters"] += [_header(name, route.told.needs_match) for name in _request_headers(route)]
    if route.rule.object_field is not None:
        operation["x-auricle-object"] = route.rule.object_field
    if route.body is not None:
        content = {
            form.told.accepts: {"schema": schemas[id(form.body)], **_example(form.told.body_example)} for form in forms
        }
        operation["requestBody"] = {"required": True, "content": content}
    return operation


def _path_parameters(route: Route, schemas: Mapping[int, Json]) -> list[Json]:
    return [
        {"name": name, "in": "path", "required": True, "schema": schemas[id(kind)]}
        for name, kind in route.parameters.items()
    ]


def _query_parameters(route: Route, schemas: Mapping[int, Json], components: Mapping[str, Json]) -> list[Json]:
    if route.query is None:
        return []
    struct = components[schemas[id(route.query)]["$ref"].removeprefix(_REF)]
    required = struct.get("required", ())
    return [
        {"name": name, "in": "query", "required": name in required, "schema": schema}
        for name, schema in struct["properties"].items()
    ]


def _request_headers(route: Route) -> list[str]:
    if route.told.creates:
        return ["Idempotency-Key"]
    if route.may_change:
        return ["If-Match"]
    return ["If-None-Match"] if route.method == "GET" else []


def _header(name: str, is_needed: bool) -> Json:
    description, schema = PARAMETERS[name]
    return {"name": name, "in": "header", "required": is_needed, "description": description, "schema": schema}


def _responses(forms: Sequence[Route], schemas: Mapping[int, Json]) -> Json:
    route = forms[0]
    given: dict[str, Route] = {}
    for form in forms:
        given.setdefault(form.told.gives, form)
    success: Json = {"description": HTTPStatus(route.told.status).phrase}
    if route.answer is not NoneType:
        content = {
            gives: {"schema": schemas[id(form.answer)], **_example(form.told.answer_example)}
            for gives, form in given.items()
        }
        may_have = {"ETag": route.has_tag, "Location": route.told.creates, "Link": _is_page(route)}
        names = [name for name, has in may_have.items() if has]
        success |= {
            "content": content,
            "headers": {name: {"description": HEADERS[name], "schema": {"type": "string"}} for name in names},
        }
    if route.told.links:
        success["links"] = {
            name: {"operationId": name, "parameters": dict(parameters)} for name, parameters in route.told.links.items()
        }
    responses: Json = {str(route.told.status.value): success}
    if route.method == "GET":
        responses["304"] = {"description": NOT_MODIFIED}
    by_status: dict[int, list[str]] = {}
    for code in dict.fromkeys(code for form in forms for code in problem_codes(form)):
        by_status.setdefault(status_of(code).value, []).append(code)
    for status, codes in by_status.items():
        responses[str(status)] = _problem(status, codes, schemas)
    return responses


def _problem(status: int, codes: Sequence[str], schemas: Mapping[int, Json]) -> Json:
    phrase = HTTPStatus(status).phrase
    example = {"type": "about:blank", "title": phrase, "status": status, "code": codes[0], "detail": "..."}
    return {
        "description": f"{phrase}: {', '.join(f'`{code}`' for code in codes)}",
        "content": {PROBLEM_TYPE: {"schema": schemas[id(Problem)], "example": example}},
    }


def _example(example: Any) -> Json:
    return {} if example is None else {"example": example}


def _info(version: str) -> Json:
    return {
        "title": "Auricle, resources",
        "version": version,
        "description": ABOUT,
        "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        "x-auricle-contract": CONTRACT_VERSION,
    }
