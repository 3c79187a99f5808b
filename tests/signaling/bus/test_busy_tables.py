"""A loop that was busy has not read what Redis has answered to questions: those answers are not late."""

import asyncio
import time

import uvloop

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
