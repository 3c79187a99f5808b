"""A loop that was busy has not read what Redis, or another pod, has answered: those answers are not late."""

import asyncio
import time

import uvloop

from signaling.pods.asks import Asker, PodAsks
from tests.bus_pods import bus_pods, settled
from tests.bus_tables import table_pods
from tests.eventually import eventually
from tests.redis_server import redis_server

# At once: more than are late in a row before nothing is asked any more.
QUESTIONS = 5
BUSY_S = 0.5


async def _busy() -> tuple[list[object], float, bool]:
    """What was answered, how often Redis was late, and whether it is still asked."""
    with redis_server(tcp=True) as server:
        async with table_pods(server.url) as pods:
            pod = await pods.join(table_answer_s=BUSY_S / 5)
            await eventually(lambda: pod.tables.is_up)
            asked = [asyncio.ensure_future(pod.tables.get("k")) for _ in range(QUESTIONS)]
            await asyncio.sleep(0)  # they are asked
            time.sleep(BUSY_S)  # noqa: ASYNC251  # meanwhile this process does something else
            return (
                list(await asyncio.gather(*asked)),
                pod.metric("auricle_bound_reached_total", bound="table_answer_s"),
                pod.tables.is_up,
            )


def test_a_busy_loop_takes_no_answer_for_late() -> None:
    # The loop of the product: it looks at timers before it reads.
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        answers, late, is_up = runner.run(_busy())
    assert answers == [None] * QUESTIONS
    assert (late, is_up) == (0, True)


async def _asked() -> bytes | None:
    """What another pod has answered, while this one did something else."""
    loop = asyncio.get_running_loop()
    with redis_server(tcp=True) as server:
        async with bus_pods(server.url) as pods:
            one, two = await pods.connected(), await pods.connected()
            here, there = [
                PodAsks(name, pod.backplane, max_open=9, reached=_none) for name, pod in (("1", one), ("2", two))
            ]

            def answer(question: bytes) -> None:
                there.answer(Asker("1", int(question)), b"yes")
                # Behind what is sent at the end of this turn: the answer comes meanwhile.
                loop.call_soon(time.sleep, BUSY_S)

            here.open()
            two.backplane.subscribe("c", answer)
            await settled(one.backplane, two.backplane)
            return await here.put("c", lambda asker: b"%d" % asker.number, timeout_s=BUSY_S / 5)


def _none(_: str) -> None:
    raise AssertionError("no bound is reached")


def test_nor_that_of_another_pod() -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(_asked()) == b"yes"
