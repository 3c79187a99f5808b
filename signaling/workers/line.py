"""The line between supervisor and worker, at both ends: one JSON object a line, and an end that says that one is gone.

Neither end ever waits for the other. Read ``SupervisorEnd`` and ``WorkerEnd``.
"""

import os
import signal
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import msgspec

from .charge import News, Ready

__all__ = ["SupervisorEnd", "WorkerEnd"]

_MAX_LINE_BYTES: Final = 65_536


class SupervisorEnd:
    """The supervisor's end; ``lent`` is the descriptor that the worker gets."""

    def __init__(self) -> None:
        self._socket, self._theirs = socket.socketpair()
        self._socket.setblocking(False)
        self._heard = b""

    @property
    def lent(self) -> int:
        """The other end, until ``lend_out``."""
        return self._theirs.fileno()

    def lend_out(self) -> None:
        """The worker has it now."""
        self._theirs.close()

    def ready(self) -> Ready | None:
        """What the worker has said last since it was asked, None: nothing, or nothing that can be understood."""
        with suppress(OSError):
            self._heard += self._socket.recv(_MAX_LINE_BYTES - len(self._heard))
        *lines, self._heard = self._heard.split(b"\n")
        for line in reversed(lines):
            with suppress(msgspec.DecodeError):
                return msgspec.json.decode(line, type=Ready)
        return None

    def tell(self, news: News) -> bool:
        """False when the worker has not listened for so long that no more can be told."""
        line = msgspec.json.encode(news) + b"\n"
        try:
            return self._socket.send(line) == len(line)
        except BlockingIOError:
            return False
        except OSError:
            # It has ended, which is noticed elsewhere.
            return True

    def close(self) -> None:
        """Let go of it."""
        self._socket.close()
        self._theirs.close()


class WorkerEnd:
    """The worker's end. A thread listens, so that the end is noticed whatever the event loop does."""

    def __init__(self, descriptor: int) -> None:
        self._socket = socket.socket(fileno=descriptor)
        self._socket.setblocking(True)
        os.set_inheritable(descriptor, False)

    def listen(self, heard: Callable[[News], None]) -> None:
        """Have ``heard`` called in a thread of its own; once the supervisor has ended this process is killed."""
        threading.Thread(target=self._listen, args=(heard,), name="auricle-line", daemon=True).start()

    def tell(self, ready: Ready) -> None:
        """Say that this worker takes connections; whoever has not listened for long is not waited for."""
        with suppress(OSError):
            self._socket.send(msgspec.json.encode(ready) + b"\n", socket.MSG_DONTWAIT)

    def _listen(self, heard: Callable[[News], None]) -> None:
        rest = b""
        with suppress(OSError):
            while some := self._socket.recv(_MAX_LINE_BYTES):
                *lines, rest = (rest + some).split(b"\n")
                for line in lines:
                    # A supervisor of another version may tell more than is known here.
                    with suppress(msgspec.DecodeError):
                        heard(msgspec.json.decode(line, type=News))
        # Nobody would start what it needs again, nor end it: others may want its port.
        os.kill(os.getpid(), signal.SIGKILL)
