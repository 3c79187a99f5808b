"""Pods on one bus that ask each other inside, for clients that come to any of them: no request is bound to a pod."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace

from signaling.config import MEMORY, Config
from signaling.hub import Hub
from signaling.transports.routes import HubRoutes
from tests.eventually import eventually
from tests.redis_server import RedisServer, redis_server
from tests.signaling.conftest import House, running_house
from tests.signaling.pods import is_connected

__all__ = ["Around", "around", "forwarded", "is_sure", "len_of", "routes_of"]


@dataclass
class Around:
    """The pods, and their bus."""

    pods: list[House]
    bus: RedisServer
    stack: AsyncExitStack = field(repr=False)

    @property
    def east(self) -> House:
        return self.pods[0]

    @property
    def west(self) -> House:
        return self.pods[1]

    async def until(self, holds: Callable[[], object]) -> None:
        """Look at all timers until it holds."""

        def held() -> object:
            for pod in self.pods:
                pod.sweep()
            return holds()

        await eventually(held)

    async def lose_bus(self) -> None:
        """Redis is killed, and all pods have noticed."""
        self.bus.kill()
        await eventually(lambda: not any(is_connected(pod) or is_sure(pod) for pod in self.pods))


def routes_of(house: House, path: str = "/hubs/conformance") -> HubRoutes:
    """The routes of one hub of a pod."""
    return next(one for one in house.parts.routes if one._server.hub.path == path)


def is_sure(house: House) -> bool:
    """Whether a pod believes what Redis says of owners."""
    owners = house.parts.pods and house.parts.pods._owners
    assert owners is not None
    return bool(owners._is_believed)  # type: ignore[attr-defined]  # the one over Redis


def len_of(house: House) -> int:
    """How many requests of a pod's clients are on their way to others."""
    assert house.parts.pods is not None
    assert house.parts.pods._forwarder is not None
    return len(house.parts.pods._forwarder)


def forwarded(house: House, kind: str, outcome: str = "answered") -> float:
    """How many requests of a pod's clients were carried to others."""
    return house.metric("auricle_forwarded_total", kind=kind, outcome=outcome)


@asynccontextmanager
async def around(count: int = 2, *, hub: Hub | None = None, **changes: object) -> AsyncIterator[Around]:
    """So many pods, which know of each other."""
    async with AsyncExitStack() as stack:
        bus = stack.enter_context(redis_server())
        config = Config(
            conformance=True,
            dev=True,
            sweep_s=3_600,
            database_url=MEMORY,
            redis_url=bus.url,
            internal_listen="127.0.0.1:0",
        )
        config = replace(config, **changes)  # type: ignore[arg-type]  # a test's own words
        hubs = () if hub is None else (hub,)
        pods = [await stack.enter_async_context(running_house(config, None, hubs)) for _ in range(count)]
        await eventually(lambda: all(knows_all(pod, count) and is_connected(pod) and is_sure(pod) for pod in pods))
        yield Around(pods, bus, stack)


def knows_all(house: House, count: int) -> bool:
    """Whether a pod knows where all others are reached."""
    assert house.parts.pods is not None
    directory = house.parts.pods._directory
    return sum(directory.address_of(pod) is not None for pod in directory.pods()) == count
