"""A real TURN server for tests: coturn when it is on PATH, our own child on loopback, ended by its pid."""

import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.ports import free_port

__all__ = ["SECRET", "Turn", "coturn", "needs_coturn"]

SECRET = "what both know"
_PROGRAM = shutil.which("turnserver")
needs_coturn = pytest.mark.skipif(_PROGRAM is None, reason="turnserver (the package coturn) is not on PATH")
START_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class Turn:
    """``url`` without a transport."""

    url: str
    port: int
    secret: str = SECRET


@contextmanager
def coturn(config: Path | None = None) -> Iterator[Turn]:
    """A server that answers, and is gone afterwards. With ``config`` it is as strict as that file makes it."""
    assert _PROGRAM is not None
    folder, port = Path(tempfile.mkdtemp(prefix="auricle-turn-")), free_port()
    command = [
        *(_PROGRAM, *(("-n",) if config is None else ("-c", str(config)))),
        *("--no-cli", "--log-file=stdout", "--simple-log", "--no-tls", "--no-dtls"),
        *("--listening-ip=127.0.0.1", "--relay-ip=127.0.0.1", f"--listening-port={port}"),
        *("--min-port=49160", "--max-port=49400", "--use-auth-secret", f"--static-auth-secret={SECRET}"),
        *("--realm=auricle.test", f"--pidfile={folder}/pid", f"--userdb={folder}/db"),
        *(("--allow-loopback-peers",) if config is None else ()),
    ]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not _answers(port):
            assert process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < deadline, "the server did not start"
            time.sleep(0.02)  # polling: it tells nobody
        yield Turn(f"turn:127.0.0.1:{port}", port)
    finally:
        process.kill()
        process.wait(START_TIMEOUT_S)
        shutil.rmtree(folder, ignore_errors=True)


def _answers(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0
