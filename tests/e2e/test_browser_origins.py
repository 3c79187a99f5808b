"""Microsoft's client in a real browser, on a page of another origin: what a listed one may do, and another one not."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.browser_page import Page, page
from tests.e2e.client import COMBINATIONS, HUB
from tests.running import Server, server

# The first one may have to fetch the browser.
pytestmark = pytest.mark.timeout(300)
DONE = {"echo": {"text": "ä"}, "items": [0, 1, 2], "sum": 6, "answer": 7, "pushed": [1]}
KINDS: list[dict[str, Any]] = [kind._asdict() for kind in COMBINATIONS]
# Before the first request is made a browser asks whether it may, but not for a WebSocket.
UNASKED = {"transport": "WebSockets", "protocol": "json", "skipNegotiation": True}
DEVICE = {
    "device": "d1",
    "patient": "pat",
    "assignments": ["ann"],
    "right": {"serial": "R-1", "model": "ref10", "firmware": "2.3.1"},
}
REGISTER: dict[str, Any] = {"method": "POST", "path": "/api/v1/devices", "body": json.dumps(DEVICE)}


@pytest.fixture(scope="module")
async def pages() -> AsyncIterator[tuple[Page, Page]]:
    """One that will be listed, and one that will not."""
    async with page() as listed, page() as other:
        yield listed, other


@pytest.fixture(scope="module")
async def hub(pages: tuple[Page, Page], tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    data, listed = tmp_path_factory.mktemp("browser"), pages[0].origin
    async with server(data, "--conformance", AURICLE_ALLOWED_ORIGINS=listed) as running:
        yield running


async def test_a_listed_page_uses_every_transport_and_rest(hub: Server, pages: tuple[Page, Page]) -> None:
    token = await hub.token("ann")
    bad = {"headers": {"Authorization": "Bearer x"}}
    requests: list[dict[str, Any]] = [
        *(REGISTER, REGISTER, REGISTER | {"body": "{"}, REGISTER | bad),
        *({"method": "GET", "path": f"{HUB}?id=x"}, {"method": "POST", "path": f"{HUB}/negotiate", **bad}),
    ]
    outcomes = await pages[0].visit(hub.url, token, kinds=[*KINDS, UNASKED], requests=requests)
    exercised, fetched = outcomes[: len(KINDS) + 1], outcomes[len(KINDS) + 1 :]
    assert exercised == [{"ok": True, "value": DONE}] * len(exercised)
    assert [outcome["value"]["status"] for outcome in fetched] == [201, 409, 400, 401, 404, 401]


async def test_a_listed_page_is_told_why_it_was_refused(hub: Server, pages: tuple[Page, Page]) -> None:
    bad = [kind | {"token": "garbage"} for kind in KINDS]
    for outcome in await pages[0].visit(hub.url, await hub.token("ann"), kinds=bad):
        assert "Status code '401'" in outcome["error"]


async def test_another_page_can_do_nothing_with_the_best_of_tokens(hub: Server, pages: tuple[Page, Page]) -> None:
    token, opened = await hub.token("ann"), hub.log_text.count("connection_opened")
    outcomes = await pages[1].visit(hub.url, token, kinds=[*KINDS, UNASKED], requests=[REGISTER])
    assert [outcome["ok"] for outcome in outcomes] == [False] * (len(KINDS) + 2)
    assert "Failed to fetch" in outcomes[0]["error"]
    assert "Failed to fetch" in outcomes[-1]["error"]
    assert hub.log_text.count("connection_opened") == opened


async def test_the_page_itself_is_not_what_fails(hub: Server, pages: tuple[Page, Page], tmp_path: Path) -> None:
    async with server(tmp_path, "--conformance", AURICLE_ALLOWED_ORIGINS=pages[1].origin) as own:
        outcomes = await pages[1].visit(own.url, await own.token("ann"), kinds=[KINDS[0], UNASKED])
        assert outcomes == [{"ok": True, "value": DONE}] * 2
