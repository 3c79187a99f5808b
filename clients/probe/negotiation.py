"""The negotiation of a hub connection (SignalR TransportProtocols), asked as any client asks.

It must not know transports. Read ``negotiate`` first.
"""

from collections.abc import Mapping
from typing import Final

import aiohttp
import msgspec

from clients.probe.target import Target
from clients.probe.verdicts import Trouble
from clients.probe.web import Answer, browser_of, fetch

__all__ = ["Negotiated", "ask_to_negotiate", "negotiate", "refusal_of"]

_NOT_A_HUB: Final = "the answer is not that of a SignalR hub"


class _Offered(msgspec.Struct, frozen=True):
    transport: str


class Negotiated(msgspec.Struct, frozen=True, rename="camel"):
    """What the server offers. ``connection_token`` opens the connection and is a secret."""

    connection_id: str = ""
    connection_token: str = ""
    available_transports: tuple[_Offered, ...] = ()
    use_stateful_reconnect: bool = False
    error: str | None = None
    url: str | None = None

    @property
    def transports(self) -> tuple[str, ...]:
        """Their names, in the server's order."""
        return tuple(one.transport for one in self.available_transports)


async def ask_to_negotiate(
    browser: aiohttp.ClientSession, target: Target, headers: Mapping[str, str], *, stateful: bool = False
) -> Answer:
    """The answer of the server, whatever it is. Raises Trouble when there is none."""
    query = {"negotiateVersion": "1"} | ({"useStatefulReconnect": "true"} if stateful else {})
    return await fetch(browser, "POST", f"{target.hub}/negotiate", headers=headers, params=query)


async def negotiate(
    target: Target, browser: aiohttp.ClientSession | None = None, *, stateful: bool = False
) -> Negotiated:
    """Ask for a new connection. Raises Trouble."""
    if browser is None:
        async with browser_of(target) as own:
            return await negotiate(target, own, stateful=stateful)
    answer = await ask_to_negotiate(browser, target, target.authorization, stateful=stateful)
    if answer.status != 200:
        raise Trouble(refusal_of(answer.status))
    try:
        negotiated = msgspec.json.decode(answer.body, type=Negotiated)
    except msgspec.DecodeError:
        raise Trouble(_NOT_A_HUB) from None
    if negotiated.url is not None:
        raise Trouble("the server sends its clients elsewhere: probe that address")
    if negotiated.error is not None or not negotiated.connection_token or not negotiated.connection_id:
        raise Trouble(_NOT_A_HUB)
    return negotiated


def refusal_of(status: int) -> str:
    """What a refused negotiation means for whoever runs the deployment."""
    known = {
        401: "the token is refused (401): is it of this deployment, and the clock right?",
        403: "refused (403)",
        404: "there is no hub at that path (404)",
        503: "no new connections are taken (503): full, or about to end",
    }
    return known.get(status, f"answered with {status}")
