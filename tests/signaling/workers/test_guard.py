"""No child outlives its parent, as Linux does it and as other systems must; real processes, killed for real."""

import asyncio
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from signaling.workers.guard import Guard
from tests.eventually import eventually

PARENT = """
import signal, sys
from signaling.workers.guard import Guard
child = "import os, signal; print(os.getpid(), flush=True); signal.pause()"
running = Guard(sys.argv[1]).start([sys.executable, "-c", child])
signal.pause()
"""
CHILD = """
import signal, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
print(flush=True)
signal.pause()
"""
ON_LINUX = pytest.mark.skipif(sys.platform != "linux", reason="a call of Linux")
PLATFORMS = ["darwin", pytest.param("linux", marks=ON_LINUX)]


def is_alive(pid: int) -> bool:
    """Whether it runs; what was killed and is not yet waited for does not."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


@pytest.mark.parametrize("platform", PLATFORMS)
async def test_a_child_goes_with_a_parent_that_is_killed(platform: str) -> None:
    parent = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", PARENT, platform), stdout=asyncio.subprocess.PIPE
    )
    assert parent.stdout is not None
    child = int(await parent.stdout.readline())
    assert is_alive(child)
    parent.kill()
    await parent.wait()
    await eventually(lambda: not is_alive(child))


@pytest.mark.parametrize("platform", PLATFORMS)
def test_a_child_is_told_to_end_and_its_code_is_known(platform: str) -> None:
    guard = Guard(platform)
    read, write = os.pipe()
    with open(read, "rb") as output, open(write, "wb") as error:
        child = guard.start([sys.executable, "-c", CHILD], output=error)
        output.read(1)
    child.terminate()
    assert child.wait(20) == 7
    guard.close()


@pytest.mark.parametrize("platform", PLATFORMS)
async def test_a_child_that_is_killed_takes_along_what_stands_before_it(platform: str) -> None:
    guard = Guard(platform)
    code = "import os, signal; print(os.getpid(), flush=True); signal.pause()"
    read, write = os.pipe()
    with open(read, "rb") as output, open(write, "wb") as error:  # noqa: ASYNC230  # a pipe
        child = guard.start([sys.executable, "-c", code], output=error)
        program = int(output.readline())
    assert is_alive(program)
    guard.signal(child, signal.SIGKILL)
    child.wait(20)
    await eventually(lambda: not is_alive(program))
    guard.signal(child, signal.SIGKILL)
    guard.close()


@pytest.mark.parametrize("platform", PLATFORMS)
def test_a_child_hears_no_key_that_is_typed_at_the_terminal_of_its_parent(platform: str) -> None:
    guard = Guard(platform)
    child = guard.start([sys.executable, "-c", "import signal; signal.pause()"])
    assert os.getsid(child.pid) == child.pid != os.getsid(0)
    child.send_signal(signal.SIGKILL)
    child.wait(20)
    guard.close()


@ON_LINUX
def test_a_child_whose_parent_has_gone_before_it_asked_to_be_killed_ends_at_once() -> None:
    """The parent of the child is not the process that the guard was made in."""
    code = (
        "import os, sys; from signaling.workers.guard import dies_with_parent\n"
        "bind = dies_with_parent()\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    grandchild = os.fork()\n"
        "    if grandchild == 0:\n"
        "        bind(); os._exit(0)\n"
        "    os._exit(os.waitstatus_to_exitcode(os.waitpid(grandchild, 0)[1]))\n"
        "sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 1
