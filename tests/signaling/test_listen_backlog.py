"""A server that has no time to accept: how many connections wait for it, as the kernel keeps them."""

import select
import signal
import socket
import sys
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.eventually import eventually
from tests.running import server


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the kernel keeps another number")
async def test_only_so_many_connections_wait_to_be_accepted(tmp_path: Path) -> None:
    async with server(tmp_path, AURICLE_LISTEN_BACKLOG="4") as running:
        address = urlsplit(running.url)
        assert (address.hostname, address.port) != (None, None)
        running.process.send_signal(signal.SIGSTOP)
        await eventually(lambda: state_of(running.process.pid) == "T")
        try:
            with ExitStack() as stack:
                asking = [stack.enter_context(socket.socket()) for _ in range(12)]
                for one in asking:
                    one.setblocking(False)
                    one.connect_ex((address.hostname, address.port))
                # Linux lets one more in than it is told.
                await eventually(lambda: connected(asking) >= 5)
                assert connected(asking) == 5
        finally:
            running.process.send_signal(signal.SIGCONT)


def state_of(pid: int) -> str:
    """What the kernel says of a process: T, it is stopped."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def connected(asking: list[socket.socket]) -> int:
    """How many are by now."""
    return len(select.select([], asking, [], 0)[1])
