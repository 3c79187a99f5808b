"""What a resource is: a class whose methods are routes, each declared once, beside the method that carries it out.

A method's own types say what it takes and gives: ``call`` first, then the path parameters by their names, ``query`` (a
strict struct) and ``body``. From that come the aiohttp routes (``house``) and the OpenAPI document (``openapi``). As in
a hub, a route without a rule keeps the server from starting. This module must not know aiohttp. Read ``route`` first,
then ``declared_routes``.

    class Devices(Resource):
        policy = {"GET /api/v1/devices/{device}": Rule({"clinician": Relation.ASSIGNED}, "device")}

        @route("GET /api/v1/devices/{device}")
        async def read_device(self, call: Call, device: Id) -> DeviceAnswer:
            '''What is worn, what was wanted, what is in the aids.'''
"""

import inspect
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from http import HTTPStatus
from types import NoneType, UnionType
from typing import Any, ClassVar, Final, Generic, TypeVar, Union, get_args, get_origin, get_type_hints

from protocol.contract.base import Failure
from protocol.errors import LocalProtocolError
from signaling.auth import Principal
from signaling.policy import IncompletePolicy, Rule, check_complete

from .entity import Tags, tag_of_version
from .problems import PreconditionFailed

__all__ = ["JSON", "Call", "Reply", "Resource", "Route", "declared_routes", "route"]

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])
JSON: Final = "application/json"
_PARAMETER: Final = re.compile(r"\{(\w+)\}")
_DECLARED: Final = "__auricle_route__"
_CHANGING: Final = frozenset({"PUT", "PATCH", "DELETE"})


@dataclass(frozen=True, slots=True)
class Call:
    """One request, as far as a method needs to know it.

    ``new_id`` is a name for what is made: the same again when the request is sent again with its ``Idempotency-Key``,
    so that a store which adds only what is not there makes nothing twice. ``if_match``: what the change is a change of.
    """

    principal: Principal
    new_id: str
    if_match: Tags | None = None

    def expects(self, version: str | None) -> None:
        """Hold ``If-Match`` to the version that is there, None for nothing; the store must hold the change to it too.

        Raises:
            PreconditionFailed: another version was expected.
        """
        if self.if_match is not None and (version is None or not self.if_match.match(tag_of_version(version))):
            raise PreconditionFailed("what is there is not what If-Match names: read it again")


@dataclass(frozen=True, slots=True)
class Reply(Generic[T]):
    """An answer with more than its body: ``version`` makes its entity tag, ``location`` names what was made."""

    answer: T
    version: str | None = None
    location: str | None = None


@dataclass(frozen=True, slots=True)
class Declared:
    """What ``route`` was told; see there."""

    key: str
    status: HTTPStatus
    problems: tuple[str, ...]
    creates: bool
    needs_match: bool
    accepts: str
    gives: str
    body_example: Any
    answer_example: Any
    links: Mapping[str, Mapping[str, str]]


@dataclass(frozen=True, slots=True, eq=False)
class Route:
    """One method at one path. ``key`` is both, as the policy names it; ``answer`` is NoneType for no body.

    ``parameters`` are the types of the path's parameters, ``query`` and ``body`` those of what else is taken.
    """

    key: str
    method: str
    path: str
    name: str
    words: str
    tag: str
    rule: Rule
    parameters: Mapping[str, Any]
    query: Any
    body: Any
    answer: Any
    told: Declared
    function: str

    @property
    def form(self) -> tuple[str, str, str]:
        """What tells it from every other: one path may take and give more than one kind of document."""
        return self.key, self.told.accepts, self.told.gives

    @property
    def has_tag(self) -> bool:
        """Whether its answers have an entity tag: not what is told once, of which the hash is nobody's either."""
        return self.method != "POST" or self.told.creates

    @property
    def may_change(self) -> bool:
        """Whether ``If-Match`` says what it is a change of."""
        return self.method in _CHANGING


class Resource:
    """The base of what is served under ``/api/v1``. ``tag`` is its heading in the OpenAPI document.

    ``bearer``: what kind of bearer tokens it takes, as ``RestHouse.verifiers`` names them; "" is everybody's own.
    """

    tag: ClassVar[str] = ""
    bearer: ClassVar[str] = ""
    policy: ClassVar[Mapping[str, Rule]] = {}


def route(
    key: str,
    *,
    status: HTTPStatus = HTTPStatus.OK,
    problems: Sequence[str] = (),
    creates: bool = False,
    needs_match: bool = False,
    accepts: str = JSON,
    gives: str = JSON,
    body_example: Any = None,
    answer_example: Any = None,
    links: Mapping[str, Mapping[str, str]] | None = None,
) -> Callable[[F], F]:
    """Declare a method as what answers ``key``, like ``GET /api/v1/devices/{device}``.

    ``problems`` are the codes that it may answer beside those which its shape brings along. ``creates``: it may be sent
    again with its ``Idempotency-Key``. ``needs_match``: a change without ``If-Match`` is refused. ``accepts``,
    ``gives``: media types. ``links``: routes, by name, to which the answer leads, with an expression per parameter.
    """
    told = Declared(
        key, status, tuple(problems), creates, needs_match, accepts, gives, body_example, answer_example, links or {}
    )

    def declare(function: F) -> F:
        setattr(function, _DECLARED, told)
        return function

    return declare


def declared_routes(resource: type[Resource]) -> tuple[Route, ...]:
    """The routes of a resource, in the order of its methods.

    Raises:
        IncompletePolicy: a route has no rule, a rule no route, or a rule names an object that is not in the path.
        LocalProtocolError: a method's parameters are not those of its path, or a route is declared twice.
    """
    found = list(_declared(resource))
    check_complete(resource.__name__, [told.key for _, told in found], resource.policy)
    if len({(told.key, told.accepts, told.gives) for _, told in found}) < len(found):
        raise LocalProtocolError(f"{resource.__name__}: a route is declared twice")
    return tuple(_route(resource, name, told) for name, told in found)


def _declared(resource: type[Resource]) -> Iterator[tuple[str, Declared]]:
    seen: dict[str, Declared] = {}
    for kind in reversed(resource.__mro__):
        seen |= {name: getattr(member, _DECLARED) for name, member in vars(kind).items() if hasattr(member, _DECLARED)}
    yield from seen.items()


def _route(resource: type[Resource], name: str, told: Declared) -> Route:
    function = getattr(resource, name)
    method, _, path = told.key.partition(" ")
    hints, parameters, words = _told_by(function)
    taken = {parameter: hints[parameter] for parameter in parameters}
    query, body = taken.pop("query", None), taken.pop("body", None)
    if set(taken) != set(_PARAMETER.findall(path)):
        raise LocalProtocolError(f"{told.key}: {name} does not take the parameters of its path")
    rule = resource.policy[told.key]
    if rule.object_field is not None and rule.object_field not in taken:
        raise IncompletePolicy(f"{told.key}: its rule is about {rule.object_field}, which its path does not name")
    return Route(
        key=told.key,
        method=method,
        path=path,
        name=_camel(name),
        words=words,
        tag=resource.tag or resource.__name__,
        rule=rule,
        parameters=taken,
        query=query,
        body=body,
        answer=_answer(told.key, hints["return"]),
        told=told,
        function=name,
    )


@cache
def _told_by(function: Callable[..., Any]) -> tuple[dict[str, Any], tuple[str, ...], str]:
    """The types of a method, the names of what it takes after the resource itself and the call, and its words."""
    hints = get_type_hints(function, include_extras=True)
    return hints, tuple(inspect.signature(function).parameters)[2:], inspect.getdoc(function) or ""


def _answer(key: str, kind: Any) -> Any:
    """The one type of a success: a ``Failure`` is a problem document, a ``Reply`` only wraps."""
    members = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
    answers = [get_args(one)[0] if get_origin(one) is Reply else one for one in members if one is not Failure]
    if len(answers) != 1:
        raise LocalProtocolError(f"{key}: a route has one kind of answer")
    return NoneType if answers[0] is None else answers[0]


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.title() for word in rest)
