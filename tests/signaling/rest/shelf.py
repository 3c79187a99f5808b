"""A resource of the tests' own, with every shape that a route may have, and a server around it."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, ClassVar

import aiohttp
from aiohttp import web

from protocol.contract.base import Answer, Failure, Id, Ordinal, Refusal, StrictWire
from protocol.contract.rest import Page, PageQuery
from protocol.signalr.prescan import ScanLimits
from signaling.auth import DevTokens, Principal
from signaling.bodies import Bodies
from signaling.log import LogBook
from signaling.metrics import Metrics
from signaling.policy import ANYONE, Relation, Rule
from signaling.rest.house import RestHouse
from signaling.rest.pages import number_after, page
from signaling.rest.problems import problem_middleware
from signaling.rest.replay import Replays
from signaling.rest.resource import Call, Reply, Resource, route
from signaling.stores.rest_answers import MemoryRestAnswers

__all__ = ["KEY", "NOW_S", "Book", "Shelf", "ShelfHouse", "shelf_house"]

KEY = b"k" * 32
NOW_S = 1_800_000_000.0


class Book(Answer, frozen=True, kw_only=True):
    """One book."""

    book: str
    title: str


class NewBook(StrictWire, frozen=True, kw_only=True):
    """A book that is to be."""

    title: str
    pages: Ordinal = 0


@dataclass
class Shelf(Resource):
    """Books. ``gate`` holds up whoever makes one, ``made`` counts how often that was asked for."""

    policy: ClassVar[Mapping[str, Rule]] = {
        "GET /api/v1/books": ANYONE,
        "POST /api/v1/books": Rule({"clinician": Relation.ANY}),
        "GET /api/v1/books/{book}": Rule({"clinician": Relation.ASSIGNED}, "book"),
        "PUT /api/v1/books/{book}": Rule({"clinician": Relation.ASSIGNED}, "book"),
        "DELETE /api/v1/books/{book}": Rule({"clinician": Relation.ASSIGNED}, "book"),
        "GET /api/v1/books/{book}/leaves/{leaf}": Rule({"clinician": Relation.ASSIGNED}, "book"),
    }
    titles: dict[str, str] = field(default_factory=dict)
    versions: dict[str, int] = field(default_factory=dict)
    made: int = 0
    gate: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.gate.set()

    @route("GET /api/v1/books")
    async def list_books(self, call: Call, query: PageQuery) -> Page[int]:
        """Numbers from 1 to 5."""
        after = number_after(query.after) or 0
        return page([n for n in range(1, 6) if n > after][: query.limit + 1], query, lambda n: n)

    @route("POST /api/v1/books", status=HTTPStatus.CREATED, creates=True, problems=("unsafe",))
    async def make_book(self, call: Call, body: NewBook) -> Reply[Book] | Failure:
        """A new one."""
        self.made += 1
        await self.gate.wait()
        if body.title == "forbidden":
            refusal = Refusal(code="unsafe", message="not that one", rule="K1")
            return Failure(error=refusal, errors=(refusal,))
        if body.title == "broken":
            raise RuntimeError("a secret of ours")
        self.titles.setdefault(call.new_id, body.title)
        return Reply(Book(book=call.new_id, title=body.title), location=f"/api/v1/books/{call.new_id}")

    @route("GET /api/v1/books/{book}")
    async def read_book(self, call: Call, book: Id) -> Reply[Book]:
        """One that has versions."""
        return Reply(Book(book=book, title=self.titles[book]), version=str(self.versions.get(book, 1)))

    @route("PUT /api/v1/books/{book}", needs_match=True)
    async def change_book(self, call: Call, book: Id, body: NewBook) -> Reply[Book]:
        """Another title."""
        version = self.versions.get(book, 1)
        call.expects(str(version))
        self.titles[book] = body.title
        self.versions[book] = version + 1
        return Reply(Book(book=book, title=body.title), version=str(version + 1))

    @route("DELETE /api/v1/books/{book}")
    async def drop_book(self, call: Call, book: Id) -> None:
        """No more of it."""
        call.expects(str(self.versions.get(book, 1)) if book in self.titles else None)
        self.titles.pop(book, None)

    @route("GET /api/v1/books/{book}/leaves/{leaf}")
    async def read_leaf(self, call: Call, book: Id, leaf: Ordinal) -> Book:
        """What a leaf says."""
        return Book(book=book, title=f"{call.principal.user} reads {leaf + 1}")

    async def holds(self, principal: Principal, relation: Relation, object_id: str) -> bool:
        """Everybody of one clinic may have every book of it."""
        return principal.clinic == "c1" and object_id in self.titles


@dataclass
class ShelfHouse:
    """A server with a shelf on it."""

    shelf: Shelf
    rest: RestHouse
    url: str
    http: aiohttp.ClientSession
    metrics: Metrics
    now_s: list[float]

    def bearer(self, user: str = "ann", role: str = "clinician", clinic: str = "c1") -> dict[str, str]:
        tokens = DevTokens(KEY, lambda: NOW_S)
        token = tokens.mint(user=user, clinic=clinic, roles=frozenset({role}), expires_in_s=60)
        return {"Authorization": f"Bearer {token}"}

    async def ask(self, method: str, path: str, *, who: dict[str, str] | None = None, **options: Any) -> "Told":
        headers = (self.bearer() if who is None else who) | options.pop("headers", {})
        async with self.http.request(method, self.url + path, headers=headers, **options) as answer:
            return Told(answer.status, answer.headers, await answer.read())


@dataclass(frozen=True)
class Told:
    """A whole answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@asynccontextmanager
async def shelf_house(**titles: str) -> AsyncIterator[ShelfHouse]:
    """Run a server whose shelf has these books, by name."""
    shelf, metrics, now_s = Shelf(titles=dict(titles)), Metrics(), [NOW_S]
    rest = RestHouse(
        verifier=DevTokens(KEY, lambda: NOW_S),
        grants={"book": shelf},
        replays=Replays(MemoryRestAnswers(limit=10, reached=metrics.reached), lambda: now_s[0]),
        metrics=metrics,
        bodies=Bodies(1_000, "max_body_bytes", 5.0, metrics.reached),
        scan=ScanLimits(depth=4, keys=20),
        new_id=lambda: "made-up",
    )
    app = web.Application(middlewares=[problem_middleware(LogBook())])
    rest.mount(app, [shelf])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        async with aiohttp.ClientSession() as http:
            yield ShelfHouse(shelf, rest, f"http://127.0.0.1:{runner.addresses[0][1]}", http, metrics, now_s)
    finally:
        await runner.cleanup()
