"""The line between supervisor and worker: neither end waits for the other."""

import asyncio
import os
import sys

from signaling.workers.charge import ChildNews, News, Ready
from signaling.workers.line import SupervisorEnd, WorkerEnd
from tests.eventually import eventually

NEWS = News((ChildNews(0, "up", 1, "unix:/a"),), {"worker_end_s": 2})


async def test_a_worker_says_that_it_is_ready_and_hears_what_has_changed() -> None:
    line = SupervisorEnd()
    assert line.ready() is None
    # In a process of its own, because the end of the line kills it.
    code = (
        "import signal, sys; from signaling.workers.charge import Ready; from signaling.workers.line import WorkerEnd\n"
        "line = WorkerEnd(int(sys.argv[1])); line.tell(Ready('unix:/a'))\n"
        "line.listen(lambda news: print(news, flush=True)); signal.pause()"
    )
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", code, str(line.lent)), pass_fds=(line.lent,), stdout=asyncio.subprocess.PIPE
    )
    line.lend_out()
    assert process.stdout is not None
    await eventually(lambda: line.ready() == Ready("unix:/a"))
    for _ in range(2):
        assert line.tell(NEWS)
        assert (await process.stdout.readline()).decode().strip() == repr(NEWS)
    line.close()
    assert await process.wait() == -9


def test_what_was_said_is_heard_once_and_the_last_of_it_counts() -> None:
    line = SupervisorEnd()
    theirs = WorkerEnd(os.dup(line.lent))
    for internal in ("unix:/a", "unix:/b"):
        theirs.tell(Ready(internal))
    assert line.ready() == Ready("unix:/b")
    assert line.ready() is None
    theirs.tell(Ready("unix:/b"))
    assert line.ready() == Ready("unix:/b")
    theirs._socket.close()
    line.close()


def test_a_worker_does_not_wait_for_a_supervisor_that_does_not_listen() -> None:
    line = SupervisorEnd()
    theirs = WorkerEnd(os.dup(line.lent))
    for _ in range(20_000):
        theirs.tell(Ready("unix:/a"))
    assert line.ready() == Ready("unix:/a")
    theirs._socket.close()
    line.close()


def test_what_is_no_line_is_no_readiness() -> None:
    line = SupervisorEnd()
    with open(os.dup(line.lent), "wb", buffering=0) as raw:
        raw.write(b'{"internal": ')
        assert line.ready() is None
        raw.write(b"7}\n")
        assert line.ready() is None
    line.close()


async def test_one_that_does_not_listen_for_long_is_noticed() -> None:
    line = SupervisorEnd()
    told = 0
    while line.tell(NEWS):
        told += 1
    assert told > 100
    line.close()


async def test_what_is_told_to_one_that_has_ended_is_no_error() -> None:
    line = SupervisorEnd()
    line.lend_out()
    assert line.tell(NEWS)
    assert line.ready() is None
    line.close()
