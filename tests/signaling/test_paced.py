"""What comes at once is done in its order, a few in a turn of the event loop; what comes alone is done at once."""

import asyncio

from signaling.paced import Paced


async def test_a_few_in_a_turn_and_in_order() -> None:
    paced, done = Paced(3), list[int]()
    for number in range(8):
        paced.do(lambda number=number: done.append(number))  # type: ignore[misc]  # mypy cannot infer a lambda with a default
    assert (done, len(paced)) == ([0, 1, 2], 5)
    turns = []
    while len(paced):
        await asyncio.sleep(0)  # one turn of the event loop
        turns.append(len(done))
    assert (turns, done) == ([6, 8], list(range(8)))


async def test_what_comes_while_others_wait_goes_behind_them() -> None:
    paced, done = Paced(1), list[str]()

    def first() -> None:
        done.append("first")
        paced.do(lambda: done.append("third"))

    paced.do(first)
    paced.do(lambda: done.append("fourth"))
    assert done == ["first"]
    await asyncio.sleep(0)  # as above, one for each
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert done == ["first", "third", "fourth"]


async def test_one_after_the_other_is_done_at_once() -> None:
    paced, done = Paced(2), list[int]()
    for number in range(10):
        paced.do(lambda number=number: done.append(number))  # type: ignore[misc]  # as above
        assert len(done) == number + 1
        await asyncio.sleep(0)
        await asyncio.sleep(0)
