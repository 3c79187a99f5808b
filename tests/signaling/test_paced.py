"""What comes at once is done in its order, a few in a tick; what comes alone is done at once."""

import asyncio

from signaling.paced import TICK_S, Pace, Paced, Way
from tests.eventually import eventually


def test_a_pace_rises_slowly_to_its_bound_and_falls_at_once_to_a_quarter_of_it() -> None:
    pace = Pace(8)
    rising = [pace.of(0.0) for _ in range(200)]
    assert rising[0] == 2
    assert rising == sorted(rising)
    assert set(rising) == set(range(2, 9))
    falling = []
    for _ in range(8):
        pace.of(0.02)
        falling.append(pace.now)
    assert falling == [5, 3, 2, 2, 2, 2, 2, 2]
    # Neither in time nor late: it is right as it is.
    assert [pace.of(0.004) for _ in range(50)] == [3] * 50
    assert pace.now == 2
    assert (Pace(1).now, Pace(1).of(0.0)) == (1, 1)


def test_what_a_late_tick_has_missed_is_made_up_for_so_that_nobody_waits_for_ever() -> None:
    assert [Pace(8).of(late_s) for late_s in (TICK_S, 4 * TICK_S, 10 * TICK_S, 1_000.0)] == [4, 10, 22, 22]


async def test_a_few_in_a_tick_and_in_order() -> None:
    paced, done = Paced(8), list[int]()
    for number in range(30):
        paced.do(Way.OUT, lambda number=number: done.append(number))  # type: ignore[misc]  # mypy cannot infer a lambda with a default
    assert done == [0, 1]
    assert len(paced) == 28
    ticks = set[int]()
    while len(paced):
        await asyncio.sleep(0)  # one turn of the event loop
        ticks.add(len(done))
    # Also when the first one was late.
    assert len(ticks) >= 2
    assert done == list(range(30))


async def test_in_a_hurry_thousands_are_done_in_a_second() -> None:
    paced, done = Paced(1), list[int]()
    for number in range(100):
        paced.do(Way.OUT, lambda number=number: done.append(number))  # type: ignore[misc]  # as above
    paced.hurry()
    ticks = set[int]()
    while len(paced):
        await asyncio.sleep(0)  # one turn of the event loop
        ticks.add(len(done))
    # The first tick may have begun before; 32 in each of the others.
    assert len(ticks - {1}) <= 5
    assert done == list(range(100))


async def test_at_the_end_all_is_done_at_once() -> None:
    paced, done = Paced(1), list[int]()
    for number in range(10):
        paced.do(Way.OUT if number % 2 else Way.IN, lambda number=number: done.append(number))  # type: ignore[misc]  # as above
    paced.end()
    assert sorted(done) == list(range(10))
    assert len(paced) == 0
    assert paced.do(Way.OUT, lambda: done.append(10))
    assert done[-1] == 10
    await asyncio.sleep(2 * TICK_S)  # the tick that was due
    assert len(done) == 11


async def test_most_places_are_for_those_who_go_and_some_for_those_who_come() -> None:
    paced, done = Paced(1), list[Way]()
    for way in (*[Way.OUT] * 60, *[Way.IN] * 30):
        paced.do(way, lambda way=way: done.append(way))  # type: ignore[misc]  # as above
    await eventually(lambda: not len(paced))
    assert len(done) == 90
    # The first one was alone.
    assert [done[1:40].count(way) for way in (Way.OUT, Way.IN)] in ([29, 10], [30, 9])


async def test_what_comes_while_others_wait_goes_behind_them() -> None:
    paced, done = Paced(1), list[str]()

    def first() -> None:
        done.append("first")
        paced.do(Way.IN, lambda: done.append("third"))

    assert paced.do(Way.IN, first)
    assert not paced.do(Way.IN, lambda: done.append("fourth"))
    assert done == ["first"]
    await eventually(lambda: len(done) == 3)
    assert done == ["first", "third", "fourth"]


async def test_one_after_the_other_is_done_at_once() -> None:
    paced, done = Paced(2), list[int]()
    for number in range(5):
        assert paced.do(Way.IN, lambda number=number: done.append(number))  # type: ignore[misc]  # as above
        assert len(done) == number + 1
        await asyncio.sleep(3 * TICK_S)  # the next ones come in ticks of their own
