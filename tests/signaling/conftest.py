"""The whole server in the test's own loop, with clocks that the test sets."""

import io
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from clients.hub_client import HubClient
from signaling.app import PARTS, create_app
from signaling.auth import DevTokens
from signaling.config import Config
from signaling.log import LogBook
from tests.signaling.care import Connect, Heard

KEY = b"k" * 32
AiohttpServer = Callable[..., Awaitable[TestServer]]


@dataclass
class Clock:
    """A clock that moves when it is told to."""

    now_s: float = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now_s


@dataclass
class House:
    """A running server and everything that a test looks at."""

    app: web.Application
    url: str
    http: aiohttp.ClientSession
    wall: Clock
    monotonic: Clock
    log: io.StringIO
    tokens: DevTokens = field(init=False)
    sockets: list[aiohttp.ClientWebSocketResponse] = field(default_factory=list)

    async def socket(self, url: str, **options: Any) -> aiohttp.ClientWebSocketResponse:
        """Connect a WebSocket that is closed when the test ends."""
        self.sockets.append(await self.http.ws_connect(url, **options))
        return self.sockets[-1]

    def __post_init__(self) -> None:
        self.tokens = DevTokens(KEY, self.wall)

    def token(self, user: str = "ann", *roles: str, clinic: str = "c1", expires_in_s: float = 3_600) -> str:
        return self.tokens.mint(
            user=user, clinic=clinic, roles=frozenset(roles or ("clinician",)), expires_in_s=expires_in_s
        )

    def bearer(self, *who: str, **options: Any) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token(*who, **options)}"}

    def sweep(self) -> None:
        """Look at all timers now."""
        for server in self.app[PARTS].hubs:
            server.sweep()

    def app_sessions(self) -> int:
        """How many connections the server holds."""
        return sum(len(server.sessions) for server in self.app[PARTS].hubs)

    def metric(self, name: str, **labels: str) -> float:
        value = self.app[PARTS].hubs[0].metrics.registry.get_sample_value(name, labels)
        return value or 0.0


OpenHouse = Callable[..., Awaitable[House]]


@pytest.fixture
async def open_house(aiohttp_server: AiohttpServer) -> AsyncIterator[OpenHouse]:
    """Start a server; keyword arguments change its configuration. Its sweep runs only when a test says so."""
    houses: list[House] = []

    async def start(**changes: Any) -> House:
        config = replace(Config(conformance=True, dev=True, sweep_s=3_600), **changes)
        log, wall, monotonic = io.StringIO(), Clock(), Clock(1_000.0)
        app = create_app(config, signing_key=KEY, log=LogBook(log), clock=wall, monotonic=monotonic)
        server = await aiohttp_server(app)
        house = House(app, str(server.make_url("")).rstrip("/"), aiohttp.ClientSession(), wall, monotonic, log)
        houses.append(house)
        return house

    yield start
    for house in houses:
        for socket in house.sockets:
            await socket.close()
        await house.http.close()


@pytest.fixture
async def house(open_house: OpenHouse) -> House:
    return await open_house()


@pytest.fixture
async def connect(house: House) -> AsyncIterator[Connect]:
    clients: list[HubClient] = []

    async def connect(user: str, *roles: str, clinic: str = "c1", heard: Heard | None = None) -> HubClient:
        token = house.token(user, *roles, clinic=clinic)
        protocol = "json" if len(clients) % 2 else "messagepack"
        client = HubClient(f"{house.url}/hub", token=token, protocol=protocol, reconnect=None)  # type: ignore[arg-type]  # one of two literals
        if heard is not None:
            heard.listen(client)
        await client.start()
        clients.append(client)
        return client

    body = {
        "device": "d1",
        "patient": "pat",
        "assignments": ["ann", "abe"],
        "right": {"serial": "R-1", "model": "ref10", "firmware": "2.3.1"},
    }
    async with house.http.post(f"{house.url}/api/v1/devices", json=body, headers=house.bearer("ann")) as answer:
        assert answer.status == 201
    yield connect
    for client in clients:
        await client.stop()
