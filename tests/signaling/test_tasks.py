"""Works that live and end together: what ends them, and that nothing outlives them."""

import asyncio

import pytest

from signaling.tasks import race


class Work:
    """Waits for ever, and remembers that it was ended."""

    def __init__(self) -> None:
        self.ended = False

    async def run(self) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)  # a clean-up that waits
            self.ended = True


async def fail() -> None:
    await asyncio.sleep(0)
    raise OSError("lost")


async def test_the_first_error_ends_all_and_is_raised() -> None:
    works = [Work(), Work()]
    with pytest.raises(OSError, match="lost"):
        await race(works[0].run(), fail(), works[1].run())
    assert all(work.ended for work in works)


async def test_the_first_end_ends_all() -> None:
    work = Work()
    await race(work.run(), asyncio.sleep(0))
    assert work.ended


async def test_being_cancelled_wins_over_an_error_at_the_same_time() -> None:
    turns = 0

    async def again_and_again() -> None:
        nonlocal turns
        while True:
            turns += 1
            try:
                await race(fail(), asyncio.sleep(3_600))
            except OSError:
                continue

    for steps in range(12):
        task = asyncio.get_running_loop().create_task(again_and_again())
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        async with asyncio.timeout(5):
            await asyncio.wait([task])
        assert task.cancelled()
    assert turns > 12
