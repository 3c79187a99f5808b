"""The part of the configuration that is about pods that ask each other."""

import re
from dataclasses import dataclass
from typing import Final

from .config_error import ConfigError

__all__ = ["UNIX", "PodsConfig", "host_and_port"]

UNIX: Final = "unix:"
_PLACE: Final = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([^\s/:@\[\]]+)):([0-9]{1,5})")
# Where nobody can be reached.
_EVERYWHERE: Final = frozenset({"0.0.0.0", "::"})  # noqa: S104  # it is told apart, not listened on
# The longest path of a socket that every system takes.
_MAX_PATH_BYTES: Final = 103


# No slots: of two parts that have some no class can be made.
@dataclass(frozen=True)
class PodsConfig:
    """Fields of ``Config``.

    ``internal_listen``: where other pods of the deployment ask this process: ``host:port`` (port 0: any) or
    ``unix:/path``; empty: nowhere. ``internal_address``: what they are told, ``http://host:port`` or ``unix:/path``;
    empty: what it listens on.
    """

    internal_listen: str = ""
    internal_address: str = ""

    def _check_pods(self) -> None:
        listen, address = self.internal_listen, self.internal_address
        if listen and not _is_path(listen):
            host, _ = host_and_port(listen)
            if host in _EVERYWHERE and not address:
                raise ConfigError("internal_address: must be given, since internal_listen is every address of the host")
        if address and not listen:
            raise ConfigError("internal_listen: must be given with internal_address")
        if address and not _is_path(address):
            scheme, _, place = address.partition("://")
            if scheme != "http" or not _PLACE.fullmatch(place):
                raise ConfigError("internal_address: must be http://host:port or unix:/path")


def host_and_port(text: str) -> tuple[str, int]:
    """The two parts of ``host:port``. Raises ConfigError."""
    found = _PLACE.fullmatch(text)
    if found is None or not 0 <= int(found[3]) <= 65_535:
        raise ConfigError("internal_listen: must be host:port or unix:/path")
    return found[1] or found[2], int(found[3])


def _is_path(text: str) -> bool:
    path = text.removeprefix(UNIX)
    return text.startswith(f"{UNIX}/") and len(path.encode()) <= _MAX_PATH_BYTES
