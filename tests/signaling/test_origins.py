"""Pages of other origins: which may use the server, what their browsers are told, and that every answer says it."""

from typing import Any

import aiohttp
import pytest
from aiohttp import hdrs

from signaling.config import ConfigError, config_from
from tests.signaling.by_hand import HELLO, HUB, Answer, call, negotiate, poller, request
from tests.signaling.conftest import House, OpenHouse

GOOD = "https://fitting.example"
# What Microsoft's JavaScript client adds to its requests.
ASKED = "authorization,content-type,x-requested-with,x-signalr-user-agent"
EVIL = {
    "elsewhere": ["https://evil.example"],
    "opaque": ["null"],
    "empty": [""],
    "a prefix": ["https://fitting.exampl"],
    "a suffix": ["https://fitting.example.evil.example"],
    "a suffix without a dot": ["https://fitting.exampleevil"],
    "a subdomain": ["https://a.fitting.example"],
    "another scheme": ["http://fitting.example"],
    "another port": ["https://fitting.example:8443"],
    "a path": ["https://fitting.example/"],
    "user information": ["https://fitting.example@evil.example"],
    "a list": [f"{GOOD} https://evil.example"],
    "two": [GOOD, "https://evil.example"],
    "twice the same": [GOOD, GOOD],
    "wildcard": ["*"],
    "our own without a port": ["http://127.0.0.1"],
}
REQUESTS = [("POST", f"{HUB}/negotiate"), ("GET", f"{HUB}?id=x"), ("POST", f"{HUB}?id=x"), ("DELETE", f"{HUB}?id=x")]


@pytest.fixture
async def site(open_house: OpenHouse) -> House:
    return await open_house(allowed_origins=f"{GOOD}, capacitor://localhost")


def named(answer: Answer) -> dict[str, str]:
    """The headers that a browser looks at."""
    return {name: value for name, value in answer.headers.items() if name.startswith("Access-Control-")}


async def ask(house: House, method: str, path: str, *origins: str, **options: Any) -> Answer:
    headers = [(hdrs.ORIGIN, origin) for origin in origins] + list(options.pop("headers", house.bearer()).items())
    return await request(house, method, path, headers=headers, **options)


def allows(answer: Answer, origin: str) -> None:
    assert answer.headers["Access-Control-Allow-Origin"] == origin
    assert answer.headers["Access-Control-Allow-Credentials"] == "true"
    assert answer.headers["Access-Control-Expose-Headers"] == "ETag, Link, Location, Retry-After, WWW-Authenticate"
    assert answer.headers["Vary"] == "Origin"


@pytest.mark.parametrize("path", [f"{HUB}/negotiate", HUB, f"{HUB}/refresh", "/hub", "/api/v1/devices"])
@pytest.mark.parametrize("origin", [GOOD, "HTTPS://Fitting.Example", "capacitor://localhost"])
async def test_a_preflight_is_answered_without_a_token(site: House, path: str, origin: str) -> None:
    headers = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": ASKED}
    answer = await ask(site, "OPTIONS", path, origin, headers=headers)
    assert (answer.status, answer.body) == (204, b"")
    allows(answer, origin)
    assert answer.headers["Access-Control-Allow-Headers"] == ASKED
    assert {"GET", "POST", "DELETE"} <= set(answer.headers["Access-Control-Allow-Methods"].split(", "))
    assert int(answer.headers["Access-Control-Max-Age"]) <= 7_200


@pytest.mark.parametrize("origins", EVIL.values(), ids=EVIL.keys())
async def test_a_preflight_of_another_page_is_refused(site: House, origins: list[str]) -> None:
    headers = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": ASKED}
    answer = await ask(site, "OPTIONS", f"{HUB}/negotiate", *origins, headers=headers)
    assert (answer.status, named(answer)) == (403, {})


@pytest.mark.parametrize("asked", ["", "x y", "authorization;x", "x" * 1_025])
async def test_a_preflight_that_asks_for_no_header_names_gets_none(site: House, asked: str) -> None:
    headers = {"Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": asked}
    answer = await ask(site, "OPTIONS", HUB, GOOD, headers=headers)
    assert answer.status == 204
    assert "Access-Control-Allow-Headers" not in answer.headers


async def test_what_is_no_preflight_is_a_method_that_nobody_has(site: House) -> None:
    for path in (HUB, "/api/v1/devices"):
        answer = await ask(site, "OPTIONS", path, GOOD)
        assert answer.status == 405
        allows(answer, GOOD)


@pytest.mark.parametrize("origins", EVIL.values(), ids=EVIL.keys())
async def test_another_page_gets_nothing_of_the_hub_with_the_best_of_tokens(site: House, origins: list[str]) -> None:
    for method, path in REQUESTS:
        answer = await ask(site, method, path, *origins)
        assert (answer.status, named(answer)) == (403, {}), path
        assert answer.headers["Vary"] == "Origin"
    upgrade = [(hdrs.ORIGIN, origin) for origin in origins] + list(site.bearer().items())
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await site.socket(site.url + HUB, headers=upgrade)
    assert refused.value.status == 403
    assert site.app_sessions() == 0


async def test_every_answer_says_whose_page_may_read_it(site: House) -> None:
    ticket = await negotiate(site)
    client = await poller(site)
    expected: list[tuple[str, str, int, dict[str, Any]]] = [
        ("POST", f"{HUB}/negotiate", 200, {}),
        ("POST", f"{HUB}/negotiate?negotiateVersion=x", 200, {}),
        ("POST", f"{HUB}/negotiate", 401, {"headers": {}}),
        ("POST", f"{HUB}/refresh", 400, {}),
        ("POST", f"{HUB}/refresh", 401, {"headers": {}}),
        ("GET", HUB, 400, {}),
        ("GET", f"{HUB}?id=x", 404, {}),
        ("POST", f"{HUB}?id=x", 404, {}),
        ("DELETE", f"{HUB}?id=x", 404, {}),
        ("PUT", HUB, 405, {}),
        ("GET", "/nothing", 404, {}),
        ("GET", f"{HUB}?id={ticket.token}", 200, {}),
        ("POST", f"{HUB}?id={ticket.token}", 200, {"data": HELLO}),
        ("POST", client.path, 415, {"data": b"not gzip", "headers": site.bearer() | {"Content-Encoding": "gzip"}}),
        ("DELETE", client.path, 202, {}),
        ("POST", "/api/v1/devices", 400, {"json": {}}),
        ("POST", "/api/v1/devices", 415, {"data": b"{"}),
        ("POST", "/api/v1/devices", 401, {"data": b"{", "headers": {}}),
        ("POST", "/api/v1/devices", 413, {"json": "x" * 70_000}),
        ("GET", "/readyz", 200, {}),
    ]
    for method, path, status, options in expected:
        answer = await ask(site, method, path, GOOD, **options)
        assert answer.status == status, path
        allows(answer, GOOD)


async def test_streams_polls_and_conflicts_say_it_too(site: House) -> None:
    ticket = await negotiate(site)
    path = f"{HUB}?id={ticket.token}"
    headers = site.bearer() | {"Accept": "text/event-stream", "Origin": GOOD}
    async with site.http.get(site.url + path, headers=headers) as response:
        assert response.headers["Access-Control-Allow-Origin"] == GOOD
        assert response.headers["Vary"] == "Origin"
        conflict = await request(site, "GET", path, headers=headers)
        assert conflict.status == 409
        allows(conflict, GOOD)
    site.parts.readiness.draining = True
    full = await ask(site, "POST", f"{HUB}/negotiate", GOOD)
    assert (full.status, full.headers["Retry-After"]) == (503, "1")
    allows(full, GOOD)


async def test_a_page_of_the_server_itself_and_a_client_that_is_no_page_need_no_leave(house: House) -> None:
    for origins in ([], [house.url], [house.url.replace("http", "https")]):
        answer = await ask(house, "POST", f"{HUB}/negotiate", *origins)
        assert answer.status == 200
        assert answer.headers["Vary"] == "Origin"
        assert answer.headers.get("Access-Control-Allow-Origin", "") == "".join(origins)
    socket = await house.socket(house.url + HUB, headers=house.bearer() | {"Origin": house.url})
    await socket.send_bytes(HELLO + call("Echo", 1, id_="1"))
    assert (await socket.receive()).data.startswith("{}\x1e")


@pytest.mark.parametrize(
    "wrong", ["*", "null", "fitting.example", "https://fitting.example/", "https://*.example", "https://a b", "//x"]
)
def test_what_no_browser_could_name_is_no_configuration(wrong: str) -> None:
    with pytest.raises(ConfigError, match="allowed_origins"):
        config_from({"AURICLE_ALLOWED_ORIGINS": f"{GOOD},{wrong}"})


def test_what_a_browser_could_name_is(house: House) -> None:
    text = "https://Fitting.Example , http://[::1]:8080,,app://. , capacitor://localhost"
    assert config_from({"AURICLE_ALLOWED_ORIGINS": text}).origins == {
        "https://fitting.example",
        "http://[::1]:8080",
        "app://.",
        "capacitor://localhost",
    }
