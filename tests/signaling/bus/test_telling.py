"""What the log is told of a server that comes and goes."""

from signaling.bus.telling import Telling
from tests.eventually import eventually


def watched(**given: object) -> tuple[Telling, list[str]]:
    told: list[str] = []
    return Telling(went=told.append, came=lambda: told.append("there"), **given), told  # type: ignore[arg-type]  # a test's own words


async def test_the_first_word_is_told_at_once_and_only_once() -> None:
    telling, told = watched()
    telling.is_there()
    telling.is_there()
    assert told == ["there"]
    telling.is_away("lost")
    telling.is_away("late")
    assert told == ["there", "lost"]


async def test_that_it_is_there_again_is_told_when_it_stays() -> None:
    telling, told = watched(said="there")
    for _ in range(100):
        telling.is_away("lost")
        telling.is_there()
    assert told == ["lost"]
    await eventually(lambda: told == ["lost", "there"])


async def test_one_that_is_closed_tells_nothing() -> None:
    telling, told = watched()
    telling.is_away("lost")
    telling.is_there()
    telling.close()
    other, heard = watched()
    other.is_away("lost")
    other.is_there()
    await eventually(lambda: heard == ["lost", "there"])
    assert told == ["lost"]
