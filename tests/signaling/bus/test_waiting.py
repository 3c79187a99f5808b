"""What waits to be published is bounded, and in its order."""

from signaling.bus.waiting import Dropped, Waiting, WaitingMessage


def message(number: int, size: int = 9) -> WaitingMessage:
    return b"c", b"%d" % number + b"." * (size - len(b"%d" % number))


def test_the_oldest_is_dropped_for_one_too_many() -> None:
    waiting = Waiting(max_messages=3, max_bytes=1_000)
    assert [waiting.put(message(n)) for n in range(4)] == [None, None, None, Dropped("max_bus_messages", 1)]
    assert waiting.take(10, 1_000) == [message(1), message(2), message(3)]
    assert (len(waiting), waiting.size_bytes) == (0, 0)


def test_as_many_of_the_oldest_are_dropped_as_make_room() -> None:
    waiting = Waiting(max_messages=100, max_bytes=100)
    for number in range(10):
        assert waiting.put(message(number)) is None
    assert waiting.put(message(10, size=24)) == Dropped("max_bus_bytes", 3)
    assert waiting.take(1, 1_000) == [message(3)]
    assert waiting.size_bytes == 6 * 10 + 25


def test_one_that_is_too_big_alone_is_dropped_itself() -> None:
    waiting = Waiting(max_messages=100, max_bytes=100)
    assert waiting.put(message(0, size=200)) == Dropped("max_bus_bytes", 1)
    assert (len(waiting), waiting.size_bytes) == (0, 0)


def test_a_batch_is_bounded_but_never_empty() -> None:
    waiting = Waiting(max_messages=100, max_bytes=10_000)
    for number in range(5):
        waiting.put(message(number, size=99))
    assert waiting.take(2, 1_000) == [message(0, size=99), message(1, size=99)]
    assert waiting.take(9, 150) == [message(2, size=99)]
    assert waiting.take(9, 1) == [message(3, size=99)]


def test_what_is_cleared_is_counted() -> None:
    waiting = Waiting(max_messages=100, max_bytes=10_000)
    for number in range(5):
        waiting.put(message(number))
    assert (waiting.clear(), len(waiting), waiting.size_bytes, waiting.clear()) == (5, 0, 0, 0)
