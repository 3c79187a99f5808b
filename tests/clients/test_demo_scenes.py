"""The demo's scenes of Standard mode notice when what they promise does not happen."""

import asyncio
import io
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from av import AudioFrame

from clients.demo import asleep_scene, bad_link_scene, visit_scene
from clients.demo.arguments import parse
from clients.demo.fitting_scene import attach, first_fit
from clients.demo.keeping import saved
from clients.demo.printer import JsonPrinter
from clients.demo.push_service import PushService
from clients.demo.server_process import ServerProcess
from clients.demo.stage import SHORTENED, Stage, staged
from clients.demo.visit_scene import RELAYING, met, talked, talked_through_server
from clients.tone import ToneTrack
from protocol.contract.calls import CallChanged, EndCall
from protocol.contract.sessions import Done

pytestmark = pytest.mark.timeout(90)


@asynccontextmanager
async def fitted(folder: Path, settings: Mapping[str, str]) -> AsyncIterator[Stage]:
    """A first fit that is saved."""
    printer = JsonPrinter(lambda: 0.0, io.StringIO())
    async with (
        PushService() as pushes,
        ServerProcess(folder, settings={**pushes.settings, **settings}) as server,
        staged(parse(["--patient", "N2"]), printer, server, pushes) as stage,
    ):
        await attach(stage)
        await first_fit(stage)
        await saved(stage)
        yield stage


async def test_a_push_that_tells_more_than_that_something_waits_fails_the_demo(tmp_path: Path) -> None:
    async with fitted(tmp_path, {"AURICLE_PUSH_TEXT": "demo-clinician has sent you -3 dB."}) as stage:
        await asleep_scene.asleep(stage)
    assert stage.checks.failed == ["a push holds a pointer and nothing else"]


async def test_a_link_that_is_never_found_to_be_slow_fails_the_demo(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bad_link_scene, "WAIT_S", 4.0)
    async with fitted(tmp_path, {**SHORTENED, "AURICLE_RTT_TO_GO_ON_MS": "60000"}) as stage:
        with pytest.raises(TimeoutError):
            await bad_link_scene.bad_link(stage)


class NoTone(ToneTrack):
    """A microphone that gives nothing."""

    async def recv(self) -> AudioFrame:
        await asyncio.Event().wait()
        return await super().recv()


async def test_calls_that_are_not_heard_or_go_elsewhere_fail_the_demo(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def nothing() -> None:
        pytest.fail("there is no call")

    async with fitted(tmp_path, {**SHORTENED, **RELAYING}) as stage:
        meeting = await met(stage)
        with monkeypatch.context() as patched:
            patched.setattr(visit_scene, "_LAST_RESORT", "webrtc")
            await talked_through_server(stage, meeting)
        assert stage.checks.failed == ["both talk to the server's own peer alone"]
        monkeypatch.setattr(visit_scene, "ToneTrack", NoTone)
        monkeypatch.setattr(visit_scene, "WAIT_S", 4.0)
        with pytest.raises(TimeoutError):
            await talked_through_server(stage, meeting)
        # It had begun, and was through the server: it is only that nobody said anything.
        begun = next(one for one in reversed(meeting.fitter.news) if isinstance(one, CallChanged))
        assert (begun.backend, begun.state) == ("relay", "active")
        end = EndCall(visit=meeting.visit, call_id=begun.call_id, for_all=True)
        await meeting.fitter.ask("EndCall", end, Done)
        with pytest.raises(TimeoutError):
            await talked(stage, meeting, nothing)
