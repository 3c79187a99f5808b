"""Standard mode with all its real parts: a sleeping phone, a server process on SQLite that is killed, a wearer who is
asked."""

import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from msgspec import UNSET

from clients.demo.arguments import parse
from clients.demo.printer import JsonPrinter
from clients.demo.push_service import PushService
from clients.demo.server_process import ServerProcess
from clients.demo.stage import CLINICIAN, DEVICE, PATIENT, Stage, staged
from clients.fitter import Change
from clients.wearer import AgreeableWearer, KeepAnswer
from protocol.contract.base import EARS
from protocol.contract.devices import Offer
from protocol.contract.fitting import Base, Patch, PatchOp, SubmitAnswer
from protocol.contract.history import HistoryAnswer
from protocol.contract.packages import KeepAsked, PackageAnswered
from tests.eventually import eventually

pytestmark = pytest.mark.timeout(90)
SOON = {"AURICLE_QUESTION_AFTER_S": "0.3", "AURICLE_SWEEP_S": "0.1"}
CONTENT = KeepAnswer(keep=True, rating=5, words="clearer")
NOT_CONTENT = KeepAnswer(keep=False, rating=2, words="too dull")


class Asked(AgreeableWearer):
    """Counts the questions."""

    def __init__(self, keeps: KeepAnswer) -> None:
        super().__init__(keeps=keeps)
        self.installed: list[int] = []
        self.kept: list[int] = []

    async def install(self, offer: Offer) -> bool:
        self.installed.append(offer.seq)
        return True

    async def keep(self, asked: KeepAsked) -> KeepAnswer:
        self.kept.append(asked.seq)
        return self.keeps


@asynccontextmanager
async def stage_of(folder: Path) -> AsyncIterator[Stage]:
    printer = JsonPrinter(lambda: 0.0, io.StringIO())
    async with (
        PushService() as pushes,
        ServerProcess(folder, settings={**pushes.settings, **SOON}) as server,
        staged(parse(["--patient", "N2"]), printer, server, pushes) as stage,
    ):
        await stage.phone.attached.wait()
        yield stage


def kept(stage: Stage) -> list[str]:
    return [stage.pair.aid(ear).read_digest("nvm") for ear in EARS]


async def send(stage: Stage) -> SubmitAnswer:
    """Without a lease."""
    device = await stage.fitter.get_device(DEVICE)
    assert device.head is not UNSET
    ops = tuple(PatchOp(op="add", ear=ear, path="mpoDdb", band=3, value=-20) for ear in EARS)
    base = Base(revision=device.head.revision)
    change = Change(DEVICE, 0, base, "too sharp", patch=Patch(slot=1, ops=ops), package=True)
    accepted = await stage.fitter.submit(change)
    assert isinstance(accepted, SubmitAnswer), accepted
    return accepted


async def installed_over_a_restart(stage: Stage, wearer: Asked) -> SubmitAnswer:
    """Sent to a phone that sleeps, by a server that does not live to see it awake."""
    await stage.handset.sleep()
    accepted = await send(stage)
    await stage.pushes.first_after(0)
    await stage.server.kill()
    await stage.server.start_again()
    await stage.handset.wake()
    stage.phone.runner.wearer = wearer
    assert await stage.fitter.wait_until(DEVICE, accepted) == "active"
    assert kept(stage) == [getattr(accepted.digests, ear) for ear in EARS]
    return accepted


async def test_a_package_that_its_wearer_takes_back_when_asked_needs_no_second_tap(tmp_path: Path) -> None:
    async with stage_of(tmp_path) as stage:
        before, wearer = kept(stage), Asked(NOT_CONTENT)
        accepted = await installed_over_a_restart(stage, wearer)
        told = await stage.news.first(PackageAnswered, 0, lambda _: True)
        assert (told.seq, told.keep, told.rating, told.words) == (accepted.seq, False, 2, "too dull")
        await eventually(lambda: kept(stage) == before)
        assert (wearer.installed, wearer.kept) == ([accepted.seq], [accepted.seq])
        history = await stage.fitter.history(DEVICE)
        assert isinstance(history, HistoryAnswer)
        newest, package = history.revisions[:2]
        assert (newest.author, newest.origin, newest.reason) == (PATIENT, "rollback", "taken back by its wearer")
        assert (package.author, package.reason) == (CLINICIAN, "too sharp")


async def test_one_that_its_wearer_is_content_with_stays(tmp_path: Path) -> None:
    async with stage_of(tmp_path) as stage:
        wearer = Asked(CONTENT)
        accepted = await installed_over_a_restart(stage, wearer)
        told = await stage.news.first(PackageAnswered, 0, lambda _: True)
        assert (told.seq, told.keep, told.rating, told.words) == (accepted.seq, True, 5, "clearer")
        assert kept(stage) == [getattr(accepted.digests, ear) for ear in EARS]
        assert (wearer.installed, wearer.kept) == ([accepted.seq], [accepted.seq])
