"""Recordings of relayed calls: only while everybody agrees, sealed, bounded, and back for whoever has the key."""

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from clients.calling import Talk
from media.recording import RecordingHead, RecordingMistake, begin, opened, read
from media.visit_recording import MAX_ANSWERS, RecordingAnswer, answered
from protocol.contract.base import Failure, Refusal
from protocol.contract.calls import RELAY_PEER, CallChanged
from protocol.contract.sessions import Done
from signaling.calls.recorder import Recorder
from signaling.cli import main
from signaling.config import MEMORY
from tests.databases import lent_postgres
from tests.eventually import eventually
from tests.media.visits import visit_of
from tests.postgres import PostgresServer
from tests.redis_server import redis_server
from tests.signaling.calls.people import Apart, calls_of, flows, met
from tests.signaling.conftest import House, OpenHouse
from tests.signaling.pods import hub_of, two_pods
from tests.signaling.rest.desk import register
from tests.signaling.visit import refused
from tests.signaling.visiting import flow_of

KEY = b"\x07" * 32
TEXT = base64.b64encode(KEY).decode()
OVER_SERVER = {"her_peer": RELAY_PEER, "his_peer": RELAY_PEER}


def options(folder: Path, **changes: Any) -> dict[str, Any]:
    return {"media_relay": True, "recordings": str(folder), "recording_key": TEXT, **changes}


@pytest.fixture
async def url(postgres: PostgresServer) -> AsyncIterator[str]:
    async with lent_postgres(postgres) as url:
        yield url


@pytest.fixture
async def apart(url: str, tmp_path: Path) -> AsyncIterator[Apart]:
    async with AsyncExitStack() as stack:
        bus = stack.enter_context(redis_server())
        changes = options(tmp_path)
        east, west = await stack.enter_async_context(two_pods(url, bus.url, **changes))
        await register(east)
        yield await met(stack, east, west)


async def talk(scene: Apart) -> tuple[Talk, Talk]:
    hers, his = await scene.talk(backend="relay")
    await eventually(flows(hers, his, **OVER_SERVER))
    return hers, his


def states(scene: Apart) -> list[str]:
    """What Pat was told of the recording."""
    return [one.recording for one in scene.pat.news if isinstance(one, CallChanged)]


def done(outcome: Done | Failure) -> None:
    assert isinstance(outcome, Done), outcome


def recorder_of(house: House) -> Recorder:
    recorder = calls_of(house).relayed.recorder
    assert recorder is not None
    return recorder


async def recorded(scene: Apart, folder: Path) -> Path:
    """A second and more of a call to which both agree."""
    done(await scene.ann.end.ask_recording())
    await eventually(lambda: states(scene)[-1:] == ["asked"])
    done(await scene.pat.end.answer_recording(agrees=True))
    await eventually(lambda: states(scene)[-1:] == ["on"])
    await eventually(lambda: any(one.stat().st_size > 8_000 for one in files(folder)))
    (path,) = files(folder)
    return path


def files(folder: Path) -> list[Path]:
    return [*folder.glob("*.auricle")]


def plain_of(path: Path) -> bytes:
    with path.open("rb") as file:
        return b"".join(opened(file, (KEY,)))


def is_whole(path: Path) -> bool:
    try:
        return bool(plain_of(path))
    except RecordingMistake:
        return False


def voices(path: Path) -> list[tuple[int, float]]:
    """How many frames of each voice, and the loudest sample."""
    with av.open(str(path)) as container:
        found = [(0, 0.0)] * len(container.streams)
        for packet in container.demux():
            for frame in packet.decode():
                assert isinstance(frame, av.AudioFrame)
                frames, loudest = found[packet.stream.index]
                found[packet.stream.index] = frames + 1, max(loudest, float(np.abs(frame.to_ndarray()).max()))
    return found


async def test_both_voices_are_there_for_whoever_has_the_key(
    apart: Apart, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    await talk(apart)
    path = await recorded(apart, tmp_path)
    assert path.stat().st_mode & 0o077 == 0
    await apart.ann.end.hang_up()
    await eventually(lambda: is_whole(path))
    assert b"OpusHead" not in path.read_bytes()
    clear = tmp_path / "clear.mkv"
    monkeypatch.setenv("AURICLE_RECORDING_KEY", TEXT)
    assert main(["recording", "decrypt", str(path), "--output", str(clear)]) == 0
    (hers, her_loudest), (his, his_loudest) = voices(clear)
    assert min(hers, his) > 20
    # A tone at a quarter of full scale.
    assert min(her_loudest, his_loudest) > 0.1
    with path.open("rb") as file:
        head = read(file)
    assert (head.visit, head.peers) == ("v1", (0, 1))
    visit = await flow_of(apart.east).visits.get("v1")
    assert visit is not None
    assert [(one.participant, one.agrees) for one in visit.recorded] == [("p1", True), ("p2", True)]
    assert all(one.at_s == apart.east.wall.now_s for one in visit.recorded)
    history = await hub_of(apart.east)._log.changed_since("d1", 0)
    noted = [(one.state, one.actor) for one in history if one.state.startswith("recording")]
    assert noted[:3] == [("recording_agreed", "ann"), ("recording_agreed", "pat"), ("recording_begun", "server")]
    assert main(["recording", "list", "--folder", str(tmp_path)]) == 0
    assert head.recording in capsys.readouterr().out
    monkeypatch.setenv("AURICLE_RECORDING_KEY", base64.b64encode(b"\x08" * 32).decode())
    assert main(["recording", "decrypt", str(path), "--output", str(tmp_path / "none.mkv")]) == 1
    await asyncio.to_thread(delete, url, path)
    history = await hub_of(apart.east)._log.changed_since("d1", 0)
    assert (history[-1].state, history[-1].actor, history[-1].text) == ("recording_deleted", "operator", path.stem)
    # And that is part of what the history proves.
    assert await asyncio.to_thread(main, ["audit", "verify", "--database-url", url]) == 0


def delete(url: str, path: Path) -> None:
    """As an operator does: what cannot be written down in the device's history is not deleted."""
    given = ["recording", "delete", "--visit", "v1", "--folder", str(path.parent)]
    nowhere, empty = "postgresql://nobody@127.0.0.1:1/none", path.parent / "empty"
    for elsewhere in (["--data", str(empty)], ["--database-url", nowhere], ["--database-url", MEMORY]):
        assert main([*given, *elsewhere]) == 2
    assert path.exists()
    assert not empty.exists()
    assert main([*given, "--database-url", url]) == 0
    assert not path.exists()


async def test_nothing_is_written_before_all_agree_and_a_no_on_another_pod_ends_it(
    apart: Apart, tmp_path: Path
) -> None:
    hers, his = await talk(apart)
    assert refused(await apart.pat.end.ask_recording()).code == "not_leading"
    assert refused(await apart.pat.end.answer_recording(agrees=True)).code == "no_recording"
    done(await apart.ann.end.ask_recording())
    before = dict(hers.frames), dict(his.frames)
    await eventually(lambda: his.frames[RELAY_PEER] > before[1][RELAY_PEER] + 50)
    assert files(tmp_path) == []
    done(await apart.pat.end.answer_recording(agrees=False))
    await eventually(lambda: states(apart)[-1:] == ["off"])
    path = await recorded(apart, tmp_path)
    done(await apart.pat.end.answer_recording(agrees=False))
    await eventually(lambda: is_whole(path))
    size = path.stat().st_size
    after = his.frames[RELAY_PEER]
    await eventually(lambda: his.frames[RELAY_PEER] > after + 50)
    assert path.stat().st_size == size
    await eventually(lambda: states(apart)[-1:] == ["off"])
    visit = await flow_of(apart.east).visits.get("v1")
    assert visit is not None
    assert [(one.participant, one.agrees) for one in visit.recorded][-1] == ("p2", False)


async def test_nothing_is_recorded_while_a_no_might_not_be_heard(apart: Apart, tmp_path: Path) -> None:
    await talk(apart)
    path = await recorded(apart, tmp_path)
    recorder_of(apart.east)._knows = lambda: False
    host = calls_of(apart.east).relayed.host
    assert host is not None
    await host.sweep()
    await eventually(lambda: is_whole(path))


async def one_pod(stack: AsyncExitStack, open_house: OpenHouse, folder: Path, **changes: Any) -> Apart:
    house = await open_house(**options(folder, **changes))
    await register(house)
    return await met(stack, house, house)


@pytest.mark.parametrize(
    "limit",
    [{"bound": "max_recording_s", "at": 0.5}, {"bound": "max_recording_bytes", "at": 4_000}],
    ids=lambda limit: limit["bound"],
)
async def test_one_is_so_long_and_so_large_and_no_more(
    open_house: OpenHouse, tmp_path: Path, limit: dict[str, Any]
) -> None:
    async with AsyncExitStack() as stack:
        scene = await one_pod(stack, open_house, tmp_path, **{limit["bound"]: limit["at"]})
        await talk(scene)
        done(await scene.ann.end.ask_recording())
        done(await scene.pat.end.answer_recording(agrees=True))
        await eventually(lambda: scene.east.metric("auricle_bound_reached_total", bound=limit["bound"]) == 1)
        await eventually(lambda: states(scene)[-1:] == ["off"])
        await eventually(lambda: [*map(is_whole, files(tmp_path))] == [True])


async def test_a_disk_that_does_not_keep_up_ends_it(open_house: OpenHouse, tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        scene = await one_pod(stack, open_house, tmp_path, max_recording_blocks=2)
        await talk(scene)
        done(await scene.ann.end.ask_recording())
        done(await scene.pat.end.answer_recording(agrees=True))
        name = "auricle_bound_reached_total"
        await eventually(lambda: scene.east.metric(name, bound="max_recording_blocks") >= 1)
        await eventually(lambda: states(scene)[-1:] == ["off"])


async def test_one_is_kept_for_so_long(open_house: OpenHouse, tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        scene = await one_pod(stack, open_house, tmp_path, recording_keep_s=60)
        await talk(scene)
        path = await recorded(scene, tmp_path)
        await scene.ann.end.hang_up()
        await eventually(lambda: is_whole(path))
        recorder = recorder_of(scene.east)
        await recorder.sweep()
        assert path.exists()
        scene.east.wall.now_s += 61
        await recorder.sweep()
        assert not path.exists()
        history = await hub_of(scene.east)._log.changed_since("d1", 0)
        assert (history[-1].state, history[-1].text) == ("recording_deleted", path.stem)


async def test_one_is_deleted_beside_a_server_that_goes_on(open_house: OpenHouse, tmp_path: Path) -> None:
    house = await open_house(data=tmp_path, database_url="")
    await register(house)
    log = hub_of(house)._log
    await log.note("d1", "device", "before", actor="server")
    head = RecordingHead(recording="r1", visit="v1", device="d1", began_at_s=1.0, peers=(0, 1))
    written, _ = begin(head, KEY, key=b"k" * 32, nonce=b"n" * 12)
    (tmp_path / "r1.auricle").write_bytes(written)
    given = ["recording", "delete", "--visit", "v1", "--folder", str(tmp_path), "--data", str(tmp_path)]
    assert await asyncio.to_thread(main, given) == 0
    await log.note("d1", "device", "after", actor="server")
    history = await log.changed_since("d1", 0)
    assert [one.state for one in history][-3:] == ["before", "recording_deleted", "after"]
    assert await asyncio.to_thread(main, ["audit", "verify", "--data", str(tmp_path)]) == 0


async def test_off(house: House) -> None:
    async with AsyncExitStack() as stack:
        scene = await met(stack, house, house)
        await scene.talk()
        assert refused(await scene.ann.end.ask_recording()).code == "recording_off"


def test_a_visit_keeps_so_many_answers_and_every_no() -> None:
    visit = visit_of()
    for n in range(MAX_ANSWERS):
        after = answered(visit, RecordingAnswer(f"r{n}", "p2", True, 1.0))
        assert not isinstance(after, Refusal)
        assert (len(after.recorded), after.version) == (n + 1, visit.version + 1)
        visit = after
    assert answered(visit, visit.recorded[-1]) is visit
    assert answered(visit, RecordingAnswer("another", "p2", False, 1.0)) is visit
    one_more = answered(visit, RecordingAnswer("another", "p2", True, 1.0))
    assert isinstance(one_more, Refusal)
    no = answered(visit, replace(visit.recorded[-1], agrees=False))
    assert not isinstance(no, Refusal)
    assert len(no.recorded) == MAX_ANSWERS + 1
