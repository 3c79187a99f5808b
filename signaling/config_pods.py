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
    ``owner_ttl_s``: how long others know whose a connection is, unless that is renewed.
    ``owner_answer_s``: how long pods may take to say whether a connection is theirs, while Redis does not tell.
    ``max_owner_questions``: connections of which all pods are asked at a time. ``max_known_owners``: connections of
    other pods that are remembered.
    ``max_forwards``: requests for connections of other pods, WebSockets included, that are carried on at a time.
    ``max_forward_bytes``: what of one of them waits here in each direction; meanwhile no more of it is read.
    ``forward_timeout_s``: how long another pod may take to answer, beside the time that it may wait itself.
    """

    internal_listen: str = ""
    internal_address: str = ""
    owner_ttl_s: float = 600.0
    owner_answer_s: float = 1.0
    max_owner_questions: int = 256
    max_known_owners: int = 20_000
    max_forwards: int = 10_000
    max_forward_bytes: int = 65_536
    forward_timeout_s: float = 5.0

    def _check_pods(self, tokens_s: float) -> None:
        """``tokens_s``: how long others may still believe that a token opens something."""
        if not tokens_s < self.owner_ttl_s:
            raise ConfigError("owner_ttl_s: must be more than connection_token_ttl_s and bus_skew_s together")
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
