"""What is probed: where it is, which token is shown there, and what its certificate is held to.

The token is in here and in no text of it. It must not know what is checked. Read ``Target`` first.
"""

import ipaddress
import ssl
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from media.acs import AcsAddress

__all__ = ["BadTarget", "Target", "target_of"]

_DEFAULT_PORTS = {"http": 80, "https": 443}


class BadTarget(Exception):
    """It cannot be probed as it was given; the message is one line that quotes nothing."""


@dataclass(frozen=True, slots=True)
class Target:
    """A deployment. ``base`` is its address without a slash at the end, ``hub_path`` begins with one.

    ``timeout_s`` bounds each check. ``tls`` is None when the address is not encrypted. ``acs``: the resource of Azure
    Communication Services that the deployment uses, ``acs_ca`` a certificate that is trusted for it. ``acs_keys``:
    where the tenant whose tokens Event Grid shows says where its keys are, "" for none, and how it may call itself.
    """

    base: str
    host: str
    port: int
    hub_path: str
    timeout_s: float
    tls: ssl.SSLContext | None
    token: str | None = field(default=None, repr=False)
    acs: AcsAddress | None = field(default=None, repr=False)
    acs_ca: str = ""
    acs_keys: tuple[str, tuple[str, ...]] = ("", ())

    @property
    def hub(self) -> str:
        """The address of the hub."""
        return self.base + self.hub_path

    @property
    def is_literal(self) -> bool:
        """Whether the host is an IP address and no name."""
        try:
            ipaddress.ip_address(self.host)
        except ValueError:
            return False
        return True

    @property
    def is_loopback(self) -> bool:
        """Whether nothing leaves this machine."""
        if self.host == "localhost":
            return True
        return self.is_literal and ipaddress.ip_address(self.host).is_loopback

    @property
    def authorization(self) -> dict[str, str]:
        """The header that shows the token; none without one."""
        return {} if self.token is None else {"Authorization": f"Bearer {self.token}"}


def target_of(url: str, *, hub_path: str, token: str | None, timeout_s: float, ca_file: str | None) -> Target:
    """Take an address apart. Raises BadTarget."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise BadTarget("the URL cannot be read") from None
    if parts.scheme not in _DEFAULT_PORTS or not parts.hostname:
        raise BadTarget("the URL must begin with http:// or https:// and name a host")
    if parts.username is not None or parts.query or parts.fragment:
        raise BadTarget("the URL must hold no login, no query and no fragment: a token is given apart")
    if not hub_path.startswith("/"):
        raise BadTarget("the path of the hub must begin with /")
    if token is not None and not (token.isascii() and token.isprintable() and " " not in token and token):
        raise BadTarget("the token holds what no token holds: spaces, line breaks or nothing at all")
    return Target(
        base=f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}",
        host=parts.hostname,
        port=port or _DEFAULT_PORTS[parts.scheme],
        hub_path=hub_path.rstrip("/"),
        timeout_s=timeout_s,
        tls=_trust(ca_file) if parts.scheme == "https" else None,
        token=token,
    )


def _trust(ca_file: str | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca_file)
    except (OSError, ssl.SSLError):
        raise BadTarget("the file with the certificates cannot be read") from None
