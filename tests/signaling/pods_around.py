"""Pods on one bus that ask each other inside, for clients that come to any of them: no request is bound to a pod."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace

from signaling.config import MEMORY, Config
from signaling.pods.owners_redis import RedisOwners
from tests.eventually import eventually
from tests.redis_server import RedisServer, redis_server
from tests.signaling.by_hand import Answer, Poller
from tests.signaling.conftest import House, running_house
from tests.signaling.pods import PATIENT, is_connected

__all__ = ["Around", "around", "forwarded", "is_sure", "len_of", "poll_from_the_west"]


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


def is_sure(house: House) -> bool:
    """Whether a pod believes what Redis says of owners."""
    assert house.parts.pods is not None
    owners = house.parts.pods._owners
    assert isinstance(owners, RedisOwners)
    return owners.are_sure


def len_of(house: House) -> int:
    """How many requests of a pod's clients are on their way to others."""
    assert house.parts.pods is not None
    assert house.parts.pods._forwarder is not None
    return len(house.parts.pods._forwarder)


def forwarded(house: House, kind: str, outcome: str = "answered") -> float:
    """How many requests of a pod's clients were carried to others."""
    return house.metric("auricle_forwarded_total", kind=kind, outcome=outcome)


@asynccontextmanager
async def around(count: int = 2, **changes: object) -> AsyncIterator[Around]:
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
            owner_answer_s=5,
            **PATIENT,
            # Pods hear of each other with a beat.
            pod_beat_s=0.1,
        )
        config = replace(config, **changes)  # type: ignore[arg-type]  # a test's own words
        pods = [await stack.enter_async_context(running_house(config, None)) for _ in range(count)]
        await eventually(lambda: all(knows_all(pod, count) and is_connected(pod) and is_sure(pod) for pod in pods))
        yield Around(pods, bus, stack)


def knows_all(house: House, count: int) -> bool:
    """Whether a pod knows where all others are reached."""
    assert house.parts.pods is not None
    directory = house.parts.pods._directory
    return sum(directory.address_of(pod) is not None for pod in directory.pods()) == count


async def poll_from_the_west(scene: Around, client: Poller) -> "asyncio.Future[Answer]":
    """A poll that waits in the east."""
    transport = client.transport
    before = transport._polls
    client.house = scene.west
    polling = asyncio.ensure_future(client.poll())
    await eventually(lambda: transport._polls > before and transport._polling.locked())
    return polling
