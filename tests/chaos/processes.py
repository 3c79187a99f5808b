"""The processes of a run: started, watched, started again when they die, and ended by their pid whatever happens.

What makes them die is for the nemesis to say. Read ``Supervised`` first.
"""

import asyncio
import contextlib
import os
import re
import resource
import signal
import sys
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from tests.chaos.history import HistoryFile
from tests.chaos.orders import Orders
from tests.chaos.phone import ORDERS
from tests.chaos.waiting import PATIENCE

__all__ = ["PhoneProcess", "ProcessFailed", "ServerProcess", "Supervised"]

READY_TIMEOUT_S: Final = 60.0 * PATIENCE
END_TIMEOUT_S: Final = 30.0 * PATIENCE
MAX_QUICK_DEATHS: Final = 20
RESTART_PAUSE_S: Final = 0.05
# As the log tells that a connection is open: one object a line, its keys in order.
_OPENED: Final = re.compile(r'"connection": "([^"]+)", "event": "connection_opened"')


class ProcessFailed(Exception):
    """A process cannot be brought up: the run proves nothing."""


class Supervised(ABC):
    """One process that is there again when it has died. ``deaths`` counts them.

    ``life`` is the number of the one that is there or is being started, ``lives`` of the last that was brought up,
    ``struck`` of the last that was ended from outside.
    """

    def __init__(self, name: str, folder: Path, environ: Mapping[str, str]) -> None:
        self.name, self.folder = name, folder
        self.environ = {**os.environ, "PYTHONUNBUFFERED": "1", **environ}
        self.deaths = self.life = self.lives = self.struck = 0
        self.held_down = asyncio.Event()
        self.held_down.set()
        self.exit_code: int | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._watch: asyncio.Task[None] | None = None
        self._died = asyncio.Event()
        self._is_stopping = False

    @property
    def pid(self) -> int:
        """Of the process that is there now. Raises ProcessLookupError for none."""
        if self._process is None or self._process.returncode is not None:
            raise ProcessLookupError(self.name)
        return self._process.pid

    async def start(self) -> None:
        """Bring it up and keep it up. Raises ProcessFailed."""
        await self._spawn()
        self._watch = asyncio.get_running_loop().create_task(self._keep_up())

    async def stop(self, number: int = signal.SIGTERM) -> int:
        """End it for good, by SIGKILL when it does not go or is just being started. The exit code."""
        self._is_stopping = True
        self.struck = self.life
        self.held_down.set()
        self.signal(signal.SIGCONT)
        self.signal(number)
        while self._watch is not None and not self._watch.done():
            await asyncio.wait({self._watch}, timeout=END_TIMEOUT_S)
            self.signal(signal.SIGKILL)
        # One that was started and never came up has nobody else to end it.
        self.signal(signal.SIGKILL)
        if self._watch is not None:
            self._watch.result()
        elif self._process is not None:
            self.signal(signal.SIGKILL)
            await self._process.wait()
        return self.exit_code or 0

    async def restart(self) -> None:
        """End it by SIGTERM and wait for the next life; a stopped process goes on first."""
        life = self.life
        self.signal(signal.SIGCONT)
        deaths = await self.strike(signal.SIGTERM)
        if not await self.death_after(deaths, END_TIMEOUT_S):
            self.signal(signal.SIGKILL)
        async with asyncio.timeout(2 * READY_TIMEOUT_S):
            await self.life_after(life)

    async def strike(self, number: int) -> int:
        """Wait until it is up and send it a signal that ends it; how many deaths there were before."""
        async with asyncio.timeout(2 * READY_TIMEOUT_S):
            while True:
                await self.life_after(self.life - 1)
                deaths = self.deaths
                with contextlib.suppress(ProcessLookupError):  # it has just died of something else
                    os.kill(self.pid, number)
                    self.struck = self.life
                    return deaths
                await asyncio.sleep(0.01)  # polling: it is started again

    async def life_after(self, life: int) -> None:
        """Wait until a later life than number ``life`` is up. Raises what brought the supervision to its end."""
        while self.lives <= life:
            assert self._watch is not None
            if self._watch.done():
                self._watch.result()
            await asyncio.sleep(0.01)  # polling: it may be down between two lives

    def signal(self, number: int) -> None:
        """Send a signal; a process that is just down has had worse."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    async def death_after(self, deaths: int, timeout_s: float) -> bool:
        """Wait until it has died more often than ``deaths`` times; whether it has."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while self.deaths <= deaths:
                    await self._died.wait()
        return self.deaths > deaths

    async def _keep_up(self) -> None:
        quick = 0
        while True:
            assert self._process is not None
            born = asyncio.get_running_loop().time()
            self.exit_code = await self._process.wait()
            self.deaths += 1
            self._died.set()
            self._died.clear()
            self.buried(self.exit_code)
            await self.held_down.wait()
            if self._is_stopping:
                return
            lived_s = asyncio.get_running_loop().time() - born
            quick = quick + 1 if lived_s < 1 else 0
            if quick > MAX_QUICK_DEATHS:
                raise ProcessFailed(f"{self.name} dies as soon as it is started, exit code {self.exit_code}")
            await asyncio.sleep(RESTART_PAUSE_S)
            await self._spawn()

    async def _spawn(self) -> None:
        self.life += 1
        await self.launch()
        self.lives = self.life
        if self._is_stopping:
            self.signal(signal.SIGKILL)

    def buried(self, exit_code: int) -> None:  # noqa: B027  # most have nothing to write down then
        """It has died."""

    @abstractmethod
    async def launch(self) -> None:
        """Start the process as ``_process``; it is ready on return."""


class _Ready(msgspec.Struct, frozen=True):
    event: str
    url: str


class ServerProcess(Supervised):
    """``auricle serve --dev`` on a free port of its own for every life.

    ``on_ready`` is told where it is, ``on_gone`` when it is there no more.
    """

    def __init__(
        self,
        name: str,
        folder: Path,
        environ: Mapping[str, str],
        *,
        on_ready: Callable[[str], None],
        on_gone: Callable[[], None],
    ) -> None:
        super().__init__(name, folder, environ)
        self.on_ready, self.on_gone = on_ready, on_gone
        self.url = ""
        self.kill_point = self.then = ""
        """Where the next life is to end; where one is to end that nothing else was said of."""
        self.armed = ""
        """Where the present life is to end."""
        self.died_at: Counter[str] = Counter()
        """Where lives have ended by their own hand, each until it is asked for."""
        self.crashes: list[int] = []
        """Exit codes of lives that ended with no reason of ours."""
        self._copies: set[asyncio.Task[None]] = set()

    @property
    def log_texts(self) -> dict[str, str]:
        """What every life wrote to stderr."""
        paths = sorted(self.folder.glob("server-*.log"))
        return {f"{self.name} {path.name}": path.read_text(errors="replace") for path in paths}

    def buried(self, exit_code: int) -> None:
        """Remember where it died if nobody did it: where it was told to, or by itself."""
        self.on_gone()
        if self.struck == self.life:
            return
        if exit_code == -signal.SIGKILL and self.armed:
            self.died_at[self.armed] += 1
        else:
            self.crashes.append(exit_code)

    @property
    def connections(self) -> list[str]:
        """The public ids of all that any life has had."""
        return [found for text in self.log_texts.values() for found in _OPENED.findall(text)]

    async def command(self, *words: str) -> str:
        """What a command of the server's own command line prints. Raises ProcessFailed."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "signaling", *words, "--data", str(self.folder / "data")),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=self.environ,
        )
        output, errors = await process.communicate()
        if process.returncode != 0:
            raise ProcessFailed(f"auricle {words[0]}: {errors.decode().strip()}")
        return output.decode().strip()

    def limit_files(self, size_bytes: int | None) -> None:
        """No file grows beyond that size any more, as on a full disk; None lifts it."""
        soft = resource.RLIM_INFINITY if size_bytes is None else size_bytes
        with contextlib.suppress(ProcessLookupError):
            resource.prlimit(self.pid, resource.RLIMIT_FSIZE, (soft, resource.RLIM_INFINITY))

    async def launch(self) -> None:
        """Start it; a server that ends before it is ready is started again, as any supervisor would."""
        if self.kill_point:
            self.armed, self.kill_point = self.kill_point, ""
        else:
            self.armed, self.then = self.then, ""
        environ = self.environ | ({"AURICLE_TEST_KILL": self.armed} if self.armed else {})
        async with asyncio.timeout(2 * READY_TIMEOUT_S):
            while True:
                process = self._process = await asyncio.create_subprocess_exec(
                    sys.executable,
                    *("-m", "signaling", "serve", "--dev", "--port", "0", "--data", str(self.folder / "data")),
                    stdout=asyncio.subprocess.PIPE,
                    stderr=asyncio.subprocess.PIPE,
                    env=environ,
                )
                # Through a pipe: what limits the files of the server must not limit its log.
                self._copy(process, self.folder / f"server-{self.life}.log")
                assert process.stdout is not None
                line = await process.stdout.readline()
                if line:
                    break
                await process.wait()
                await asyncio.sleep(RESTART_PAUSE_S)
        self.url = msgspec.json.decode(line, type=_Ready).url
        self.on_ready(self.url)

    def _copy(self, process: asyncio.subprocess.Process, path: Path) -> None:
        async def copy() -> None:
            assert process.stderr is not None
            with path.open("ab") as file:
                while chunk := await process.stderr.read(65_536):
                    file.write(chunk)

        task = asyncio.get_running_loop().create_task(copy())
        self._copies.add(task)
        task.add_done_callback(self._copies.discard)


class PhoneProcess(Supervised):
    """One phone with its aids; journal, aids and what it tells are files in its folder."""

    def __init__(self, device: str, folder: Path, arguments: list[str], history: HistoryFile) -> None:
        self.orders = folder / "orders.json"
        super().__init__(device, folder, {ORDERS: str(self.orders)})
        self.arguments, self.history = arguments, history
        self.phases_at_kill: list[str] = []

    async def launch(self) -> None:
        """Start it. It is attached when the server says so."""
        if aids := self.aids():
            self.history.write("ok", "read_aids", self.name, aids=aids)
        with (self.folder / "phone.log").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                *("-m", "tests.chaos.phone", *self.arguments),
                *("--journal", str(self.folder / "journal"), "--aids", str(self.folder / "aids")),
                *("--events", str(self.folder / f"events-{self.life}.jsonl")),
                stdout=asyncio.subprocess.DEVNULL,
                stderr=log,
                env=self.environ,
            )

    def buried(self, exit_code: int) -> None:
        """Write down how it died, and where its journal was then."""
        phase = self.journal_phase()
        if exit_code == -signal.SIGKILL:
            self.phases_at_kill.append(phase)
        self.history.write("ok", "crash", self.name, exit_code=exit_code, phase=phase)

    def give(self, orders: Orders) -> None:
        """Tell it where to die, or what its aids get wrong next."""
        orders.give(self.orders)

    def take_back_orders(self) -> None:
        """It dies nowhere any more."""
        self.orders.unlink(missing_ok=True)

    @property
    def has_obeyed(self) -> bool:
        return not self.orders.exists()

    def journal_phase(self) -> str:
        """Where the delivery under way is, "" for none. By its own file, which a killed phone leaves behind."""
        entry = self.journal().get("in_flight")
        return "" if entry is None else str(entry["phase"])

    def journal(self) -> dict[str, Any]:
        """What the phone's journal holds, empty before the first save."""
        try:
            _, _, body = (self.folder / "journal").read_bytes().partition(b"\n")
        except FileNotFoundError:
            return {}
        record: dict[str, Any] = msgspec.json.decode(body)
        return record

    def aids(self) -> dict[str, dict[str, str]]:
        """The digests of what the memories of the aids truly hold."""
        found: dict[str, dict[str, str]] = {}
        for path in sorted((self.folder / "aids").glob("*.json")):
            ear, memory, _ = path.name.split(".")
            found.setdefault(ear, {})[memory] = msgspec.json.decode(path.read_bytes())["digest"]
        return found
