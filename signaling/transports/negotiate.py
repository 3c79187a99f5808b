"""Negotiation: what a client may use, and the token that opens its connection (SignalR TransportProtocols)."""

from collections.abc import Sequence
from typing import Any, Final

from protocol.errors import BadArgument

__all__ = ["negotiate_response", "negotiate_version"]

TRANSFER_FORMATS: Final = {
    "WebSockets": ["Text", "Binary"],
    "ServerSentEvents": ["Text"],
    "LongPolling": ["Text", "Binary"],
}
HIGHEST_VERSION: Final = 1
MAX_VERSION_DIGITS: Final = 9


def negotiate_version(text: str | None) -> int:
    """The version to answer with: a higher request gets our highest.

    Raises:
        BadArgument: not a whole number, negative, or none that 32 bits hold.
    """
    if text is None:
        return 0
    if not text.isascii() or not text.isdecimal() or len(text) > MAX_VERSION_DIGITS:
        raise BadArgument("The client requested a non-integer protocol version.")
    return min(int(text), HIGHEST_VERSION)


def negotiate_response(
    version: int,
    *,
    transports: Sequence[str],
    connection_id: str,
    token: str,
    stateful: bool,
    token_lifetime_s: int,
) -> dict[str, Any]:
    """The body of the answer. In version 0 the only id is the secret one.

    ``token_lifetime_s``: when the client should have shown a new token, 0 if it need not or cannot.
    """
    ids: dict[str, Any] = (
        {"connectionId": connection_id, "connectionToken": token} if version else {"connectionId": token}
    )
    if version and token_lifetime_s > 0:
        ids["tokenLifetimeSeconds"] = token_lifetime_s
    if version and stateful:
        # Clients refuse a server that says this unasked.
        ids["useStatefulReconnect"] = True
    offered = [{"transport": name, "transferFormats": TRANSFER_FORMATS[name]} for name in transports]
    return {"negotiateVersion": version, **ids, "availableTransports": offered}
