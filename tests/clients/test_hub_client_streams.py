"""The hub client's streams, in both wire formats."""

from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

from clients.hub_client import HubCallError, HubClient, HubOptions
from clients.hub_errors import HubOverloaded, LinkLost, NotConnected
from protocol.errors import BadArgument
from protocol.signalr.codec import ProtocolName
from tests.clients.hub_double import HubDouble, until


@pytest.fixture
async def double() -> AsyncIterator[HubDouble]:
    async with HubDouble().running() as hub:
        yield hub


@pytest.fixture(params=["json", "messagepack"])
def protocol(request: pytest.FixtureRequest) -> ProtocolName:
    return request.param  # type: ignore[no-any-return]  # a parameter has no type of its own


def client_of(double: HubDouble, protocol: ProtocolName = "json", **options: int) -> HubClient:
    return HubClient(double.url, token="secret", protocol=protocol, reconnect=None, options=HubOptions(**options))  # type: ignore[arg-type]  # bounds only


async def test_items_come_in_order_and_then_the_end(double: HubDouble, protocol: ProtocolName) -> None:
    async with client_of(double, protocol) as hub:
        assert [item async for item in hub.stream("Count", 50, item=int)] == list(range(50))
        first, second = hub.stream("Count", 3, item=int), hub.stream("Count", 3, item=int)
        assert [await anext(first), await anext(second), await anext(first), await anext(second)] == [0, 0, 1, 1]
        await first.aclose()
        await second.aclose()
    assert double.cancelled == []


async def test_leaving_a_stream_cancels_it_and_the_link_goes_on(double: HubDouble, protocol: ProtocolName) -> None:
    async with client_of(double, protocol) as hub:
        async with aclosing(hub.stream("Endless", 0, item=int)) as items:
            assert await anext(items) == 0
        await until(lambda: double.cancelled == ["s0"])
        await double.links[0].send_item("s0", 99)
        assert await hub.invoke("Echo", "still there", result=str) == "still there"


async def test_an_error_comes_after_the_items_before_it(double: HubDouble) -> None:
    async with client_of(double) as hub:
        items = hub.stream("CountAndFail", 2, item=int)
        assert [await anext(items), await anext(items)] == [0, 1]
        with pytest.raises(HubCallError, match="no more"):
            await anext(items)
    assert double.cancelled == []


async def test_an_item_of_another_type_is_a_clear_error_and_cancels_the_stream(double: HubDouble) -> None:
    async with client_of(double) as hub:
        with pytest.raises(BadArgument, match="str"):
            await anext(hub.stream("Endless", 0, item=str))
        await until(lambda: double.cancelled == ["s0"])


async def test_a_stream_dies_with_its_link(double: HubDouble) -> None:
    async with client_of(double) as hub:
        items = hub.stream("Endless", 0, item=int)
        await anext(items)
        double.links[0].drop()
        with pytest.raises(LinkLost):
            await anext(items)
        with pytest.raises(NotConnected):
            await anext(hub.stream("Endless", 0, item=int))


async def test_items_that_nobody_takes_end_the_stream_at_a_bound(double: HubDouble) -> None:
    async with client_of(double, max_stream_items=3) as hub:
        items = hub.stream("Count", 50, item=int)
        assert await anext(items) == 0
        await hub.invoke("Echo", "the rest has come by now", result=str)
        assert [await anext(items), await anext(items)] == [1, 2]
        with pytest.raises(HubOverloaded, match="3 items"):
            await anext(items)


async def test_streams_that_run_at_once_are_bounded(double: HubDouble) -> None:
    async with client_of(double, max_streams=1) as hub, aclosing(hub.stream("Endless", 0, item=int)) as items:
        await anext(items)
        with pytest.raises(HubOverloaded, match="1 streams"):
            await anext(hub.stream("Count", 1, item=int))
