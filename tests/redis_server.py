"""Real Redis servers for tests: our own children, each in a folder of its own, ended by their pids.

The program is the Valkey that workers are given, and ``redis-server`` beside it when there is one on PATH. Read
``redis_server`` first.
"""

import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from signaling.workers.guard import Guard
from signaling.workers.valkey import IN_MEMORY, valkey_program
from tests.ports import free_port

__all__ = ["PROGRAMS", "RedisServer", "redis_cluster", "redis_server"]

START_TIMEOUT_S = 60.0
_REDIS = shutil.which("redis-server")
# By name; names are the ids of tests.
PROGRAMS: dict[str, str] = {"valkey": valkey_program()} | ({"redis": _REDIS} if _REDIS else {})
_FOR_TESTS = (*IN_MEMORY, "--enable-debug-command", "local")
# No test run, however it ends, leaves a server behind.
_GUARD = Guard()


@dataclass(slots=True)
class RedisServer:
    """One server; ``port`` 0: reached by a socket in its folder only. ``arguments`` come before all others."""

    folder: Path
    program: str
    port: int = 0
    settings: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()
    process: "subprocess.Popen[bytes] | None" = None
    url: str = field(init=False)

    def __post_init__(self) -> None:
        self.url = f"redis://127.0.0.1:{self.port}" if self.port else f"unix://{self.folder}/s"

    def start(self) -> None:
        """Start it, empty, and return when it answers."""
        command = [
            *(
                self.program,
                *self.arguments,
                "--dir",
                str(self.folder),
                "--port",
                str(self.port),
                "--unixsocket",
                f"{self.folder}/s",
            ),
            *(() if self.arguments else _FOR_TESTS),
            *self.settings,
        ]
        with (self.folder / "log").open("ab") as log:
            self.process = _GUARD.start(command, output=log)
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._answers():
            assert self.process.poll() is None, (self.folder / "log").read_text()
            assert time.monotonic() < deadline, "the server did not start"
            time.sleep(0.005)  # polling: the server tells nobody when it is ready

    def kill(self) -> None:
        """End it as a power switch would; what it held is gone."""
        process, self.process = self.process, None
        if process is not None:
            _GUARD.signal(process, signal.SIGKILL)
            process.wait(START_TIMEOUT_S)

    def signal(self, number: signal.Signals) -> None:
        """Stop it for a while, or have it go on."""
        assert self.process is not None
        _GUARD.signal(self.process, number)

    def ask(self, *command: str) -> bytes:
        """What it answers to one command, as bytes of the wire, over a connection that ends with it."""
        packed = "".join(f"${len(word.encode())}\r\n{word}\r\n" for word in command)
        return self.ask_packed(f"*{len(command)}\r\n{packed}".encode())

    def ask_packed(self, command: bytes) -> bytes:
        """The same for a command as bytes of the wire."""
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(START_TIMEOUT_S)
            client.connect(f"{self.folder}/s")
            client.sendall(command)
            answer = client.recv(65_536)
            while not answer.endswith(b"\r\n"):
                answer += client.recv(65_536)
            return answer

    def _answers(self) -> bool:
        try:
            # Also when it wants a password first.
            return self.ask("PING").startswith((b"+PONG", b"-NOAUTH"))
        except OSError:
            return False


@contextmanager
def redis_server(*settings: str, program: str = "valkey", tcp: bool = False) -> Iterator[RedisServer]:
    """A server that is ready, and gone afterwards. ``tcp``: on a port of this machine, beside its socket."""
    # Short, because the path of a socket may not be longer than 107 bytes.
    folder = Path(tempfile.mkdtemp(prefix="auricle-bus-"))
    server = RedisServer(folder, PROGRAMS[program], free_port() if tcp else 0, settings)
    try:
        server.start()
        yield server
    finally:
        server.kill()
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def redis_cluster(nodes: int = 3, *, gone_ms: int = 30_000) -> Iterator[list[RedisServer]]:
    """Servers that share the hash slots; of one that says nothing for ``gone_ms`` the others say that it is gone.

    No key is taken any more from then on, so that must not happen to one that only waits for its turn.
    """
    folder = Path(tempfile.mkdtemp(prefix="auricle-bus-"))
    servers: list[RedisServer] = []
    try:
        for number in range(nodes):
            (folder / str(number)).mkdir()
            server = RedisServer(folder / str(number), PROGRAMS["valkey"], free_port())
            server.settings = ("--cluster-enabled", "yes", "--cluster-node-timeout", str(gone_ms))
            server.start()
            servers.append(server)
        _meet(servers)
        yield servers
    finally:
        for server in servers:
            server.kill()
        shutil.rmtree(folder, ignore_errors=True)


def _meet(servers: list[RedisServer]) -> None:
    share = 16_384 // len(servers)
    for number, server in enumerate(servers):
        last = 16_383 if server is servers[-1] else (number + 1) * share - 1
        assert server.ask("CLUSTER", "ADDSLOTSRANGE", str(number * share), str(last)) == b"+OK\r\n"
        assert server.ask("CLUSTER", "MEET", "127.0.0.1", str(servers[0].port)) == b"+OK\r\n"
    deadline = time.monotonic() + START_TIMEOUT_S
    for server in servers:
        while b"cluster_state:ok" not in server.ask("CLUSTER", "INFO"):
            assert time.monotonic() < deadline, "the nodes do not meet"
            time.sleep(0.02)  # polling: they tell nobody
