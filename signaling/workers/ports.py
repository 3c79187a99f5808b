"""The port that all workers share: held by the supervisor, which never listens on it, so that it stays theirs.

Read ``hold`` first.
"""

import socket
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any, Final

from signaling.config_error import ConfigError

__all__ = ["HeldPort", "hold", "url_of"]

# So many ports are tried that are free on one address of a host and taken on another.
_TRIES: Final = 16


class HeldPort:
    """A port on each address of a host; ``close`` lets it go."""

    def __init__(self, port: int, sockets: ExitStack) -> None:
        self.port = port
        self._sockets = sockets

    def close(self) -> None:
        """Let go of it."""
        self._sockets.close()


def hold(host: str, port: int) -> HeldPort:
    """Bind the port, 0 for any, so that the workers may bind it too, and nobody of another user.

    Raises:
        ConfigError: it is taken, also by workers of another supervisor; or there is no such host.
    """
    if not hasattr(socket, "SO_REUSEPORT"):
        raise ConfigError("workers: this system cannot share a port between processes, use 1")
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        addresses = [(family, address) for family, _, _, _, address in found]
        for tries_left in reversed(range(_TRIES)):
            try:
                return _hold_all(addresses, port)
            except OSError:
                if port or not tries_left:
                    raise
    except (OSError, UnicodeError) as error:
        is_name = isinstance(error, socket.gaierror | UnicodeError)
        reason = "no such host" if is_name else getattr(error, "strerror", "")
        raise ConfigError(f"cannot listen on {host}:{port}: {reason}") from None
    raise AssertionError("the last try returns or raises")


def _hold_all(addresses: Sequence[tuple[socket.AddressFamily, tuple[Any, ...]]], port: int) -> HeldPort:
    with ExitStack() as held:
        for family, address in addresses:
            host, _, *rest = address
            if port:
                # Those who share a port are let in by the kernel: whether somebody is there must be asked without.
                with _socket(family) as alone:
                    alone.bind((host, port, *rest))
            shared = held.enter_context(_socket(family))
            shared.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            shared.bind((host, port, *rest))
            port = shared.getsockname()[1]
        return HeldPort(port, held.pop_all())


def _socket(family: socket.AddressFamily) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM)
    # As the workers do: connections of before that are not quite over do not matter.
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    return made


def url_of(host: str, port: int) -> str:
    """Where clients reach what listens there."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
