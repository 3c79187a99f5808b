"""Ports for servers that have to be told one: several test runs may look for some at the same time."""

import random
import socket
import sys
from contextlib import ExitStack, suppress

__all__ = ["BESIDE", "free_port"]

BESIDE = 10_000
"""Nodes of a Redis cluster speak to each other on their port and this many."""

# Descriptors of names that stand for the ports that this process was given: no other run is, as long as it lives.
_OURS: list[int] = []


def free_port() -> int:
    """A port that nobody uses now, for TCP nor UDP, nor the one of a cluster's node beside it.

    Below those that connections are given: none of them takes it before the server does, and a server that was killed
    finds it free again. No other process that looks for one here is given it, nor tries whether it is free.
    """
    for port in random.sample(range(12_000, 22_000), 1_000):
        kinds = ((port, socket.SOCK_STREAM), (port, socket.SOCK_DGRAM), (port + BESIDE, socket.SOCK_STREAM))
        with ExitStack() as probes, suppress(OSError):
            name = probes.enter_context(socket.socket(socket.AF_UNIX))
            if sys.platform == "linux":  # elsewhere there are no names without files
                name.bind(f"\0auricle-test-port-{port}")
            for number, kind in kinds:
                probes.enter_context(socket.socket(type=kind)).bind(("127.0.0.1", number))
            _OURS.append(name.detach())
            return port
    raise AssertionError("no port is free")
