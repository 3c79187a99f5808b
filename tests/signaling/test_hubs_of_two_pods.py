"""Groups, users and everybody, over two pods and a real bus: each hears what is meant for him, once."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import cast

import pytest

from signaling.auth import Principal
from signaling.config import MEMORY
from signaling.outbound import ClientLink
from tests.bus_pods import settled
from tests.eventually import eventually
from tests.redis_server import RedisServer, redis_server
from tests.signaling.by_hand import Messages, Socket, call, socket
from tests.signaling.conftest import House
from tests.signaling.pods import bus_of, is_connected, two_pods


@pytest.fixture
def bus() -> Iterator[RedisServer]:
    with redis_server() as server:
        yield server


@dataclass
class People:
    """Ann is on both pods, Bob on the second."""

    east: House
    west: House
    ann: Socket
    again: Socket
    bob: Socket

    async def settle(self) -> None:
        await settled(bus_of(self.east), bus_of(self.west))


@pytest.fixture
async def people(bus: RedisServer) -> AsyncIterator[People]:
    async with two_pods(MEMORY, bus.url) as (east, west):
        found = People(east, west, await socket(east), await socket(west), await socket(west, "bob"))
        for one in (found.ann, found.bob):
            await one.send(call("JoinGroup", "g", id_="join"))
            await one.until("join")
        await found.settle()
        yield found


def heard(messages: Messages) -> list[object]:
    return [message["arguments"][0] for message in messages if message["type"] == 1]


async def until_said(one: Socket, word: str) -> list[object]:
    """What was heard up to a word."""
    found: list[object] = []
    while not found or found[-1] != word:
        found += heard(await one.messages(1))
    return found


async def test_each_kind_of_send_reaches_whom_it_is_meant_for(people: People) -> None:
    say = [
        call("ToGroup", "g", "news", "group"),
        call("ToOthersInGroup", "g", "news", "others"),
        call("ToUser", "ann", "news", "ann"),
        call("ToUser", "bob", "news", "bob"),
        call("ToAll", "news", "all"),
    ]
    await people.ann.send(*say)
    assert await until_said(people.ann, "all") == ["group", "ann", "all"]
    assert await until_said(people.again, "all") == ["ann", "all"]
    assert await until_said(people.bob, "all") == ["group", "others", "bob", "all"]


async def test_whoever_leaves_hears_no_more(people: People) -> None:
    await people.bob.send(call("LeaveGroup", "g", id_="leave"))
    await people.bob.until("leave")
    await people.settle()
    await people.ann.send(call("ToGroup", "g", "news", "group"), call("ToAll", "news", "all"))
    assert await until_said(people.bob, "all") == ["all"]


async def test_without_a_bus_those_who_are_here_go_on_and_with_it_the_others_are_back(
    people: People, bus: RedisServer
) -> None:
    bus.kill()
    await eventually(lambda: not is_connected(people.east) and not is_connected(people.west))
    await people.again.send(call("ToGroup", "g", "news", "in the west"))
    assert await until_said(people.bob, "in the west") == ["in the west"]
    bus.start()
    await eventually(lambda: is_connected(people.east) and is_connected(people.west))
    await people.settle()
    await people.ann.send(call("ToGroup", "g", "news", "again"))
    assert await until_said(people.bob, "again") == ["again"]
    assert await until_said(people.ann, "again") == ["again"]


async def test_when_everybody_has_gone_no_channel_is_left(people: People, bus: RedisServer) -> None:
    for one in (people.ann, people.again, people.bob):
        await one.frames.close()
    await eventually(lambda: people.east.app_sessions() + people.west.app_sessions() == 0)

    def left() -> bytes:
        return bus.ask("PUBSUB", "SHARDCHANNELS", "auricle:c:*")

    # What is of no connection: where each of the two is answered, and what all of them hear.
    await eventually(lambda: left().startswith(b"*5\r\n"))
    assert left().count(b"auricle:c:pod:") == 2
    assert all(channel in left() for channel in (b"auricle:c:pods", b"auricle:c:presence", b"auricle:c:revoked"))


@dataclass
class Passing:
    """A connection that comes and goes."""

    connection_id: str
    principal: Principal

    def send(self, outbound: object) -> None:
        """It is gone before anything is said."""

    def hold_back(self) -> Callable[[], None]:
        return lambda: None


async def test_after_ten_thousand_have_come_and_gone_redis_holds_the_pods_own_and_nothing_else(
    bus: RedisServer,
) -> None:
    async with two_pods(MEMORY, bus.url) as pods:
        for number in range(10_000):
            lifetime = pods[number % 2].parts.hubs[0].lifetime
            person = Principal(f"u{number}", "c1", frozenset(("clinician",)), 0.0)
            link = cast(ClientLink, Passing(f"c{number}", person))
            lifetime.add(link)
            lifetime.add_to_group(link.connection_id, f"device:d{number % 50}")
            if number % 100 == 0:
                await asyncio.sleep(0)  # the bus and the flusher get their turns
            lifetime.remove(link)
        await eventually(lambda: all(bus_of(house).is_settled for house in pods))

        def keys() -> list[bytes]:
            return sorted(word for word in bus.ask("KEYS", "*").split() if word.startswith(b"auricle"))

        def channels() -> list[bytes]:
            said = bus.ask("PUBSUB", "SHARDCHANNELS").split()
            return sorted(word for word in said if word.startswith(b"auricle") and b":c:pod:" not in word)

        own = [b"auricle:c:pods", b"auricle:c:presence", b"auricle:c:revoked", b"auricle:pods"]
        await eventually(lambda: channels() == own)
        # Which there are, and for each that it lives and whom it counts.
        await eventually(lambda: len(keys()) == 5)
        assert b"auricle:t:{pods}" in keys()
        # Each pod says that its hash holds all whom it counts, and counts nobody once it has written the last away.
        counted = [key.decode() for key in keys() if b":presence:" in key]
        assert len(counted) == 2
        await eventually(lambda: all(bus.ask("HLEN", key) == b":1\r\n" for key in counted))
    # What they have said last is for a moment.
    await eventually(lambda: bus.ask("DBSIZE") == b":0\r\n")
