"""What the tests with Microsoft's client share: which transport carries which format, and how they connect."""

import json
import time
from typing import Any, NamedTuple

from signaling.auth import DevTokens, find_signing_key
from tests.e2e.node_client import NodeDriver
from tests.eventually import eventually
from tests.running import Server

__all__ = ["COMBINATIONS", "HUB", "PROTOCOLS", "Client", "Combination", "token_until"]

HUB = "/hubs/conformance"
PROTOCOLS = ("json", "messagepack")


class Combination(NamedTuple):
    """A transport and a format."""

    transport: str
    protocol: str

    def __str__(self) -> str:
        return "-".join(self)


# Server-Sent Events carry text only.
COMBINATIONS = tuple(
    Combination(transport, protocol)
    for transport in ("WebSockets", "ServerSentEvents", "LongPolling")
    for protocol in PROTOCOLS
    if (transport, protocol) != ("ServerSentEvents", "messagepack")
)


class Client:
    """Connects to one server's conformance hub; ``options`` are those of the driver's ``connect``."""

    def __init__(
        self, node: NodeDriver, server: Server, combination: Combination, *, url: str = "", **options: Any
    ) -> None:
        self.node = node
        self.server = server
        self.combination = combination
        self._ids: dict[str, str] = {}
        self._options = {"url": (url or server.url) + HUB, **combination._asdict(), **options}

    async def connect(self, connection: str, user: str = "ann", **options: Any) -> str:
        """Open a connection of ``user``, a clinician; its public id."""
        settings = {"token": await self.server.token(user, "clinician")} if "token" not in options else {}
        settings |= self._options | options
        self._ids[connection] = str(await self.node.call("connect", connection=connection, **settings))
        return self._ids[connection]

    async def ended(self, connection: str) -> str:
        """Wait until the server says that the connection first opened under this name is gone; the cause."""
        wanted = self._ids[connection]
        await eventually(lambda: self._cause(wanted))
        return self._cause(wanted)

    def _cause(self, connection_id: str) -> str:
        whole, _, _ = self.server.log_text.rpartition("\n")
        lines = map(json.loads, whole.splitlines())
        closed = [line for line in lines if line["event"] == "connection_closed"]
        return next((str(line["cause"]) for line in closed if line["connection"] == connection_id), "")


def token_until(server: Server, user: str, expires_in_s: float, role: str = "clinician") -> str:
    """A token made on the spot, for tests in which its last second counts."""
    key = find_signing_key("", server.data)
    assert key is not None
    tokens = DevTokens(key, time.time)
    return tokens.mint(user=user, clinic="c1", roles=frozenset({role}), expires_in_s=expires_in_s)
