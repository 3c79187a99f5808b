"""Tokens that have opened their connections are remembered for as long as they are good, and no more than so many."""

from signaling.transports.spent import SpentTokens
from tests.signaling.by_hand import Poller, negotiate
from tests.signaling.conftest import OpenHouse


def spent(limit: int = 10) -> tuple[SpentTokens, list[None]]:
    told = list[None]()
    return SpentTokens(limit=limit, reached=lambda: told.append(None)), told


def test_each_is_forgotten_when_its_time_is_over() -> None:
    tokens, told = spent()
    for connection_id, until_s in (("a", 10.0), ("b", 12.0), ("c", 11.0)):
        tokens.add(connection_id, until_s)
    tokens.sweep(10.0)
    assert "a" in tokens
    tokens.sweep(10.5)
    assert "a" not in tokens
    tokens.sweep(11.5)
    # Behind one that is good for longer it waits for that.
    assert [one in tokens for one in "bc"] == [True, True]
    tokens.sweep(12.5)
    assert (len(tokens), told) == (0, [])


def test_of_too_many_the_oldest_go() -> None:
    tokens, told = spent(limit=2)
    for connection_id in "abc":
        tokens.add(connection_id, 10.0)
    assert [one in tokens for one in "abc"] == [False, True, True]
    assert len(told) == 1


async def test_a_server_remembers_so_many_and_says_when_that_was_not_enough(open_house: OpenHouse) -> None:
    house = await open_house(max_spent_tokens=1)
    clients = [Poller(house, await negotiate(house)) for _ in range(3)]
    for client in clients:
        assert (await client.poll()).status == 200
    assert house.metric("auricle_bound_reached_total", bound="max_spent_tokens") == 2
    # Those that are open are known all the same.
    for client in clients:
        await client.shake()
