"""An aid that hangs keeps nobody else waiting: the other one is quiet in time, whoever looks at it meanwhile."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from clients.device_driver import AidIdentity
from clients.hub_client import HubClient
from clients.phone import Phone
from clients.phone_session import SessionLimits
from clients.reconnect import ReconnectPolicy
from clients.virtual_aid.aid import VirtualAid
from clients.virtual_aid.pair import VirtualPair
from tests.clients.live_bench import FACTORY, settle
from tests.clients.offers import SERIALS, at_once, make_aid, make_offer
from tests.clients.phone_bench import Clock, Server, make_runner
from tests.eventually import eventually


class Hanging(VirtualAid):
    """Answers nothing any more, neither to a link nor to a question."""

    hangs = False
    asked = 0

    async def connect(self) -> None:
        await self._hang()
        await super().connect()

    async def identify(self) -> AidIdentity:
        await self._hang()
        return await super().identify()

    async def _hang(self) -> None:
        if self.hangs:
            self.asked += 1
            await asyncio.Event().wait()


def hanging_right() -> tuple[Hanging, VirtualPair]:
    right = Hanging("right", SERIALS["right"], firmware="2.3.1", sleep=at_once)
    return right, VirtualPair(right, make_aid("left"))


def is_quiet(pair: VirtualPair) -> bool:
    return pair.aid("left").read_image("ram") == FACTORY["left"]


@asynccontextmanager
async def beside(task: asyncio.Task[object]) -> AsyncIterator[None]:
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})


async def test_an_undo_does_not_wait_for_a_look() -> None:
    right, pair = hanging_right()
    runner = make_runner(pair, clock=Clock(), finish_write_s=0.01)
    await runner.run_offer(make_offer(pair), Server().report)
    settle(runner, 1)
    right.hangs = True
    async with beside(asyncio.ensure_future(runner.work(None))):
        await eventually(lambda: right.asked)
        async with beside(asyncio.ensure_future(runner.revert("undo"))):
            async with asyncio.timeout(2):
                await eventually(lambda: is_quiet(pair))


async def test_nor_for_the_read_back_of_a_hello_or_of_a_report() -> None:
    for what in ("hello", "report"):
        right, pair = hanging_right()
        runner = make_runner(pair, clock=Clock(), finish_write_s=0.01)
        await runner.run_offer(make_offer(pair), Server().report)
        settle(runner, 1)
        right.hangs = True
        reads = runner.attach_claim() if what == "hello" else runner.device_report("read_back")
        async with beside(asyncio.ensure_future(reads)):
            await eventually(lambda aid=right: aid.asked)  # type: ignore[misc]  # mypy cannot infer a default's type
            async with beside(asyncio.ensure_future(runner.revert("undo"))):
                async with asyncio.timeout(2):
                    await eventually(lambda both=pair: is_quiet(both))  # type: ignore[misc]  # as above


async def test_what_is_due_comes_before_looking() -> None:
    right, pair = hanging_right()
    clock = Clock()
    runner = make_runner(pair, clock=clock)
    await runner.run_offer(make_offer(pair), Server().report)
    settle(runner, 1)
    right.hangs = True
    clock.now_s += 31
    async with beside(asyncio.ensure_future(runner.work(None))):
        async with asyncio.timeout(2):
            await eventually(lambda: is_quiet(pair))


async def test_the_dead_man_pulls_the_brake_of_the_duty_that_looks() -> None:
    right, pair = hanging_right()
    runner = make_runner(
        pair,
        clock=asyncio.get_running_loop().time,
        finish_write_s=0.01,
        session=SessionLimits(dead_man_s=0.5),
    )
    await runner.run_offer(make_offer(pair), Server().report)
    settle(runner, 1)
    patience = ReconnectPolicy(from_start=True, base_s=60.0)
    phone = Phone(HubClient("http://127.0.0.1:9/hub", token="t", reconnect=patience), runner)
    right.hangs = True
    async with beside(asyncio.ensure_future(phone.duties.run())):
        right.turn_volume(-60)
        async with asyncio.timeout(3):
            await eventually(lambda: is_quiet(pair))


async def test_both_ears_of_a_package_go_back_at_once() -> None:
    parts, hangs = 0, asyncio.Event()

    async def sleep(_: float) -> None:
        nonlocal parts
        parts += 1
        if parts == 4:
            hangs.set()
            await asyncio.Event().wait()

    right, _ = hanging_right()
    left = VirtualAid("left", SERIALS["left"], firmware="2.3.1", sleep=sleep)
    pair = VirtualPair(right, left)
    runner, server = make_runner(pair, clock=Clock(), finish_write_s=0.01), Server()
    package = make_offer(pair, kind="persist", mode="standard", fence=0)
    await runner.run_offer(package, server.report)
    installing = asyncio.ensure_future(runner.answer_install(package, accepted=True, report=server.report))
    async with beside(installing):
        await hangs.wait()
        right.hangs = True
        async with beside(asyncio.ensure_future(runner.revert("undo"))):
            async with asyncio.timeout(2):
                await eventually(lambda: is_quiet(pair))
