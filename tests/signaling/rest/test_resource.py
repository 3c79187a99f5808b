"""What a declaration makes of a method, and which ones keep the server from starting."""

from collections.abc import Mapping
from types import NoneType
from typing import Any, ClassVar

import pytest

from protocol.contract.base import Failure, Id
from protocol.contract.rest import Page, PageQuery
from protocol.errors import LocalProtocolError
from signaling.policy import ANYONE, IncompletePolicy, Relation, Rule
from signaling.rest.resource import JSON, Call, Reply, Resource, declared_routes, route
from tests.signaling.rest.shelf import Book, NewBook, Shelf

OWN = Rule({"patient": Relation.OWN}, "thing")


def test_a_route_is_what_its_method_says() -> None:
    routes = {one.name: one for one in declared_routes(Shelf)}
    assert list(routes) == ["listBooks", "makeBook", "readBook", "changeBook", "dropBook", "readLeaf"]
    made, page, dropped, leaf = (routes[name] for name in ("makeBook", "listBooks", "dropBook", "readLeaf"))
    assert (made.method, made.path, made.body, made.answer, made.query) == (
        "POST",
        "/api/v1/books",
        NewBook,
        Book,
        None,
    )
    assert (page.query, page.answer, page.words) == (PageQuery, Page[int], "Numbers from 1 to 5.")
    assert (dropped.answer, dropped.may_change, made.may_change) == (NoneType, True, False)
    assert list(leaf.parameters) == ["book", "leaf"]


def test_what_a_class_inherits_is_its_own_too() -> None:
    class More(Shelf):
        pass

    assert [one.key for one in declared_routes(More)] == [one.key for one in declared_routes(Shelf)]


def resource(key: str, method: Any, rule: Rule) -> type[Resource]:
    return type("Made", (Resource,), {"thing": route(key)(method), "policy": {key: rule}})


async def no_thing(self: Any, call: Call) -> None: ...


async def a_thing(self: Any, call: Call, thing: Id) -> Reply[Book]: ...  # type: ignore[empty-body]  # is only looked at


async def two_answers(self: Any, call: Call) -> Book | NewBook | Failure: ...  # type: ignore[empty-body]  # this one too


@pytest.mark.parametrize(
    ("key", "method", "rule", "error", "says"),
    [
        ("GET /x/{thing}", no_thing, ANYONE, LocalProtocolError, "does not take the parameters of its path"),
        ("GET /x", a_thing, ANYONE, LocalProtocolError, "does not take the parameters of its path"),
        ("GET /x", no_thing, OWN, IncompletePolicy, "its rule is about thing, which its path does not name"),
        ("GET /x", two_answers, ANYONE, LocalProtocolError, "one kind of answer"),
    ],
)
def test_a_method_that_is_not_what_its_route_says_keeps_the_server_from_starting(
    key: str, method: Any, rule: Rule, error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        declared_routes(resource(key, method, rule))


def test_a_rule_without_a_route_does_so_too() -> None:
    class Late(Shelf):
        policy: ClassVar[Mapping[str, Rule]] = {**Shelf.policy, "GET /api/v1/shelves": ANYONE}

    with pytest.raises(IncompletePolicy, match="rules for unknown methods GET /api/v1/shelves"):
        declared_routes(Late)


def test_one_route_cannot_be_two_methods() -> None:
    class Twice(Shelf):
        @route("GET /api/v1/books")
        async def once_more(self, call: Call) -> None: ...

    with pytest.raises(LocalProtocolError, match="declared twice"):
        declared_routes(Twice)


def test_one_path_may_give_documents_of_another_kind() -> None:
    class Plain(Shelf):
        @route("GET /api/v1/books", gives="text/csv")
        async def list_plainly(self, call: Call) -> None: ...

    forms = [one.form for one in declared_routes(Plain) if one.key == "GET /api/v1/books"]
    assert forms == [("GET /api/v1/books", JSON, JSON), ("GET /api/v1/books", JSON, "text/csv")]
