"""Where the bus is: one server, the nodes of a cluster, or the sentinels that know the server, as one URL says it.

Pure. The password is in here, so an address shows itself without it, and no error quotes the URL. Read
``bus_address`` first.
"""

from dataclasses import dataclass, field
from enum import Enum
from typing import Final, NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

__all__ = ["BusAddress", "BusKind", "Login", "Node", "bus_address"]

_DEFAULT_PORT: Final = 6379
_SENTINEL_PORT: Final = 26379
_MAX_NODES: Final = 64


class BusKind(Enum):
    """SINGLE: one server, which may turn out to be a node of a cluster. SENTINEL: ask these nodes which one it is."""

    SINGLE = "single"
    CLUSTER = "cluster"
    SENTINEL = "sentinel"


class Node(NamedTuple):
    """One server: a host and its port, or the path of a socket and 0."""

    host: str
    port: int

    def __str__(self) -> str:
        """As in a URL."""
        if self.port == 0:
            return self.host
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Login:
    """An ACL user; both empty: the default user without a password."""

    user: str = ""
    password: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class BusAddress:
    """``master``: what the sentinels call the server. ``sentinel_login``: the sentinels' own user."""

    kind: BusKind
    nodes: tuple[Node, ...]
    tls: bool = False
    login: Login = Login()
    master: str = ""
    sentinel_login: Login = Login()

    def __str__(self) -> str:
        """For people, and for logs: without user and password."""
        if self.nodes[0].port == 0:
            return f"unix://{self.nodes[0]}"
        scheme = "rediss" if self.tls else "redis"
        kind = "" if self.kind is BusKind.SINGLE else f"+{self.kind.value}"
        path = f"/{self.master}" if self.master else ""
        return f"{scheme}{kind}://{','.join(map(str, self.nodes))}{path}"


def bus_address(url: str) -> BusAddress:
    """Read ``redis(s)://``, ``redis(s)+cluster://a,b``, ``redis(s)+sentinel://a,b/master`` or ``unix:///path``.

    Raises ValueError, whose text quotes nothing of the URL.
    """
    scheme, _, rest = url.partition("://")
    if scheme == "unix":
        return _of_socket(rest)
    name, _, kind_name = scheme.partition("+")
    if name not in ("redis", "rediss") or kind_name not in ("", "cluster", "sentinel"):
        raise ValueError("must be redis://, rediss:// or unix://, or one of the first two with +cluster or +sentinel")
    kind = BusKind(kind_name or "single")
    parts = urlsplit(f"//{rest}")
    user, _, hosts = parts.netloc.rpartition("@")
    nodes = tuple(_node(one, kind) for one in hosts.split(","))
    if len(nodes) > (1 if kind is BusKind.SINGLE else _MAX_NODES):
        raise ValueError("names too many servers")
    master = parts.path.strip("/")
    if kind is BusKind.SENTINEL and not master:
        raise ValueError("must end with the name that the sentinels know the server by, as in /mymaster")
    if kind is not BusKind.SENTINEL and master not in ("", "0"):
        raise ValueError("must not name a database: messages have none")
    return BusAddress(
        kind=kind,
        nodes=nodes,
        tls=name == "rediss",
        login=_login(user),
        master=unquote(master) if kind is BusKind.SENTINEL else "",
        sentinel_login=_sentinel_login(parts.query, kind),
    )


def _of_socket(rest: str) -> BusAddress:
    user, _, path = rest.rpartition("@")
    if not path.startswith("/"):
        raise ValueError("unix:// must be followed by an absolute path")
    return BusAddress(BusKind.SINGLE, (Node(unquote(path), 0),), login=_login(user))


def _login(text: str) -> Login:
    user, _, password = text.partition(":")
    if user and not password:
        raise ValueError("must give a user and a password as user:password@, or a password alone as :password@")
    return Login(unquote(user), unquote(password))


def _sentinel_login(query: str, kind: BusKind) -> Login:
    given = dict(parse_qsl(query, keep_blank_values=True))
    user, password = given.pop("sentinel_user", ""), given.pop("sentinel_password", "")
    if given or (query and kind is not BusKind.SENTINEL):
        raise ValueError("must not have a query, but for sentinel_user and sentinel_password of sentinels")
    return Login(user, password)


def _node(text: str, kind: BusKind) -> Node:
    parts = urlsplit(f"//{text}")
    try:
        port = parts.port
    except ValueError:
        raise ValueError("has a port that is none") from None
    if not parts.hostname:
        raise ValueError("must name a host")
    return Node(parts.hostname, port or (_SENTINEL_PORT if kind is BusKind.SENTINEL else _DEFAULT_PORT))
