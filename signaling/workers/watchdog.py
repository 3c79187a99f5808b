"""A process between the supervisor and a program that is not ours, where a kernel does not end children by itself.

Run as ``python watchdog.py DESCRIPTOR PROGRAM ARGUMENTS...``: it starts the program, and kills it when the pipe behind
the descriptor ends, which it does when the supervisor has ended. It imports nothing of ours: it must start at once.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from types import FrameType

__all__ = ["main"]


def main(descriptor: int, command: list[str]) -> int:
    """The exit code of the program."""
    # Not before there is somebody to tell.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    program = subprocess.Popen(  # noqa: S603  # the supervisor's own words, no shell
        command,
        preexec_fn=_unblocked,  # noqa: PLW1509  # there is one thread so far
    )

    def end(_: int, __: FrameType | None) -> None:
        program.terminate()

    signal.signal(signal.SIGTERM, end)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    threading.Thread(target=_watch, args=(descriptor, program), daemon=True).start()
    code = program.wait()
    return code if code >= 0 else 128 - code


def _unblocked() -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})


def _watch(descriptor: int, program: "subprocess.Popen[bytes]") -> None:
    # Nobody ever writes: whatever comes is the end.
    with contextlib.suppress(OSError):
        os.read(descriptor, 1)
    program.kill()


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2:]))
