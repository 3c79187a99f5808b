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
    ``unix:/path``; empty: nowhere. ``internal_address``: what they are told, ``http://host:port`` (with certificates
    ``https://``) or ``unix:/path``; empty: what it listens on.
    ``internal_cert_file``, ``internal_key_file``: what this pod shows the others, over TLS; ``internal_ca_file``: by
    whom theirs must be signed; all three or none. ``internal_cert_name``: the name in all of them; empty: the host of
    the address.
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
    internal_cert_file: str = ""
    internal_key_file: str = ""
    internal_ca_file: str = ""
    internal_cert_name: str = ""
    owner_ttl_s: float = 900.0
    owner_answer_s: float = 1.0
    max_owner_questions: int = 256
    max_known_owners: int = 20_000
    max_forwards: int = 10_000
    max_forward_bytes: int = 65_536
    forward_timeout_s: float = 5.0

    def _check_pods(self, tokens_s: float) -> None:
        """``tokens_s``: how long others may still believe that a token opens something."""
        if not tokens_s < self.owner_ttl_s:
            raise ConfigError("owner_ttl_s: must be more than connection_token_ttl_s and twice bus_skew_s together")
        listen, address = self.internal_listen, self.internal_address
        if listen and not _is_path(listen):
            host, _ = host_and_port(listen)
            if host in _EVERYWHERE and not address:
                raise ConfigError("internal_address: must be given, since internal_listen is every address of the host")
        if address and not listen:
            raise ConfigError("internal_listen: must be given with internal_address")
        if address and not _is_path(address):
            scheme, _, place = address.partition("://")
            due = "https" if self.internal_cert_file else "http"
            if scheme != due or not _PLACE.fullmatch(place):
                raise ConfigError(f"internal_address: must be {due}://host:port or unix:/path")
        self._check_certificates()

    def _check_certificates(self) -> None:
        files = (self.internal_cert_file, self.internal_key_file, self.internal_ca_file)
        if not any(files):
            if self.internal_cert_name:
                raise ConfigError("internal_cert_file: must be given with internal_cert_name")
            return
        if not all(files):
            raise ConfigError("internal_cert_file: must be given with internal_key_file and internal_ca_file")
        # On one machine nothing is there to be encrypted.
        if not self.internal_listen or _is_path(self.internal_listen):
            raise ConfigError("internal_listen: must be host:port with internal_cert_file")


def host_and_port(text: str) -> tuple[str, int]:
    """The two parts of ``host:port``. Raises ConfigError."""
    found = _PLACE.fullmatch(text)
    if found is None or not 0 <= int(found[3]) <= 65_535:
        raise ConfigError("internal_listen: must be host:port or unix:/path")
    return found[1] or found[2], int(found[3])


def _is_path(text: str) -> bool:
    path = text.removeprefix(UNIX)
    return text.startswith(f"{UNIX}/") and len(path.encode()) <= _MAX_PATH_BYTES
