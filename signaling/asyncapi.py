"""The AsyncAPI 3.0 document of a hub, made of what the hub declares: methods, type hints, policy, pushes, docstrings.

It holds no list of methods, pushes or types of its own, so nothing that exists can be missing here. It describes
payloads; how SignalR and Socket.IO frame them is told in words. Read ``asyncapi`` first.
"""

import inspect
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Any, Final, Union, get_args, get_origin, get_type_hints
from urllib.parse import urlsplit

import msgspec

from protocol.contract import CONTRACT_VERSION
from protocol.errors import LocalProtocolError

from .asyncapi_words import (
    ABOUT,
    CHANNEL,
    FOR_BROWSERS,
    FROM_NEGOTIATION,
    SOCKETIO_CHANNEL,
    SOCKETIO_TRANSPORT,
)
from .config import ConfigError
from .hub import Hub, Lane, declared_methods
from .plain_schema import plain_schema
from .policy import Rule, check_complete

__all__ = ["asyncapi"]

WEBSOCKET_OF: Final = {"ws": "ws", "wss": "wss", "http": "ws", "https": "wss"}
UNIONS: Final = (Union, UnionType)

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Method:
    """What a client may call. ``takes`` is NoneType for nothing; ``gives`` are the types that a result may have."""

    name: str
    words: str
    takes: Any
    gives: tuple[Any, ...]
    is_stream: bool
    lane: Lane
    rule: Rule


def asyncapi(
    hub: type[Hub], pushes: Mapping[str, type], answers: Mapping[str, type], *, url: str, version: str
) -> Json:
    """The document of what clients call and the server sends.

    ``pushes`` are the payloads of what the server sends by target, ``answers`` what clients return to those that ask;
    ``url`` is where clients reach the server.

    Raises:
        ConfigError: ``url`` is none.
        IncompletePolicy: a method has no rule.
        LocalProtocolError: a method takes more than one object, two things have one name, or an answer has no push.
    """
    declared = declared_methods(hub)
    check_complete(hub.name, declared, hub.policy)
    methods = [_method(hub, name, function, lane) for name, (function, lane) in declared.items()]
    payloads = _payloads(methods, pushes, answers)
    schemas, components = msgspec.json.schema_components(payloads.values(), ref_template="#/components/schemas/{name}")
    messages = {
        name: {"name": name, "title": name} | ({} if kind is NoneType else {"payload": schema})
        for (name, kind), schema in zip(payloads.items(), schemas, strict=True)
    }
    channel = f"#/channels/{hub.name}"
    operations = {method.name: _call(method, channel) for method in methods}
    operations |= {target: _push(target, kind, answers.get(target), channel) for target, kind in pushes.items()}
    document = {
        "asyncapi": "3.0.0",
        "info": _info(hub, version),
        "defaultContentType": "application/json",
        "servers": {"auricle": _server(url)},
        "channels": {hub.name: _channel(hub, messages), f"{hub.name}-socketio": _socketio_channel(hub, messages)},
        "operations": operations,
        "components": {"messages": messages, "schemas": components, "securitySchemes": _security_schemes()},
    }
    return plain_schema(document)


def _method(hub: type[Hub], name: str, function: Callable[..., Any], lane: Lane) -> _Method:
    hints = get_type_hints(function, include_extras=True)
    # The first two are the hub itself and the caller.
    takes = [hints[parameter] for parameter in list(inspect.signature(function).parameters)[2:]]
    if len(takes) > 1 or any(get_origin(kind) is AsyncIterator for kind in takes):
        raise LocalProtocolError(f"{name}: a method of the contract takes one object")
    result = hints["return"]
    is_stream = inspect.isasyncgenfunction(function)
    return _Method(
        name=name,
        words=inspect.getdoc(function) or "",
        takes=takes[0] if takes else NoneType,
        gives=_members(get_args(result)[0] if is_stream else result),
        is_stream=is_stream,
        lane=lane,
        rule=hub.policy[name],
    )


def _members(kind: Any) -> tuple[Any, ...]:
    """The types of a union, or the one type; None is no result."""
    members = get_args(kind) if get_origin(kind) in UNIONS else (kind,)
    return tuple(member for member in members if member is not NoneType)


def _payloads(methods: Sequence[_Method], pushes: Mapping[str, type], answers: Mapping[str, type]) -> dict[str, Any]:
    """The type of every message by the message's name. Raises LocalProtocolError when one name stands for two."""
    operations = [(method.name, method.takes) for method in methods] + list(pushes.items())
    found = dict(operations)
    if len(found) < len(operations):
        raise LocalProtocolError("a method and a push have the same name")
    if not answers.keys() <= pushes.keys():
        raise LocalProtocolError("an answer has no push")
    results = [(method.name, kind) for method in methods for kind in method.gives]
    for operation, kind in [*results, *answers.items()]:
        name = _result_name(operation, kind)
        if found.setdefault(name, kind) is not kind:
            raise LocalProtocolError(f"{name}: the name of two messages")
    return found


def _result_name(operation: str, kind: Any) -> str:
    is_payload = isinstance(kind, type) and issubclass(kind, msgspec.Struct)
    return kind.__name__ if is_payload else f"{operation}Result"


def _call(method: _Method, channel: str) -> Json:
    operation = _operation("receive", method.name, method.words, channel)
    if method.gives:
        operation["reply"] = _reply(method.name, method.gives, channel)
    operation["x-auricle-roles"] = {role: relation.value for role, relation in method.rule.relations.items()}
    if method.rule.object_field is not None:
        operation["x-auricle-object"] = method.rule.object_field
    if method.is_stream:
        operation["x-auricle-stream"] = True
    if method.lane is not Lane.PLAIN:
        operation["x-auricle-lane"] = method.lane.value
    return operation


def _push(target: str, payload: type, answer: type | None, channel: str) -> Json:
    operation = _operation("send", target, inspect.getdoc(payload) or "", channel)
    if answer is not None:
        operation["reply"] = _reply(target, (answer,), channel)
    return operation


def _reply(operation: str, kinds: Sequence[Any], channel: str) -> Json:
    messages = [_message(channel, _result_name(operation, kind)) for kind in kinds]
    return {"channel": {"$ref": channel}, "messages": messages}


def _operation(action: str, name: str, words: str, channel: str) -> Json:
    """From the server's side, as AsyncAPI has it: it receives calls and sends pushes."""
    summary, _, rest = words.partition("\n\n")
    described = {"description": rest} if rest else {}
    return {
        "action": action,
        "channel": {"$ref": channel},
        "title": name,
        "summary": " ".join(summary.split()),
        **described,
        "messages": [_message(channel, name)],
    }


def _message(channel: str, name: str) -> Json:
    return {"$ref": f"{channel}/messages/{name}"}


def _info(hub: type[Hub], version: str) -> Json:
    return {
        "title": f"Auricle, the {hub.name} hub",
        "version": version,
        "description": ABOUT,
        "license": {"name": "Apache-2.0"},
        "x-auricle-contract": CONTRACT_VERSION,
    }


def _server(url: str) -> Json:
    try:
        parts = urlsplit(url)
        protocol = WEBSOCKET_OF[parts.scheme]
        host = parts.hostname and parts.netloc
        _ = parts.port  # raises when it is no number
    except (KeyError, ValueError):
        host = None
    if not host or "@" in host:
        raise ConfigError("url: must be the address of a server, like wss://care.example.org")
    pathname = {"pathname": parts.path.rstrip("/")} if parts.path.rstrip("/") else {}
    security = [{"$ref": f"#/components/securitySchemes/{name}"} for name in _security_schemes()]
    return {"host": host, "protocol": protocol, **pathname, "security": security}


def _channel(hub: type[Hub], messages: Json) -> Json:
    text = {"type": "string"}
    query = {"id": text | {"description": FROM_NEGOTIATION}, "access_token": text | {"description": FOR_BROWSERS}}
    headers = {"Authorization": text | {"pattern": "^Bearer "}}
    return {
        "address": hub.path,
        "title": f"SignalR hub {hub.path}",
        "description": CHANNEL,
        "servers": [{"$ref": "#/servers/auricle"}],
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in messages},
        "bindings": {
            "ws": {
                "method": "GET",
                "query": {"type": "object", "properties": query},
                "headers": {"type": "object", "properties": headers},
                "bindingVersion": "0.1.0",
            }
        },
    }


def _socketio_channel(hub: type[Hub], messages: Json) -> Json:
    transport = {"type": "string", "enum": ["websocket", "polling"], "description": SOCKETIO_TRANSPORT}
    query = {"EIO": {"type": "string", "const": "4"}, "transport": transport}
    return {
        "address": "/socket.io/",
        "title": f"Socket.IO namespace {hub.path}",
        "description": SOCKETIO_CHANNEL,
        "x-auricle-namespace": hub.path,
        "servers": [{"$ref": "#/servers/auricle"}],
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in messages},
        "bindings": {
            "ws": {
                "method": "GET",
                "query": {"type": "object", "properties": query, "required": list(query)},
                "bindingVersion": "0.1.0",
            }
        },
    }


def _security_schemes() -> Json:
    return {
        "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
        "accessToken": {"type": "httpApiKey", "in": "query", "name": "access_token", "description": FOR_BROWSERS},
    }
