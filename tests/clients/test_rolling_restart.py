"""All pods of a deployment are restarted one after the other while people work: nothing that was accepted is lost.

Three real processes on PostgreSQL and Valkey behind a balancer that keeps nobody on a pod: a fitter who sends packages,
a phone that installs them, and clients that poll over whatever pod. Judged by what has arrived.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import pytest
from msgspec import UNSET

from clients.demo.handset import RECONNECT, Handset, Line
from clients.demo.stage import JOURNAL, make_aid, serial_of
from clients.fitter import Change, Fitter
from clients.hub_client import HubCallError, HubClient
from clients.virtual_aid.pair import VirtualPair
from protocol.contract.base import EARS
from protocol.contract.fitting import Base, Patch, PatchOp, SubmitAnswer
from protocol.contract.history import HistoryAnswer
from tests.databases import new_postgres
from tests.pods_running import PodsRunning, pods_running, token_of
from tests.pods_talker import Talker
from tests.postgres import PostgresServer

pytestmark = pytest.mark.timeout(240)
DEVICE = "d1"
TALKERS = 2
PATIENCE_S = 60.0
T = TypeVar("T")


async def again(ask: Callable[[], Awaitable[T]]) -> T:
    """Ask until there is an answer: nothing that is asked for here changes anything, or it has a key."""
    while True:
        try:
            return await ask()
        except (ConnectionError, TimeoutError, HubCallError):
            await asyncio.sleep(0.05)  # polling: a pod that comes back tells nobody


@dataclass
class Desk:
    """A fitter and the phone with the aids, both at the balancer; what was accepted, in order."""

    fitter: Fitter
    pair: VirtualPair
    accepted: list[SubmitAnswer] = field(default_factory=list)

    async def work(self, stop: asyncio.Event) -> None:
        """Send one package after the other, each when the one before is in the aids."""
        while not stop.is_set():
            device = await again(lambda: self.fitter.get_device(DEVICE))
            assert device.head is not UNSET
            value = 10 * (1 + len(self.accepted) % 5)
            ops = tuple(PatchOp(op="set", ear=ear, path="nrDdb", value=value) for ear in EARS)
            base = Base(revision=device.head.revision)
            change = Change(DEVICE, 0, base, f"number {len(self.accepted)}", patch=Patch(slot=1, ops=ops), package=True)
            answer = await self.fitter.submit(change)
            assert isinstance(answer, SubmitAnswer), answer
            self.accepted.append(answer)
            state = await again(lambda: self.fitter.wait_until(DEVICE, answer))  # noqa: B023  # it is awaited at once
            assert state == "active"


@asynccontextmanager
async def desk(pods: PodsRunning) -> AsyncIterator[Desk]:
    body: dict[str, object] = {"device": DEVICE, "patient": "pat", "assignments": ["ann"]}
    body |= {ear: {"serial": serial_of(ear), "model": "ref10", "firmware": "2.3.1"} for ear in EARS}
    await pods.pods[0].register(token_of("ann"), body)
    folder = pods.folder / "phone"
    folder.mkdir()
    url = f"{pods.balancer.url}/hub"
    hub = HubClient(url, token=token_of("ann"), protocol="messagepack", reconnect=RECONNECT)
    fitter = Fitter(hub)
    pair = VirtualPair(*(make_aid(folder, ear) for ear in EARS))
    async with hub, asyncio.TaskGroup() as tasks:
        handset = Handset(
            Line(url, token_of("pat", "patient", "device"), "json", "signalr", DEVICE), pair, folder / JOURNAL, tasks
        )
        try:
            await handset.wake()
            await handset.phone.attached.wait()
            yield Desk(fitter, pair)
        finally:
            await handset.sleep()


def works_on(work: Desk, talkers: list[Talker], before: list[int]) -> bool:
    """Whether each has got further than ``before``."""
    now = [len(work.accepted), *(talker.answered for talker in talkers)]
    return all(after > was for after, was in zip(now, before, strict=True))


async def until(holds: Callable[[], bool]) -> None:
    """Whoever has to connect anew, and to read aids, takes longer than anything else that tests wait for."""
    async with asyncio.timeout(PATIENCE_S):
        while not holds():  # noqa: ASYNC110  # polling: they tell nobody
            await asyncio.sleep(0.02)


async def test_a_rolling_restart_loses_no_delivery_and_no_accepted_call(
    postgres: PostgresServer, tmp_path: Path
) -> None:
    settings = {"AURICLE_DATABASE_URL": await new_postgres(postgres), "AURICLE_SWEEP_S": "0.1"}
    stop = asyncio.Event()
    async with pods_running(tmp_path, "--conformance", environ=settings) as pods, desk(pods) as work:
        talkers = [Talker(pods.balancer.url) for _ in range(TALKERS)]
        async with asyncio.TaskGroup() as busy:
            busy.create_task(work.work(stop))
            for talker in talkers:
                busy.create_task(talker.run(stop))
            await until(lambda: works_on(work, talkers, [0] * (1 + TALKERS)))
            for number in range(3):
                assert await pods.terminate(number) == 0
                before = [len(work.accepted), *(talker.answered for talker in talkers)]
                await pods.start(number)
                await pods.until_known()
                # Everybody works on before the next one goes.
                await until(lambda before=before: works_on(work, talkers, before))  # type: ignore[misc]  # mypy cannot infer a lambda with a default
            stop.set()
        assert [talker.lost for talker in talkers] == [[]] * TALKERS, [talker.ends for talker in talkers]
        assert sum(talker.connections for talker in talkers) > TALKERS
        history = await again(lambda: work.fitter.history(DEVICE, limit=100))
        assert isinstance(history, HistoryAnswer)
        # Each was accepted once and is in the record, in order; the aids keep the last one.
        made = [one.revision for one in reversed(history.revisions) if one.reason.startswith("number ")]
        assert made == [one.revision_id for one in work.accepted]
        kept = [work.pair.aid(ear).read_digest("nvm") for ear in EARS]
        assert kept == [getattr(work.accepted[-1].digests, ear) for ear in EARS]
        logs = [*pods.logs, *(pod.log_text for pod in pods.pods.values())]
        assert not any("task_failed" in log or "crashed" in log for log in logs)
