"""Many messages that come at once are all heard, in order, in pieces and with pauses in between, with either parser."""

import asyncio
from collections.abc import Callable

import pytest

from signaling.bus import link_redis
from signaling.bus.replies import Parser, Replies, new_parser
from tests.bus_pods import bus_pods, settled
from tests.eventually import eventually
from tests.redis_server import redis_server

COUNT = 2_000


class Tasting:
    """A parser, and how much it was fed at a time."""

    def __init__(self, parser: Parser, sizes: list[int]) -> None:
        self.gets = parser.gets
        self.has_data = parser.has_data
        self._parser = parser
        self._sizes = sizes

    def feed(self, data: bytes, begin: int, size: int, /) -> None:
        self._sizes.append(size)
        self._parser.feed(data, begin, size)


@pytest.mark.parametrize("parser", [new_parser, Replies])
async def test_all_are_heard_in_order_and_others_have_turns_in_between(
    parser: Callable[[], Parser], monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    monkeypatch.setattr(link_redis, "new_parser", lambda: Tasting(parser(), sizes))
    turn, heard = 0, list[tuple[int, bytes]]()
    with redis_server(tcp=True) as server:
        async with bus_pods(server.url) as pods:
            one, two = await pods.join(), await pods.join()
            two.backplane.subscribe("c", lambda body: heard.append((turn, body)))
            await settled(one.backplane, two.backplane)

            async def turns() -> None:
                nonlocal turn
                while True:
                    turn += 1
                    await asyncio.sleep(0)  # one turn of the event loop

            turning = asyncio.ensure_future(turns())
            for number in range(COUNT):
                one.backplane.publish("c", lambda number=number: b"%d" % number)  # type: ignore[misc]  # mypy cannot infer a lambda with a default
            await eventually(lambda: len(heard) == COUNT)
            turning.cancel()
            await asyncio.wait({turning})
    assert [body for _, body in heard] == [b"%d" % number for number in range(COUNT)]
    in_one_turn = [[at for at, _ in heard].count(each) for each in {at for at, _ in heard}]
    assert max(in_one_turn) <= link_redis.IN_A_ROW
    assert max(sizes) == link_redis.PIECE_BYTES
