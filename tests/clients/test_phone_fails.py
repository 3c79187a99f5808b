"""A phone that cannot go on gives the base back first, and raises only then: against the real server."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from clients.file_journal import JournalUnavailable
from clients.journal import JournalRecord, MemoryJournal
from clients.phone import AttachRefused, Phone, PhoneOptions
from clients.phone_duties import DutyTimes
from clients.phone_session import SessionState
from clients.reconnect import ReconnectPolicy
from clients.virtual_aid.faults import Faults
from clients.virtual_aid.memory import factory_image
from protocol.contract.base import EARS
from protocol.contract.devices import LeaseAnswer
from protocol.contract.fitting import SubmitAnswer
from tests.clients.care_bench import DEVICE, SOON_S, CareBench, care_bench, raise_of
from tests.clients.offers import BANDS_HZ
from tests.eventually import eventually

# A poll that is slower than the heartbeat: one must not put the other off.
QUICK = DutyTimes(heartbeat_s=0.02, read_back_s=0.05, poll=ReconnectPolicy(base_s=0.2, cap_s=0.2))


class Disk(MemoryJournal):
    """Has room, or has not."""

    is_full = False

    def save(self, record: JournalRecord) -> None:
        if self.is_full:
            raise JournalUnavailable("no space left")
        super().save(record)


class Trial:
    """A phone with a change in its aids that nobody has saved; its dead-man is far away."""

    def __init__(self, bench: CareBench, disk: Disk) -> None:
        self.bench, self.disk = bench, disk
        self.hub = bench.phone_hub()
        self.phone = Phone(self.hub, bench.runner(disk), options=PhoneOptions(duties=QUICK))

    async def submit(self) -> SubmitAnswer:
        async with self.bench.fitter() as fitter:
            granted = await fitter.acquire_lease(DEVICE, "session-1")
            assert isinstance(granted, LeaseAnswer)
            if granted.mode != "advanced":
                await fitter.go_live(DEVICE, granted.fence)
            answer = await fitter.submit(raise_of(granted))
            assert isinstance(answer, SubmitAnswer)
            return answer

    async def begin(self) -> None:
        async with asyncio.timeout(SOON_S):
            await self.phone.attached.wait()
        await self.submit()
        record = self.phone.runner
        await eventually(lambda: record.record.session.state is SessionState.TRIAL and not record.record.in_flight)
        assert not any(self.is_quiet(ear) for ear in EARS)

    def is_quiet(self, ear: str) -> bool:
        aid = next(self.bench.pair.aid(each) for each in EARS if each == ear)
        return aid.read_image("ram") == factory_image(aid.ear, BANDS_HZ)


@pytest.fixture
async def trial() -> AsyncIterator[Trial]:
    async with care_bench() as bench:
        trial = Trial(bench, Disk())
        async with trial.hub:
            yield trial


async def ended(running: asyncio.Task[None]) -> None:
    async with asyncio.timeout(SOON_S):
        await running


async def test_another_aid_in_one_ear_leaves_the_other_quiet(trial: Trial) -> None:
    running = asyncio.ensure_future(trial.phone.run())
    await trial.begin()
    trial.bench.phone_cable.pull()
    trial.bench.pair.aid("right").faults = Faults(time_scale=0, wrong_serial=True)
    trial.bench.phone_cable.plug_in()
    with pytest.raises(AttachRefused, match="wrong_device"):
        await ended(running)
    assert trial.is_quiet("left")


async def test_an_aid_that_is_away_is_not_waited_for(trial: Trial) -> None:
    running = asyncio.ensure_future(trial.phone.run())
    await trial.begin()
    right = trial.bench.pair.aid("right")
    right.faults, right.connected = Faults(time_scale=0, refuse_connects=10**6), False
    trial.phone.duties.errand(fails)
    with pytest.raises(RuntimeError, match="nobody foresaw"):
        await ended(running)
    assert trial.is_quiet("left")
    assert trial.phone.runner.record.session.state is SessionState.RESTORING


async def fails() -> None:
    raise RuntimeError("nobody foresaw this")


async def test_a_full_disk_at_the_next_offer_leaves_both_quiet(trial: Trial) -> None:
    running = asyncio.ensure_future(trial.phone.run())
    await trial.begin()
    trial.disk.is_full = True
    await trial.submit()
    with pytest.raises(JournalUnavailable):
        await ended(running)
    assert all(trial.is_quiet(ear) for ear in EARS)


async def test_the_duties_go_on_until_a_busy_aid_takes_its_base(trial: Trial) -> None:
    running = asyncio.ensure_future(trial.phone.run())
    await trial.begin()
    left = trial.bench.pair.aid("left")
    left.faults = Faults(time_scale=0, busy=True)
    trial.phone.duties.errand(fails)
    await eventually(lambda: trial.is_quiet("right"))
    await asyncio.sleep(0.1)  # that nothing happens can only be waited for
    assert not running.done()
    left.faults = Faults(time_scale=0)
    with pytest.raises(RuntimeError):
        await ended(running)
    assert trial.is_quiet("left")


async def test_a_driver_that_fails_in_its_own_way_counts_as_an_aid_that_is_away(
    trial: Trial, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = asyncio.ensure_future(trial.phone.run())
    await trial.begin()
    right = trial.bench.pair.aid("right")

    async def breaks(*_: object) -> None:
        raise OSError("the radio is gone")

    for call in ("identify", "changed", "restore"):
        monkeypatch.setattr(right, call, breaks)
    await trial.phone.undo()
    assert trial.is_quiet("left")
    assert not running.done()
    monkeypatch.undo()
    await eventually(lambda: trial.is_quiet("right"))
    running.cancel()


async def test_an_undo_answers_when_the_aids_are_read_and_not_when_the_server_has_answered(
    trial: Trial, monkeypatch: pytest.MonkeyPatch
) -> None:
    running, told, answers = asyncio.ensure_future(trial.phone.run()), list[str](), asyncio.Event()
    await trial.begin()
    ask = trial.hub.ask

    async def slow(target: str, payload: object, *, answer: type[Any]) -> Any:
        await answers.wait()
        told.append(target)
        return await ask(target, payload, answer=answer)

    monkeypatch.setattr(trial.hub, "ask", slow)
    async with asyncio.timeout(SOON_S):
        assert await trial.phone.undo()
    assert all(trial.is_quiet(ear) for ear in EARS)
    assert told == []
    answers.set()
    await eventually(lambda: {"ReportDevice", "Undo"} <= set(told))
    running.cancel()
