"""Records the voices of calls that go through this pod, while everybody who takes part agrees.

What is said is encoded and sealed in a thread, half a second at a time, and never lies on a disk in the clear. When it
cannot be known here whether everybody still agrees, nothing is recorded. Read ``Recorder.looked`` first.
"""

import asyncio
import os
import threading
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Final

from media.call import IN_CALL, Call
from media.call_relay import recording_state, stop_recording
from media.recording import KEY_BYTES, RecordingHead, RecordingMistake, Sealer, begin, read
from media.recording_container import VoicesWriter
from protocol.errors import AuricleError
from signaling.calls.flow import CallFlow
from signaling.calls.relay_host import Hosted
from signaling.tasks import TaskSet

__all__ = ["SUFFIX", "Recorder", "RecordingLimits"]

SUFFIX: Final = ".auricle"
_WRITE_S: Final = 0.5
_NONCE_BYTES: Final = 12
_ALL: Final = 1_000_000
Blocks = dict[int, bytes]


@dataclass(frozen=True, slots=True)
class RecordingLimits:
    """``max_s`` and ``max_bytes`` of one recording. ``max_waiting``: blocks of 20 ms that are not written yet.

    ``keep_s``: how long one is kept.
    """

    folder: Path
    key: bytes
    max_s: float
    max_bytes: int
    max_waiting: int
    keep_s: float


@dataclass(slots=True)
class _Running:
    head: RecordingHead
    file: BinaryIO
    sealer: Sealer
    writer: VoicesWriter
    began_n: int = -1
    last_n: int = 0
    why: str = ""
    blocks: deque[tuple[int, Blocks]] = field(default_factory=deque)
    over: asyncio.Event = field(default_factory=asyncio.Event)
    # The thread that writes may still do so when the server ends.
    writing: threading.Lock = field(default_factory=threading.Lock)


class Recorder:
    """The recordings of this process. ``device_of`` a visit; ``note`` records what happened in a device's history.

    ``knows``: whether what another pod has changed is known here.
    """

    def __init__(
        self,
        limits: RecordingLimits,
        *,
        flow: CallFlow,
        device_of: Callable[[str], Awaitable[str]],
        note: Callable[[str, str, str], Awaitable[None]],
        knows: Callable[[], bool],
        tasks: TaskSet,
        new_id: Callable[[], str],
        reached: Callable[[str], None],
    ) -> None:
        self._limits = limits
        self._flow = flow
        self._device_of = device_of
        self._note = note
        self._knows = knows
        self._tasks = tasks
        self._new_id = new_id
        self._reached = reached
        self._running: dict[str, _Running] = {}

    async def looked(self, hosted: Hosted, call: Call | None) -> None:
        """See ``Watcher``."""
        running = self._running.get(hosted.call_id)
        peers = () if call is None else tuple(n for n, leg in enumerate(call.legs) if leg.state in IN_CALL)
        is_wanted = call is not None and recording_state(call) == "on" and self._may_go_on(call)
        if running is not None and not (is_wanted and set(peers) <= set(running.head.peers)):
            self._end(hosted, running)
            running = None
        if running is None and is_wanted and call is not None:
            # Without a trace of it nothing is recorded: it is tried again with the next look.
            with suppress(AuricleError, OSError):
                await self._begin(hosted, call, peers)

    async def sweep(self) -> None:
        """Delete what was kept for long enough. Raises Unavailable."""
        now_s = self._flow.parts.now_s()
        for path, head in await asyncio.to_thread(_kept, self._limits.folder):
            if head.began_at_s + self._limits.keep_s < now_s:
                await self._note(head.device, "recording_deleted", head.recording)
                await asyncio.to_thread(path.unlink, missing_ok=True)

    def _may_go_on(self, call: Call) -> bool:
        here = self._flow.parts.pod
        return self._knows() or all(leg.pod == here for leg in call.legs if leg.state in IN_CALL)

    async def _begin(self, hosted: Hosted, call: Call, peers: tuple[int, ...]) -> None:
        device = await self._device_of(call.visit)
        head = RecordingHead(
            recording=self._new_id(),
            visit=call.visit,
            device=device,
            began_at_s=self._flow.parts.now_s(),
            peers=peers,
        )
        await self._note(device, "recording_begun", head.recording)
        running = await asyncio.to_thread(self._open, head)
        self._running[hosted.call_id] = running
        hosted.room.on_blocks = lambda n, blocks: self._heard(running, n, blocks)
        self._tasks.spawn(self._write(call, running))

    def _open(self, head: RecordingHead) -> _Running:
        limits = self._limits
        limits.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        where = os.open(limits.folder / f"{head.recording}{SUFFIX}", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        file = os.fdopen(where, "wb")
        written, sealer = begin(head, limits.key, key=os.urandom(KEY_BYTES), nonce=os.urandom(_NONCE_BYTES))
        file.write(written)
        return _Running(head, file, sealer, VoicesWriter(head.peers, lambda piece: file.write(sealer.seal(piece))))

    def _heard(self, running: _Running, n: int, blocks: Blocks) -> None:
        if len(running.blocks) >= self._limits.max_waiting:
            # A disk that slow keeps no promise: better none than one with holes.
            self._stop(running, "max_recording_blocks")
            return
        running.blocks.append((n, blocks))

    def _end(self, hosted: Hosted, running: _Running) -> None:
        hosted.room.on_blocks = None
        self._running.pop(hosted.call_id, None)
        running.over.set()

    async def _write(self, call: Call, running: _Running) -> None:
        try:
            while not running.over.is_set():
                with suppress(TimeoutError):
                    async with asyncio.timeout(_WRITE_S):
                        await running.over.wait()
                await asyncio.to_thread(self._add, running)
                if running.why:
                    await self._flow.change(call.visit, call.call_id, stop_recording)
                    running.over.set()
        except OSError:
            # The log names it; those who are in the call see that nothing is recorded any more.
            await self._flow.change(call.visit, call.call_id, stop_recording)
            raise
        finally:
            # Also when the server ends: what was said until then has an end.
            with suppress(OSError, ValueError):
                self._close(running)
        with suppress(AuricleError):
            await self._note(running.head.device, "recording_ended", running.head.recording)

    def _add(self, running: _Running) -> None:
        with running.writing:
            self._add_waiting(running)

    def _add_waiting(self, running: _Running) -> None:
        for _ in range(len(running.blocks)):
            n, blocks = running.blocks.popleft()
            running.began_n = n if running.began_n < 0 else running.began_n
            running.writer.add(n - running.began_n, blocks)
            running.last_n = n
        running.file.write(running.sealer.flush())
        running.file.flush()
        if (running.last_n - running.began_n) * 0.02 > self._limits.max_s:
            self._stop(running, "max_recording_s")
        if running.sealer.sealed_bytes > self._limits.max_bytes:
            self._stop(running, "max_recording_bytes")

    def _stop(self, running: _Running, why: str) -> None:
        if not running.why:
            running.why = why
            self._reached(why)

    def _close(self, running: _Running) -> None:
        with running.writing, running.file:
            self._add_waiting(running)
            running.writer.close()
            running.file.write(running.sealer.end())


def _kept(folder: Path) -> list[tuple[Path, RecordingHead]]:
    found = []
    for path in sorted(folder.glob(f"*{SUFFIX}"))[:_ALL]:
        with suppress(OSError, RecordingMistake), path.open("rb") as file:
            found.append((path, read(file)))
    return found
