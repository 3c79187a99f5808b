"""No child outlives the supervisor, however that ends: SIGKILL leaves it no time to end anybody.

Linux kills a child when the thread that forked it ends, so the supervisor forks from its main thread, which is its
only one. Elsewhere a small process stands between and holds a pipe whose other end nobody but the supervisor has.
Read ``Guard`` first.
"""

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Final

__all__ = ["Guard", "dies_with_parent"]

_PR_SET_PDEATHSIG: Final = 1
_WATCHDOG: Final = Path(__file__).with_name("watchdog.py")


def dies_with_parent() -> Callable[[], None]:
    """What a child of this process calls between fork and exec, on Linux."""
    # Before the fork, so that nothing is loaded behind it.
    prctl = ctypes.CDLL(None).prctl
    parent, number = os.getpid(), int(signal.SIGKILL)

    def bind() -> None:
        prctl(_PR_SET_PDEATHSIG, number)
        if os.getppid() != parent:
            # It ended before we asked.
            os._exit(1)

    return bind


class Guard:
    """Starts the children of this process; to be used from its main thread. ``platform`` as ``sys.platform``."""

    def __init__(self, platform: str = sys.platform) -> None:
        self._bind = dies_with_parent() if platform == "linux" else None
        # Held, never written to: it ends with this process.
        self._watched, self._held = os.pipe()

    def start(
        self,
        command: Sequence[str],
        *,
        watches_itself: bool = False,
        lent: Sequence[int] = (),
        environ: Mapping[str, str] | None = None,
        output: IO[bytes] | None = None,
    ) -> "subprocess.Popen[bytes]":
        """Start a child in a session of its own: what is typed at a terminal is for the supervisor alone.

        ``watches_itself``: it notices by itself that this process has ended. ``lent``: descriptors that it gets.
        ``output``: where both its outputs go, None: where those of this process go. Raises OSError.
        """
        if self._bind is None and not watches_itself:
            command = [sys.executable, str(_WATCHDOG), str(self._watched), *command]
            lent = [*lent, self._watched]
        return subprocess.Popen(  # noqa: S603  # our own program, or one that came with it; no shell
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=environ,
            pass_fds=lent,
            start_new_session=True,
            preexec_fn=self._bind,  # noqa: PLW1509  # this process has one thread, and it is two system calls
        )

    def signal(self, child: "subprocess.Popen[bytes]", number: signal.Signals) -> None:
        """Send a child a signal, and whoever it has started or stands before."""
        if child.poll() is None:
            # The session that it was started in has its number; it keeps that until it is waited for.
            os.killpg(child.pid, number)

    def close(self) -> None:
        """Let go of the pipe: whoever is still watched ends."""
        os.close(self._held)
        os.close(self._watched)
