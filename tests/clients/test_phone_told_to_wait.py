"""A phone that the server has no room for comes back when it was told to, a little later, and not sooner."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from msgspec import UNSET

from clients.phone import Phone
from protocol.contract.base import Failure, Refusal
from protocol.contract.devices import AttachAnswer, AttachDevice
from protocol.contract.session import HelloAnswer
from tests.clients.offers import attach_answer, make_pair
from tests.clients.phone_bench import make_runner
from tests.eventually import eventually

CONTRACT = HelloAnswer(contract=1, server="auricle/1")


class Hub:
    """Answers each attachment with the next of ``answers``."""

    connection_id = "c1"

    def __init__(self, *answers: AttachAnswer | Failure) -> None:
        self.answers = list(answers)
        self.closed: list[Callable[[], None]] = []

    def on(self, *_: object, **__: object) -> None: ...

    def on_reconnected(self, _: Callable[[], None]) -> None: ...

    def on_closed(self, handler: Callable[[], None]) -> None:
        self.closed.append(handler)

    async def invoke(self, *_: object, **__: object) -> HelloAnswer:
        return CONTRACT

    async def ask(self, target: str, payload: Any, **_: object) -> object:
        return (
            self.answers.pop(0) if isinstance(payload, AttachDevice) else Failure(error=Refusal(code="x", message="y"))
        )


def full(after_ms: int | None) -> Failure:
    refusal = Refusal(
        code="overloaded", message="full", retryable=True, retry_after_ms=UNSET if after_ms is None else after_ms
    )
    return Failure(error=refusal, errors=(refusal,))


async def rests(*answers: AttachAnswer | Failure) -> list[tuple[float, float]]:
    """Between which bounds the phone has drawn how long it rests, until it was attached."""
    drawn: list[tuple[float, float]] = []

    def uniform(low: float, high: float) -> float:
        drawn.append((low, high))
        return low

    async def sleep(_: float) -> None:
        await asyncio.sleep(0)

    hub: Any = Hub(*answers)
    phone = Phone(hub, make_runner(make_pair()), uniform=uniform, sleep=sleep)
    serving = asyncio.create_task(phone._serve())
    try:
        await eventually(phone.attached.is_set)
    finally:
        serving.cancel()
    return drawn


@pytest.mark.parametrize(("after_ms", "bounds"), [(8_000, (8.0, 10.0)), (9_000_000, (600.0, 750.0))])
async def test_it_rests_as_long_as_it_was_told_and_up_to_a_quarter_longer(
    after_ms: int, bounds: tuple[float, float]
) -> None:
    assert await rests(full(after_ms), attach_answer()) == [bounds]


async def test_what_one_refusal_has_said_does_not_count_for_the_next() -> None:
    drawn = await rests(full(8_000), full(None), attach_answer())
    assert drawn[0] == (8.0, 10.0)
    assert drawn[1][0] == 0.0


async def test_a_phone_that_is_to_end_waits_no_longer() -> None:
    async def never(_: float) -> None:
        await asyncio.Event().wait()

    hub: Any = Hub(full(60_000), attach_answer())
    phone = Phone(hub, make_runner(make_pair()), uniform=lambda low, _: low, sleep=never)
    serving = asyncio.create_task(phone._serve())
    await eventually(lambda: phone._rest_s > 0 or len(hub.answers) == 1)
    for closed in hub.closed:
        closed()
    await asyncio.wait_for(serving, 5.0)
