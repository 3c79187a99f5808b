"""Ports for servers that have to be told one: several test runs may look for some at the same time."""

import random
import socket
from contextlib import ExitStack, suppress

__all__ = ["BESIDE", "free_port"]

BESIDE = 10_000
"""Nodes of a Redis cluster speak to each other on their port and this many."""


def free_port() -> int:
    """A port that nobody uses now, for TCP nor UDP, nor the one of a cluster's node beside it.

    Below those that connections are given: none of them takes it before the server does, and a server that was killed
    finds it free again.
    """
    for port in random.sample(range(12_000, 22_000), 1_000):
        kinds = ((port, socket.SOCK_STREAM), (port, socket.SOCK_DGRAM), (port + BESIDE, socket.SOCK_STREAM))
        with ExitStack() as probes, suppress(OSError):
            for number, kind in kinds:
                probes.enter_context(socket.socket(type=kind)).bind(("127.0.0.1", number))
            return port
    raise AssertionError("no port is free")
