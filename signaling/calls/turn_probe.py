"""Whether the TURN servers give what they are there for: each is asked for an allocation now and then.

A credential that a TURN server does not take raises no error at either end of a call: there is just no relay candidate,
and for two people behind hostile networks no call. So what is asked for is the relayed address itself (RFC 8656,
section 7). aioice is loaded when the first server is asked. Read ``TurnWatch.look`` first.
"""

import asyncio
import re
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, NamedTuple

from prometheus_client import Gauge

from media.ice import IcePlan, turn_credential
from signaling.metrics import Metrics

__all__ = ["TurnServer", "TurnWatch", "allocate", "turn_server"]

_URL: Final = re.compile(
    r"(?P<scheme>turns?):(?P<host>\[[^\]]+\]|[^:?]+)(?::(?P<port>[0-9]+))?(?:\?transport=(?P<transport>udp|tcp))?"
)
_PORTS: Final = {"turn": 3478, "turns": 5349}


class TurnServer(NamedTuple):
    """Where one is, and how it is spoken to."""

    host: str
    port: int
    transport: str
    tls: bool


def turn_server(url: str) -> TurnServer:
    """What a URL of RFC 7065 says. Raises ValueError."""
    found = _URL.fullmatch(url)
    if found is None:
        raise ValueError("not the URL of a TURN server")
    tls = found["scheme"] == "turns"
    transport = found["transport"] or ("tcp" if tls else "udp")
    return TurnServer(found["host"].strip("[]"), int(found["port"] or _PORTS[found["scheme"]]), transport, tls)


async def allocate(server: TurnServer, username: str, password: str) -> tuple[str, int]:
    """The address and port that a TURN server relays with these credentials; given back at once.

    Raises OSError or ConnectionError when it gives none, and asyncio's TimeoutError if the caller has set a time.
    """
    from aioice.stun import TransactionError
    from aioice.turn import create_turn_endpoint

    try:
        transport, _ = await create_turn_endpoint(
            asyncio.DatagramProtocol,
            server_addr=(server.host, server.port),
            username=username,
            password=password,
            transport=server.transport,
            ssl=ssl.create_default_context() if server.tls else False,
        )
    except TransactionError as error:
        # Its text may quote what the server has said.
        raise ConnectionError("refused") from error
    try:
        address: tuple[str, int] = transport.get_extra_info("sockname")
        return address
    finally:
        transport.close()


@dataclass(slots=True)
class TurnWatch:
    """``clock`` is Unix time. ``is_away`` says whether one of the servers gave nothing when it was asked last."""

    plan: IcePlan
    answer_s: float
    metrics: Metrics
    clock: Callable[[], float]
    allocated: Callable[[TurnServer, str, str], Awaitable[tuple[str, int]]] = allocate
    is_away: bool = False
    gauge: Gauge | None = None

    async def look(self) -> None:
        """Ask all of them."""
        if self.gauge is None:
            self.gauge = Gauge(
                "auricle_turn_up",
                "Whether a TURN server gave an allocation when it was asked last.",
                ["server"],
                registry=self.metrics.registry,
            )
        found = await asyncio.gather(*(self._gives(url) for url in self.plan.turn_urls()))
        for url, gives in zip(self.plan.turn_urls(), found, strict=True):
            self.gauge.labels(url).set(gives)
        self.is_away = not all(found)

    async def _gives(self, url: str) -> bool:
        until_s = int(self.clock()) + 60
        name, password = turn_credential(self.plan.secret, "", "probe", until_s=until_s)
        try:
            async with asyncio.timeout(self.answer_s):
                await self.allocated(turn_server(url), name, password)
        except TimeoutError:
            self.metrics.reached("turn_answer_s")
            return False
        except (OSError, ValueError):
            return False
        return True
