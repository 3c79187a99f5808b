"""A WebSocket that has ended is gone at once: nothing of it waits for the garbage collector, which stops everybody."""

import gc
from collections.abc import Iterator

import pytest

from signaling.connection import HubSession
from tests.eventually import eventually
from tests.signaling.by_hand import call, socket
from tests.signaling.conftest import House


@pytest.fixture(autouse=True)
def _no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def sessions(house: House) -> int:
    """Of this server: what other tests have left is no matter here."""
    hubs = house.parts.hubs
    return sum(type(one) is HubSession and getattr(one, "_server", None) in hubs for one in gc.get_objects())


async def test_a_websocket_that_was_cut_leaves_nothing(house: House) -> None:
    client = await socket(house)
    await client.send(call("JoinGroup", "g", id_="1"))
    await client.until("1")
    assert sessions(house) == 1
    await client.frames.close()
    await eventually(lambda: sessions(house) == 0)


async def test_a_websocket_that_the_server_ends_leaves_nothing(house: House) -> None:
    client = await socket(house)
    assert sessions(house) == 1
    client.session.close("app_shutdown", allow_reconnect=True)
    await client.rest()
    await eventually(lambda: sessions(house) == 0)
