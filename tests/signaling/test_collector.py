"""The garbage collector looks at what is new, and at everything now and then: nothing is lost for good."""

import asyncio
import gc
import weakref
from collections.abc import Iterator

import pytest

from signaling.collector import EVERYTHING_EVERY_S, Collector
from tests.contracts.device_log_bench import Clock
from tests.eventually import eventually


class Thing:
    """Refers to itself, which only the collector notices."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture
def clock() -> Clock:
    return Clock(100.0)


@pytest.fixture
def collector(clock: Clock) -> Iterator[Collector]:
    found = Collector(clock)
    found.look()
    yield found
    gc.unfreeze()


def test_what_was_looked_at_is_not_looked_at_again(collector: Collector) -> None:
    things = [Thing() for _ in range(1_000)]
    before = gc.get_freeze_count()
    collector.look()
    assert gc.get_freeze_count() >= before + 1_000
    assert len(gc.get_objects()) < 1_000
    assert things


def test_what_is_garbage_at_once_is_found_at_once(collector: Collector) -> None:
    thing = weakref.ref(Thing())
    collector.look()
    assert thing() is None


def test_what_becomes_garbage_later_is_found_when_everything_is_looked_at(collector: Collector, clock: Clock) -> None:
    thing = Thing()
    collector.look()
    ref = weakref.ref(thing)
    del thing
    clock.now_s += EVERYTHING_EVERY_S - 1
    collector.look()
    assert ref() is not None
    clock.now_s += 1
    collector.look()
    assert ref() is None
    # And from then on as before.
    assert gc.get_freeze_count() > 0


async def test_while_as_many_come_as_go_it_looks_all_the_same() -> None:
    old = [Thing() for _ in range(20_000)]
    for thing in old:
        thing.__dict__.clear()
    before, frozen = gc.get_threshold(), gc.get_freeze_count()
    looking = asyncio.ensure_future(Collector(Clock(100.0)).run())
    await eventually(lambda: gc.get_freeze_count() > frozen)
    frozen, new = gc.get_freeze_count(), list[Thing]()
    # Each that goes hides one that comes from what the collector counts by itself.
    while old:
        old.pop()
        new.append(Thing())
    await eventually(lambda: gc.get_freeze_count() > frozen)
    looking.cancel()
    await asyncio.wait({looking})
    assert (gc.get_threshold(), gc.get_freeze_count()) == (before, 0)
    assert len(new) == 20_000
