"""``python -m loadtest.relayed_call``: the CPU of the server for one call whose media it passes on, as one JSON object.

A server process with a media relay, two ends with aiortc in this process, which talk (with ``--video`` they show too)
through it. The same is measured before the call, so that what an idle server takes is known. Sound must be decoded at
both ends all the while: a silent call ends the run with exit code 1. It never judges a figure. Read ``run`` first.
"""

import argparse
import asyncio
import json
import secrets
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import aiohttp
import msgspec
from aiortc import MediaStreamTrack
from aiortc.mediastreams import VideoStreamTrack

from clients.calling import CallEnd, CallNews, Talk
from clients.hub_client import HubClient
from clients.tone import ToneTrack
from protocol.contract.calls import RELAY_PEER, CallEnded, IncomingCall
from protocol.contract.visits import AdmitToVisit, Invited, JoinVisit, JoinVisitAnswer

from .bench_websocket import BenchFailed
from .dev_tokens import mint
from .measure import machine
from .servers import ServerProcess

__all__ = ["Someone", "in_visit", "main", "run", "talk"]

EXIT_FAILED: Final = 1
BLOCK_S: Final = 0.02
SET_UP_S: Final = 60.0
# Of the frames that time alone lets one expect: packets may be late on a machine that has much to do.
MIN_FRAMES: Final = 0.5
DEVICE: Final = {
    "device": "d1",
    "patient": "pat",
    "assignments": ["ann"],
    "right": {"serial": "R-1", "model": "ref10", "firmware": "2.3.1"},
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command: 0 measured, 1 failed, 2 unusable options."""
    parser = argparse.ArgumentParser(prog="python -m loadtest.relayed_call", description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0, help="how long to measure (default: %(default)s)")
    parser.add_argument("--video", action="store_true", help="pictures too, 640 by 480 at 30 a second")
    options = parser.parse_args(arguments)
    if not 0.5 <= options.seconds <= 3_600:
        parser.error("--seconds must be 0.5 to 3600")
    try:
        print(json.dumps(asyncio.run(run(seconds=options.seconds, video=options.video))))
    except (BenchFailed, aiohttp.ClientError, OSError) as error:
        # A time-out says nothing of itself.
        print(f"failed: {str(error) or type(error).__name__}", file=sys.stderr)
        return EXIT_FAILED
    return 0


async def run(*, seconds: float, video: bool) -> dict[str, Any]:
    """Measure; shares are of one core. Raises BenchFailed, TimeoutError."""
    key = secrets.token_hex(32)
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="auricle-relayed-")))
        arguments = ("-m", "signaling", "serve", "--dev", "--port", "0", "--data", str(folder))
        settings = {
            "AURICLE_DEV_SIGNING_KEY": key,
            "AURICLE_DATABASE_URL": "memory:",
            "AURICLE_MEDIA_RELAY": "true",
        }
        server = await stack.enter_async_context(ServerProcess("server", arguments, folder, environ=settings))
        async with asyncio.timeout(SET_UP_S):
            ann, pat = await in_visit(stack, (server.url, server.url), key, video=video)
        idle = await _busy(server, seconds)
        began_s = time.monotonic()
        async with asyncio.timeout(SET_UP_S):
            talks = await talk(ann, pat)
            await _heard(talks, 1)
            first_s = time.monotonic() - began_s
            # Encoders and bit rates settle.
            await _heard(talks, 100)
        before = [talk.frames[RELAY_PEER] for talk in talks]
        busy = await _busy(server, seconds)
        frames = [talk.frames[RELAY_PEER] - had for talk, had in zip(talks, before, strict=True)]
    if min(frames) < MIN_FRAMES * seconds / BLOCK_S:
        raise BenchFailed(f"only {min(frames)} frames were heard in {seconds:g} s")
    return {
        "media": "video" if video else "audio",
        "seconds": seconds,
        "idleCoreShare": round(idle, 4),
        "callCoreShare": round(busy - idle, 4),
        "framesHeard": frames,
        "startToFirstFrameMs": round(first_s * 1_000),
        "machine": msgspec.to_builtins(machine()),
    }


class Someone:
    """One end. ``over``: why the call has ended."""

    def __init__(self, hub: HubClient, visit: str, *, video: bool) -> None:
        self.hub = hub
        self.over: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.rung: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.end = CallEnd(hub, visit, lambda: _tracks(video), on_news=self._news)

    def _news(self, news: CallNews) -> None:
        if isinstance(news, IncomingCall) and not self.rung.done():
            self.rung.set_result(news.call_id)
        if isinstance(news, CallEnded) and not self.over.done():
            self.over.set_result(news.reason)


def _tracks(video: bool) -> list[MediaStreamTrack]:
    return [ToneTrack(440), VideoStreamTrack()] if video else [ToneTrack(440)]


async def in_visit(
    stack: AsyncExitStack, urls: tuple[str, str], key: str, *, video: bool = False
) -> tuple[Someone, Someone]:
    """A device, a visit that begins now, and its two people in it, each over a server of the deployment."""
    url = urls[0]
    tokens = {
        user: mint(key.encode(), user=user, clinic="bench", roles=[role], now_s=time.time())
        for user, role in (("ann", "clinician"), ("pat", "patient"))
    }
    headers = {"Authorization": f"Bearer {tokens['ann']}"}
    http = await stack.enter_async_context(aiohttp.ClientSession(headers=headers))
    await _posted(http, f"{url}/api/v1/devices", DEVICE)
    starts = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M")
    body = {"startsLocal": starts, "zone": "UTC", "durationMin": 60}
    visit = await _posted(http, f"{url}/api/v1/devices/d1/visits", body)
    people = []
    for user, where in zip(("ann", "pat"), urls, strict=True):
        hub = HubClient(f"{where}/hub", token=tokens[user], protocol="messagepack", reconnect=None)
        await hub.start()
        stack.push_async_callback(hub.stop)
        someone = Someone(hub, visit["visit"], video=video)
        stack.push_async_callback(someone.end.close)
        _expect(await hub.ask("JoinVisit", JoinVisit(visit=visit["visit"]), answer=JoinVisitAnswer), JoinVisitAnswer)
        people.append(someone)
    patient = next(one["participant"] for one in visit["participants"] if one["role"] == "patient")
    admit = AdmitToVisit(visit=visit["visit"], participant=patient)
    _expect(await people[0].hub.ask("AdmitToVisit", admit, answer=Invited), Invited)
    return people[0], people[1]


async def talk(ann: Someone, pat: Someone) -> tuple[Talk, Talk]:
    """She calls him through her server. Raises BenchFailed."""
    hers = await ann.end.start(backend="relay")
    his = await pat.end.answer(await pat.rung)
    _expect(hers, Talk)
    _expect(his, Talk)
    assert isinstance(hers, Talk)
    assert isinstance(his, Talk)
    return hers, his


async def _heard(talks: Sequence[Talk], frames: int) -> None:
    while min(talk.frames.get(RELAY_PEER, 0) for talk in talks) < frames:  # noqa: ASYNC110  # a count, told to nobody
        await asyncio.sleep(BLOCK_S / 4)


async def _busy(server: ServerProcess, seconds: float) -> float:
    began_s, before_s = time.monotonic(), server.cpu_s
    await asyncio.sleep(seconds)
    return (server.cpu_s - before_s) / (time.monotonic() - began_s)


async def _posted(http: aiohttp.ClientSession, url: str, body: object) -> Any:
    async with http.post(url, json=body) as answer:
        if answer.status != 201:
            raise BenchFailed(f"a POST was answered with {answer.status}")
        return await answer.json()


def _expect(answer: object, kind: type) -> None:
    if not isinstance(answer, kind):
        raise BenchFailed(f"no {kind.__name__}: {answer}")


if __name__ == "__main__":
    sys.exit(main())
