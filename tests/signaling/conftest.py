"""The whole server in the test's own loop, with clocks that the test sets."""

import io
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from clients.hub_client import HubClient, TransportName
from protocol.signalr.codec import ProtocolName
from protocol.signalr.connection import HubConnection
from signaling.app import PARTS, Parts, create_app
from signaling.auth import DevTokens
from signaling.config import MEMORY, Config
from signaling.connection import HubSession
from signaling.hub import Hub
from signaling.hubs.care_hub import CareHub
from signaling.log import LogBook
from signaling.server import runner_of
from tests.signaling.care import Connect, Heard
from tests.signaling.own_hub import app_around

KEY = b"k" * 32


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
    runner: web.AppRunner
    url: str
    http: aiohttp.ClientSession
    wall: Clock
    monotonic: Clock
    log: io.StringIO
    tokens: DevTokens = field(init=False)
    sockets: list[aiohttp.ClientWebSocketResponse] = field(default_factory=list)
    drops: list[Callable[[], None]] = field(default_factory=list)

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

    def pass_s(self, seconds: float) -> None:
        """Time goes by, for both clocks."""
        self.wall.now_s += seconds
        self.monotonic.now_s += seconds

    @property
    def parts(self) -> Parts:
        return self.app[PARTS]

    def session(self, connection_id: str) -> HubSession:
        """An open connection by its public id."""
        return next(s.sessions[connection_id] for s in self.parts.hubs if connection_id in s.sessions)

    def http_connections(self) -> int:
        """How many living connections the HTTP server holds; WebSockets have left it."""
        assert self.runner.server is not None
        return sum(handler.transport is not None for handler in self.runner.server.connections)

    async def sweep_deliveries(self) -> None:
        """Look at what waits for phones now."""
        care = self.app[PARTS].hubs[0].hub
        assert isinstance(care, CareHub)
        await care._delivery.sweep()

    async def sweep_care(self) -> None:
        """Look at live sessions, at what waits for phones, then at what could not be told."""
        care = self.app[PARTS].hubs[0].hub
        assert isinstance(care, CareHub)
        await care._session.sweep()
        await care._delivery.sweep()
        await care._news.sweep()

    async def sweep_packages(self) -> None:
        """Carry out what is due for packages."""
        care = self.app[PARTS].hubs[0].hub
        assert isinstance(care, CareHub)
        await care._packages.sweep()

    def sweep(self) -> None:
        """Look at all timers now."""
        for server in self.parts.hubs:
            server.sweep()
        for routes in self.parts.routes:
            routes.sweep()
        if self.parts.pods is not None:
            self.parts.pods.sweep()

    def app_sessions(self) -> int:
        """How many connections the server holds."""
        return sum(len(server.sessions) for server in self.parts.hubs)

    def metric(self, name: str, **labels: str) -> float:
        value = self.parts.hubs[0].metrics.registry.get_sample_value(name, labels)
        return value or 0.0


def signalr_core(session: HubSession) -> HubConnection:
    """The protocol core of a connection over SignalR."""
    core = session._core
    assert isinstance(core, HubConnection)
    return core


SPOKEN: tuple[tuple[ProtocolName, TransportName], ...] = (
    ("messagepack", "signalr"),
    ("json", "socketio"),
    ("json", "signalr"),
)
OpenHouse = Callable[..., Awaitable[House]]


@asynccontextmanager
async def running_house(
    config: Config, hub: Hub | None, hubs: Sequence[Hub] = (), clocks: tuple[Clock, Clock] | None = None
) -> AsyncIterator[House]:
    """The server as ``signaling.server`` runs it; aiohttp's own test server would cancel handlers when clients go.

    ``clocks``: the one on the wall, and the one that only rises; its own, unless others are given.
    """
    log = io.StringIO()
    wall, monotonic = clocks or (Clock(), Clock(1_000.0))
    create: Callable[..., web.Application] = partial(create_app, hubs=hubs) if hub is None else partial(app_around, hub)
    app = create(config, signing_key=KEY, log=LogBook(log), clock=wall, monotonic=monotonic)
    runner = runner_of(app, config, shutdown_timeout=0.01)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        house = House(app, runner, url, aiohttp.ClientSession(), wall, monotonic, log)
        try:
            yield house
        finally:
            for drop in house.drops:
                drop()
            for socket in house.sockets:
                await socket.close()
            await house.http.close()
    finally:
        await runner.cleanup()


@pytest.fixture
async def open_house() -> AsyncIterator[OpenHouse]:
    """Start a server; keyword arguments change its configuration. Its sweep runs only when a test says so.

    ``hub`` is a hub of the test's own in place of the usual ones, ``hubs`` are served beside them.
    """
    async with AsyncExitStack() as houses:

        async def start(*, hub: Hub | None = None, hubs: Sequence[Hub] = (), **changes: Any) -> House:
            config = replace(Config(conformance=True, dev=True, sweep_s=3_600, database_url=MEMORY), **changes)
            return await houses.enter_async_context(running_house(config, hub, hubs))

        yield start


@pytest.fixture
async def house(open_house: OpenHouse) -> House:
    return await open_house()


@pytest.fixture
async def connect(house: House) -> AsyncIterator[Connect]:
    clients: list[HubClient] = []

    async def connect(
        user: str, *roles: str, clinic: str = "c1", heard: Heard | None = None, expires_in_s: float = 3_600
    ) -> HubClient:
        token = house.token(user, *roles, clinic=clinic, expires_in_s=expires_in_s)
        # Who meets in a test never speaks alike.
        protocol, transport = SPOKEN[len(clients) % len(SPOKEN)]
        client = HubClient(f"{house.url}/hub", token=token, protocol=protocol, transport=transport, reconnect=None)
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
