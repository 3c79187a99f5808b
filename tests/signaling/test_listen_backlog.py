"""A server that has no time to accept: how many connections wait for it, as the kernel keeps them."""

import asyncio
import select
import signal
import socket
import sys
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.running import server


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the kernel keeps another number")
async def test_only_so_many_connections_wait_to_be_accepted(tmp_path: Path) -> None:
    async with server(tmp_path, AURICLE_LISTEN_BACKLOG="4") as running:
        address = urlsplit(running.url)
        assert (address.hostname, address.port) != (None, None)
        running.process.send_signal(signal.SIGSTOP)
        try:
            with ExitStack() as stack:
                asking = [stack.enter_context(socket.socket()) for _ in range(12)]
                for one in asking:
                    one.setblocking(False)
                    one.connect_ex((address.hostname, address.port))
                _, connected, _ = await asyncio.to_thread(select.select, [], asking, [], 0.2)
                # Linux lets one more in than it is told.
                assert len(connected) == 5
        finally:
            running.process.send_signal(signal.SIGCONT)
